// Letters: signals that a node of the network carries, which may keep, change and repeat them.

#include "agent/signal_ways.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "agent/test_peer_handler.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

class LettersTest : public testing::Test, public ServerLinkHandler, public SignalWaysHost {
 protected:
  LettersTest() {
    for (const Party* member : {&peer_, &carrier_, &other_carrier_}) {
      NodeRecord record;
      record.id = member->id();
      links_[record.id] = std::make_unique<PeerLink>(context_, handler_, record);
    }
  }
  PeerSignal offer() {
    PeerSignal signal;
    signal.from = peer_.id();
    signal.to = self_.id();
    secrets_.fill(signal.attempt);
    signal.agreement_key = AgreementKey::generate(secrets_).public_key();
    signal.tag = path::FinderTag(7);
    signal.sequence = 1;
    return signal;
  }
  void bring(const Party& carrier, const PeerSignal& signal) {
    ways_.on_letter(carrier.id(), signal.from, encode_signal(signal, peer_.key()));
  }
  /// What this node would ask the sender of the offer to repeat.
  std::uint64_t echo_of(const PeerSignal& offer, const Party& carrier) {
    const Bytes asked = OfferGuard(context_).challenge(offer, carrier.id().key);
    return decode_signal(asked, self_.id(), offer.from)->echo;
  }
  const SignalWays::Counters& counters() const { return ways_.counters(); }

  // ServerLinkHandler: there is no server.
  void on_welcome(const Welcome&) override {}
  void on_refused(const Refusal&) override {}
  void on_node_changed(const NodeRecord&) override {}
  void on_node_removed(const NodeId&) override {}
  void on_signal(const NodeId&, ByteView, std::optional<Address>) override {}
  void on_signal_failed(const NodeId&, std::uint64_t, SignalFailure) override {}
  void on_server_lost() override {}
  void on_observed(const Address&) override {}
  // SignalWaysHost
  PeerLink* own_node(const NodeId& id) const override {
    const auto found = links_.find(id);
    return found == links_.end() ? nullptr : found->second.get();
  }
  std::vector<PeerLink*> connected_nodes() const override { return {}; }
  relay::RelayClient* relay_client(PeerLink&) override { return nullptr; }
  void on_peer_signal(const PeerSignal& signal, ByteView, std::optional<Address>) override {
    taken_.push_back(signal);
  }
  std::vector<path::Candidate> local_candidates() const override { return {}; }

  const Party self_{1}, peer_{2}, carrier_{3}, other_carrier_{4}, eve_{5};
  BareNode bare_{self_};
  sim::SeededSecrets& secrets_ = bare_.secrets;
  NodeContext& context_ = bare_.context;
  QuietPeerHandler handler_;
  std::map<NodeId, std::unique_ptr<PeerLink>> links_;
  ServerLink server_{context_, *this, {}};
  PeerCache cache_{self_.id(), NodeId()};
  SignalWays ways_{context_, server_, cache_, *this};
  std::vector<PeerSignal> taken_;
};

TEST_F(LettersTest, AnOfferIsTakenOnceItsSenderHasAnsweredAChallenge) {
  PeerSignal fresh = offer();
  bring(carrier_, fresh);
  EXPECT_TRUE(taken_.empty());
  EXPECT_EQ(counters().letters_challenged, 1U);

  fresh.echo = echo_of(fresh, carrier_);
  bring(carrier_, fresh);

  EXPECT_EQ(counters().letters_taken, 1U);
  ASSERT_EQ(taken_.size(), 1U);
  EXPECT_EQ(taken_.front().attempt, fresh.attempt);
}

TEST_F(LettersTest, WhatACarrierKeptOrAnotherBringsIsNotTaken) {
  PeerSignal kept = offer();
  kept.echo = echo_of(kept, carrier_);
  bring(other_carrier_, kept);
  PeerSignal other_attempt = offer();
  other_attempt.echo = kept.echo;
  bring(carrier_, other_attempt);
  context_.now += 2min;
  bring(carrier_, kept);

  EXPECT_TRUE(taken_.empty());
  EXPECT_EQ(counters().letters_challenged, 3U);
}

