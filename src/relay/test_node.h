#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "path/socket_source.h"
#include "relay/relay_service.h"
#include "relay/test_links.h"
#include "session/endpoint.h"
#include "sim/driver.h"
#include "sim/seeded_secrets.h"

/// Whole nodes for tests of relaying: each an Endpoint on a simulated host, that relays, is an end,
/// and has sessions through relays.
namespace openp2p::relay {

/// What sim::Driver runs of a TestNode.
class NodeMachine {
 public:
  explicit NodeMachine(TestNode& node) : node_(node) {}
  void on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                    std::size_t segment_bytes, TimePoint now);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::optional<session::Transmit> poll_transmit(MutableByteView out, TimePoint now);

 private:
  TestNode& node_;
};

class TestNode final : public session::Gatekeeper, public RelayHost, public RelayClientHandler {
 public:
  TestNode(sim::Host& host, std::uint64_t seed)
      : secrets(seed), identity(IdentityKey::generate(secrets)), host_(host) {
    protection_ = quic::make_packet_protection();
    start(0);
  }
  ~TestNode() override { stop(); }

  /// As after kill -9: sessions and allocations are gone, the key stays.
  void stop() {
    driver_.reset();
    service_.reset();
    inner = {};
    links.clear();
    endpoint_.reset();
    paths_.clear();
    allocated.clear();
  }
  void start(std::uint16_t port) {
    session::Endpoint::Options options;
    options.identity = &identity;
    options.protection = protection_.get();
    options.secrets = &secrets;
    options.gatekeeper = this;
    options.seed = ++starts_;
    options.handshakes_before_retry = 4'000;
    endpoint_ = std::make_unique<session::Endpoint>(options);
    RelayService::Options relaying = service_options;
    relaying.self = id();
    relaying.host = this;
    service_ = std::make_unique<RelayService>(relaying);
    driver_ = std::make_unique<sim::Driver<NodeMachine>>(host_, machine_);
    const SocketId socket = driver_->open(port);
    address = driver_->socket(socket).local();
    endpoint_->add_socket(socket, {IpAddress::any_v4(), address.port});
  }
  /// Lends, as the server would have it.
  void lend(const TicketSecret& secret, WallTime server_time, std::uint64_t bits_per_second) {
    service_->set_secret(secret);
    service_->set_server_time(server_time, host_.now());
    service_->set_cap(bits_per_second, host_.now());
  }

  const NodeId& id() const { return identity.id(); }
  session::Endpoint& endpoint() { return *endpoint_; }
  RelayService& service() { return *service_; }
  void poke() { driver_->poke(); }
  std::uint64_t bytes_sent() const {  ///< In UDP payloads, to all relays and ends.
    std::uint64_t bytes = 0;
    for (const auto& link : links) {
      if (link->hop && link->hop->session() != nullptr) bytes += link->hop->session()->bytes_sent();
    }
    return bytes;
  }
  HopLink& dial(TestNode& relay) {
    links.push_back(std::make_unique<HopLink>(*this));
    endpoint_->dial(relay.id(), {relay.address}, *links.back(), host_.now());
    poke();
    return *links.back();
  }

  /// Of an inner session, by the way that its socket names.
  void carry(const session::Transmit& transmit, ByteView bytes) {
    const auto way = paths_.find(transmit.socket);
    if (way == paths_.end()) return;
    way->second.first->send(way->second.second, bytes, transmit.segment_bytes);
  }

  // Gatekeeper
  bool is_welcome(const NodeId&) override { return true; }
  session::SessionHandler* on_session(session::Session&) override {
    links.push_back(std::make_unique<HopLink>(*this));
    return links.back().get();
  }

  // RelayHost
  TimePoint now() const override { return host_.now(); }
  bool is_own_node(const NodeId& node) const override { return own.contains(node); }
  void on_receipt(const SignedReceipt& receipt, const Receipt& said) override {
    CHECK(check_receipt(receipt.body, receipt.signature).has_value());
    receipts.push_back(said);
  }
  void on_allocations_changed() override { ++changes; }

