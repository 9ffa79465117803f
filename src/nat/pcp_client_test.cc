#include "nat/pcp_client.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>

#include "sim/nat_kind.h"
#include "sim/pcp_service.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

const Address kGateway{IpAddress::v4(192, 168, 1, 1), kPcpServerPort};
const IpAddress kClient = IpAddress::v4(192, 168, 1, 10);
const IpAddress kExternal = IpAddress::v4(203, 0, 113, 5);
const Address kStranger{IpAddress::v4(198, 51, 100, 7), 999};

PcpNonce nonce(int value) {
  PcpNonce all;
  all.fill(static_cast<std::byte>(value));
  return all;
}

/// A client, a gateway and the wire between them, in virtual time.
class PcpClientTest : public testing::Test {
 protected:
  void use_gateway(const sim::PcpServiceOptions& options = {}) {
    service_ = std::make_unique<sim::PcpService>(&udp_, &tcp_, options);
  }
  void start(Duration lifetime = 1h) {
    client_.emplace(PcpClientConfig{kGateway, kClient, lifetime}, Random(1));
    client_->add(PcpProtocol::kUdp, 4'500, nonce(1), now_);
    client_->add(PcpProtocol::kTcp, 4'500, nonce(2), now_);
    pump();
  }

  /// Everything that is to be sent at this instant, and its answers.
  void pump() {
    Bytes out(kPcpBytesMax);
    while (const std::size_t size = client_->poll_datagram(out, now_)) {
      ++sent_;
      if (!service_ || drops_ > 0) {
        drops_ -= drops_ > 0;
        continue;
      }
      Bytes answer(kPcpBytesMax);
      const Address from{kClient, 50'000};
      answer.resize(service_->on_datagram(from, ByteView(out).first(size), answer, now_));
      if (change_answer_) change_answer_(answer);
      client_->on_datagram(kGateway, answer, now_);
    }
  }

  void run_until(TimePoint end) {
    for (unsigned turns = 0; turns < 100'000; ++turns) {
      const auto next = client_->next_timeout();
      if (!next || *next > end) break;
      now_ = std::max(now_, *next);
      client_->on_timeout(now_);
      pump();
    }
    now_ = end;
  }
  void run_for(Duration duration) { run_until(now_ + duration); }

  void restart_gateway(bool is_announced) {
    udp_.reset({kExternal});
    tcp_.reset({kExternal});
    Bytes out(kPcpBytesMax);
    out.resize(service_->restart(out, now_));
    if (!is_announced) return;
    client_->on_datagram(kGateway, out, now_);
    pump();
  }
  bool is_reachable() {
    return udp_.inbound(kStranger, {kExternal, 4'500}, now_).action == sim::NatAction::kForward;
  }
  PcpClient::Mapping mapping(std::size_t number) { return client_->mappings().at(number); }

  TimePoint now_{1s};
  sim::NatTable udp_{sim::NatOptions{}, {kExternal}, Random(2)};
  sim::NatTable tcp_{sim::NatOptions{}, {kExternal}, Random(3)};
  std::unique_ptr<sim::PcpService> service_;
  std::optional<PcpClient> client_;
  std::function<void(Bytes&)> change_answer_;
  int drops_ = 0;
  unsigned sent_ = 0;
};

TEST_F(PcpClientTest, MapsBothProtocolsWithOneDatagramEach) {
  use_gateway();

  start();

  EXPECT_EQ(sent_, 2U);
  EXPECT_TRUE(client_->is_settled());
  for (const std::size_t number : {0U, 1U}) {
    EXPECT_EQ(mapping(number).state, PcpClient::State::kMapped);
    EXPECT_EQ(mapping(number).external, (Address{kExternal, 4'500}));
    EXPECT_EQ(mapping(number).lifetime, Duration(1h));
  }
  EXPECT_TRUE(is_reachable());
}

TEST_F(PcpClientTest, RenewsOnceNearHalfTheLifetimeAndSleepsBetween) {
  use_gateway();
  start();

  const auto first = client_->next_timeout();
  run_for(10h);

  EXPECT_GE(*first, TimePoint(1s) + 30min);
  EXPECT_LE(*first, TimePoint(1s) + 38min);
  EXPECT_TRUE(is_reachable());
  EXPECT_LE(sent_, 2U + 2U * 20U);  // Every half hour, and not one more.
  EXPECT_GE(sent_, 2U + 2U * 15U);
}

TEST_F(PcpClientTest, RepeatsLostRequestsByTheRfcsSchedule) {
  use_gateway();
  drops_ = 2;
  start();

  EXPECT_EQ(sent_, 2U);
  EXPECT_GE(*client_->next_timeout(), now_ + 2'700ms);
  EXPECT_LE(*client_->next_timeout(), now_ + 3'300ms);
  run_for(3'300ms);

  EXPECT_EQ(sent_, 4U);
  EXPECT_TRUE(client_->is_any_mapped());
}

TEST_F(PcpClientTest, GivesUpASilentGatewayAndWantsNoTimer) {
  start();

  run_for(1h);

  EXPECT_EQ(sent_, 2U * PcpClient::kSendsMax);
  EXPECT_EQ(mapping(0).state, PcpClient::State::kSilent);
  EXPECT_TRUE(client_->is_settled());
  EXPECT_FALSE(client_->next_timeout());
}

TEST_F(PcpClientTest, KeepsAMappingWhoseRenewalIsLostUntilItExpires) {
  use_gateway();
  start();

  drops_ = 4;  // Both mappings' first two renewals.
  run_for(59min);

  EXPECT_EQ(mapping(0).state, PcpClient::State::kMapped);
  EXPECT_EQ(drops_, 0);
  EXPECT_TRUE(is_reachable());
}

TEST_F(PcpClientTest, TellsThatAMappingExpired) {
  use_gateway();
  start();

  service_.reset();
  run_for(1h + 1s);

  EXPECT_NE(mapping(0).state, PcpClient::State::kMapped);
  run_for(5min);
  EXPECT_FALSE(client_->next_timeout());
}

TEST_F(PcpClientTest, RemakesEverythingWithinSecondsOfAnAnnouncedRestart) {
  use_gateway();
  start();
  run_for(10min);

  restart_gateway(/*is_announced=*/true);
  EXPECT_FALSE(is_reachable());
  run_for(5s);

  EXPECT_TRUE(is_reachable());
  EXPECT_EQ(tcp_.statics(now_), 1U);
}

TEST_F(PcpClientTest, NoticesAnUnannouncedRestartByTheEpochOfTheNextAnswer) {
  use_gateway();
  start();
  run_for(10min);

  restart_gateway(/*is_announced=*/false);
  run_until(*client_->next_timeout());

  EXPECT_TRUE(is_reachable());  // One renewal told, and both were remade at once.
  EXPECT_EQ(tcp_.statics(now_), 1U);
  EXPECT_EQ(sent_, 4U);
}

TEST_F(PcpClientTest, AnAnnouncementWithoutLossChangesNothing) {
  use_gateway();
  start();
  run_for(10min);
  PcpMessage announcement;
  announcement.is_response = true;
  announcement.opcode = PcpOpcode::kAnnounce;
  announcement.epoch_s = 601;
  Bytes out(kPcpBytesMax);
  out.resize(encode_pcp(announcement, out));

  EXPECT_TRUE(client_->on_datagram(kGateway, out, now_));
  run_for(10s);

  EXPECT_EQ(sent_, 2U);
}

TEST_F(PcpClientTest, ForgedAnnouncementsCostAtMostOneRoundEachTenSeconds) {
  use_gateway();
  start();
  Random random(7);
  for (int i = 0; i < 6'000; ++i) {  // Ten minutes, ten a second.
    PcpMessage announcement;
    announcement.is_response = true;
    announcement.opcode = PcpOpcode::kAnnounce;
    announcement.epoch_s = static_cast<std::uint32_t>(random.next());
    Bytes out(kPcpBytesMax);
    out.resize(encode_pcp(announcement, out));
    client_->on_datagram(kGateway, out, now_);
    run_for(100ms);
  }
  EXPECT_LE(sent_, 2U + 2U * 61U);
  EXPECT_TRUE(is_reachable());
}

TEST_F(PcpClientTest, TakesEverythingBack) {
  use_gateway();
  start();

  client_->remove_all();
  pump();

  EXPECT_EQ(udp_.statics(now_), 0U);
  EXPECT_EQ(tcp_.statics(now_), 0U);
  EXPECT_FALSE(client_->next_timeout());
  EXPECT_FALSE(is_reachable());
}

TEST_F(PcpClientTest, RepeatsARemovalThatWasLostAndGivesUpSoon) {
  use_gateway();
  start();
  drops_ = 3;
  client_->remove_all();
  pump();
  EXPECT_FALSE(client_->is_removed());

  run_for(900ms);
  EXPECT_TRUE(client_->is_removed());
  EXPECT_FALSE(is_reachable());

  start();
  service_.reset();
  client_->remove_all();
  pump();
  run_for(1'300ms);
  EXPECT_TRUE(client_->is_removed());
  EXPECT_FALSE(client_->next_timeout());
}

TEST_F(PcpClientTest, AProgramThatStartsAgainGoesOnWithItsMapping) {
  use_gateway();
  start();
  run_for(1min);

  start();

  EXPECT_EQ(mapping(0).state, PcpClient::State::kMapped);
  EXPECT_EQ(udp_.statics(now_), 1U);
}

TEST_F(PcpClientTest, ARefreshAsksASilentGatewayAgain) {
  start();
  run_for(1h);

  use_gateway();
  client_->refresh(now_);
  run_for(1ms);

  EXPECT_EQ(mapping(0).state, PcpClient::State::kMapped);
  EXPECT_EQ(mapping(1).state, PcpClient::State::kMapped);
}

TEST_F(PcpClientTest, ARefusalIsToldAndAskedAgainEverMoreRarely) {
  use_gateway({.refuses_with = PcpResult::kNotAuthorized, .error_lifetime_s = 0});
  start();

  EXPECT_EQ(mapping(0).state, PcpClient::State::kRefused);
  EXPECT_EQ(mapping(0).result, PcpResult::kNotAuthorized);
  run_for(24h);

  EXPECT_LE(sent_, 2U * (8U + 24U));
  EXPECT_GE(sent_, 2U * 15U);
}

TEST_F(PcpClientTest, ARefusalsLifetimeIsObeyed) {
  use_gateway({.refuses_with = PcpResult::kNoResources, .error_lifetime_s = 1'800});
  start();

  EXPECT_GE(*client_->next_timeout(), now_ + 30min);
}

TEST_F(PcpClientTest, AGatewayWithNatPmpOnlyIsNotAskedAgain) {
  start();
  const std::array refusal{std::byte{0}, std::byte{128}, std::byte{0}, std::byte{1},
                           std::byte{0}, std::byte{0},   std::byte{0}, std::byte{9}};
  EXPECT_TRUE(client_->on_datagram(kGateway, refusal, now_));

  EXPECT_TRUE(client_->is_version_refused());
  EXPECT_TRUE(client_->is_settled());
  EXPECT_FALSE(client_->next_timeout());
}

TEST_F(PcpClientTest, IgnoresAnswersWithoutItsNonceOrFromElsewhere) {
  start();
  PcpMessage forged;
  forged.is_response = true;
  forged.lifetime_s = 3'600;
  forged.map = {.internal_port = 4'500, .external = {IpAddress::v4(6, 6, 6, 6), 666}};
  Bytes out(kPcpBytesMax);
  out.resize(encode_pcp(forged, out));

  client_->on_datagram(kGateway, out, now_);
  EXPECT_FALSE(client_->is_any_mapped());

  use_gateway();
  change_answer_ = [this](Bytes& answer) {
    client_->on_datagram({IpAddress::v4(192, 168, 1, 66), kPcpServerPort}, answer, now_);
    client_->on_datagram({kGateway.ip, 1'234}, answer, now_);
    answer.clear();
  };
  run_for(4s);
  EXPECT_FALSE(client_->is_any_mapped());
}

TEST_F(PcpClientTest, RefusesAbsurdExternalAddresses) {
  for (const char* absurd : {"0.0.0.0:1", "127.0.0.1:80", "224.0.0.1:80", "203.0.113.5:0",
                             "169.254.1.1:80", "255.255.255.255:80"}) {
    use_gateway();
    change_answer_ = [absurd](Bytes& bytes) {
      auto message = decode_pcp(bytes);
      message->map.external = *Address::parse(absurd);
      encode_pcp(*message, bytes);
    };
    start();
    EXPECT_EQ(mapping(0).state, PcpClient::State::kRefused) << absurd;
  }
}

TEST_F(PcpClientTest, TinyAndHugeLifetimesAreBounded) {
  for (const std::uint32_t lifetime_s : {0U, 1U, 0xffff'ffffU}) {
    use_gateway();
    change_answer_ = [lifetime_s](Bytes& bytes) {
      auto message = decode_pcp(bytes);
      message->lifetime_s = lifetime_s;
      encode_pcp(*message, bytes);
    };
    start();
    sent_ = 0;
    run_for(10min);
    EXPECT_LE(sent_, 2U * 61U) << lifetime_s;  // One each ten seconds.
    EXPECT_LE(mapping(0).lifetime, PcpClient::kLifetimeMax);
  }
}

TEST_F(PcpClientTest, LyingEpochsCostAtMostOneRoundEachTenSeconds) {
  use_gateway();
  Random random(5);
  change_answer_ = [&random](Bytes& bytes) {
    auto message = decode_pcp(bytes);
    message->epoch_s = static_cast<std::uint32_t>(random.next());
    encode_pcp(*message, bytes);
  };
  start();
  run_for(1h);

  EXPECT_LE(sent_, 4U + 2U * 360U);
  EXPECT_TRUE(client_->is_any_mapped());
}

TEST(EpochWatch, FollowsTheRfcsTolerance) {
  EpochWatch watch;
  const TimePoint start{};
  EXPECT_TRUE(watch.accept(100, start));
  EXPECT_TRUE(watch.accept(99, start));              // Reordered.
  EXPECT_FALSE(watch.accept(50, start));             // Restarted.
  EXPECT_TRUE(watch.accept(1'650, start + 1'600s));  // Exactly on time.
  EXPECT_TRUE(watch.accept(3'350, start + 3'300s + 100s));
  EXPECT_FALSE(watch.accept(3'360, start + 4'400s));  // Its clock stood still.
}

TEST_F(PcpClientTest, PinholesInAnIpv6Firewall) {
  sim::NatOptions firewall;
  firewall.is_firewall = true;
  sim::NatTable table(firewall, {}, Random(4));
  sim::PcpService service(&table, nullptr, {});
  const IpAddress ours = *IpAddress::parse("2001:db8::10");
  const Address gateway{*IpAddress::parse("fe80::1"), kPcpServerPort, /*scope=*/2};
  PcpClient client({gateway, ours}, Random(1));
  client.add(PcpProtocol::kUdp, 4'500, nonce(1), now_);
  client.add(PcpProtocol::kTcp, 4'500, nonce(2), now_);

  Bytes out(kPcpBytesMax), answer(kPcpBytesMax);
  while (const std::size_t size = client.poll_datagram(out, now_)) {
    const std::size_t answered =
        service.on_datagram({ours, 50'000}, ByteView(out).first(size), answer, now_);
    client.on_datagram(gateway, ByteView(answer).first(answered), now_);
  }

  EXPECT_EQ(client.mappings()[0].external, (Address{ours, 4'500}));
  EXPECT_EQ(client.mappings()[1].result, PcpResult::kUnsupportedProtocol);
  const Address stranger{*IpAddress::parse("2001:db8:9::1"), 1};
  EXPECT_EQ(table.inbound(stranger, {ours, 4'500}, now_).action, sim::NatAction::kForward);
  EXPECT_EQ(table.inbound(stranger, {ours, 4'501}, now_).action, sim::NatAction::kDrop);
}

}  // namespace
}  // namespace openp2p::nat