TEST_F(LettersTest, WhatIsForgedOrOfNoMemberIsRefused) {
  PeerSignal lie = offer();
  lie.echo = echo_of(lie, carrier_);
  const Bytes by_eve = encode_signal(lie, eve_.key());
  Bytes changed = encode_signal(lie, peer_.key());
  changed[changed.size() / 2] ^= std::byte{1};
  PeerSignal own = lie;
  own.from = eve_.id();
  PeerSignal elsewhere = lie;
  elsewhere.to = carrier_.id();

  ways_.on_letter(carrier_.id(), peer_.id(), by_eve);
  ways_.on_letter(carrier_.id(), peer_.id(), changed);
  ways_.on_letter(carrier_.id(), peer_.id(), {});
  ways_.on_letter(carrier_.id(), peer_.id(), Bytes(PeerSignal::kBytesMax + 1));
  ways_.on_letter(carrier_.id(), eve_.id(), encode_signal(own, eve_.key()));
  ways_.on_letter(carrier_.id(), carrier_.id(), encode_signal(lie, peer_.key()));
  bring(carrier_, elsewhere);

  EXPECT_TRUE(taken_.empty());
  EXPECT_EQ(counters().letters_refused, 7U);
  EXPECT_EQ(counters().letters_challenged, 0U);
}

TEST_F(LettersTest, PartsOfNoAttemptAreRefused) {
  for (const auto kind : {PeerSignal::Kind::kAnswer, PeerSignal::Kind::kCandidates,
                          PeerSignal::Kind::kRefusal, PeerSignal::Kind::kChallenge}) {
    PeerSignal part = offer();
    part.kind = kind;
    bring(carrier_, part);
  }

  EXPECT_TRUE(taken_.empty());
  EXPECT_EQ(counters().letters_refused, 4U);
}

TEST_F(LettersTest, AFloodCostsAHundredSignaturesAndThenTwentyASecond) {
  const PeerSignal old = offer();
  for (int i = 0; i < 2'000; ++i) bring(carrier_, old);
  EXPECT_EQ(counters().letters_challenged, 100U);
  EXPECT_EQ(counters().letters_refused, 1'900U);

  context_.now += 1s;
  for (int i = 0; i < 2'000; ++i) bring(carrier_, old);
  EXPECT_EQ(counters().letters_challenged, 120U);
}

TEST_F(LettersTest, RelaysOfOthersBringNoneAndKeepNoneOut) {
  PeerSignal fresh = offer();
  fresh.echo = echo_of(fresh, eve_);
  for (int i = 0; i < 2'000; ++i) bring(eve_, fresh);
  EXPECT_EQ(counters().letters_refused, 2'000U);
  EXPECT_TRUE(taken_.empty());

  fresh.echo = echo_of(fresh, carrier_);
  bring(carrier_, fresh);
  EXPECT_EQ(counters().letters_taken, 1U);
}

TEST_F(LettersTest, ItIsSaidWhichWayASignalTravels) {
  EXPECT_FALSE(ways_.send(peer_.id(), Bytes(100), 1));  // Nobody knows where the peer was.

  cache_.put({.id = peer_.id(), .name = "nas", .version = {}, .platform = {}});
  cache_.on_proven(peer_.id(), {IpAddress::v4(198, 51, 100, 9), 27'183});
  ways_.add_socket(SocketId(1), {IpAddress::any_v4(), 27'183});

  EXPECT_TRUE(ways_.send(peer_.id(), Bytes(100), 1));
  EXPECT_EQ(ways_.last_way(), "at its last addresses: the server is away");
}

}  // namespace
}  // namespace openp2p::agent
