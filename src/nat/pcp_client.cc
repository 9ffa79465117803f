#include "nat/pcp_client.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

// RFC 6887 section 8.1.1.
constexpr Duration kInitialWait = 3s;
// Section 14.1.3: so that a home's devices do not all ask in the moment the router is back.
constexpr Duration kRecoveryDelayMax = 5s;
// Of requests to remove: section 8.1.1's first wait is longer than anybody waits for an end.
constexpr Duration kRemovalWait = 400ms;
constexpr unsigned kRemovalSendsMax = 3;
// Errors say when to come again; the first time at least this, then twice as long, ..
constexpr Duration kRetryMin = 30s;

std::uint32_t seconds_of(Duration duration) {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(duration).count());
}

// What a peer could be told. A private address may be one (behind another NAT): the owner judges.
bool is_plausible(const Address& external) {
  const IpAddress& ip = external.ip;
  return external.port != 0 && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() &&
         !ip.is_link_local();
}

}  // namespace

bool EpochWatch::accept(std::uint32_t epoch_s, TimePoint now) {
  const auto last = last_epoch_s_;
  const std::int64_t client_delta =
      std::chrono::duration_cast<std::chrono::seconds>(now - last_at_).count();
  last_epoch_s_ = epoch_s;
  last_at_ = now;
  if (!last) return true;
  const std::int64_t server_delta = std::int64_t{epoch_s} - std::int64_t{*last};
  if (server_delta < -1) return false;  // Less than before; 1 s is reordering.
  return client_delta + 2 >= server_delta - server_delta / 16 &&
         server_delta + 2 >= client_delta - client_delta / 16;
}

PcpClient::PcpClient(const PcpClientConfig& config, Random random)
    : config_(config), random_(random) {
  CHECK(config.server.port != 0 && config.server.ip.is_v4() == config.client.is_v4());
}

void PcpClient::add(PcpProtocol protocol, std::uint16_t internal_port, const PcpNonce& nonce,
                    TimePoint now) {
  CHECK(entries_.size() < kMappingsMax && internal_port != 0);
  Entry entry;
  entry.mapping.protocol = protocol;
  entry.mapping.internal_port = internal_port;
  entry.wait = kInitialWait;
  entry.due_at = now;
  entry.is_due = true;
  entry.nonce = nonce;
  entries_.push_back(entry);
}

void PcpClient::remove_all() {
  is_removing_ = true;
  for (Entry& entry : entries_) {
    // What was asked for and not answered may exist all the same.
    entry.is_due = is_answered_ && entry.mapping.state != State::kSilent;
    entry.is_gone = !entry.is_due;
    entry.sends = 0;
    entry.due_at.reset();
  }
}

bool PcpClient::is_removed() const {
  return is_removing_ && std::ranges::all_of(entries_, &Entry::is_gone);
}

void PcpClient::on_removed(const PcpMessage& answer) {
  for (Entry& entry : entries_) {
    // An error is an answer, too. A late grant is not.
    const bool is_grant = answer.result == PcpResult::kSuccess && answer.lifetime_s != 0;
    if (entry.nonce != answer.map.nonce || is_grant) continue;
    entry.is_gone = true;
    entry.is_due = false;
    entry.due_at.reset();
  }
}

void PcpClient::on_removal_timeout(TimePoint now) {
  for (Entry& entry : entries_) {
    if (!entry.due_at || now < *entry.due_at) continue;
    entry.due_at.reset();
    entry.is_gone = entry.sends >= kRemovalSendsMax;
    entry.is_due = !entry.is_gone;
  }
}

bool PcpClient::on_datagram(const Address& from, ByteView datagram, TimePoint now) {
  const bool is_from_server = from.ip == config_.server.ip;
  if (!is_from_server) return false;
  const auto message = decode_pcp(datagram);
  if (!message) {
    if (!is_answered_ && !is_removing_ && from.port == config_.server.port &&
        is_pcp_version_refusal(datagram)) {
      refuse_version();
      return true;
    }
    return false;
  }
  if (!message->is_response) return false;
  if (message->opcode == PcpOpcode::kAnnounce) return on_announcement(*message, now);
  if (from.port != config_.server.port) return false;
  if (is_removing_) {
    on_removed(*message);
    return true;
  }
  on_map(*message, now);
  return true;
}

