#include "session/session_impl.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace openp2p::session {
namespace {

/// As long as a handshake may take (quic::ConnectionConfig).
constexpr Duration kConnectPatience = std::chrono::seconds(10);
constexpr std::size_t kCopiesMax =
    64;  // A round trip's worth around a move; more are not worth it.
/// What every path carries (RFC 9000 section 14.1), used until the path proved more.
constexpr std::size_t kDatagramBytesMin = 1'200;

constexpr std::string_view kKeyLabel = "EXPORTER-openp2p-path-key";
constexpr std::string_view kTagLabel = "EXPORTER-openp2p-path-tags";

path::FinderTag read_tag(ByteView bytes) {
  std::uint32_t value = 0;
  for (const std::byte b : bytes.first(4)) value = value << 8 | std::to_integer<std::uint32_t>(b);
  return path::FinderTag(value);
}

}  // namespace

SessionImpl::SessionImpl(SessionOwner& owner, Serial serial, Origin origin, TimePoint now)
    : owner_(owner),
      serial_(serial),
      origin_(origin),
      sockets_(owner.ledger().source_for(serial)),
      now_(now),
      sealed_(owner.sealed()) {}

SessionImpl::~SessionImpl() = default;

void SessionImpl::start_dial(const NodeId& peer, std::vector<Address> addresses,
                             SessionHandler& handler, Duration stream_delay) {
  peer_ = peer;
  handler_ = &handler;
  dial_addresses_ = std::move(addresses);
  widen_at_ = now_ + kAttemptDelay;
  stream_at_ = now_ + stream_delay;
  connection_ = owner_.connect(*this, now_);
}

void SessionImpl::start_meeting(const Meeting& meeting, SessionHandler& handler) {
  peer_ = meeting.peer;
  meeting_ = meeting;
  handler_ = &handler;
  path::PathFinderConfig config;
  config.role = meeting.role;
  config.local_tag = meeting.local_tag;
  config.remote_tag = meeting.remote_tag;
  config.check_key = meeting.check_key;
  config.rtt_hint = meeting.rtt_hint;
  make_finder(config, now_);
  wipe(config.check_key);
  if (const std::uint16_t port = owner_.tcp_port()) {
    finder_->add_local({path::CandidateType::kHost,
                        {IpAddress::any_v4(), port},
                        SocketId(),
                        path::Transport::kTcp},
                       now_);
  }
}

void SessionImpl::make_finder(const path::PathFinderConfig& config, TimePoint now) {
  path::PathFinderConfig complete = config;
  complete.sockets = sockets_.get();
  complete.probes = &owner_.probes();
  complete.history = &owner_.history();
  complete.peer = peer_;
  finder_.emplace(complete, owner_.fork_random(), owner_.log(), now);
  wipe(complete.check_key);
  finder_->set_mapping_lifetime(owner_.mapping_lifetime());
  owner_.on_tag(*this, config.local_tag);
  for (const path::Candidate& local : owner_.socket_candidates()) finder_->add_local(local, now);
  for (const Connection& connection : owner_.ledger().connections_of(serial_)) {
    on_connected(connection, now);
  }
}

void SessionImpl::start_accepted(const Path& from) { provisional_ = from; }

void SessionImpl::set_connection(std::unique_ptr<quic::Connection> connection) {
  connection_ = std::move(connection);
}

void SessionImpl::on_datagram(const Path& from, ByteView datagram, TimePoint now) {
  now_ = now;
  bytes_received_ += datagram.size();
  if (connection_ == nullptr) return;
  connection_->on_datagram(datagram, now);
  const std::uint64_t opened = connection_->packets_opened();
  if (opened == packets_opened_) return;
  packets_opened_ = opened;
  if (provisional_ != from && (!provisional_ || !finder_)) provisional_ = from;
  if (!finder_) return;
  if (owner_.ledger().is_stranger(from.socket)) adopt(from, now);
  finder_->on_authentic(from, now);
}

