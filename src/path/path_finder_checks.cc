#include <algorithm>
#include <utility>

#include "base/check.h"
#include "path/path_finder_impl.h"
#include "wire/codec.h"

/// STUN in and out: connectivity checks (RFC 8445 section 7), their answers, and what is learned.
namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kBinding = 1;
/// A selected path that was silent for so long while data came another way is asked at once.
constexpr Duration kSilenceHint = 500ms;
constexpr std::size_t kAttributeHeaderBytes = 4;
/// How often a standby path is asked in the worst case; see schedule_settled.
constexpr Duration kStandbyShare = 15s;

nat::TransactionId make_transaction(FinderTag tag, Random& random) {
  nat::TransactionId id;
  Writer out(id.bytes);
  out.u32(tag.value());
  out.u64(random.next());
  CHECK(out.ok());
  return id;
}

}  // namespace

void PathFinder::Impl::on_stun(const Path& from, const nat::StunMessage& message, ByteView raw,
                               TimePoint now) {
  if (message.method != kBinding || message.is_rfc3489 || message.unknown_attribute != 0) {
    ++counters_.ignored;
  } else if (message.message_class == nat::StunClass::kRequest) {
    on_request(from, message, raw, now);
  } else if (message.message_class == nat::StunClass::kSuccess) {
    on_answer(from, message, raw, now);
  } else {
    ++counters_.ignored;  // No error of the peer's could tell us what silence does not.
  }
}

bool PathFinder::Impl::is_addressed_to_us(const nat::StunMessage& message) const {
  return message.username() == check_username(config_.local_tag, config_.remote_tag);
}

void PathFinder::Impl::on_request(const Path& from, const nat::StunMessage& message, ByteView raw,
                                  TimePoint now) {
  if (!is_addressed_to_us(message) || !nat::verify_integrity(raw, config_.check_key)) {
    ++counters_.forged;
    return;
  }
  ++counters_.checks_received;
  const auto number = is_controlling() ? message.ice_controlled : message.ice_controlling;
  if (!number) {  // Roles are given by the session, so this is our own check, or a bug of the peer.
    ++counters_.ignored;
    return;
  }
  const bool is_fresh = replays_.is_fresh(*number);
  if (!is_fresh) ++counters_.replayed;
  replays_.mark(*number);
  CheckPair* pair = list_.find(from);
  if (pair == nullptr && is_fresh) pair = learn(from, now);
  if (pair == nullptr) return;
  if (!pair->is_valid() && !pair->remote().answers.take(now)) return;
  // A copy may have overtaken the original, which deserves its answer, but decides nothing.
  queue_answer(from, message.transaction);
  if (!is_fresh) return;
  note_peer_wish(message.prefer_streams, *number, now);
  // Earlier searches may have spent what may be sent there: an answer's worth is always left.
  if (spray_.owns(from.socket)) pair->remote().checks.give();
  if (message.use_candidate && !is_controlling()) on_nomination(*pair, *number, now);
  pair->is_valid() && pair->is_opened ? share_wakeup(*pair, now) : trigger(*pair, now);
}

void PathFinder::Impl::on_answer(const Path& from, const nat::StunMessage& message, ByteView raw,
                                 TimePoint now) {
  CheckPair* pair = list_.find(message.transaction);
  if (pair == nullptr) return on_search_answer(from, message, raw, now);
  // RFC 8445 section 7.2.5.2.1: an answer from elsewhere proves nothing about the path asked.
  if (pair->path() != from || !nat::verify_integrity(raw, config_.check_key)) {
    ++counters_.forged;
    return;
  }
  CHECK(pair->on_answer(message.transaction, now));
  if (!pair->is_stream() && from.remote.ip.is_v4()) {
    reflexive_v4_ = message.xor_mapped_address;
    answered_v4_ = from.remote;
  }
  note_answer(*pair);
  on_pair_answered(*pair, now);
}

