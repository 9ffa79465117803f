#include <algorithm>

#include "path/path_finder_impl.h"

/// TCP connections that carry the session's datagrams (RFC 6544, framed as in RFC 4571).
namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

/// A connection over which no authentic datagram comes is of no use; checks take 3 s.
constexpr Duration kSilentMax = 5s;
/// When a path over UDP is in use, a connection stays for a while, since UDP was gone before.
constexpr Duration kStandbyFor = 60s;
/// Connections that were opened at the same time as the one in use.
constexpr Duration kSpareFor = 10s;

}  // namespace

void PathFinder::Impl::add_connection(const Path& path, const Address& local, TimePoint now) {
  if (list_.find(path) != nullptr) return;
  const Method method = streams_.on_connected(path, now);
  // With the peer's private address equal to ours we connect to our own listener.
  CheckPair* pair = path.remote == local ? nullptr : list_.add_connection(path, local, now);
  if (pair == nullptr) {
    streams_.on_closed(path.socket);
    if (config_.sockets != nullptr) config_.sockets->close(path.socket);
    return;
  }
  pair->method = method;
  is_failed_ = false;
  log_.debug(now, "path.connection remote={} method={}", path.remote.text(), method_text(method));
}

bool PathFinder::Impl::is_proof(const nat::StunMessage& message, ByteView raw) const {
  if (message.message_class != nat::StunClass::kRequest || !is_addressed_to_us(message)) {
    return false;
  }
  const auto number = is_controlling() ? message.ice_controlled : message.ice_controlling;
  return number && replays_.is_fresh(*number) && nat::verify_integrity(raw, config_.check_key);
}

/// The controlling side decides for both, so the controlled one tells it: in every check, and by
/// one that is repeated until it is answered.
void PathFinder::Impl::prefer_streams(bool is_preferred, TimePoint now) {
  if (is_preferred == prefers_streams_) return;
  prefers_streams_ = is_preferred;
  has_wished_ = true;
  if (selected_ != nullptr) {
    selected_->renew_nomination();
    selected_->check_by(now);
  }
  on_favour_changed(now);
}

/// `number` is the check's: older ones arrive late. The peer needs TCP here as well, since both
/// open it (StreamOpener).
void PathFinder::Impl::note_peer_wish(bool is_preferred, std::uint64_t number, TimePoint now) {
  if (number <= peer_wish_number_) return;
  peer_wish_number_ = number;
  if (is_preferred == peer_prefers_streams_) return;
  peer_prefers_streams_ = is_preferred;
  on_favour_changed(now);
}

void PathFinder::Impl::on_favour_changed(TimePoint now) {
  hold_ = {};  // Who wishes has its own way to be slow about it (GoodputWatch).
  for (const auto& pair : list_.pairs()) {
    if (pair->is_settled()) pair->check_by(now);  // Standby paths were measured a while ago.
  }
  consider_better(now);
}

Favour PathFinder::Impl::favour() const {
  return prefers_streams_ || peer_prefers_streams_ ? Favour::kStreams : Favour::kUdp;
}

bool PathFinder::Impl::are_streams_wanted() const {
  if (!has_direct() || suspect_since_) return true;
  return favour() == Favour::kStreams && !selected_->is_stream();
}

bool PathFinder::Impl::is_over_favoured_stream() const {
  return favour() == Favour::kStreams && has_direct() && selected_->is_stream();
}

std::optional<Transport> PathFinder::Impl::direct_transport() const {
  if (!has_direct()) return std::nullopt;
  return selected_->local.transport;
}

void PathFinder::Impl::tend_streams(TimePoint now) {
  if (config_.sockets == nullptr) return;
  streams_.set_wanted(are_streams_wanted(), now);
  streams_.on_timeout(now);
  const MethodSet tried = streams_.take_tried();
  for (const Method method : {Method::kTcpDirect, Method::kTcpSimultaneous}) {
    if (tried.has(method)) note_begun(method, std::nullopt, now);
  }
  std::vector<SocketId> unneeded;
  for (const auto& pair : list_.pairs()) {
    if (pair->is_stream() && is_unneeded(*pair, now)) unneeded.push_back(pair->path().socket);
  }
  for (const SocketId socket : unneeded) {
    config_.sockets->close(socket);
    remove_socket(socket, now);
  }
}

bool PathFinder::Impl::is_unneeded(const CheckPair& stream, TimePoint now) const {
  return now >= unneeded_at(stream);
}

/// Only the controlling side closes what works, or each might close what the other keeps.
TimePoint PathFinder::Impl::unneeded_at(const CheckPair& stream) const {
  if (&stream == selected_) return CheckPair::kNever;
  if (!stream.is_valid()) return std::max(stream.appeared_at(), stream.heard_at()) + kSilentMax;
  if (!is_controlling() || are_streams_wanted()) return CheckPair::kNever;
  const Duration patience = selected_->is_stream() ? kSpareFor : kStandbyFor;
  return std::max(switched_at_, stream.appeared_at()) + patience;
}

std::optional<TimePoint> PathFinder::Impl::streams_deadline() const {
  if (config_.sockets == nullptr) return std::nullopt;
  if (streams_.is_wanted() != are_streams_wanted()) return TimePoint::min();
  std::optional<TimePoint> next = streams_.next_timeout();
  for (const auto& pair : list_.pairs()) {
    if (!pair->is_stream()) continue;
    const TimePoint at = unneeded_at(*pair);
    if (at != CheckPair::kNever) next = earlier(next, at);
  }
  return next;
}

}  // namespace openp2p::path