  // RelayClientHandler
  void on_allocated(RelayClient& client, std::uint64_t, const AllocatedMessage& message) override {
    allocated.push_back(message);
    if (message.is_peer_there) on_joined(client, message.channel);
  }
  void on_refused(RelayClient&, const RefusedMessage& message) override {
    refused.push_back(message);
  }
  void on_joined(RelayClient& client, Channel channel) override {
    joined.push_back(channel);
    if (inner.session != nullptr) add_path(client, channel);
  }
  void on_left(RelayClient&, Channel channel, std::string_view why) override {
    left.push_back({channel, std::string(why)});
  }
  void on_relayed(RelayClient&, Channel channel, MutableByteView datagram, TimePoint now) override {
    ++relayed;
    if (tamper) return tamper(channel, datagram);
    give(channel, datagram, now);
  }
  void on_letter(RelayClient&, const NodeId& from, ByteView body) override {
    letters.emplace_back(from, to_bytes(body));
  }
  void on_letter_failed(RelayClient&, const NodeId& to) override { letters_failed.push_back(to); }
  void on_relay_lost(RelayClient&) override { ++relays_lost; }

  /// What came through a channel, to the inner session.
  void give(Channel channel, MutableByteView datagram, TimePoint now) {
    for (const auto& [socket, way] : paths_) {
      if (way.second != channel) continue;
      endpoint_->on_datagrams(socket, relayed_address(channel), datagram, datagram.size(), now);
    }
  }
  void add_path(RelayClient& client, Channel channel) {
    const SocketId socket(path::kRelayedSocketFirst + ++sockets_);
    paths_[socket] = {&client, channel};
    inner.session->paths()->add_relayed({socket, relayed_address(channel)}, host_.now());
    endpoint_->touch(*inner.session);
    poke();
  }
  /// RFC 6666: never reaches a real socket.
  static Address relayed_address(Channel channel) {
    std::array<std::uint8_t, 16> ip{1};
    return {IpAddress::v6(ip), static_cast<std::uint16_t>(channel + 1)};
  }

  sim::SeededSecrets secrets;
  IdentityKey identity;
  RelayService::Options service_options;
  Address address;
  std::set<NodeId> own;
  InnerLink inner;
  std::vector<std::unique_ptr<HopLink>> links;
  std::function<void(Channel, MutableByteView)> tamper;

  std::vector<AllocatedMessage> allocated;
  std::vector<RefusedMessage> refused;
  std::vector<Channel> joined;
  std::vector<std::pair<Channel, std::string>> left;
  std::vector<Receipt> receipts;
  std::vector<std::pair<NodeId, Bytes>> letters;
  std::vector<NodeId> letters_failed;
  int relays_lost = 0;
  int changes = 0;
  std::uint64_t relayed = 0;

 private:
  sim::Host& host_;
  std::unique_ptr<quic::PacketProtection> protection_;
  std::unique_ptr<session::Endpoint> endpoint_;
  std::unique_ptr<RelayService> service_;
  NodeMachine machine_{*this};
  std::unique_ptr<sim::Driver<NodeMachine>> driver_;
  std::map<SocketId, std::pair<RelayClient*, Channel>> paths_;
  std::uint32_t sockets_ = 0;
  std::uint64_t starts_ = 0;
};

inline void NodeMachine::on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                                      std::size_t segment_bytes, TimePoint now) {
  node_.endpoint().on_datagrams(socket, from, datagrams, segment_bytes, now);
}
inline void NodeMachine::on_timeout(TimePoint now) {
  node_.endpoint().on_timeout(now);
  node_.service().on_timeout(now);
}
inline std::optional<TimePoint> NodeMachine::next_timeout() const {
  return earlier(node_.endpoint().next_timeout(), node_.service().next_timeout());
}
inline std::optional<session::Transmit> NodeMachine::poll_transmit(MutableByteView out,
                                                                   TimePoint now) {
  node_.service().sweep();
  for (;;) {
    const auto transmit = node_.endpoint().poll_transmit(out, now);
    if (!transmit || !path::is_relayed(transmit->socket)) return transmit;
    node_.carry(*transmit, out.first(transmit->bytes));
  }
}

inline void HopLink::on_established(session::Session& opened) {
  hop = std::make_unique<Hop>(opened);
  if (opened.is_incoming()) return;
  client = std::make_unique<RelayClient>(*hop, node_.identity, node_);
  const auto id = client->open();
  CHECK(id.has_value());
  users[*id] = client.get();
}

inline void HopLink::on_stream_opened(session::Session&, session::StreamId id) {
  if (auto* user = node_.service().on_stream(*hop, id)) users[id] = user;
}

inline void HopLink::on_closed(session::Session&, const session::CloseReason&) {
  for (const auto& [id, user] : users) user->on_session_lost();
  users.clear();
  if (!hop) return;
  hop->on_session_lost();
}

}  // namespace openp2p::relay