bool PcpClient::on_announcement(const PcpMessage& message, TimePoint now) {
  if (message.result != PcpResult::kSuccess || entries_.empty() || is_removing_) return false;
  // One that was silent or spoke another version until now has been restarted, too.
  const bool is_known = is_answered_ && !is_version_refused_;
  is_version_refused_ = false;
  if (epoch_.accept(message.epoch_s, now) && is_known) return true;
  if (is_paced(now)) return true;
  remake_all(jittered(kRecoveryDelayMax, 0, 1), /*except=*/nullptr, now);
  return true;
}

void PcpClient::on_map(const PcpMessage& answer, TimePoint now) {
  const auto entry = std::ranges::find_if(entries_, [&](const Entry& e) {
    return e.nonce == answer.map.nonce && e.mapping.protocol == answer.map.protocol &&
           e.mapping.internal_port == answer.map.internal_port;
  });
  if (entry == entries_.end() || entry->sends == 0) return;  // Nobody asked.
  is_answered_ = true;
  entry->sends = 0;
  entry->is_due = false;
  entry->is_remaking = false;
  if (answer.result == PcpResult::kSuccess && is_plausible(answer.map.external)) {
    granted(*entry, answer, now);
  } else {
    refused(*entry, answer, now);
  }
  if (!epoch_.accept(answer.epoch_s, now) && !is_version_refused_ && !is_paced(now)) {
    remake_all(Duration::zero(), /*except=*/&*entry, now);
  }
}

void PcpClient::granted(Entry& entry, const PcpMessage& answer, TimePoint now) {
  const Duration lifetime =
      std::min<Duration>(std::chrono::seconds(answer.lifetime_s), kLifetimeMax);
  entry.mapping.state = State::kMapped;
  entry.mapping.external = answer.map.external;
  entry.mapping.lifetime = lifetime;
  entry.mapping.result = PcpResult::kSuccess;
  entry.refusals = 0;
  entry.expires_at = now + lifetime;
  entry.due_at = now + std::max<Duration>(jittered(lifetime, 1.0 / 2, 1.0 / 8), kPaceMin);
}

void PcpClient::refused(Entry& entry, const PcpMessage& answer, TimePoint now) {
  if (answer.result == PcpResult::kUnsupportedVersion) return refuse_version();
  entry.mapping.state = State::kRefused;
  entry.mapping.result =
      answer.result == PcpResult::kSuccess ? PcpResult::kNetworkFailure : answer.result;
  const Duration backoff = kRetryMin * (1 << std::min(entry.refusals, 10U));
  ++entry.refusals;
  const Duration told = std::chrono::seconds(answer.lifetime_s);
  entry.wait = kInitialWait;
  entry.due_at = now + jittered(std::clamp<Duration>(told, std::min(backoff, kRetryMax), kRetryMax),
                                /*least=*/1.0, /*span=*/0.25);
}

void PcpClient::refuse_version() {
  is_version_refused_ = true;
  for (Entry& entry : entries_) {
    entry.mapping.state = State::kRefused;
    entry.mapping.result = PcpResult::kUnsupportedVersion;
    entry.is_due = false;
    entry.due_at.reset();
  }
}

void PcpClient::refresh(TimePoint now) {
  if (is_removing_) return;
  is_version_refused_ = false;
  remake_all(Duration::zero(), /*except=*/nullptr, now);
}

// Each answer might claim a new loss, and anybody on the LAN can forge an announcement.
bool PcpClient::is_paced(TimePoint now) {
  if (recovered_at_ && now - *recovered_at_ < kPaceMin) return true;
  recovered_at_ = now;
  return false;
}

