#include "server/listen.h"

#include <gtest/gtest.h>

#include "wire/join_token.h"

#include "server/source_memory.h"

namespace openp2p::server {
namespace {

Address address(const char* text) { return *Address::parse(text); }

TEST(ParseListen, TakesAddressesWithAndWithoutAPort) {
  EXPECT_EQ(parse_listen("192.0.2.1:80"), std::vector{address("192.0.2.1:80")});
  EXPECT_EQ(parse_listen("192.0.2.1"), std::vector{address("192.0.2.1:27183")});
  EXPECT_EQ(parse_listen("[2001:db8::1]:80"), std::vector{address("[2001:db8::1]:80")});
  EXPECT_EQ(parse_listen("[2001:db8::1]"), std::vector{address("[2001:db8::1]:27183")});
  EXPECT_EQ(parse_listen("2001:db8::1"), std::vector{address("[2001:db8::1]:27183")});
  EXPECT_EQ(parse_listen(":80"), (std::vector{address("0.0.0.0:80"), address("[::]:80")}));
  for (const char* bad :
       {"", ":", ":0", ":x", "host:80", "192.0.2.1:0", "192.0.2.1:65536", "1.2"}) {
    EXPECT_TRUE(parse_listen(bad).empty()) << bad;
  }
}

TEST(PlanListening, TakesEverythingByDefault) {
  const ListenPlan plan = plan_listening({}, kStunPort);

  ASSERT_TRUE(plan.problem.empty());
  ASSERT_EQ(plan.sockets.size(), 4U);
  EXPECT_EQ(plan.sockets[0].address, address("0.0.0.0:27183"));
  EXPECT_EQ(plan.sockets[1].address, address("0.0.0.0:27182"));
  EXPECT_TRUE(plan.sockets[1].is_alternate_port);
  EXPECT_EQ(plan.sockets[2].address, address("[::]:27183"));
  EXPECT_FALSE(plan.sockets[2].is_alternate_ip);
  EXPECT_TRUE(plan.sockets[2].is_optional);
}

TEST(PlanListening, MakesTheSecondAddressTheAlternate) {
  const ListenPlan plan =
      plan_listening({address("192.0.2.1:5000"), address("192.0.2.2:5000")}, 5'001);

  ASSERT_EQ(plan.sockets.size(), 4U);
  EXPECT_FALSE(plan.sockets[0].is_alternate_ip);
  EXPECT_TRUE(plan.sockets[2].is_alternate_ip);
  EXPECT_TRUE(plan.sockets[3].is_alternate_ip && plan.sockets[3].is_alternate_port);
  EXPECT_EQ(plan.sockets[3].address, address("192.0.2.2:5001"));
  EXPECT_FALSE(plan.sockets[0].is_optional);
  EXPECT_EQ(plan_listening({address("192.0.2.1:5000")}, 0).sockets.size(), 1U);
}

TEST(PlanListening, SaysWhatCannotBe) {
  const Address one = address("192.0.2.1:5000");
  EXPECT_FALSE(plan_listening({one}, 5'000).problem.empty());
  EXPECT_FALSE(plan_listening({one, one}, 1).problem.empty());
  EXPECT_FALSE(plan_listening({one, address("192.0.2.2:5001")}, 1).problem.empty());
  EXPECT_FALSE(plan_listening({one, address("0.0.0.0:5000")}, 1).problem.empty());
  EXPECT_FALSE(plan_listening({one, address("192.0.2.2:5000"), address("192.0.2.3:5000")}, 1)
                   .problem.empty());
}

TEST(ReachableAddresses, PutsPublicOnesFirstAndLeavesOutWhatIsNone) {
  const std::vector<IpAddress> own = {
      *IpAddress::parse("127.0.0.1"),   *IpAddress::parse("192.168.1.5"),
      *IpAddress::parse("fe80::1"),     *IpAddress::parse("2a00::1"),
      *IpAddress::parse("203.0.113.7"), *IpAddress::parse("::1")};
  const auto found = reachable_addresses(plan_listening({}, kStunPort).sockets, own);
  EXPECT_EQ(found, (std::vector<std::string>{"203.0.113.7:27183", "[2a00::1]:27183",
                                             "192.168.1.5:27183"}));
}

TEST(ReachableAddresses, AreThoseListenedOn) {
  const auto sockets = plan_listening({address("127.0.0.1:5000")}, 5'001).sockets;
  EXPECT_EQ(reachable_addresses(sockets, {*IpAddress::parse("203.0.113.7")}),
            std::vector<std::string>{"127.0.0.1:5000"});
  EXPECT_EQ(reachable_addresses(plan_listening({}, kStunPort).sockets, {}),
            std::vector<std::string>{"127.0.0.1:27183"});
}

TEST(WithTcp, AddsThePortsToTheHostsAndWhatIsNamed) {
  const std::vector<std::string> udp = {"203.0.113.7:27183", "[2a00::1]:27183", "vpn.example:9"};

  EXPECT_EQ(with_tcp(udp, {}), udp);
  EXPECT_EQ(with_tcp(udp, parse_listen(":443")),
            (std::vector<std::string>{"203.0.113.7:27183", "[2a00::1]:27183", "vpn.example:9",
                                      "203.0.113.7:443", "vpn.example:443", "[2a00::1]:443"}));
  EXPECT_EQ(with_tcp({"203.0.113.7:27183"}, {address("203.0.113.8:443")}),
            (std::vector<std::string>{"203.0.113.7:27183", "203.0.113.8:443"}));
}

TEST(WithTcp, NeverAddsMoreThanATokenHolds) {
  std::vector<std::string> udp;
  for (int i = 1; i <= 7; ++i) udp.push_back("203.0.113." + std::to_string(i) + ":27183");

  const auto all = with_tcp(udp, parse_listen(":443"));

  EXPECT_EQ(all.size(), JoinToken::kAddressesMax);
  EXPECT_EQ(all.back(), "203.0.113.1:443");
}

TEST(SourceMemory, RemembersTheLastAddressThatWasWrittenTo) {
  SourceMemory memory;
  const Address client = address("198.51.100.1:4000");
  EXPECT_EQ(memory.find(client), IpAddress());
  memory.remember(client, IpAddress::v4(192, 0, 2, 1));
  memory.remember(client, IpAddress::v4(192, 0, 2, 2));
  EXPECT_EQ(memory.find(client), IpAddress::v4(192, 0, 2, 2));
  EXPECT_EQ(memory.find(address("198.51.100.1:4001")), IpAddress());
}

}  // namespace
}  // namespace openp2p::server
