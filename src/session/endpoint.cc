#include "session/endpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "nat/stun_message.h"
#include "session/endpoint_impl.h"

namespace openp2p::session {
namespace {

/// The id that the controlling side's first Initial is addressed to: secret to the two parties, so
/// that nobody else can make this node start a handshake.
ConnectionId meeting_id(const Meeting& meeting) {
  std::array<std::byte, sizeof(ConnectionId)> bytes;
  hkdf_sha256(meeting.check_key, {}, as_bytes("openp2p initial id"), bytes);
  ConnectionId id = 0;
  for (const std::byte b : bytes) id = id << 8 | std::to_integer<ConnectionId>(b);
  return id;
}

/// Bytes of the datagrams in front that have the first one's form and id.
std::size_t sealed_run(ByteView datagrams, std::size_t segment_bytes) {
  const ByteView id = datagrams.subspan(kSealedIdAt, sizeof(SealedId));
  std::size_t at = segment_bytes;
  while (at < datagrams.size()) {
    const ByteView next = datagrams.subspan(at);
    if (next.size() < kSealedOverhead || !is_sealed_form(next)) break;
    if (std::memcmp(next.data() + kSealedIdAt, id.data(), id.size()) != 0) break;
    at += segment_bytes;
  }
  return std::min(at, datagrams.size());
}

}  // namespace

void Endpoint::Impl::on_work(SessionImpl& session) {
  if (std::exchange(session.is_queued, true)) return;
  work_.push_back(session.serial());
  if (work_.size() == 1 && options_.wake) options_.wake();
}

void Endpoint::Impl::on_tag(SessionImpl& session, path::FinderTag tag) {
  session.tags.push_back(tag);
  by_tag_.emplace(tag, &session);
}

/// An id that is taken is somebody's already, by a chance of 1 in 2^64: then this use stays silent.
void Endpoint::Impl::on_sealed_id(SessionImpl& session, SealedId id, SealedUse use) {
  if (by_id_.try_emplace(id, Addressee{&session, use}).second) session.ids.push_back(id);
}

std::optional<SocketId> Endpoint::Impl::socket_for(const Address& remote) const {
  const auto same_family = [&](const Socket& s) { return s.local.ip.is_v4() == remote.ip.is_v4(); };
  const auto found = std::ranges::find_if(sockets_, same_family);
  if (found == sockets_.end()) return std::nullopt;
  return found->id;
}

std::vector<path::Candidate> Endpoint::Impl::socket_candidates() const {
  std::vector<path::Candidate> candidates;
  for (const Socket& socket : sockets_) {
    candidates.push_back({path::CandidateType::kHost, socket.local, socket.id});
  }
  return candidates;
}

std::unique_ptr<quic::Connection> Endpoint::Impl::connect(SessionImpl& session, TimePoint now) {
  quic::ConnectionConfig config = options_.connection;
  if (session.origin() == SessionImpl::Origin::kMet) {
    config.initial_rtt = session.meeting().rtt_hint;
    config.initial_destination = meeting_id(session.meeting());
  }
  on_work(session);
  return factory_.connect(config, session, session, now);
}

SessionImpl& Endpoint::Impl::add_session(SessionImpl::Origin origin, TimePoint now) {
  const Serial serial = next_serial_++;
  auto session = std::make_unique<SessionImpl>(*this, serial, origin, now);
  SessionImpl& added = *session;
  sessions_.emplace(serial, std::move(session));
  on_work(added);
  return added;
}

void Endpoint::Impl::on_stun(const Path& from, ByteView datagram, TimePoint now) {
  const auto message = nat::decode_stun(datagram);
  if (!message) return;
  std::optional<path::FinderTag> tag;
  if (message->message_class == nat::StunClass::kRequest) {
    tag = path::addressee(*message);
  } else {
    tag = path::asker(message->transaction);
  }
  bool is_ours = false;
  if (tag) {
    // Two sessions may share a tag by chance; only the one with the right key takes the message.
    const auto [begin, end] = by_tag_.equal_range(*tag);
    for (auto it = begin; it != end; ++it) {
      is_ours = true;
      it->second->on_stun(from, *message, datagram, now);
      on_work(*it->second);
    }
  }
  if (!is_ours && options_.stun != nullptr) {
    options_.stun->on_stun(from.socket, from.remote, datagram, now);
  }
}

Addressee Endpoint::Impl::find(ByteView datagram) {
  const auto id = quic::destination_id(datagram);
  if (!id) return {};
  const auto found = by_id_.find(*id);
  return found == by_id_.end() ? Addressee() : found->second;
}

SessionImpl* Endpoint::Impl::find(Serial serial) {
  const auto found = sessions_.find(serial);
  return found == sessions_.end() ? nullptr : found->second.get();
}

/// Takes the first datagrams of a train: one, or all sealed ones in a row that go to one place.
/// Gives their bytes.
std::size_t Endpoint::Impl::on_train(const Path& from, ByteView datagrams,
                                     std::size_t segment_bytes, TimePoint now) {
  const ByteView first = datagrams.first(std::min(segment_bytes, datagrams.size()));
  if (nat::looks_like_stun(first)) {
    on_stun(from, first, now);
    return first.size();
  }
  const Addressee to = find(first);
  if (!to.use) {
    on_quic(to.session, from, first, now);
    return first.size();
  }
  // Long headers (RFC 9000 section 17.2) name ids of the sender's choice: no session's.
  if (!is_sealed_form(first)) {
    on_quic(nullptr, from, first, now);
    return first.size();
  }
  const ByteView run = datagrams.first(sealed_run(datagrams, segment_bytes));
  to.session->on_sealed(from, *to.use, run, segment_bytes, now);
  note_in_batch(*to.session);
  return run.size();
}

void Endpoint::Impl::note_in_batch(SessionImpl& session) {
  if (!std::exchange(session.is_in_batch, true)) batch_.push_back(&session);
  on_work(session);
}

void Endpoint::Impl::on_quic(SessionImpl* session, const Path& from, ByteView datagram,
                             TimePoint now) {
  if (session == nullptr || session->connection() == nullptr) {
    session = open(from, datagram, now);
    if (session == nullptr) return;
  }
  session->on_datagram(from, datagram, now);
  note_in_batch(*session);
}

void Endpoint::Impl::list_remote(SessionImpl& session, std::optional<Address> remote) {
  if (session.listed_remote == remote) return;
  if (session.listed_remote) {
    const auto [begin, end] = by_remote_.equal_range(*session.listed_remote);
    const auto found =
        std::find_if(begin, end, [&](const auto& e) { return e.second == &session; });
    if (found != end) by_remote_.erase(found);
  }
  session.listed_remote = remote;
  if (remote) by_remote_.emplace(*remote, &session);
}

/// Brings the books up to date after a session was touched: connection ids, timer, its end.
void Endpoint::Impl::update(SessionImpl& session, TimePoint now) {
  if (quic::Connection* connection = session.connection()) {
    while (const auto change = connection->poll_id_change()) {
      if (change->is_added) {
        if (by_id_.try_emplace(change->id, Addressee{&session}).second)
          session.ids.push_back(change->id);
      } else if (std::erase(session.ids, change->id) > 0) {
        by_id_.erase(change->id);
      }
    }
    if (session.is_established() || session.is_over())
      admission_.on_handshake_end(session.serial());
  }
  const auto path = session.path();
  list_remote(session, path ? std::optional<Address>(path->remote) : std::nullopt);
  const auto next = session.next_timeout();
  if (next == session.armed) return;
  if (session.armed) timers_.erase({*session.armed, session.serial()});
  session.armed = next;
  if (next) timers_.emplace(std::max(*next, now), session.serial());
  if (next) session.armed = std::max(*next, now);
}

void Endpoint::Impl::remove(SessionImpl& session, TimePoint now) {
  for (const ConnectionId id : session.ids) by_id_.erase(id);
  for (const path::FinderTag tag : session.tags) {
    const auto [begin, end] = by_tag_.equal_range(tag);
    const auto found =
        std::find_if(begin, end, [&](const auto& e) { return e.second == &session; });
    if (found != end) by_tag_.erase(found);
  }
  list_remote(session, std::nullopt);
  if (session.armed) timers_.erase({*session.armed, session.serial()});
  std::erase(batch_, &session);
  admission_.on_session_end(session.serial());
  ledger_.release_all(session.serial(), now);
  sessions_.erase(session.serial());
}

void Endpoint::Impl::end_batch() {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    batch_[i]->is_in_batch = false;
    batch_[i]->on_batch_end();
  }
  batch_.clear();
}

