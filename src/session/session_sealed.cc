#include <algorithm>

#include "path/socket_source.h"
#include "session/session_impl.h"

/// Sealed datagrams of a session: keys from its connection, the path from its finder.
namespace openp2p::session {
namespace {

constexpr std::string_view kSealedLabel = "EXPORTER-openp2p-sealed";
/// Anybody can send what is addressed to nobody: he gets one PING a second out of it.
constexpr Duration kAskGap = std::chrono::seconds(1);
/// In an interval of GoodputWatch: 20 a second. Fewer say nothing about what a network can carry.
constexpr std::uint64_t kTellingArrivals = 5;

}  // namespace

void SessionImpl::start_sealed() {
  SealedTraffic::Agreement agreement;
  agreement.protection = &owner_.protection();
  agreement.algorithm = connection_->aead();
  agreement.is_dialer = origin_ == Origin::kDialed ||
                        (origin_ == Origin::kMet && meeting_.role == path::IceRole::kControlling);
  connection_->export_key(kSealedLabel, {}, agreement.secret);
  const SealedTraffic::Ids from_peer = sealed_.start(agreement);
  wipe(agreement.secret);
  for (std::size_t i = 0; i < from_peer.size(); ++i) {
    owner_.on_sealed_id(*this, from_peer[i], static_cast<SealedUse>(i));
  }
}

void SessionImpl::on_sealed(const Path& from, SealedUse use, ByteView datagrams,
                            std::size_t segment_bytes, TimePoint now) {
  now_ = now;
  bytes_received_ += datagrams.size();
  if (sealed_.on_datagrams(*this, use, datagrams, segment_bytes, now) == 0 || !finder_) return;
  if (owner_.ledger().is_stranger(from.socket)) adopt(from, now);
  finder_->on_authentic(from, now);
  watch_arrivals(now);
}

/// A relay that is reached over UDP may be reached better over TCP.
void SessionImpl::watch_arrivals(TimePoint now) {
  const Duration span = now - counted_at_;
  if (span < path::GoodputWatch::kInterval) return;
  const SealedArrivals all = sealed_.arrivals();
  const std::uint64_t sent = all.sent - counted_.sent;
  const std::uint64_t came = all.came - counted_.came;
  if (const auto transport = finder_->direct_transport()) {
    sealed_goodput_.on_interval({.span = span,
                                 .bytes_arrived = all.payload_bytes - counted_.payload_bytes,
                                 .packets_sent = sent,
                                 .packets_lost = sent - std::min(came, sent),
                                 .has_demand = sent >= kTellingArrivals,
                                 .is_stream = *transport == path::Transport::kTcp},
                                now);
  }
  counted_ = all;
  counted_at_ = now;
  choose_transport(now);
}

/// Perhaps the peer restarted, and answers sealed datagrams with resets that prove nothing here
/// (RFC 9000 section 10.3 knows connections alone). It answers QUIC's packets with one that does.
void SessionImpl::on_unknown_datagram(TimePoint now) {
  if (!sealed_sent_at_ || now - *sealed_sent_at_ > kAskGap || now < ask_again_at_) return;
  ask_again_at_ = now + kAskGap;
  connection_->ask();
  owner_.on_work(*this);
}

/// Only over a path with consent (RFC 7675): what is sealed comes without acknowledgements that
/// would slow it down.
std::optional<Transmit> SessionImpl::poll_sealed(MutableByteView buffer, TimePoint now) {
  if (!sealed_.has_waiting()) return std::nullopt;
  const Path* const to = finder_ ? finder_->selected() : nullptr;
  if (to == nullptr) {
    sealed_.drop_waiting();
    return std::nullopt;
  }
  const quic::Burst burst = sealed_.poll_burst(buffer, sealed_bytes_max(), now);
  if (burst.bytes == 0) return std::nullopt;
  finder_->on_sent_one_way(now);
  sealed_sent_at_ = now;
  if (const Path* old = finder_->duplicate_to(now)) {
    add_copy(*old, buffer.first(burst.bytes), burst.segment_bytes);
  }
  return sent(*to, burst.bytes, burst.segment_bytes);
}

std::size_t SessionImpl::sealed_bytes_max() const {
  const Path* const selected = finder_ ? finder_->selected() : nullptr;
  if (selected == nullptr) return kSealedBytesMin;
  const std::size_t least =
      path::is_relayed(selected->socket) ? kSealedRelayedBytesMin : kSealedBytesMin;
  return std::clamp(finder_->datagram_bytes(), least, kSealedBytesMax);
}

void SessionImpl::set_sealed_handler(SealedUse use, SealedHandler* handler) {
  sealed_.set_handler(use, handler);
}

std::size_t SessionImpl::sealed_payload_max() const { return sealed_bytes_max() - kSealedOverhead; }

MutableByteView SessionImpl::sealed_room(SealedUse use, std::size_t bytes) {
  if (!selected_ || bytes > sealed_payload_max()) {
    sealed_.note_dropped();
    return {};
  }
  return sealed_.room(use, bytes);
}

void SessionImpl::commit_sealed() {
  sealed_.commit();
  owner_.on_work(*this);
}

}  // namespace openp2p::session
