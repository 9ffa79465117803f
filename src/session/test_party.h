#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "session/endpoint.h"
#include "session/test_streams.h"
#include "sim/driver.h"
#include "sim/internet.h"
#include "sim/seeded_secrets.h"
#include "sim/world.h"

/// One party on a simulated host, for tests: an Endpoint, its driver, and a record of what
/// happened.
namespace openp2p::session {

/// Sends `to_send` on the first stream and ends it; answers a stream with what came on it, or keeps
/// what came.
class TestParty final : public SessionHandler, public Gatekeeper {
 public:
  TestParty(sim::Host& host, std::uint64_t seed, bool accepts, std::uint16_t port = 0,
            TestStreams* streams = nullptr)
      : host_(host),
        secrets_(seed),
        identity_(IdentityKey::generate(secrets_)),
        accepts_(accepts),
        streams_(streams) {
    protection_ = quic::make_packet_protection();
    start(port);
  }

  /// As after kill -9: all sessions are gone, key and port stay.
  void restart(std::uint16_t port) {
    stop();
    start(port);
  }
  void stop() {
    if (streams_ != nullptr) streams_->endpoint = nullptr;
    driver_.reset();
    session = nullptr;
    endpoint_.reset();
  }
  void start(std::uint16_t port) {
    Endpoint::Options options;
    options.identity = &identity_;
    options.protection = protection_.get();
    options.secrets = &secrets_;
    options.gatekeeper = accepts_ ? this : nullptr;
    options.seed = ++starts_;
    options.handshakes_before_retry = handshakes_before_retry;
    options.handshakes_max = handshakes_max;
    options.sockets = streams_;
    endpoint_ = std::make_unique<Endpoint>(options);
    machine_ = std::make_unique<EndpointOverBoth>(*endpoint_, streams_);
    driver_ = std::make_unique<sim::Driver<EndpointOverBoth>>(host_, *machine_);
    if (streams_ != nullptr) {
      streams_->endpoint = endpoint_.get();
      streams_->poke = [this] { poke(); };
      endpoint_->set_tcp_port(streams_->listen_tcp());
    }
    const SocketId socket = driver_->open(port);
    endpoint_->add_socket(socket, {IpAddress::any_v4(), driver_->socket(socket).local().port});
    socket_ = socket;
  }

  const NodeId& id() const { return identity_.id(); }
  Endpoint& endpoint() { return *endpoint_; }
  Address address() { return driver_->socket(socket_).local(); }
  SocketId socket() const { return socket_; }
  void poke() { driver_->poke(); }
  void on_sent(std::function<void(ByteView)> tap) { machine_->tap = std::move(tap); }
  void cut_udp(bool is_cut) { machine_->is_udp_cut = is_cut; }
  sim::Host& host() { return host_; }

  void dial(const NodeId& peer, const std::vector<Address>& to) {
    session = &endpoint_->dial(peer, to, *this, host_.world().now());
    poke();
  }

  /// Starts to send on a new stream, in an established session.
  void send(std::size_t bytes) {
    const auto stream = session->open_stream();
    CHECK(stream.has_value());
    sending_ = *stream;
    unsent_.resize(bytes);
    Random(bytes).fill(unsent_);
    sent_ = unsent_;
    pump();
    poke();
  }
  void pump() {
    if (!sending_) return;
    const std::size_t written = session->write(*sending_, unsent_);
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(written));
    if (!unsent_.empty()) return;
    session->finish(*sending_);
    sending_.reset();
  }

  // Gatekeeper
  bool is_welcome(const NodeId& peer) override { return !unwelcome || peer != *unwelcome; }
  SessionHandler* on_session(Session& incoming) override {
    session = &incoming;
    ++accepted;
    return this;
  }

  // SessionHandler
  void on_established(Session&) override { is_up = true; }
  void on_stream_opened(Session&, StreamId) override {}
  void on_stream_data(Session& from, StreamId id, ByteView data, bool is_end) override {
    received.insert(received.end(), data.begin(), data.end());
    from.consume(id, data.size());
    has_end |= is_end;
  }
  void on_stream_writable(Session&, StreamId) override { pump(); }
  void on_stream_reset(Session&, StreamId, std::uint64_t) override {}
  void on_stream_stopped(Session&, StreamId, std::uint64_t) override {}
  void on_stream_closed(Session&, StreamId) override {}
  void on_path_changed(Session& changed) override {
    const Path* path = changed.paths()->selected();
    path_changes.push_back(path ? path->remote.text() : "none");
  }
  void on_batch_end(Session&) override { ++batches; }
  void on_closed(Session&, const CloseReason& reason) override {
    closed = reason;
    is_up = false;
    session = nullptr;
  }

  Session* session = nullptr;
  bool is_up = false;
  int accepted = 0;
  std::uint64_t batches = 0;
  bool has_end = false;
  Bytes received;
  std::optional<CloseReason> closed;
  std::optional<NodeId> unwelcome;
  std::vector<std::string> path_changes;
  std::size_t handshakes_before_retry = 256;
  std::size_t handshakes_max = 2'048;
  const Bytes& sent() const { return sent_; }

 private:
  sim::Host& host_;
  sim::SeededSecrets secrets_;
  IdentityKey identity_;
  const bool accepts_;
  TestStreams* const streams_;  ///< Its TCP; nullptr: it has none.
  std::unique_ptr<quic::PacketProtection> protection_;
  std::unique_ptr<Endpoint> endpoint_;
  std::unique_ptr<EndpointOverBoth> machine_;
  std::unique_ptr<sim::Driver<EndpointOverBoth>> driver_;
  SocketId socket_;
  std::uint64_t starts_ = 0;
  std::optional<StreamId> sending_;
  Bytes unsent_;
  Bytes sent_;
};

/// Both sides of an attempt, as signalling would tell them: `a` controls. Candidates are the
/// caller's.
inline void meet(TestParty& a, TestParty& b, TimePoint now,
                 Duration rtt_hint = Meeting().rtt_hint) {
  Meeting meeting;
  meeting.local_tag = path::FinderTag(11);
  meeting.remote_tag = path::FinderTag(22);
  meeting.check_key.fill(std::byte{7});
  meeting.rtt_hint = rtt_hint;
  meeting.peer = b.id();
  a.session = &a.endpoint().meet(meeting, a, now);
  std::swap(meeting.local_tag, meeting.remote_tag);
  meeting.peer = a.id();
  meeting.role = path::IceRole::kControlled;
  b.session = &b.endpoint().meet(meeting, b, now);
}

}  // namespace openp2p::session
