#include "net/interfaces.h"

#include <gtest/gtest.h>
#include <net/if.h>

#include <algorithm>

namespace openp2p::net {
namespace {

TEST(Interfaces, ListHasLoopbackWhichIsNoCandidate) {
  const auto found = list_interface_addresses();

  const auto loopback = std::ranges::find_if(
      found, [](const auto& address) { return address.ip == IpAddress::loopback_v4(); });
  ASSERT_NE(loopback, found.end());
  EXPECT_TRUE(loopback->is_loopback);
  EXPECT_TRUE(loopback->is_up);
  EXPECT_EQ(loopback->interface_index, ::if_nametoindex(loopback->interface_name.c_str()));
  EXPECT_FALSE(is_host_candidate(*loopback));
  EXPECT_TRUE(std::ranges::is_sorted(found));
}

TEST(Interfaces, CandidatesAreUpAndReachableFromElsewhere) {
  const auto with = [](const char* ip, bool is_up) {
    InterfaceAddress address;
    address.ip = *IpAddress::parse(ip);
    address.is_up = is_up;
    return is_host_candidate(address);
  };

  EXPECT_TRUE(with("192.0.2.1", true));
  EXPECT_TRUE(with("10.0.0.1", true));
  EXPECT_TRUE(with("2001:db8::1", true));
  EXPECT_TRUE(with("fd00::1", true));
  EXPECT_FALSE(with("192.0.2.1", false));
  EXPECT_FALSE(with("169.254.1.1", true));
  EXPECT_FALSE(with("fe80::1", true));
  EXPECT_FALSE(with("127.0.0.1", true));
}

}  // namespace
}  // namespace openp2p::net