/// An authentic datagram came over a connection that belongs to nobody yet: it is the peer's.
void SessionImpl::adopt(const Path& from, TimePoint now) {
  const Connection* connection = owner_.ledger().claim(from.socket, serial_, path());
  if (connection != nullptr) on_connected(*connection, now);
}

void SessionImpl::on_connected(const Connection& connection, TimePoint now) {
  now_ = now;
  if (finder_) finder_->add_connection(connection.path, connection.local, now);
  if (is_dialing() && !first_flight_.empty()) {
    add_copy(connection.path, first_flight_, first_flight_segment_);
  }
}

void SessionImpl::on_stun(const Path& from, const nat::StunMessage& message, ByteView raw,
                          TimePoint now) {
  now_ = now;
  if (!finder_) return;
  if (owner_.ledger().is_stranger(from.socket) && finder_->is_proof(message, raw)) {
    adopt(from, now);
  }
  finder_->on_stun(from, message, raw, now);
  after_finder(now);
}

void SessionImpl::on_batch_end() {
  if (handler_ != nullptr && !is_closed_) handler_->on_batch_end(*this);
}

void SessionImpl::on_timeout(TimePoint now) {
  now_ = now;
  if (connection_ && !silent_until(now)) connection_->on_timeout(now);
  if (is_dialing() && now >= widen_at_) widen_dial(now);
  if (is_dialing() && now >= stream_at_) dial_streams(now);
  if (finder_ && !is_closed_) {
    finder_->on_timeout(now);
    resend(now);
    watch_goodput(now);
    after_finder(now);
  }
}

std::optional<TimePoint> SessionImpl::next_timeout() const {
  std::optional<TimePoint> next = connection_ ? connection_->next_timeout() : std::nullopt;
  if (is_closed_) return next;
  if (const auto until = silent_until(now_); until && next) next = std::max(*next, *until);
  if (finder_) next = earlier(earlier(next, finder_->next_timeout()), goodput_deadline());
  if (resends_left_ > 0) next = earlier(next, resend_at_);
  return is_dialing() ? earlier(next, dial_deadline()) : next;
}

std::optional<TimePoint> SessionImpl::dial_deadline() const {
  std::optional<TimePoint> next;
  if (dialed_count_ < dial_addresses_.size()) next = widen_at_;
  if (sockets_ && streams_dialed_ < dial_addresses_.size()) next = earlier(next, stream_at_);
  return next;
}

/// The finder was touched: the selected path may have come, changed or gone.
void SessionImpl::after_finder(TimePoint now) {
  watch_silence(now);
  const Path* selected = finder_->selected();
  if (selected != nullptr && !connection_ && origin_ == Origin::kMet && !is_closed_ &&
      meeting_.role == path::IceRole::kControlling) {
    connection_ = owner_.connect(*this, now);
  }
  const std::optional<Path> path = selected ? std::optional<Path>(*selected) : std::nullopt;
  if (path == selected_) return;
  selected_ = path;
  if (path) provisional_ = path;  // Stays in use while no other is found: a late answer may come.
  if (path) begin_resending(now);
  if (handler_ != nullptr && !is_closed_) handler_->on_path_changed(*this);
}

/// Sessions with a known address learn their path keys from the handshake itself (RFC 5705).
void SessionImpl::make_exported_finder(TimePoint now) {
  path::PathFinderConfig config;
  connection_->export_key(kKeyLabel, {}, config.check_key);
  std::array<std::byte, 8> exported;
  connection_->export_key(kTagLabel, {}, exported);
  const path::FinderTag dialer = read_tag(exported);
  const path::FinderTag acceptor = read_tag(ByteView(exported).subspan(4));
  const bool is_dialer = origin_ == Origin::kDialed;
  config.role = is_dialer ? path::IceRole::kControlling : path::IceRole::kControlled;
  config.local_tag = is_dialer ? dialer : acceptor;
  config.remote_tag = is_dialer ? acceptor : dialer;
  make_finder(config, now);
  if (provisional_) {
    adopt(*provisional_, now);
    finder_->add_proven(*provisional_, now);
  }
  for (const Address& address : dial_addresses_) {
    finder_->add_remote({path::CandidateType::kHost, address, SocketId()}, now);
    finder_->add_remote({path::CandidateType::kHost, address, SocketId(), path::Transport::kTcp},
                        now);
  }
  wipe(config.check_key);
}

