#include "server/relay_roster.h"

#include <gtest/gtest.h>

namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

NodeId node(int number) {
  NodeId id;
  id.key[0] = std::byte(number >> 8);
  id.key[1] = std::byte(number & 255);
  return id;
}
NetworkId network(int number) {
  NetworkId id{};
  id[0] = std::byte(number >> 8);
  id[1] = std::byte(number & 255);
  return id;
}

constexpr int kRelay = 1;
constexpr int kOne = 2;
constexpr int kOther = 3;

class RelayRosterTest : public testing::Test {
 protected:
  RelayRosterTest() {
    roster_.on_online(node(kRelay), network(1), 1, now_);
    roster_.on_online(node(kOne), network(2), 1, now_);
    roster_.on_online(node(kOther), network(2), 1, now_);
    roster_.on_rtt(node(kRelay), 30ms);
    roster_.on_rtt(node(kOne), 40ms);
    roster_.on_rtt(node(kOther), 0ms);
    roster_.on_offer(node(kRelay), kOffer);
  }
  RelayCandidate weigh() const {
    return roster_.candidate(node(kRelay), RelayKind::kShared, node(kOne), node(kOther), now_);
  }
  /// One node of network `number` says what it got.
  void report(int number, std::uint64_t bits, bool is_unusable = false) {
    roster_.on_online(node(100 + number), network(number), 1, now_);
    roster_.on_report(node(100 + number),
                      {.relay = node(kRelay),
                       .bits_per_second = bits,
                       .loss_permille = is_unusable ? 1'000U : 0U,
                       .is_unusable = is_unusable},
                      now_);
  }

  static constexpr ShareOffer kOffer{.bits_per_second = 10'000'000,
                                     .used_bits_per_second = 1'000'000,
                                     .allocations = 2,
                                     .own_bits_per_second = 500'000,
                                     .is_reachable = true};
  TimePoint now_;
  RelayRoster roster_;
};

