#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "relay/receipt.h"
#include "server/simulated_server.h"
#include "server/test_node.h"
#include "sim/internet.h"

namespace openp2p::server {

inline std::string text(const NodeId& node) { return std::string(as_text(node.key)); }

/// Clients of three networks that deal with relays: real sessions over a simulated internet, in
/// virtual time.
class CoreRelayTest : public testing::Test {
 protected:
  CoreRelayTest() {
    for (int number = 1; number <= 3; ++number) {
      const std::string email = "u" + std::to_string(number) + "@example.org";
      EXPECT_TRUE(server_.records().create_user({.email = email,
                                                 .password_hash = {},
                                                 .network = {std::byte(number)},
                                                 .network_name = {},
                                                 .created_at = {}}));
      tokens_.push_back(server_.new_token(email, {.is_reusable = true, .expires_at = {}}).secret);
    }
  }
  /// A node of network 1, 2 or 3.
  TestNode& add(std::size_t network, const std::string& name) {
    hosts_.push_back(sim::make_public_host(internet_));
    const std::uint64_t seed = 500 + nodes_.size();
    keys_.push_back(make_key(seed));
    nodes_.push_back(std::make_unique<TestNode>(*hosts_.back(), server_,
                                                TestNode::Options{.key_seed = seed, .seed = seed}));
    nodes_.back()->join(tokens_[network - 1], name);
    EXPECT_TRUE(run_until([&] { return nodes_.back()->is_welcome(); })) << name;
    return *nodes_.back();
  }
  const IdentityKey& key_of(const TestNode& node) const {
    return *std::ranges::find(keys_, node.id(), &IdentityKey::id);
  }
  template <class Done>
  bool run_until(Done done, Duration patience = std::chrono::seconds(30)) {
    return world_.run_until(done, world_.now() + patience);
  }
  static void share(TestNode& node, std::uint64_t bits) {
    control::ClientMessage message;
    message.mutable_share_offer()->set_bits_per_second(bits);
    message.mutable_share_offer()->set_is_reachable(true);
    node.say(message);
  }
  static control::RelayWish wish_for(const NodeId& peer, std::uint64_t number) {
    control::RelayWish wish;
    wish.set_peer(text(peer));
    wish.set_number(number);
    return wish;
  }
  static void wish(TestNode& node, const control::RelayWish& wish) {
    control::ClientMessage message;
    *message.mutable_relay_wish() = wish;
    node.say(message);
  }
  /// The answer to this wish.
  control::RelayGrant ask(TestNode& node, const control::RelayWish& wanted) {
    wish(node, wanted);
    const control::ServerMessage* answer = nullptr;
    EXPECT_TRUE(run_until([&] { return answer = grant_of(node, wanted.number()); }));
    return answer == nullptr ? control::RelayGrant() : answer->relay_grant();
  }
  control::RelayGrant ask(TestNode& node, const NodeId& peer) {
    return ask(node, wish_for(peer, ++number_));
  }
  static const control::ServerMessage* grant_of(const TestNode& node, std::uint64_t number) {
    const auto last = std::find_if(node.heard.rbegin(), node.heard.rend(), [&](const auto& m) {
      return m.has_relay_grant() && m.relay_grant().number() == number;
    });
    return last == node.heard.rend() ? nullptr : &*last;
  }
  static relay::Ticket ticket_of(const control::Relay& relay) {
    return *relay::decode_ticket(as_bytes(relay.ticket()));
  }
  static relay::TicketSecret secret_of(const TestNode& node) {
    relay::TicketSecret secret{};
    const std::string& told =
        node.find(control::ServerMessage::kRelaySecret)->relay_secret().secret();
    EXPECT_EQ(told.size(), secret.size());
    std::ranges::copy(as_bytes(told), secret.begin());
    return secret;
  }
  static relay::TicketScope scope(const TestNode& relay, const TestNode& one,
                                  const TestNode& other) {
    return {.relay = relay.id(), .one = one.id(), .other = other.id()};
  }
  WallTime server_now() const {
    const auto since = world_.now().time_since_epoch();
    return {SimulatedCore::kEpoch.us + since / std::chrono::microseconds(1)};
  }

  /// `end` signs that it received so much; the relay passes it on.
  void send_receipt(TestNode& relay, const relay::Ticket& ticket, const TestNode& end,
                    const TestNode& peer, std::uint64_t bytes) {
    const relay::SignedReceipt made = relay::sign(
        {.ticket = ticket, .relay = relay.id(), .end = end.id(), .peer = peer.id(), .bytes = bytes},
        key_of(end));
    control::ClientMessage message;
    message.mutable_receipt()->set_body(std::string(as_text(made.body)));
    message.mutable_receipt()->set_signature(std::string(as_text(made.signature)));
    relay.say(message);
  }
  control::Credit credit_of(TestNode& node) {
    control::ClientMessage message;
    message.mutable_credit_query()->set_number(++number_);
    node.say(message);
    const auto is_answer = [&](const control::ServerMessage& m) {
      return m.has_credit() && m.credit().number() == number_;
    };
    EXPECT_TRUE(run_until([&] { return std::ranges::any_of(node.heard, is_answer); }));
    const auto found = std::ranges::find_if(node.heard, is_answer);
    return found == node.heard.end() ? control::Credit() : found->credit();
  }

  sim::World world_{1};
  sim::Internet internet_{world_};
  std::unique_ptr<sim::Host> server_host_ = sim::make_public_host(internet_);
  SimulatedServer server_{*server_host_, 7};
  std::vector<Bytes> tokens_;
  std::vector<std::unique_ptr<sim::Host>> hosts_;
  std::vector<IdentityKey> keys_;
  std::vector<std::unique_ptr<TestNode>> nodes_;
  std::uint64_t number_ = 100;
};

}  // namespace openp2p::server
