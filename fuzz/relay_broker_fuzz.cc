// The input picks a schedule of nodes that come, go, share, refuse to, report and ask for relays,
// in three networks, and of time. Law: a grant reaches two nodes of one network that are online,
// and names online third nodes: own ones, or strangers who share where strangers were wished; every
// ticket is genuine, for this relay and this pair. And strangers may signal only where one of them
// was granted to the other within the last ten minutes.
#include <map>
#include <optional>
#include <string>

#include "base/check.h"
#include "control.pb.h"
#include "server/relay_broker.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;
using namespace openp2p::server;

namespace {

constexpr std::uint8_t kNodes = 9;
constexpr std::uint8_t kNetworks = 3;
constexpr std::size_t kStepsMax = 300;

NodeId node_id(std::uint8_t number) {
  NodeId id;
  id.key[0] = std::byte{number};
  id.key[1] = std::byte{1};
  return id;
}
NetworkId network_of(std::uint8_t node) { return {std::byte(node % kNetworks)}; }

class World {
 public:
  void step(std::uint8_t choice, std::uint8_t argument) {
    const std::uint8_t node = argument % kNodes;
    const std::uint8_t other = argument / kNodes % kNodes;
    now_.mono += std::chrono::seconds(choice / 8);
    switch (choice % 8) {
      case 0:
        arrive(node);
        break;
      case 1:
        depart(node, /*is_planned=*/(argument & 128) != 0);
        break;
      case 2:
        broker_.roster().on_offer(node_id(node), {.bits_per_second = other * 1'000'000ULL,
                                                  .used_bits_per_second = argument * 10'000ULL,
                                                  .allocations = other});
        break;
      case 3:
        broker_.roster().on_report(node_id(node),
                                   {.relay = node_id(other),
                                    .rtt_us = argument * 1'000U,
                                    .bits_per_second = argument * 1'000ULL,
                                    .loss_permille = argument * 3U,
                                    .is_unusable = (argument & 1) != 0},
                                   now_.mono);
        break;
      case 4:
      case 5:
        wish(node, other, /*no_strangers=*/choice % 8 == 5, argument);
        break;
      case 6:
        now_.mono += std::chrono::minutes(argument % 16);
        break;
      case 7:
        ledger_.set_account(network_of(node), {.lent_bytes = 0,
                                               .borrowed_bytes = 0,
                                               .paid_bytes = other * 500'000'000ULL,
                                               .free_bytes = argument * 10'000'000ULL,
                                               .month = month_of(now_.wall)});
        break;
    }
    check_signals();
  }

 private:
  void arrive(std::uint8_t number) {
    if (online_.contains(number)) return;
    std::vector<Node> members;
    for (std::uint8_t i = 0; i < kNodes; ++i) {
      if (network_of(i) != network_of(number)) continue;
      members.push_back({.id = node_id(i),
                         .network = network_of(i),
                         .name = "n" + std::to_string(i),
                         .version = {},
                         .platform = {},
                         .joined_at = {},
                         .seen_at = {}});
    }
    const ConnectionId connection(++last_connection_);
    online_.emplace(number, connection);
    directory_.on_arrival({.connection = connection,
                           .node = node_id(number),
                           .incarnation = last_connection_,
                           .version = {},
                           .platform = {},
                           .network = network_of(number),
                           .network_name = {},
                           .nodes = std::move(members),
                           .is_name_changed = false,
                           .observed_address = {},
                           .server_time = {}},
                          now_.wall);
    broker_.roster().on_online(node_id(number), network_of(number), last_connection_, now_.mono);
    broker_.on_arrival(connection, node_id(number));
    drain(std::nullopt);
  }

  void depart(std::uint8_t number, bool is_planned) {
    const auto found = online_.find(number);
    if (found == online_.end()) return;
    CHECK(directory_.on_departure(found->second, now_.wall));
    broker_.roster().on_offline(node_id(number), is_planned, now_.mono);
    online_.erase(found);
  }