void PcpClient::remake_all(Duration delay, const Entry* except, TimePoint now) {
  for (Entry& entry : entries_) {
    if (&entry == except) continue;
    if (entry.mapping.state == State::kMapped) {
      entry.is_remaking = true;
    } else {
      entry.mapping.state = State::kAsking;
    }
    entry.wait = kInitialWait;
    entry.sends = 0;
    entry.due_at = now + delay;
  }
}

void PcpClient::expire(Entry& entry, TimePoint now) {
  if (entry.mapping.state != State::kMapped || now < entry.expires_at) return;
  entry.mapping.state = State::kAsking;
  entry.is_remaking = false;
  entry.sends = 0;
  entry.wait = kInitialWait;
}

void PcpClient::on_timeout(TimePoint now) {
  if (is_removing_) return on_removal_timeout(now);
  for (Entry& entry : entries_) {
    expire(entry, now);
    if (!entry.due_at || now < *entry.due_at) continue;
    const bool is_renewal = entry.mapping.state == State::kMapped && !entry.is_remaking;
    if (!is_renewal && entry.sends >= kSendsMax) {
      entry.mapping.state = State::kSilent;
      entry.is_remaking = false;
      entry.due_at.reset();
      continue;
    }
    entry.is_due = true;
  }
}

std::size_t PcpClient::poll_datagram(MutableByteView out, TimePoint now) {
  for (Entry& entry : entries_) {
    if (!entry.is_due) continue;
    entry.is_due = false;
    ++entry.sends;
    const PcpMessage message = request(entry);
    schedule_after_send(entry, now);
    return encode_pcp(message, out);
  }
  return 0;
}

void PcpClient::schedule_after_send(Entry& entry, TimePoint now) {
  if (is_removing_) {
    entry.due_at = now + kRemovalWait;
    return;
  }
  if (entry.mapping.state == State::kMapped && !entry.is_remaking) {
    // Section 11.2.1: half of what is left, each time.
    const Duration left = std::max<Duration>(entry.expires_at - now, Duration::zero());
    const Duration wait = std::max<Duration>(jittered(left, 1.0 / 2, 1.0 / 8), kPaceMin);
    entry.due_at = std::max<TimePoint>(std::min(now + wait, entry.expires_at), now + 4s);
    return;
  }
  entry.due_at = now + jittered(entry.wait, 0.9, 0.2);
  const bool is_last_next = entry.sends + 1 >= kSendsMax;
  if (!is_last_next) entry.wait *= 2;
}

std::optional<TimePoint> PcpClient::next_timeout() const {
  std::optional<TimePoint> next;
  for (const Entry& entry : entries_) next = earlier(next, entry.due_at);
  return next;
}

std::vector<PcpClient::Mapping> PcpClient::mappings() const {
  std::vector<Mapping> all;
  for (const Entry& entry : entries_) all.push_back(entry.mapping);
  return all;
}

bool PcpClient::is_any_mapped() const {
  return std::ranges::any_of(entries_,
                             [](const Entry& e) { return e.mapping.state == State::kMapped; });
}

bool PcpClient::is_settled() const {
  return std::ranges::none_of(entries_,
                              [](const Entry& e) { return e.mapping.state == State::kAsking; });
}

Duration PcpClient::jittered(Duration base, double least, double span) {
  const double factor = least + span * random_.fraction();
  return std::chrono::duration_cast<Duration>(base * factor);
}

PcpMessage PcpClient::request(const Entry& entry) const {
  PcpMessage message;
  message.client = config_.client;
  message.lifetime_s = is_removing_ ? 0 : seconds_of(config_.lifetime);
  message.map.nonce = entry.nonce;
  message.map.protocol = entry.mapping.protocol;
  message.map.internal_port = entry.mapping.internal_port;
  // Section 11.1: what we had, or the internal port and "any address" of the family.
  const IpAddress any = config_.client.is_v4() ? IpAddress::any_v4() : IpAddress::any_v6();
  message.map.external = {any, entry.mapping.internal_port};
  if (entry.mapping.external.port != 0) message.map.external = entry.mapping.external;
  if (is_removing_) message.map.external = {any, 0};
  return message;
}

}  // namespace openp2p::nat
