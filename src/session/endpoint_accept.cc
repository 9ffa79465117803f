#include <algorithm>
#include <array>

#include "session/endpoint_impl.h"

/// Datagrams for no connection: the first of a new one, a Stateless Reset, or a stranger's.
namespace openp2p::session {
namespace {

/// Sessions with one address that a possible Stateless Reset is shown to: one, but for parties that
/// share an address.
constexpr int kResetTriesMax = 4;

/// What names a client's address in Retry tokens.
std::array<std::byte, 18> address_bytes(const Address& address) {
  std::array<std::byte, 18> bytes;
  std::copy_n(std::as_bytes(std::span(address.ip.bytes())).begin(), 16, bytes.begin());
  bytes[16] = static_cast<std::byte>(address.port >> 8);
  bytes[17] = static_cast<std::byte>(address.port & 255);
  return bytes;
}

}  // namespace

/// A Stateless Reset names no connection of ours: its sender has forgotten the id. The connections
/// with that address know it by its token (RFC 9000 section 10.3.1).
bool Endpoint::Impl::is_reset_of(const Path& from, ByteView datagram, TimePoint now) {
  const auto [begin, end] = by_remote_.equal_range(from.remote);
  int tries = 0;
  for (auto it = begin; it != end && tries < kResetTriesMax; ++it, ++tries) {
    SessionImpl& session = *it->second;
    if (session.connection() == nullptr || session.is_over()) continue;
    session.on_datagram(from, datagram, now);
    if (!session.is_over()) session.on_unknown_datagram(now);
    if (!session.is_over()) continue;
    on_work(session);
    return true;
  }
  return false;
}

/// A datagram for no connection: perhaps the first of one.
SessionImpl* Endpoint::Impl::open(const Path& from, ByteView datagram, TimePoint now) {
  const Addressee to = find(datagram);
  SessionImpl* session = to.use ? nullptr : to.session;
  if (session != nullptr) {
    accept_meeting(*session, from, datagram, now);
  } else if (is_reset_of(from, datagram, now)) {
    return nullptr;
  } else {
    session = accept(from, datagram, now);
  }
  if (session == nullptr || session->connection() == nullptr) return nullptr;
  update(*session, now);
  return session;
}

void Endpoint::Impl::accept_meeting(SessionImpl& session, const Path& from, ByteView datagram,
                                    TimePoint now) {
  if (session.meeting().role != path::IceRole::kControlled || session.is_over()) return;
  quic::ConnectionConfig config = options_.connection;
  config.initial_rtt = session.meeting().rtt_hint;
  auto connection = factory_.accept(datagram, address_bytes(from.remote), /*token_required=*/false,
                                    config, session, session, now);
  if (connection == nullptr) return;
  session.start_accepted(from);
  session.set_connection(std::move(connection));
}

SessionImpl* Endpoint::Impl::accept(const Path& from, ByteView datagram, TimePoint now) {
  const auto initial = quic::ConnectionFactory::inspect(datagram);
  if (options_.gatekeeper == nullptr ||
      initial.kind != quic::ConnectionFactory::InitialKind::kAccept) {
    answer_unknown(from, datagram, now);
    return nullptr;
  }
  const auto client = address_bytes(from.remote);
  const Admission::Verdict verdict = admission_.judge(from.remote.ip);
  if (verdict == Admission::Verdict::kRefuse) {
    ++counters_.handshakes_refused;
    return nullptr;
  }
  const bool token_required = verdict == Admission::Verdict::kAcceptWithToken;
  if (token_required && !initial.has_token) {
    std::array<std::byte, 512> retry;
    const std::size_t size = factory_.write_retry(datagram, client, retry, now);
    if (size == 0 || outbox_.size() >= kOutboxMax) return nullptr;
    ++counters_.retries_sent;
    outbox_.push_back({from.socket, from.remote, to_bytes(ByteView(retry).first(size))});
    return nullptr;
  }
  SessionImpl& session = add_session(SessionImpl::Origin::kAccepted, now);
  session.start_accepted(from);
  auto connection =
      factory_.accept(datagram, client, token_required, options_.connection, session, session, now);
  if (connection == nullptr) {
    ++counters_.handshakes_refused;
    remove(session, now);
    return nullptr;
  }
  session.set_connection(std::move(connection));
  admission_.on_handshake(session.serial(), from.remote.ip);
  return &session;
}

/// A party that restarted, or that never knew this connection, says so (RFC 9000 section 10.3), so
/// that the other side need not wait for its idle timeout. Never longer than what asked for it.
void Endpoint::Impl::answer_unknown(const Path& from, ByteView datagram, TimePoint now) {
  ++counters_.datagrams_unknown;
  if (outbox_.size() >= kOutboxMax || !admission_.may_answer_stranger(now)) return;
  std::array<std::byte, 256> answer;
  std::size_t size = 0;
  const bool is_version_unknown = quic::ConnectionFactory::inspect(datagram).kind ==
                                  quic::ConnectionFactory::InitialKind::kVersionNegotiation;
  if (is_version_unknown) {
    size = factory_.write_version_negotiation(datagram, answer);
  } else {
    size = factory_.write_stateless_reset(datagram, answer);
  }
  if (size == 0) return;
  ++counters_.resets_sent;
  outbox_.push_back({from.socket, from.remote, to_bytes(ByteView(answer).first(size))});
}

}  // namespace openp2p::session
