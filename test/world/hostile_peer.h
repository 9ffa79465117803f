#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/peer_link.h"
#include "agent/server_link.h"
#include "sim/driver.h"
#include "sim/seeded_secrets.h"
#include "test/world/simulated_platform.h"
#include "wire/join_token.h"

namespace openp2p::test {

/// A member of the network that joined with a good token and has a proper session with a peer, and
/// then does with its streams what it likes, and tells others about itself what it likes.
class HostilePeer final : public agent::ServerLinkHandler,
                          public agent::ServerRelayHandler,
                          public agent::PeerLinkHandler {
 public:
  HostilePeer(sim::Host& host, std::uint64_t seed, const JoinToken& token)
      : host_(host),
        secrets_(seed),
        identity_(IdentityKey::generate(secrets_)),
        protection_(quic::make_packet_protection()),
        platform_(host),
        endpoint_(endpoint_options()),
        context_{identity_, platform_,  secrets_,          Log(), Random(seed), seed,
                 {},        &endpoint_, host.world().now()},
        server_(context_, *this, {token.server, token.addresses, token.secret, "eve", "", ""}),
        driver_(host, machine_) {
    const SocketId socket = driver_.open();
    local_ = {IpAddress::any_v4(), driver_.socket(socket).local().port};
    endpoint_.add_socket(socket, local_);
    server_.set_relay_handler(this);
    server_.start();
    driver_.poke();
  }

  /// Opens a session with the node of this name once it is known.
  void call(const std::string& name) {
    victim_ = name;
    driver_.poke();
  }
  /// Asks for this relay to a peer, as nodes do that have no path to it: see `grant`.
  void wish(const NodeId& peer, const NodeId& relay) {
    context_.now = host_.world().now();
    server_.send_relay_wish({.peer = peer, .number = 1, .only = {relay}, .without = {}});
    driver_.poke();
  }
  /// Opens a session with a relay that was granted, of whatever network.
  void reach(const NodeId& relay) {
    agent::NodeRecord record;
    record.id = relay;
    record.is_online = true;
    victim_ = record.name;
    context_.now = host_.world().now();
    meet(record);
    driver_.poke();
  }
  const IdentityKey& identity() const { return identity_; }
  void use(session::StreamId stream, forward::StreamUser& user) { peer_->use(stream, &user); }
  bool is_connected_to_server() const {
    return server_.state() == agent::ServerLink::State::kConnected;
  }
  TimePoint now() const { return context_.now; }
  session::Session* session() { return peer_ ? peer_->session() : nullptr; }
  /// Opens a stream that starts with these bytes; nullopt where no more are granted.
  std::optional<session::StreamId> open(ByteView first) {
    if (session() == nullptr) return std::nullopt;
    const auto stream = session()->open_stream();
    if (!stream) return std::nullopt;
    users_.push_back(std::make_unique<User>(*this, *stream));
    peer_->use(*stream, users_.back().get());
    session()->write(*stream, first);
    return *stream;
  }
  /// Offers a session to a node, with these words about herself. The answer is not waited for.
  void offer(const NodeId& to, const std::vector<path::Candidate>& candidates,
             const path::SideProfile& profile) {
    context_.now = host_.world().now();
    agent::PeerSignal signal;
    signal.from = identity_.id();
    signal.to = to;
    secrets_.fill(signal.attempt);
    signal.agreement_key = AgreementKey::generate(secrets_).public_key();
    signal.tag = path::FinderTag(++offers_);
    signal.candidates = candidates;
    signal.profile = profile;
    signal.incarnation = context_.incarnation;
    signal.sequence = 1;
    server_.send_signal(to, agent::encode_signal(signal, identity_), offers_);
    driver_.poke();
  }
  void poke() {
    context_.now = host_.world().now();
    driver_.poke();
  }

  bool consumes = true;  ///< Gives credit for what comes.
  std::uint64_t received = 0;
  std::uint64_t resets = 0;
  std::uint64_t closed = 0;
  std::optional<agent::RelayGrant> grant;  ///< The last one.
  std::vector<Bytes> answers;  ///< What came on each stream, by order of opening; the first 600.
  std::function<void()> on_ready;

 private:
  /// What the driver runs.
  struct Machine {
    HostilePeer& owner;
    void on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                      std::size_t segment_bytes, TimePoint now) {
      owner.context_.now = now;
      owner.endpoint_.on_datagrams(socket, from, datagrams, segment_bytes, now);
    }
    void on_timeout(TimePoint now) { owner.on_timeout(now); }
    std::optional<TimePoint> next_timeout() const { return owner.next_timeout(); }
    std::optional<session::Transmit> poll_transmit(MutableByteView buffer, TimePoint now) {
      owner.context_.now = now;
      return owner.endpoint_.poll_transmit(buffer, now);
    }
  };
  void on_timeout(TimePoint now) {
    context_.now = now;
    endpoint_.on_timeout(now);
    server_.on_timeout();
    if (peer_) peer_->on_timeout();
  }
  std::optional<TimePoint> next_timeout() const {
    const auto next = earlier(endpoint_.next_timeout(), server_.next_timeout());
    return peer_ ? earlier(next, peer_->next_timeout()) : next;
  }
  struct User final : forward::StreamUser {
    User(HostilePeer& peer, session::StreamId id) : owner(peer), number(owner.answers.size()) {
      stream = id;
      owner.answers.emplace_back();
    }
    void on_stream_data(ByteView data, bool) override {
      owner.received += data.size();
      Bytes& answer = owner.answers[number];
      const std::size_t kept =
          std::min(data.size(), 600 - std::min<std::size_t>(600, answer.size()));
      answer.insert(answer.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(kept));
      if (owner.consumes && owner.session()) owner.session()->consume(stream, data.size());
    }
    void on_stream_writable() override {}
    void on_stream_reset() override { ++owner.resets; }
    void on_stream_stopped() override {}
    void on_stream_closed() override { ++owner.closed; }
    void on_batch_end() override {}
    void on_session_lost() override {}
    HostilePeer& owner;
    const std::size_t number;
    session::StreamId stream;
  };

