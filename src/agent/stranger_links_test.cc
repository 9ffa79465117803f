#include "agent/stranger_links.h"

#include <gtest/gtest.h>

#include <set>

#include "agent/test_peer_handler.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

class StrangerLinksTest : public testing::Test, public StrangerHandler {
 protected:
  void offer(const Party& from) {
    PeerSignal signal;
    signal.from = from.id();
    signal.to = node_.id();
    secrets_.fill(signal.attempt);
    signal.agreement_key = AgreementKey::generate(secrets_).public_key();
    signal.tag = path::FinderTag(7);
    signal.sequence = 1;
    links_.on_signal(from.id(), encode_signal(signal, from.key()), std::nullopt);
  }
  void pass(Duration time) {
    context_.now += time;
    links_.on_timeout();
    links_.sweep();
  }

  void on_stranger_up(PeerLink&) override {}
  void on_stranger_down(PeerLink&) override {}
  void on_stranger_stream(PeerLink&, session::StreamId) override {}
  bool is_stranger_needed(const NodeId& id) override { return needed_.contains(id); }

  const Party node_{1}, stranger_{2};
  BareNode bare_{node_};
  sim::SeededSecrets& secrets_ = bare_.secrets;
  NodeContext& context_ = bare_.context;
  std::set<NodeId> needed_;
  QuietPeerHandler fake_;
  StrangerLinks links_{context_, fake_, *this};
};

TEST_F(StrangerLinksTest, OffersAreTakenOnlyWhileThisNodeLends) {
  offer(stranger_);
  EXPECT_EQ(links_.size(), 0U);
  EXPECT_EQ(fake_.signals, 0);

  links_.set_lending(true);
  offer(stranger_);

  EXPECT_EQ(links_.size(), 1U);
  EXPECT_EQ(fake_.signals, 1);  // The answer.
}

TEST_F(StrangerLinksTest, AFloodOfOffersIsLimited) {
  links_.set_lending(true);
  for (int i = 0; i < 200; ++i) offer(stranger_);
  EXPECT_LE(fake_.signals, StrangerLinks::kOffersBurst);
}

TEST_F(StrangerLinksTest, SignalsThatAreNotTheirSendersOpenNothing) {
  links_.set_lending(true);
  const Party other(9);
  PeerSignal signal;
  signal.from = stranger_.id();
  signal.to = node_.id();
  signal.tag = path::FinderTag(7);
  links_.on_signal(stranger_.id(), encode_signal(signal, other.key()), std::nullopt);
  links_.on_signal(stranger_.id(), to_bytes(as_bytes("garbage")), std::nullopt);
  EXPECT_EQ(links_.size(), 0U);
}

TEST_F(StrangerLinksTest, AddressesOfTheOwnSiteAreNotTold) {
  const auto told = links_.local_candidates();
  ASSERT_EQ(told.size(), 2U);
  for (const path::Candidate& candidate : told) EXPECT_FALSE(candidate.address.ip.is_private());
}

TEST_F(StrangerLinksTest, TheirNumberIsLimited) {
  for (std::size_t i = 0; i < StrangerLinks::kLinksMax; ++i) {
    NodeId id;
    id.key[0] = static_cast<std::byte>(i);
    id.key[1] = static_cast<std::byte>(i >> 8);
    id.key[2] = std::byte{1};
    ASSERT_NE(links_.reach(id, context_.now + 10s), nullptr);
  }
  EXPECT_EQ(links_.reach(stranger_.id(), context_.now + 10s), nullptr);
}

TEST_F(StrangerLinksTest, WhatNobodyNeedsIsClosed) {
  needed_.insert(stranger_.id());
  links_.reach(stranger_.id(), context_.now + 10s);
  NodeId other;
  links_.reach(other, context_.now + 10s);

  for (Duration passed{}; passed <= StrangerLinks::kIdleMax; passed += 10s) pass(10s);

  EXPECT_EQ(links_.size(), 1U);
  EXPECT_NE(links_.find(stranger_.id()), nullptr);
}

}  // namespace
}  // namespace openp2p::agent
