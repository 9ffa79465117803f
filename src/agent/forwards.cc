#include "agent/forwards.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "forward/accept_policy.h"
#include "forward/destination.h"

namespace openp2p::agent {
namespace {

/// Listening on a privileged or busy port fails for reasons that a person can act on.
std::string listen_hint(const ForwardSpec& spec, const std::error_code& error) {
  if (error == std::errc::address_in_use) {
    return "another program uses " + spec.listen.text() +
           "; stop it, or choose another port: openp2p forward remove " + spec.name +
           ", then add it with another --listen";
  }
  if (error == std::errc::permission_denied)
    return "ports below 1024 need root; choose a higher one";
  if (error == std::errc::address_not_available) {
    return spec.listen.ip.text() + " is no address of this machine";
  }
  return {};
}

/// In our own words: a command that a person is told to run must not be the peer's to choose.
std::string hint_of(const ForwardSpec& spec, const forward::OpenAnswer& answer) {
  if (answer.status != forward::OpenStatus::kDenied) return {};
  return "restart the peer's agent with: openp2p up --accept " +
         forward::destination_text({spec.host, spec.port}) +
         " (or --accept-lan for its whole local network)";
}

}  // namespace

/// One connection of a local program: waits for a session, then is a Flow.
class Forwards::Connection final : public forward::FlowOwner, public forward::LocalStreamHandler {
 public:
  Connection(Forward& forward, Platform::Stream local, TimePoint until)
      : forward_(forward), deadline(until), local_(std::move(local)) {
    local_->set_handler(this);  // Told when the program gives up while it waits.
  }
  ~Connection() override {
    if (local_) local_->set_handler(nullptr);
  }

  bool start(PeerLink& peer);  ///< False: the peer grants no more streams now.
  void reset() {
    if (local_) local_->reset();
    finish();
  }
  void abort() { flow_ ? flow_->abort() : reset(); }
  bool is_waiting() const { return local_ != nullptr && !is_finished; }
  std::uint64_t bytes_sent() const { return flow_ ? flow_->bytes_sent() : 0; }
  std::uint64_t bytes_received() const { return flow_ ? flow_->bytes_received() : 0; }

  // forward::FlowOwner
  void on_answer(forward::Flow&, const forward::OpenAnswer& answer) override;
  void on_finished(forward::Flow&) override { finish(); }

  // forward::LocalStreamHandler, while it waits
  void on_readable(TimePoint) override {}
  void on_writable(TimePoint) override {}
  void on_failed(std::error_code, TimePoint) override { finish(); }

 private:
  /// The session's calls go through here, so that the link forgets the flow when it is gone.
  struct Router final : forward::StreamUser {
    explicit Router(Connection& connection) : owner(connection) {}
    void on_stream_data(ByteView data, bool is_end) override {
      owner.flow_->on_stream_data(data, is_end);
      owner.note_end("the peer's answer made no sense");
    }
    void on_stream_writable() override { owner.flow_->on_stream_writable(); }
    void on_stream_reset() override {
      owner.flow_->on_stream_reset();
      owner.note_end("the peer ended the connection without an answer");
    }
    void on_stream_stopped() override { owner.flow_->on_stream_stopped(); }
    void on_stream_closed() override {
      owner.flow_->on_stream_closed();
      owner.note_end("the peer ended the connection without an answer");
    }
    void on_batch_end() override { owner.flow_->on_batch_end(); }
    void on_session_lost() override {
      owner.peer_ = nullptr;
      owner.flow_->on_session_lost();
      owner.note_end("the session ended before the peer had answered");
    }
    Connection& owner;
  };
  void finish();
  void note_end(const char* why);

  Forward& forward_;

 public:
  const TimePoint deadline;
  bool is_finished = false;

 private:
  Platform::Stream local_;
  PeerLink* peer_ = nullptr;
  std::optional<forward::Flow> flow_;
  Router router_{*this};
  bool is_answered_ = false;
};

class Forwards::Forward {
 public:
  Forward(Forwards& owner, const ForwardSpec& spec) : owner_(owner), spec_(spec) {}

  void enable();
  void disable();
  void on_accept(Platform::Stream local, TimePoint now);
  void call_peer(Duration patience = Duration::zero());
  void start_waiting(PeerLink& peer);
  void on_timeout();
  void explain_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();
  bool has_waiting() const { return std::ranges::any_of(connections_, &Connection::is_waiting); }
  ForwardStatus status() const;
  PeerLink* find_peer(std::string& reason) { return owner_.find_peer_(spec_.peer, reason); }