TEST_F(RelayRosterTest, WeighsOffersAndEstimatedRoundTrips) {
  const RelayCandidate candidate = weigh();

  EXPECT_EQ(candidate.bits_per_second, 10'000'000U);
  EXPECT_EQ(candidate.used_bits_per_second, 1'000'000U);
  EXPECT_EQ(candidate.own_bits_per_second, 500'000U);
  EXPECT_EQ(candidate.allocations, 2U);
  EXPECT_EQ(candidate.rtt_one, 50ms);
  EXPECT_EQ(candidate.rtt_other, 30ms);
  EXPECT_EQ(candidate.kept, 1);
  EXPECT_TRUE(candidate.is_reachable);
}

TEST_F(RelayRosterTest, PrefersMeasuredRoundTrips) {
  roster_.on_report(node(kOne), {.relay = node(kRelay), .rtt_us = 7'000}, now_);
  EXPECT_EQ(weigh().rtt_one, 7ms);
  EXPECT_EQ(weigh().rtt_other, 30ms);
}

TEST_F(RelayRosterTest, CountsGrantsUntilTheNextOffer) {
  roster_.on_granted(node(kRelay));
  roster_.on_granted(node(kRelay));
  EXPECT_EQ(weigh().granted, 2U);
  roster_.on_offer(node(kRelay), kOffer);
  EXPECT_EQ(weigh().granted, 0U);
}

TEST_F(RelayRosterTest, KnowsWhoSharesAndWhoRefuses) {
  EXPECT_TRUE(roster_.is_sharing(node(kRelay)));
  EXPECT_TRUE(roster_.has_sharing_node(network(1)));
  EXPECT_FALSE(roster_.has_sharing_node(network(2)));
  EXPECT_FALSE(roster_.refuses_to_share(node(kOne)));  // It said nothing.
  EXPECT_EQ(roster_.sharing_nodes(node(9), 5), std::vector{node(kRelay)});

  roster_.on_offer(node(kRelay), {.bits_per_second = 0});
  EXPECT_FALSE(roster_.is_sharing(node(kRelay)));
  EXPECT_TRUE(roster_.refuses_to_share(node(kRelay)));
  roster_.on_offer(node(kRelay), kOffer);
  roster_.on_offline(node(kRelay), /*is_planned=*/true, now_);
  EXPECT_FALSE(roster_.has_sharing_node(network(1)));
  EXPECT_EQ(roster_.sharing_count(), 0U);
}

TEST_F(RelayRosterTest, CountsUnplannedDeparturesOnly) {
  roster_.on_offline(node(kRelay), /*is_planned=*/true, now_);
  roster_.on_online(node(kRelay), network(1), 2, now_);
  EXPECT_EQ(roster_.unplanned_departures(), 0U);

  roster_.on_offline(node(kRelay), /*is_planned=*/false, now_);
  roster_.on_online(node(kRelay), network(1), 3, now_);
  EXPECT_EQ(roster_.unplanned_departures(), 1U);

  roster_.on_online(node(kRelay), network(1), 3, now_);  // Only its session is a new one.
  EXPECT_EQ(roster_.unplanned_departures(), 1U);
  roster_.on_online(node(kRelay), network(1), 4, now_);  // It crashed, and was back at once.
  EXPECT_EQ(roster_.unplanned_departures(), 2U);
  EXPECT_DOUBLE_EQ(weigh().departures, 2);
}

TEST_F(RelayRosterTest, ForgivesDeparturesWithTime) {
  roster_.on_offline(node(kRelay), /*is_planned=*/false, now_);
  now_ += 24h;
  roster_.on_online(node(kRelay), network(1), 1, now_);
  EXPECT_NEAR(weigh().departures, 0.5, 1e-9);
  EXPECT_NEAR(weigh().served_hours, 0, 1e-9);

  now_ += 1h;
  EXPECT_NEAR(weigh().served_hours, 1, 0.02);
}

TEST_F(RelayRosterTest, ARelayThatClaimsMuchAndCarriesLittleIsBelievedLess) {
  roster_.on_offer(node(kRelay), {.bits_per_second = kBitsPerSecondMax, .is_reachable = true});
  const double claimed = relay_score(weigh());
  double last = claimed;
  for (int i = 0; i < 6; ++i) {
    report(10 + i, 100'000);
    EXPECT_LE(relay_score(weigh()), last);
    last = relay_score(weigh());
  }
  EXPECT_LT(last, claimed / 20);
}

TEST_F(RelayRosterTest, OneNetworkCannotTalkARelayDown) {
  for (int i = 0; i < 4; ++i) report(10 + i, 10'000'000);
  const double before = relay_score(weigh());

  for (int i = 0; i < 100; ++i) report(50, 1, /*is_unusable=*/true);

  EXPECT_EQ(weigh().kept, 1);
  EXPECT_DOUBLE_EQ(relay_score(weigh()), before);
}

TEST_F(RelayRosterTest, OneNetworkHasFewVoicesHoweverManyNodes) {
  for (int i = 0; i < 4; ++i) report(10 + i, 10'000'000);
  for (int i = 0; i < 100; ++i) {
    roster_.on_online(node(1000 + i), network(50), 1, now_);
    roster_.on_report(node(1000 + i), {.relay = node(kRelay), .is_unusable = true}, now_);
  }
  // Two voices of which one is left out: a good deal is left.
  EXPECT_GT(weigh().kept, 0.25);
}

TEST_F(RelayRosterTest, TheEndThatLosesMoreSpeaksForItsPair) {
  const auto report_loss = [&](int end, unsigned permille) {
    roster_.on_online(node(end), network(9), 1, now_);
    roster_.on_report(
        node(end), {.relay = node(kRelay), .bits_per_second = 0, .loss_permille = permille}, now_);
  };
  report_loss(200, 0);
  report_loss(201, 80);
  EXPECT_DOUBLE_EQ(weigh().loss, 0.08) << "the other one only acknowledges";
}

TEST_F(RelayRosterTest, ForgetsOldReports) {
  report(10, 1, /*is_unusable=*/true);
  EXPECT_LT(weigh().kept, 0.1);
  now_ += RelayRoster::kReportAgeMax + 1s;
  EXPECT_EQ(weigh().kept, 1);
}

TEST_F(RelayRosterTest, IgnoresReportsOfAndAboutNobody) {
  roster_.on_report(node(999), {.relay = node(kRelay), .is_unusable = true}, now_);
  roster_.on_report(node(kOne), {.relay = node(999), .is_unusable = true}, now_);
  EXPECT_EQ(weigh().kept, 1);
}

TEST_F(RelayRosterTest, HoldsABoundedNumberOfHistories) {
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < 40'000; ++i) {
      NodeId id;
      id.key[2] = std::byte(i >> 8);
      id.key[3] = std::byte(i & 255);
      id.key[4] = std::byte(1 + round);
      roster_.on_online(id, network(7), 1, now_);
      roster_.on_offline(id, /*is_planned=*/true, now_);
    }
    now_ += 1s;
  }
  EXPECT_LE(roster_.history_count(), RelayRoster::kHistoriesMax);
  EXPECT_TRUE(roster_.is_sharing(node(kRelay)));  // Who is online is never forgotten.
}

TEST_F(RelayRosterTest, TakesTheServersRoundTripsAsTheyAre) {
  roster_.set_server(node(77), 5'000'000);
  const RelayCandidate server =
      roster_.candidate(node(77), RelayKind::kServer, node(kOne), node(kOther), now_);
  EXPECT_EQ(server.rtt_one, 40ms);
  EXPECT_EQ(server.bits_per_second, 5'000'000U);
  EXPECT_FALSE(roster_.is_sharing(node(77)));
}

}  // namespace
}  // namespace openp2p::server
