#include "base/host_name.h"

#include <gtest/gtest.h>

#include <string>

namespace openp2p {
namespace {

TEST(HostName, NamesAndNumericAddressesAreHosts) {
  for (const char* good :
       {"nas", "a.b-c.example.", "my_host", "192.0.2.1", "::1", "1password.com"}) {
    EXPECT_TRUE(is_valid_host(good)) << good;
  }
}

TEST(HostName, SlipsOfTheHandAreNone) {
  for (const char* bad : {"", "a b", "a/b", "-x", "a..b", ".a", "1.2.3", "256.1.1.1", "[::1]",
                          "fe80::1%eth0", "a\x1b", "caf\xc3\xa9"}) {
    EXPECT_FALSE(is_valid_host(bad)) << bad;
  }
}

TEST(HostName, LengthsAreThoseOfDns) {
  const std::string label = std::string(62, 'a') + ".";

  EXPECT_TRUE(is_valid_host(label + label + label + label + "a"));  // 253 characters.
  EXPECT_FALSE(is_valid_host(label + label + label + label + "aa"));
}

}  // namespace
}  // namespace openp2p