  session::Endpoint::Options endpoint_options() {
    session::Endpoint::Options options;
    options.identity = &identity_;
    options.protection = protection_.get();
    options.secrets = &secrets_;
    options.wake = [this] {
      if (host_.world().is_pending(wake_)) return;
      wake_ = host_.world().after(Duration::zero(), [this] { driver_.poke(); });
    };
    return options;
  }
  void meet(const agent::NodeRecord& record) {
    if (record.name != victim_ || peer_) return;
    peer_ = std::make_unique<agent::PeerLink>(context_, *this, record);
    peer_->want(context_.now + std::chrono::hours(1));
  }

  // agent::ServerLinkHandler
  void on_welcome(const agent::Welcome& welcome) override {
    if (welcome.observed) observed_ = *welcome.observed;
    for (const agent::NodeRecord& record : welcome.nodes) on_node_changed(record);
  }
  void on_refused(const agent::Refusal&) override {}
  void on_node_changed(const agent::NodeRecord& record) override { meet(record); }
  void on_node_removed(const NodeId&) override {}
  void on_signal(const NodeId& from, ByteView body, std::optional<Address> seen_at) override {
    const auto signal = agent::decode_signal(body, from, identity_.id());
    if (signal && peer_ && peer_->record().id == from) peer_->on_signal(*signal, seen_at);
  }
  void on_signal_failed(const NodeId&, std::uint64_t, agent::SignalFailure) override {}
  void on_server_lost() override {}
  void on_observed(const Address&) override {}

  // agent::ServerRelayHandler
  void on_relay_secret(const agent::RelaySecretKey&) override {}
  void on_relay_grant(const agent::RelayGrant& granted) override { grant = granted; }
  void on_credit(const agent::Credit&) override {}
  void on_stranger_signal(const NodeId& from, ByteView body,
                          std::optional<Address> seen_at) override {
    on_signal(from, body, seen_at);
  }

  // agent::PeerLinkHandler
  bool send_signal(const NodeId& to, ByteView body, std::uint64_t number) override {
    return server_.send_signal(to, body, number);
  }
  std::vector<path::Candidate> local_candidates() const override {
    return {{path::CandidateType::kHost, {*host_.address(sim::Family::kV4), local_.port}, {}},
            {path::CandidateType::kServerReflexive, observed_, {}}};
  }
  path::SideProfile profile() const override { return {}; }
  bool refresh_profile() override { return false; }
  void hold_tcp() override {}
  void release_tcp() override {}
  Duration server_rtt() const override { return Duration::zero(); }
  void doubt_own_address() override {}
  void doubt_profile() override {}
  bool is_needed(const agent::PeerLink&) const override { return true; }
  void on_peer_stream(agent::PeerLink&, session::StreamId) override {}
  void on_session_up(agent::PeerLink&) override {
    if (on_ready) on_ready();
  }
  void on_session_down(agent::PeerLink&, const std::string&) override {}
  void on_peer_batch_end(agent::PeerLink&) override {}

  sim::Host& host_;
  sim::SeededSecrets secrets_;
  IdentityKey identity_;
  std::unique_ptr<quic::PacketProtection> protection_;
  SimulatedPlatform platform_;
  sim::EventId wake_;
  Address local_;
  Address observed_;
  std::uint32_t offers_ = 0;
  std::string victim_;
  session::Endpoint endpoint_;
  agent::NodeContext context_;
  std::vector<std::unique_ptr<User>> users_;
  std::unique_ptr<agent::PeerLink> peer_;
  agent::ServerLink server_;
  Machine machine_{*this};
  sim::Driver<Machine> driver_;
};

}  // namespace openp2p::test