Endpoint::Endpoint(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
Endpoint::~Endpoint() = default;

void Endpoint::add_socket(SocketId socket, const Address& local) {
  impl_->sockets_.push_back({socket, local});
}

void Endpoint::remove_socket(SocketId socket, TimePoint now) {
  std::erase_if(impl_->sockets_, [&](const Impl::Socket& s) { return s.id == socket; });
  for (auto& [serial, session] : impl_->sessions_) {
    session->on_socket_removed(socket, now);
    impl_->on_work(*session);
  }
}

void Endpoint::set_tcp_port(std::uint16_t port) { impl_->tcp_port_ = port; }

path::ProbeBudget& Endpoint::search_budget() { return impl_->probes(); }

unsigned Endpoint::search_entries_left(TimePoint now) { return search_budget().left(now); }

const path::MethodHistory& Endpoint::method_history() const { return impl_->history_; }

void Endpoint::set_method_history(const path::MethodHistory& history) { impl_->history_ = history; }

void Endpoint::set_mapping_lifetime(std::optional<Duration> lifetime) {
  if (impl_->mapping_lifetime_ == lifetime) return;
  impl_->mapping_lifetime_ = lifetime;
  for (const auto& [serial, session] : impl_->sessions_) {
    if (session->paths() != nullptr) session->paths()->set_mapping_lifetime(lifetime);
  }
}

void Endpoint::on_connected(SocketId socket, const Address& local, const Address& remote,
                            bool is_incoming, TimePoint now) {
  const Connection connection{{socket, remote}, local, is_incoming};
  SessionImpl* owner = impl_->find(impl_->ledger_.on_connected(connection, now));
  if (owner == nullptr) return;
  owner->on_connected(connection, now);
  impl_->on_work(*owner);
}

void Endpoint::on_disconnected(SocketId socket, std::error_code, TimePoint now) {
  SessionImpl* owner = impl_->find(impl_->ledger_.on_disconnected(socket));
  if (owner == nullptr) return;
  owner->on_socket_removed(socket, now);
  impl_->on_work(*owner);
}

Session& Endpoint::dial(const NodeId& peer, const std::vector<Address>& addresses,
                        SessionHandler& handler, TimePoint now, const DialHints& hints) {
  SessionImpl& session = impl_->add_session(SessionImpl::Origin::kDialed, now);
  const auto has_socket = [&](const Address& to) { return impl_->socket_for(to).has_value(); };
  session.start_dial(peer, dial_order(addresses, hints, has_socket), handler, hints.stream_delay);
  impl_->update(session, now);
  return session;
}

Session& Endpoint::meet(const Meeting& meeting, SessionHandler& handler, TimePoint now) {
  SessionImpl& session = impl_->add_session(SessionImpl::Origin::kMet, now);
  session.start_meeting(meeting, handler);
  if (meeting.role == path::IceRole::kControlled) {
    const ConnectionId id = meeting_id(meeting);
    if (impl_->by_id_.try_emplace(id, Addressee{&session}).second) session.ids.push_back(id);
  }
  impl_->update(session, now);
  return session;
}

void Endpoint::touch(Session& session) { impl_->on_work(static_cast<SessionImpl&>(session)); }

path::FinderTag Endpoint::new_tag() {
  for (;;) {
    const path::FinderTag tag(static_cast<std::uint32_t>(impl_->random_.next()));
    if (tag.value() != 0 && !impl_->by_tag_.contains(tag)) return tag;
  }
}

void Endpoint::on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                            std::size_t segment_bytes, TimePoint now) {
  const Path path{socket, from};
  if (segment_bytes == 0) return;
  impl_->counters_.datagrams_received += (datagrams.size() + segment_bytes - 1) / segment_bytes;
  while (!datagrams.empty()) {
    datagrams = datagrams.subspan(impl_->on_train(path, datagrams, segment_bytes, now));
  }
}

