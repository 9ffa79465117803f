#include "agent/forward_impl.h"

#include <algorithm>

#include "forward/destination.h"

namespace openp2p::agent {
namespace {

/// For a port number that is free for both protocols.
constexpr int kAnyPortTries = 8;

/// Listening on a privileged or busy port fails for reasons that a person can act on.
std::string listen_hint(const ForwardSpec& spec, const Address& at, const std::error_code& error) {
  if (error == std::errc::address_in_use) {
    return "another program uses " + at.text() +
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
std::string hint_of(const ForwardSpec& spec, const forward::OpenAnswer& answer,
                    std::uint16_t offset) {
  if (answer.status != forward::OpenStatus::kDenied) return {};
  return "restart the peer's agent with: openp2p up --accept " +
         forward::destination_text({spec.host, static_cast<std::uint16_t>(spec.port + offset)}) +
         " (or --accept-lan for its whole local network)";
}

}  // namespace

void Forwards::Forward::enable() {
  spec_.is_enabled = true;
  ports_.resize(spec_.ports);
  listen();
  reason_.clear();
  hint_.clear();
  if (is_listening()) call_peer(kPatience);  // Who enabled it waits for it to work.
}

/// On all ports that are not listened on yet. Where one cannot be, the others serve all the same.
void Forwards::Forward::listen() {
  listen_retry_at_.reset();
  listen_reason_.clear();
  listen_hint_.clear();
  for (std::uint16_t offset = 0; offset < spec_.ports; ++offset) {
    const std::error_code error = listen_on(offset);
    if (!error || listen_retry_at_) continue;
    const Address at = address_of(offset);
    listen_reason_ = "cannot listen on " + at.text() + ": " + error.message();
    listen_hint_ = listen_hint(spec_, at, error);
    listen_retry_at_ = owner_.context_.now + kListenRetry;
  }
}

Address Forwards::Forward::address_of(std::uint16_t offset) const {
  Address at = spec_.listen;
  if (at.port != 0) at.port = static_cast<std::uint16_t>(at.port + offset);
  return at;
}

std::error_code Forwards::Forward::listen_on(std::uint16_t offset) {
  Port& port = ports_[offset];
  std::error_code error;
  // Where the system chooses, both protocols get the number that it chose for TCP; another program
  // may have that of UDP.
  for (int tries = spec_.listen.port == 0 ? kAnyPortTries : 1; tries > 0; --tries) {
    Address at = address_of(offset);
    error = listen_tcp(port, at, offset);
    if (error) return error;
    if (port.tcp) at.port = port.tcp->bound().port;
    error = listen_udp(port, at, offset);
    if (!error || tries == 1 || !port.tcp) return error;
    port.tcp.reset();
    --listening_;
  }
  return error;
}

std::error_code Forwards::Forward::listen_tcp(Port& port, const Address& at, std::uint16_t offset) {
  if (!spec_.has_tcp || port.tcp) return {};
  auto listener =
      owner_.context_.platform.listen(at, [this, offset](Platform::Stream local, TimePoint now) {
        on_accept(std::move(local), offset, now);
      });
  if (!listener) return listener.error();
  port.tcp = std::move(*listener);
  ++listening_;
  if (offset == 0) bound_ = port.tcp->bound();
  return {};
}

std::error_code Forwards::Forward::listen_udp(Port& port, const Address& at, std::uint16_t offset) {
  if (!spec_.has_udp || port.has_udp) return {};
  const auto bound = udp_.listen(at, offset);
  if (!bound) return bound.error();
  port.has_udp = true;
  ++listening_;
  if (offset == 0) bound_ = *bound;
  return {};
}

void Forwards::Forward::disable() {
  spec_.is_enabled = false;
  ports_.clear();
  listening_ = 0;
  bound_.reset();
  listen_retry_at_.reset();
  for (std::string* text : {&reason_, &hint_, &listen_reason_, &listen_hint_}) text->clear();
  for (Connection& connection : connections_) connection.abort();
  udp_.close();
}

void Forwards::Forward::on_accept(Platform::Stream local, std::uint16_t offset, TimePoint now) {
  owner_.context_.now = now;
  owner_.context_.wake();
  ++total_;
  const auto waiting = std::ranges::count_if(connections_, &Connection::is_waiting);
  if (connections_.size() >= kConnectionsMax || static_cast<std::size_t>(waiting) >= kWaitingMax) {
    ++failed_;
    reason_ = "too many connections at once";
    return local->reset();
  }
  connections_.emplace_back(*this, std::move(local), offset, now + kPatience);
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

void Forwards::Forward::on_session_up(PeerLink& peer) {
  reason_.clear();
  hint_.clear();
  start_waiting(peer);
}

void Forwards::Forward::note(const forward::OpenAnswer& answer, std::uint16_t offset) {
  reason_.clear();
  hint_.clear();
  if (answer.status == forward::OpenStatus::kOpened) return;
  reason_ = answer.text.empty() ? std::string(open_status_text(answer.status)) : answer.text;
  hint_ = hint_of(spec_, answer, offset);
}

void Forwards::Forward::on_udp_trouble(std::string reason) {
  reason_ = std::move(reason);
  hint_.clear();
}

bool Forwards::Forward::has_waiting() const {
  return udp_.has_waiting() || std::ranges::any_of(connections_, &Connection::is_waiting);
}

void Forwards::Forward::start_waiting(PeerLink& peer) {
  udp_.start_waiting(peer);
  for (Connection& connection : connections_) {
    if (peer.session() == nullptr) return;
    if (!connection.is_waiting() || connection.start(peer)) continue;
    owner_.lacks_streams_ = true;  // The others wait behind this one, in order.
    return;
  }
}

void Forwards::Forward::on_timeout() {
  const TimePoint now = owner_.context_.now;
  if (listen_retry_at_ && now >= *listen_retry_at_) listen();
  udp_.on_timeout();
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
  std::optional<TimePoint> next = earlier(listen_retry_at_, udp_.next_timeout());
  for (const Connection& connection : connections_) {
    if (connection.is_waiting()) return earlier(next, connection.deadline);  // The oldest is first.
  }
  return next;
}

void Forwards::Forward::sweep() {
  udp_.sweep();
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
  status.reason = listen_reason_.empty() ? reason_ : listen_reason_;
  status.hint = listen_reason_.empty() ? hint_ : listen_hint_;
  status.connections_now = connections_.size();
  status.connections_total = total_;
  status.connections_failed = failed_;
  status.bytes_sent = sent_;
  status.bytes_received = received_;
  for (const Connection& connection : connections_) {
    status.bytes_sent += connection.bytes_sent();
    status.bytes_received += connection.bytes_received();
  }
  udp_.add_to(status);
  status.bound = bound_;
  std::string ignored;
  PeerLink* peer = owner_.find_peer_(spec_.peer, ignored);
  const bool is_connected = peer != nullptr && peer->session() != nullptr;
  status.state = !spec_.is_enabled ? "disabled"
                 : !is_listening() ? "failed"
                 : is_connected    ? "connected"
                                   : "listening";
  if (status.reason.empty() && spec_.is_enabled && !is_connected) {
    status.reason = peer != nullptr ? peer->reason() : ignored;
  }
  return status;
}

}  // namespace openp2p::agent