/// Nothing was heard from the addresses tried so far: try the next as well.
void SessionImpl::widen_dial(TimePoint now) {
  if (dialed_count_ >= dial_addresses_.size()) return;
  widen_at_ = now + kAttemptDelay;
  const auto path = dial_path(dialed_count_++);
  if (path && !first_flight_.empty()) add_copy(*path, first_flight_, first_flight_segment_);
}

/// Still nothing: perhaps UDP does not pass. What is sent goes over these as well, once they are
/// up.
void SessionImpl::dial_streams(TimePoint now) {
  if (!sockets_ || streams_dialed_ >= dial_addresses_.size()) return;
  stream_at_ = now + kAttemptDelay;
  const Address& to = dial_addresses_[streams_dialed_++];
  static_cast<void>(sockets_->connect_tcp(to, /*local_port=*/0, kConnectPatience));
}

std::optional<Path> SessionImpl::dial_path(std::size_t index) const {
  if (index >= dial_addresses_.size()) return std::nullopt;
  const auto socket = owner_.socket_for(dial_addresses_[index]);
  if (!socket) return std::nullopt;
  return Path{*socket, dial_addresses_[index]};
}

std::optional<Path> SessionImpl::path() const {
  if (selected_) return selected_;
  // Without consent (RFC 7675) nothing new may flow, and nothing does: unacknowledged, QUIC sends
  // but two probes at a time, ever more rarely. They go to the last path, because a peer that
  // restarted answers them with a Stateless Reset, which ends the wait.
  if (provisional_) return provisional_;
  return dial_path(0);
}

std::optional<Transmit> SessionImpl::poll_transmit(MutableByteView buffer, TimePoint now) {
  now_ = now;
  if (const auto copy = poll_copy(buffer)) return copy;
  if (finder_ && !is_closed_) {
    path::CheckTarget to;
    const std::size_t size = finder_->poll_datagram(to, buffer, now);
    after_finder(now);
    if (size > 0) return Transmit{to.path.socket, to.path.remote, size, size, to.hop_limit};
  }
  if (!connection_ || silent_until(now)) return std::nullopt;
  const bool is_sealed_first = std::exchange(is_sealed_turn_, !is_sealed_turn_);
  if (is_sealed_first) {
    if (const auto sealed = poll_sealed(buffer, now)) return sealed;
  }
  if (const auto burst = poll_connection(buffer, now)) return burst;
  return is_sealed_first ? std::nullopt : poll_sealed(buffer, now);
}

std::optional<Transmit> SessionImpl::poll_connection(MutableByteView buffer, TimePoint now) {
  const std::size_t datagram_bytes =
      finder_ && finder_->selected() ? finder_->datagram_bytes() : kDatagramBytesMin;
  const quic::Burst burst = connection_->poll_burst(buffer, datagram_bytes, now);
  if (burst.bytes == 0) return std::nullopt;
  const ByteView bytes = buffer.first(burst.bytes);
  if (is_dialing()) {
    first_flight_ = to_bytes(bytes);
    first_flight_segment_ = burst.segment_bytes;
    for (std::size_t i = 1; i < dialed_count_; ++i) {
      if (const auto other = dial_path(i)) add_copy(*other, bytes, burst.segment_bytes);
    }
    for (const Connection& stream : owner_.ledger().connections_of(serial_)) {
      add_copy(stream.path, bytes, burst.segment_bytes);
    }
  }
  const auto to = path();
  if (!to) return std::nullopt;  // No socket of the family: as if lost; the handshake times out.
  if (finder_) {
    if (connection_->bytes_in_flight() > 0) finder_->on_sent(now);
    if (const Path* old = finder_->duplicate_to(now)) add_copy(*old, bytes, burst.segment_bytes);
    watch_goodput(now);
  }
  return sent(*to, burst.bytes, burst.segment_bytes);
}