  Forwards& owner_;
  ForwardSpec spec_;
  std::unique_ptr<Platform::Listener> listener_;
  std::string reason_;
  std::string hint_;
  std::optional<TimePoint> listen_retry_at_;
  std::list<Connection> connections_;
  std::uint64_t total_ = 0, failed_ = 0, sent_ = 0, received_ = 0;
};

bool Forwards::Connection::start(PeerLink& peer) {
  session::Session* session = peer.session();
  const auto stream = session->open_stream();
  if (!stream) return false;
  peer_ = &peer;
  flow_.emplace(*session, *stream, *this, forward_.owner_.buffers_);
  peer.use(*stream, &router_);
  forward::OpenRequest request;
  request.host = forward_.spec_.host;
  request.port = forward_.spec_.port;
  flow_->open(request, std::move(local_));
  return true;
}

void Forwards::Connection::on_answer(forward::Flow&, const forward::OpenAnswer& answer) {
  is_answered_ = true;
  if (answer.status == forward::OpenStatus::kOpened) {
    forward_.reason_.clear();
    forward_.hint_.clear();
    return;
  }
  ++forward_.failed_;
  forward_.reason_ =
      answer.text.empty() ? std::string(open_status_text(answer.status)) : answer.text;
  forward_.hint_ = hint_of(forward_.spec_, answer);
}

/// The peer's doing has just ended a connection that it never answered for.
void Forwards::Connection::note_end(const char* why) {
  if (!is_finished || std::exchange(is_answered_, true)) return;
  ++forward_.failed_;
  forward_.reason_ = why;
  forward_.hint_.clear();
}

void Forwards::Connection::finish() {
  if (std::exchange(is_finished, true)) return;
  forward_.owner_.has_finished_ = true;
  if (peer_ != nullptr && flow_) peer_->use(flow_->stream(), nullptr);
}

void Forwards::Forward::enable() {
  spec_.is_enabled = true;
  listen_retry_at_.reset();
  auto listener = owner_.context_.platform.listen(
      spec_.listen,
      [this](Platform::Stream local, TimePoint now) { on_accept(std::move(local), now); });
  if (!listener) {
    reason_ = "cannot listen on " + spec_.listen.text() + ": " + listener.error().message();
    hint_ = listen_hint(spec_, listener.error());
    listen_retry_at_ = owner_.context_.now + kListenRetry;
    return;
  }
  listener_ = std::move(*listener);
  reason_.clear();
  hint_.clear();
  call_peer(kPatience);  // Who enabled it waits for it to work.
}

void Forwards::Forward::disable() {
  spec_.is_enabled = false;
  listener_.reset();
  listen_retry_at_.reset();
  reason_.clear();
  hint_.clear();
  for (Connection& connection : connections_) connection.abort();
}

void Forwards::Forward::on_accept(Platform::Stream local, TimePoint now) {
  owner_.context_.now = now;
  owner_.context_.wake();
  ++total_;
  const auto waiting = std::ranges::count_if(connections_, &Connection::is_waiting);
  if (connections_.size() >= kConnectionsMax || static_cast<std::size_t>(waiting) >= kWaitingMax) {
    ++failed_;
    reason_ = "too many connections at once";
    return local->reset();
  }
  connections_.emplace_back(*this, std::move(local), now + kPatience);
  std::string reason;
  PeerLink* peer = find_peer(reason);
  if (peer == nullptr) {
    reason_ = std::move(reason);
    return;
  }
  if (peer->session() == nullptr) return peer->want(connections_.back().deadline);
  start_waiting(*peer);
}

/// The session is made before it is needed, so that the first connection is quick.
void Forwards::Forward::call_peer(Duration patience) {
  std::string reason;
  PeerLink* peer = find_peer(reason);
  if (peer == nullptr) {
    reason_ = std::move(reason);
    return;
  }
  peer->want(owner_.context_.now + patience);
}

void Forwards::Forward::start_waiting(PeerLink& peer) {
  for (Connection& connection : connections_) {
    if (peer.session() == nullptr) return;
    if (!connection.is_waiting() || connection.start(peer)) continue;
    owner_.lacks_streams_ = true;  // The others wait behind this one, in order.
    return;
  }
}

void Forwards::Forward::on_timeout() {
  const TimePoint now = owner_.context_.now;
  if (listen_retry_at_ && now >= *listen_retry_at_) enable();
  for (Connection& connection : connections_) {
    if (!connection.is_waiting() || now < connection.deadline) continue;
    ++failed_;
    explain_timeout();
    connection.reset();
  }
}

void Forwards::Forward::explain_timeout() {
  std::string why;
  PeerLink* peer = find_peer(why);
  if (peer != nullptr && peer->session() != nullptr) {
    reason_ = "peer " + spec_.peer + " takes no more connections at once";
    return;
  }
  if (peer != nullptr) why = peer->reason();
  reason_ = "peer " + spec_.peer + " was not reached within 30 s: " + why;
  hint_ = "openp2p ping " + spec_.peer;
}

std::optional<TimePoint> Forwards::Forward::next_timeout() const {
  std::optional<TimePoint> next = listen_retry_at_;
  for (const Connection& connection : connections_) {
    if (connection.is_waiting()) return earlier(next, connection.deadline);  // The oldest is first.
  }
  return next;
}

void Forwards::Forward::sweep() {
  std::erase_if(connections_, [this](const Connection& connection) {
    if (!connection.is_finished) return false;
    sent_ += connection.bytes_sent();
    received_ += connection.bytes_received();
    return true;
  });
}

ForwardStatus Forwards::Forward::status() const {
  ForwardStatus status;
  status.spec = spec_;
  status.reason = reason_;
  status.hint = hint_;
  status.connections_now = connections_.size();
  status.connections_total = total_;
  status.connections_failed = failed_;
  status.bytes_sent = sent_;
  status.bytes_received = received_;
  for (const Connection& connection : connections_) {
    status.bytes_sent += connection.bytes_sent();
    status.bytes_received += connection.bytes_received();
  }
  if (listener_) status.bound = listener_->bound();
  std::string ignored;
  PeerLink* peer = owner_.find_peer_(spec_.peer, ignored);
  const bool is_connected = peer != nullptr && peer->session() != nullptr;
  status.state = !spec_.is_enabled ? "disabled"
                 : !listener_      ? "failed"
                 : is_connected    ? "connected"
                                   : "listening";
  if (status.reason.empty() && spec_.is_enabled && !is_connected) {
    status.reason = peer != nullptr ? peer->reason() : ignored;
  }
  return status;
}

Forwards::Forwards(NodeContext& context, forward::BufferPool& buffers, FindPeer find_peer)
    : context_(context), buffers_(buffers), find_peer_(std::move(find_peer)) {}

Forwards::~Forwards() = default;

void Forwards::add(const ForwardSpec& spec) {
  const auto [added, is_new] = forwards_.emplace(spec.name, std::make_unique<Forward>(*this, spec));
  if (is_new && spec.is_enabled) added->second->enable();
}

void Forwards::remove(std::string_view name) {
  const auto found = forwards_.find(name);
  if (found == forwards_.end()) return;
  found->second->disable();
  forwards_.erase(found);
}

void Forwards::set_enabled(std::string_view name, bool enabled) {
  const auto found = forwards_.find(name);
  if (found == forwards_.end() || found->second->spec_.is_enabled == enabled) return;
  enabled ? found->second->enable() : found->second->disable();
}

bool Forwards::contains(std::string_view name) const { return forwards_.contains(name); }

std::vector<ForwardSpec> Forwards::specs() const {
  std::vector<ForwardSpec> specs;
  for (const auto& [name, forward] : forwards_) specs.push_back(forward->spec_);
  return specs;
}

std::vector<ForwardStatus> Forwards::status() const {
  std::vector<ForwardStatus> all;
  for (const auto& [name, forward] : forwards_) all.push_back(forward->status());
  return all;
}

bool Forwards::needs(const PeerLink& peer) const {
  std::string ignored;
  return std::ranges::any_of(forwards_, [&](const auto& entry) {
    return entry.second->spec_.is_enabled && entry.second->find_peer(ignored) == &peer;
  });
}

void Forwards::on_session_up(PeerLink& peer) {
  std::string ignored;
  for (auto& [name, forward] : forwards_) {
    if (!forward->spec_.is_enabled || forward->find_peer(ignored) != &peer) continue;
    forward->reason_.clear();
    forward->hint_.clear();
    forward->start_waiting(peer);
  }
}

void Forwards::on_session_down(PeerLink& peer, const std::string&) {
  std::string ignored;
  for (auto& [name, forward] : forwards_) {
    if (forward->spec_.is_enabled && forward->find_peer(ignored) == &peer) forward->call_peer();
  }
}

void Forwards::on_batch_end(PeerLink& peer) {
  if (!std::exchange(lacks_streams_, false)) return;
  std::string ignored;
  for (auto& [name, forward] : forwards_) {
    if (!forward->spec_.is_enabled) continue;
    PeerLink* const found = forward->find_peer(ignored);
    if (found == &peer) {
      forward->start_waiting(peer);
    } else if (found != nullptr && found->session() != nullptr && forward->has_waiting()) {
      lacks_streams_ = true;
    }
  }
}

void Forwards::on_peers_changed() {
  for (auto& [name, forward] : forwards_) {
    if (forward->spec_.is_enabled && forward->listener_) forward->call_peer();
  }
}

void Forwards::on_timeout() {
  for (auto& [name, forward] : forwards_) forward->on_timeout();
}

std::optional<TimePoint> Forwards::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [name, forward] : forwards_) next = earlier(next, forward->next_timeout());
  return next;
}

void Forwards::sweep() {
  if (!std::exchange(has_finished_, false)) return;
  for (auto& [name, forward] : forwards_) forward->sweep();
}

void Forwards::stop() {
  for (auto& [name, forward] : forwards_) forward->disable();
}

}  // namespace openp2p::agent
