#include "forward/accept_policy.h"

#include <gtest/gtest.h>

#include <string>

namespace openp2p::forward {
namespace {

const std::vector<IpAddress> kOwn = {IpAddress::v4(192, 168, 1, 10),
                                     *IpAddress::parse("2001:db8:1:2::10"),
                                     *IpAddress::parse("fe80::10")};

bool allows(const AcceptPolicy& policy, std::string_view host, const std::string& resolved,
            std::uint16_t port = 80) {
  return policy.allows(host, IpAddress::parse(resolved).value(), port, kOwn);
}
bool allows(const AcceptPolicy& policy, const std::string& address, std::uint16_t port = 80) {
  return allows(policy, address, address, port);
}

AcceptPolicy lan() {
  AcceptPolicy policy;
  policy.accept_lan = true;
  return policy;
}
AcceptPolicy only(std::string host, std::uint16_t port) {
  AcceptPolicy policy;
  policy.destinations.push_back({std::move(host), port});
  return policy;
}

TEST(AcceptPolicy, TheNodeItselfIsAlwaysAllowed) {
  for (const char* own :
       {"127.0.0.1", "127.8.7.6", "::1", "192.168.1.10", "2001:db8:1:2::10", "fe80::10"}) {
    EXPECT_TRUE(allows({}, own)) << own;
    EXPECT_TRUE(allows(only("10.0.0.1", 1), own)) << own;
  }
  EXPECT_TRUE(allows({}, "localhost", "127.0.0.1"));
}

TEST(AcceptPolicy, NothingElseIsAllowedUnasked) {
  for (const char* other : {"192.168.1.11", "10.0.0.1", "8.8.8.8", "2001:db8:1:2::11", "fd00::1",
                            "fe80::11", "169.254.169.254", "0.0.0.0", "::", "224.0.0.1"}) {
    EXPECT_FALSE(allows({}, other)) << other;
  }
}

TEST(AcceptPolicy, AcceptLanMeansPrivateAddressesAndNeighbours) {
  for (const char* near :
       {"192.168.1.11", "192.168.200.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "100.64.0.1",
        "fd12:3456::1", "2001:db8:1:2::11", "2001:db8:1:2:ffff::", "::ffff:192.168.1.11"}) {
    EXPECT_TRUE(allows(lan(), near)) << near;
  }
  for (const char* far : {"8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1",
                          "2001:db8:1:3::10", "2001:db8:1::10", "11.0.0.1"}) {
    EXPECT_FALSE(allows(lan(), far)) << far;
  }
}

TEST(AcceptPolicy, MetadataServicesAreNoPartOfTheLan) {
  for (const char* metadata :
       {"169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "fe80::a9fe:a9fe",
        "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200"}) {
    EXPECT_FALSE(allows(lan(), metadata)) << metadata;
    EXPECT_FALSE(allows(lan(), "metadata.google.internal", metadata)) << metadata;
    EXPECT_TRUE(allows(only(metadata, 80), metadata)) << "the owner may still name it";
  }
  for (const char* odd : {"0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"}) {
    EXPECT_FALSE(allows(lan(), odd)) << odd;
  }
}

TEST(AcceptPolicy, AListAllowsItsAddressesUnderEveryName) {
  const AcceptPolicy policy = only("10.0.0.5", 443);

  EXPECT_TRUE(allows(policy, "10.0.0.5", 443));
  EXPECT_TRUE(allows(policy, "camera.lan", "10.0.0.5", 443));
  EXPECT_TRUE(allows(policy, "::ffff:10.0.0.5", 443));
  EXPECT_FALSE(allows(policy, "10.0.0.5", 80));
  EXPECT_FALSE(allows(policy, "10.0.0.6", 443));
}

TEST(AcceptPolicy, AListAllowsItsNamesWithoutRegardToCase) {
  const AcceptPolicy policy = only("Camera.LAN", 80);

  EXPECT_TRUE(allows(policy, "camera.lan", "10.0.0.5"));
  EXPECT_TRUE(allows(policy, "CAMERA.lan", "10.0.0.5"));
  EXPECT_FALSE(allows(policy, "camera.lan.evil.example", "10.0.0.5"));
  EXPECT_FALSE(allows(policy, "amera.lan", "10.0.0.5"));
  EXPECT_FALSE(allows(policy, "10.0.0.5", "10.0.0.5"));  // The name was allowed, not the host.
}

TEST(AcceptPolicy, IPv6IsComparedByValue) {
  const AcceptPolicy policy = only("2001:DB8:0:0::5", 80);

  EXPECT_TRUE(allows(policy, "2001:db8::5"));
  EXPECT_FALSE(allows(policy, "2001:db8::6"));
}

TEST(AcceptPolicy, ANameThatMovesOntoTheLanIsJudgedByWhereItPoints) {
  EXPECT_FALSE(allows({}, "rebind.example", "192.168.1.11"));
  EXPECT_FALSE(allows(only("www.example", 80), "rebind.example", "192.168.1.11"));
  EXPECT_FALSE(allows(lan(), "rebind.example", "169.254.169.254"));
  EXPECT_FALSE(allows(lan(), "rebind.example", "8.8.8.8"));
}

}  // namespace
}  // namespace openp2p::forward