  void wish(std::uint8_t node, std::uint8_t peer, bool no_strangers, std::uint8_t argument) {
    const auto from = online_.find(node);
    if (from == online_.end()) return;
    RelayWish wanted;
    wanted.peer = node_id(peer);
    wanted.number = 7;
    wanted.no_strangers = no_strangers;
    if (argument % 5 == 0) wanted.only.push_back(node_id(argument % 7));
    if (argument % 3 == 0) wanted.without.push_back(node_id(argument % 11 % kNodes));
    broker_.on_wish(from->second, wanted, now_, now_.wall);
    drain(wanted);
  }

  /// What the broker says, and to whom; `wanted`: after this wish.
  void drain(const std::optional<RelayWish>& wanted) {
    while (const auto effect = directory_.poll_effect()) {
    }
    while (const auto send = broker_.poll_send()) {
      control::ServerMessage message;
      CHECK(message.ParseFromArray(send->message.data(), static_cast<int>(send->message.size())));
      const auto to = directory_.find(send->to);
      CHECK(to);
      if (message.has_relay_grant()) check_grant(*to, message.relay_grant(), wanted);
    }
  }

  void check_grant(const Directory::Presence& to, const control::RelayGrant& grant,
                   const std::optional<RelayWish>& wanted) {
    CHECK(wanted && grant.relays_size() <= static_cast<int>(kGrantRelaysMax));
    CHECK(grant.relays_size() > 0 || !grant.reason().empty());
    const NodeId peer = *NodeId::from_bytes(as_bytes(grant.peer()));
    for (const control::Relay& relay : grant.relays()) {
      CHECK(directory_.network_of(peer) == to.network);
      check_relay({*NodeId::from_bytes(as_bytes(relay.node())), to.node, peer}, relay, *wanted);
    }
  }

  void check_relay(const relay::TicketScope& scope, const control::Relay& relay,
                   const RelayWish& wanted) {
    const auto network = directory_.network_of(scope.relay);
    const bool is_own = network == directory_.network_of(scope.one);
    CHECK(network && scope.relay != scope.one && scope.relay != scope.other);
    CHECK(is_own == (relay.kind() == control::Relay::OWN));
    if (!is_own) {
      CHECK(relay.kind() == control::Relay::SHARED && !wanted.no_strangers);
      CHECK(relay.name().empty() && broker_.roster().is_sharing(scope.relay));
      for (const NodeId& end : {scope.one, scope.other})
        granted_[key(scope.relay, end)] = now_.mono;
    }
    const auto ticket = relay::decode_ticket(as_bytes(relay.ticket()));
    CHECK(ticket && relay::is_genuine(secrets_.of(scope.relay), scope, *ticket));
  }

  static std::pair<NodeId, NodeId> key(const NodeId& a, const NodeId& b) {
    return {std::min(a, b), std::max(a, b)};
  }

  void check_signals() const {
    for (std::uint8_t a = 0; a < kNodes; ++a) {
      for (std::uint8_t b = 0; b < kNodes; ++b) {
        if (!broker_.may_signal(node_id(a), node_id(b), now_.mono)) continue;
        const auto found = granted_.find(key(node_id(a), node_id(b)));
        CHECK(found != granted_.end());
        CHECK(now_.mono - found->second < RelayPermits::kLifetime);
      }
    }
  }

  sim::SeededSecrets random_{1};
  IdentityKey identity_ = IdentityKey::generate(random_);
  RelaySecrets secrets_{identity_};
  Directory directory_{{}};
  CreditLedger ledger_{secrets_, 1 << 30};
  RelayBroker broker_{
      {.server = identity_.id(), .secrets = &random_, .seed = 1}, secrets_, directory_, ledger_};
  std::map<std::uint8_t, ConnectionId> online_;
  std::map<std::pair<NodeId, NodeId>, TimePoint> granted_;
  Moment now_{.mono = {}, .wall = {1'800'000'000'000'000}};
  std::uint64_t last_connection_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World world;
  for (std::size_t i = 0; i + 1 < size && i < 2 * kStepsMax; i += 2) {
    world.step(data[i], data[i + 1]);
  }
  return 0;
}