/// Called while something is sent, and by a timer while more waits: an idle session has none.
void SessionImpl::watch_goodput(TimePoint now) {
  if (!connection_ || !is_established_) return;
  if (now - measured_at_ >= path::GoodputWatch::kInterval) {
    const quic::Traffic traffic = connection_->traffic();
    if (const auto transport = finder_->direct_transport()) {
      goodput_.on_interval(
          {.span = now - measured_at_,
           .bytes_arrived = traffic.bytes_acknowledged - measured_.bytes_acknowledged,
           .packets_sent = traffic.packets_sent - measured_.packets_sent,
           .packets_lost = traffic.packets_lost - measured_.packets_lost,
           .has_demand = measured_.has_unsent && traffic.has_unsent,
           .is_stream = *transport == path::Transport::kTcp,
           .has_queue = traffic.rtt > traffic.rtt_min * 5 / 4},
          now);
    }
    measured_ = traffic;
    measured_at_ = now;
  }
  choose_transport(now);
}

void SessionImpl::choose_transport(TimePoint now) {
  goodput_.on_timeout(now);
  sealed_goodput_.on_timeout(now);
  finder_->prefer_streams(goodput_.prefers_streams() || sealed_goodput_.prefers_streams(), now);
}

std::optional<TimePoint> SessionImpl::goodput_deadline() const {
  const auto next = earlier(goodput_.next_timeout(), sealed_goodput_.next_timeout());
  return measured_.has_unsent ? earlier(next, measured_at_ + path::GoodputWatch::kInterval) : next;
}

std::optional<Transmit> SessionImpl::poll_copy(MutableByteView buffer) {
  if (copies_.empty()) return std::nullopt;
  const Copy copy = std::move(copies_.front());
  copies_.pop_front();
  CHECK(copy.bytes.size() <= buffer.size());
  std::copy(copy.bytes.begin(), copy.bytes.end(), buffer.begin());
  return sent(copy.path, copy.bytes.size(), copy.segment_bytes);
}

void SessionImpl::add_copy(const Path& path, ByteView bytes, std::size_t segment_bytes) {
  if (copies_.size() >= kCopiesMax) return;
  copies_.push_back({path, to_bytes(bytes), segment_bytes});
  owner_.on_work(*this);
}

Transmit SessionImpl::sent(const Path& path, std::size_t bytes, std::size_t segment_bytes) {
  bytes_sent_ += bytes;
  return {path.socket, path.remote, bytes, segment_bytes};
}

void SessionImpl::on_network_changed(TimePoint now) {
  now_ = now;
  if (!finder_) return;
  for (const path::Candidate& local : owner_.socket_candidates()) finder_->add_local(local, now);
  goodput_.on_network_changed();
  sealed_goodput_.on_network_changed();
  finder_->on_network_changed(now);
  after_finder(now);
}

void SessionImpl::on_socket_removed(SocketId socket, TimePoint now) {
  now_ = now;
  if (provisional_ && provisional_->socket == socket) provisional_.reset();
  std::erase_if(copies_, [&](const Copy& copy) { return copy.path.socket == socket; });
  if (!finder_) return;
  finder_->remove_socket(socket, now);
  after_finder(now);
}

Duration SessionImpl::rtt() const {
  if (finder_) {
    if (const auto rtt = finder_->selected_rtt()) return *rtt;
  }
  return connection_ ? connection_->smoothed_rtt() : Duration::zero();
}