void Endpoint::on_timeout(TimePoint now) {
  impl_->ledger_.on_timeout(now);
  while (!impl_->timers_.empty() && impl_->timers_.begin()->first <= now) {
    const auto [at, serial] = *impl_->timers_.begin();
    impl_->timers_.erase(impl_->timers_.begin());
    SessionImpl& session = *impl_->sessions_.at(serial);
    session.armed.reset();
    session.on_timeout(now);
    impl_->on_work(session);
  }
}

std::optional<TimePoint> Endpoint::next_timeout() const {
  const std::optional<TimePoint> ledger = impl_->ledger_.next_timeout();
  if (impl_->timers_.empty()) return ledger;
  return earlier(ledger, impl_->timers_.begin()->first);
}

std::optional<Transmit> Endpoint::poll_transmit(MutableByteView buffer, TimePoint now) {
  impl_->end_batch();
  if (!impl_->outbox_.empty()) {
    const Impl::Outgoing out = std::move(impl_->outbox_.front());
    impl_->outbox_.pop_front();
    if (out.is_owners) impl_->ledger_.on_answered(out.socket, now);
    std::copy(out.datagram.begin(), out.datagram.end(), buffer.begin());
    return Transmit{out.socket, out.to, out.datagram.size(), out.datagram.size()};
  }
  while (!impl_->work_.empty()) {
    const Impl::Serial serial = impl_->work_.front();
    const auto found = impl_->sessions_.find(serial);
    if (found == impl_->sessions_.end()) {
      impl_->work_.pop_front();
      continue;
    }
    SessionImpl& session = *found->second;
    const auto transmit = session.poll_transmit(buffer, now);
    impl_->work_.pop_front();
    if (transmit) {
      impl_->work_.push_back(serial);  // Behind the others: bursts take turns.
      return transmit;
    }
    session.is_queued = false;
    impl_->update(session, now);
    if (session.is_over()) impl_->remove(session, now);
  }
  return std::nullopt;
}

void Endpoint::send_datagram(SocketId socket, const Address& to, ByteView datagram) {
  if (impl_->outbox_.size() >= kOutboxMax) return;
  impl_->outbox_.push_back({socket, to, to_bytes(datagram), /*is_owners=*/true});
  if (impl_->options_.wake) impl_->options_.wake();
}

void Endpoint::on_network_changed(TimePoint now) {
  for (auto& [serial, session] : impl_->sessions_) {
    session->on_network_changed(now);
    impl_->on_work(*session);
  }
}

void Endpoint::close_all(std::uint64_t code, std::string_view reason, TimePoint now) {
  for (auto& [serial, session] : impl_->sessions_) session->close(code, reason, now);
}

std::size_t Endpoint::session_count() const { return impl_->sessions_.size(); }

std::size_t Endpoint::stranger_count() const { return impl_->ledger_.strangers(); }

Endpoint::Counters Endpoint::counters() const {
  Counters counters = impl_->counters_;
  counters.sealed = impl_->sealed_.counters;
  return counters;
}

}  // namespace openp2p::session