CheckPair* PathFinder::Impl::learn(const Path& from, TimePoint now) {
  if (spray_.method_of(from)) return learn_searched(from, now);
  if (!list_.has_socket(from.socket)) return nullptr;
  bool is_new = false;
  const Candidate candidate{CandidateType::kPeerReflexive, from.remote, SocketId{}};
  RemoteCandidate* remote = list_.add_remote(candidate, now, is_new);
  if (remote == nullptr) return nullptr;
  CheckPair* pair = list_.pair_with_socket(*remote, from.socket, now);
  if (pair == nullptr) return nullptr;
  log_.debug(now, "path.learned address={}", from.remote.text());
  revive(now);
  return pair;
}

void PathFinder::Impl::on_authentic(const Path& from, TimePoint now) {
  CheckPair* pair = list_.find(from);
  if (pair == nullptr) pair = learn(from, now);
  if (pair == nullptr) return;
  pair->on_authentic(now);
  if (pair == selected_) return trust();
  if (!pair->is_valid() && !pair->is_bursting()) trigger(*pair, now);
  if (pair->is_valid() && is_silent(now)) note_elsewhere(now);
  ask_if_silent(now);
}

bool PathFinder::Impl::is_silent(TimePoint now) const {
  return selected_ != nullptr && selected_->is_settled() &&
         now - selected_->heard_at() > kSilenceHint;
}

void PathFinder::Impl::ask_if_silent(TimePoint now) {
  if (is_silent(now)) selected_->check_by(now);
}

void PathFinder::Impl::trigger(CheckPair& pair, TimePoint now) {
  if (!pair.is_bursting()) pair.restart(now);
  pair.is_opened = true;  // What came through shows that our NAT is open, and theirs.
  pair.hold_until = TimePoint::min();
  pair.check_by(now);
  pair.is_triggered = true;
}

void PathFinder::Impl::share_wakeup(CheckPair& pair, TimePoint now) {
  // Our own check goes out with the answer: both sides then wake half as often.
  const Duration share = &pair == selected_ ? config_.consent_interval * 3 / 4 : kStandbyShare;
  if (pair.is_settled() && pair.due_at() < now + share) pair.check_by(now);
}

void PathFinder::Impl::queue_answer(const Path& to, const nat::TransactionId& transaction) {
  if (answers_.size() < kAnswersMax) answers_.push_back({to, transaction});
}

std::size_t PathFinder::Impl::poll_datagram(CheckTarget& to, MutableByteView out, TimePoint now) {
  to.hop_limit = 0;
  if (!answers_.empty()) return write_answer(to.path, out);
  if (!pace_.has_token(now)) return poll_spray(to, out, now);
  CheckPair* pair = next_due(now);
  if (pair == nullptr) {
    if (const std::size_t size = poll_probe(to.path, out, now)) return size;
    // The next path wants a check, or a probe of its size. Each gives way once, so this ends.
    if (watch_width(now)) return poll_datagram(to, out, now);
    return poll_spray(to, out, now);
  }
  pace_.take(now);
  spend_check(*pair, now);
  to.path = pair->path();
  if (now < pair->hold_until) to.hop_limit = std::exchange(pair->opener_hops, std::uint8_t{0});
  pair->is_opened |= to.hop_limit == 0;
  const std::size_t size = write_check(*pair, out, now);
  // An opener gets no answer, so nothing is waited for but the moment to begin.
  if (to.hop_limit != 0) pair->check_by(pair->hold_until);
  return size;
}

/// Triggered checks first, then who was asked least, then by priority.
CheckPair* PathFinder::Impl::next_due(TimePoint now) {
  CheckPair* best = nullptr;
  for (const auto& pair : list_.pairs()) {
    if (pair->due_at() > now) continue;
    if (const TimePoint until = quiet_until(*pair); now < until) {
      pair->set_due(until);
      continue;
    }
    if (!pair->is_prepared) prepare(*pair, now);
    if (pair->is_barred || (now < pair->hold_until && pair->opener_hops == 0)) {
      pair->set_due(pair->is_barred ? CheckPair::kNever : pair->hold_until);
      continue;
    }
    if (const TimePoint at = next_check_at(*pair, now); at > now) {
      pair->set_due(at);
      continue;
    }
    const bool is_better =
        best == nullptr || pair->is_triggered > best->is_triggered ||
        (pair->is_triggered == best->is_triggered && pair->steps() < best->steps());
    if (is_better) best = pair.get();
  }
  return best;
}