Result<StreamId> SessionImpl::open_stream() {
  if (!connection_) return std::make_error_code(std::errc::not_connected);
  owner_.on_work(*this);
  return connection_->open_stream();
}

MutableByteView SessionImpl::write_room(StreamId id) {
  return connection_ ? connection_->write_room(id) : MutableByteView();
}

void SessionImpl::commit(StreamId id, std::size_t bytes) {
  if (!connection_) return;
  connection_->commit(id, bytes);
  owner_.on_work(*this);
}

std::size_t SessionImpl::write(StreamId id, ByteView data) {
  if (!connection_) return 0;
  owner_.on_work(*this);
  return connection_->write(id, data);
}

void SessionImpl::finish(StreamId id) {
  if (!connection_) return;
  connection_->finish(id);
  owner_.on_work(*this);
}

void SessionImpl::reset(StreamId id, std::uint64_t code) {
  if (!connection_) return;
  connection_->reset(id, code);
  owner_.on_work(*this);
}

void SessionImpl::stop(StreamId id, std::uint64_t code) {
  if (!connection_) return;
  connection_->stop(id, code);
  owner_.on_work(*this);
}

void SessionImpl::consume(StreamId id, std::size_t bytes) {
  if (!connection_) return;
  connection_->consume(id, bytes);
  owner_.on_work(*this);
}

void SessionImpl::close(std::uint64_t code, std::string_view reason, TimePoint now) {
  if (is_closed_) return;
  now_ = now;
  sealed_.stop();
  owner_.on_work(*this);
  if (connection_ && !connection_->is_closed()) {
    connection_->close(code, reason, now);
  } else {
    on_closed({CloseReason::Kind::kLocal, code, std::string(reason)});
  }
}

void SessionImpl::export_key(std::string_view label, ByteView context, MutableByteView out) const {
  CHECK(connection_ && connection_->is_authenticated());
  connection_->export_key(label, context, out);
}

bool SessionImpl::is_welcome(const NodeId& peer) {
  if (origin_ == Origin::kAccepted) return owner_.gatekeeper()->is_welcome(peer);
  return equal_constant_time(peer.key, peer_.key);
}

void SessionImpl::on_authenticated(const NodeId& peer) {
  is_established_ = true;
  peer_ = peer;
  owner_.on_work(*this);
  if (origin_ != Origin::kMet) make_exported_finder(now_);
  start_sealed();
  if (origin_ == Origin::kAccepted) {
    handler_ = owner_.gatekeeper()->on_session(*this);
    if (handler_ == nullptr) {
      close(0, "not welcome", now_);
      return;
    }
  }
  handler_->on_established(*this);
  if (finder_) after_finder(now_);
}

void SessionImpl::on_stream_opened(StreamId id) {
  if (handler_) handler_->on_stream_opened(*this, id);
}

void SessionImpl::on_stream_data(StreamId id, ByteView data, bool is_end) {
  if (handler_) handler_->on_stream_data(*this, id, data, is_end);
}

void SessionImpl::on_stream_writable(StreamId id) {
  if (handler_) handler_->on_stream_writable(*this, id);
}

void SessionImpl::on_stream_reset(StreamId id, std::uint64_t code) {
  if (handler_) handler_->on_stream_reset(*this, id, code);
}

void SessionImpl::on_stream_stopped(StreamId id, std::uint64_t code) {
  if (handler_) handler_->on_stream_stopped(*this, id, code);
}

void SessionImpl::on_stream_closed(StreamId id) {
  if (handler_) handler_->on_stream_closed(*this, id);
}

void SessionImpl::on_closed(const CloseReason& reason) {
  if (is_closed_) return;
  is_closed_ = true;
  sealed_.stop();
  owner_.on_work(*this);
  if (handler_) handler_->on_closed(*this, reason);
}

}  // namespace openp2p::session
