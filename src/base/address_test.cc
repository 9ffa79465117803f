#include "base/address.h"

#include <gtest/gtest.h>

namespace openp2p {
namespace {

TEST(Address, RoundTripsText) {
  for (const char* text : {"192.0.2.1:443", "[2001:db8::1]:27183", "0.0.0.0:0", "[::]:65535"}) {
    const auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(Address, RefusesGarbage) {
  for (const char* text : {"", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "[::1]",
                           "::1:80", "1.2.3.4:80x", "[1.2.3.4:80", "host:80"}) {
    EXPECT_FALSE(Address::parse(text)) << text;
  }
}

TEST(IpAddress, MappedAddressIsIpv4) {
  EXPECT_EQ(IpAddress::parse("::ffff:192.0.2.1"), IpAddress::v4(192, 0, 2, 1));
  EXPECT_TRUE(IpAddress::parse("::ffff:192.0.2.1")->is_v4());
}

TEST(IpAddress, KnowsItsRange) {
  const auto ip = [](const char* text) { return *IpAddress::parse(text); };
  EXPECT_TRUE(ip("10.1.2.3").is_private());
  EXPECT_TRUE(ip("172.31.0.1").is_private());
  EXPECT_FALSE(ip("172.32.0.1").is_private());
  EXPECT_TRUE(ip("192.168.9.9").is_private());
  EXPECT_TRUE(ip("100.127.0.1").is_private());
  EXPECT_FALSE(ip("100.128.0.1").is_private());
  EXPECT_TRUE(ip("fd00::1").is_private());
  EXPECT_TRUE(ip("127.9.9.9").is_loopback());
  EXPECT_TRUE(ip("::1").is_loopback());
  EXPECT_TRUE(ip("169.254.1.1").is_link_local());
  EXPECT_TRUE(ip("fe80::1").is_link_local());
  EXPECT_TRUE(ip("239.1.1.1").is_multicast());
  EXPECT_TRUE(ip("255.255.255.255").is_multicast());
  EXPECT_TRUE(ip("ff02::1").is_multicast());
  EXPECT_TRUE(ip("0.0.0.0").is_unspecified());
  EXPECT_TRUE(ip("::").is_unspecified());
}

}  // namespace
}  // namespace openp2p