TimePoint PathFinder::Impl::next_check_at(const CheckPair& pair, TimePoint now) const {
  const TimePoint own = pair.remote().checks.next_token_at();
  if (config_.probes == nullptr || pair.remote().has_answered) return own;
  return std::max(own, config_.probes->checks().next_at(pair.path().remote.ip, now));
}

void PathFinder::Impl::spend_check(CheckPair& pair, TimePoint now) {
  pair.remote().checks.take(now);
  if (config_.probes == nullptr || pair.remote().has_answered) return;
  config_.probes->checks().take(pair.path().remote.ip, now);
}

void PathFinder::Impl::note_answer(CheckPair& pair) {
  pair.remote().has_answered = true;
  pair.remote().checks.fill();
  if (config_.probes != nullptr) config_.probes->on_answer(pair.path().remote.ip);
}

std::size_t PathFinder::Impl::write_answer(Path& to, MutableByteView out) {
  const Answer answer = answers_.front();
  answers_.erase(answers_.begin());
  nat::StunMessage message;
  message.message_class = nat::StunClass::kSuccess;
  message.transaction = answer.transaction;
  message.xor_mapped_address = answer.to.remote;
  message.has_fingerprint = true;
  to = answer.to;
  const std::size_t size = nat::encode_stun(message, config_.check_key, out);
  CHECK(size > 0);
  return size;
}

nat::StunMessage PathFinder::Impl::make_check(const Path& path, bool is_nomination) {
  nat::StunMessage message;
  message.transaction = make_transaction(config_.local_tag, random_);
  message.set_username(check_username(config_.remote_tag, config_.local_tag));
  message.priority =
      candidate_priority({CandidateType::kPeerReflexive, {path.remote.ip}, path.socket});
  // Roles never collide here, so the tie-breaker's 64 bits number the checks instead: a copy of an
  // old check can neither teach an address nor nominate.
  auto& number = is_controlling() ? message.ice_controlling : message.ice_controlled;
  number = ++checks_numbered_;
  message.use_candidate = is_nomination;
  message.prefer_streams = prefers_streams_;
  message.has_fingerprint = true;
  return message;
}

std::size_t PathFinder::Impl::write_check(CheckPair& pair, MutableByteView out, TimePoint now) {
  const bool is_nomination = is_controlling() && &pair == selected_;
  const nat::StunMessage message = make_check(pair.path(), is_nomination);
  const std::size_t size = nat::encode_stun(message, config_.check_key, out);
  CHECK(size > 0);
  if (&pair == selected_) {
    if (pair.is_settled() && !suspect_since_) pair.mtu.on_consent(now);
    if (!waiting_since_) waiting_since_ = now;
  }
  // The controlled side nominates nothing, but has its wish known in the same way.
  pair.on_sent(message.transaction, /*is_nomination=*/&pair == selected_, now);
  ++counters_.checks_sent;
  return size;
}

/// Only to an address that has answered on the path in use, so nobody else is sent large datagrams.
std::size_t PathFinder::Impl::poll_probe(Path& to, MutableByteView out, TimePoint now) {
  if (selected_ == nullptr || now < closed_until(*selected_)) return 0;
  const Duration rtt = selected_->rtt().value_or(Duration::zero());
  const std::size_t bytes = selected_->mtu.poll_probe(now, rtt);
  if (bytes == 0) return 0;
  nat::StunMessage message = make_check(selected_->path(), is_controlling());
  const std::size_t plain_bytes = nat::encode_stun(message, config_.check_key, out);
  CHECK(plain_bytes > 0 && plain_bytes + kAttributeHeaderBytes < bytes);
  message.padding_bytes = static_cast<std::uint16_t>(bytes - plain_bytes - kAttributeHeaderBytes);
  CHECK(nat::encode_stun(message, config_.check_key, out) == bytes);
  pace_.take(now);
  selected_->on_probe_sent(message.transaction, bytes, now);
  ++counters_.checks_sent;
  to = selected_->path();
  return bytes;
}

}  // namespace openp2p::path
