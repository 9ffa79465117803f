#include "nat/throttle_probe.h"

#include <fmt/format.h>

#include <algorithm>

#include "nat/stun_transaction.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

/// Of the slow ones: more lost is a bad line, on which a train tells nothing.
constexpr unsigned kSlowAnsweredMin = ThrottleProbe::kSlowCount - 1;
/// Of a train: four in five arrive on any line that is not held back; more than half prove nothing,
/// since a line that loses a quarter anyway may have a bad moment.
constexpr unsigned kTrainAnsweredMin = ThrottleProbe::kTrainCount * 4 / 5;
constexpr unsigned kTrainThinMax = ThrottleProbe::kTrainCount / 2;
/// What answers may spread more than the train did: jitter. A line of half the train's rate with a
/// queue of ten datagrams spreads them by 40 ms.
constexpr Duration kSpreadSlack = 20ms;
constexpr Duration kTrainTime =
    ThrottleProbe::kTrainGap * static_cast<int>(ThrottleProbe::kTrainCount - 1);
constexpr std::size_t kHeaderBytes = 20 + 4;  ///< STUN's, and that of the attribute that pads.

}  // namespace

std::string_view throttling_text(Throttling throttling) {
  switch (throttling) {
    case Throttling::kUnknown:
      break;
    case Throttling::kNone:
      return "none";
    case Throttling::kThrottled:
      return "throttled";
    case Throttling::kSlowLine:
      return "slow line";
  }
  return "unknown";
}

ThrottleProbe::ThrottleProbe(std::uint32_t tag, SecretSource& secrets, TimePoint now)
    : tag_(tag), secrets_(secrets) {
  begin(Phase::kSlow, now);
}

void ThrottleProbe::begin(Phase phase, TimePoint now) {
  phase_ = phase;
  if (is_done()) return conclude();
  series().wanted = phase == Phase::kSlow ? kSlowCount : kTrainCount;
  series().begun_at = now;
}

Duration ThrottleProbe::gap() const {
  if (phase_ == Phase::kSlow) return kSlowGap;
  return phase_ == Phase::kTrain ? kTrainGap : Duration::zero();
}

bool ThrottleProbe::on_datagram(ByteView datagram, bool is_stream, TimePoint now) {
  const auto answer = decode_stun(datagram);
  if (!answer || tag_of(answer->transaction) != tag_) return false;
  if (is_done() || is_stream != (phase_ == Phase::kStream)) return true;  // Late.
  Series& current = series();
  const auto asked = std::ranges::find(current.sent, answer->transaction);
  if (asked == current.sent.end()) return true;
  const auto number = static_cast<std::size_t>(asked - current.sent.begin());
  if (current.is_answered[number]) return true;
  current.is_answered[number] = true;
  ++current.answered;
  if (!current.first_at) current.first_at = now;
  current.last_at = now;
  advance(now);
  return true;
}

std::size_t ThrottleProbe::poll_datagram(bool& is_stream, MutableByteView out, TimePoint now) {
  if (is_done()) return 0;
  Series& current = series();
  const std::size_t count = current.sent.size();
  if (count == current.wanted || now < current.begun_at + gap() * static_cast<int>(count)) return 0;
  StunMessage request;
  request.transaction = make_transaction_id(tag_, secrets_);
  if (phase_ != Phase::kSlow) request.padding_bytes = kTrainDatagramBytes - kHeaderBytes;
  current.sent.push_back(request.transaction);
  current.is_answered.push_back(false);
  is_stream = phase_ == Phase::kStream;
  return encode_stun(request, {}, out);
}

TimePoint ThrottleProbe::ends_at() const {
  const Duration patience = phase_ == Phase::kStream ? kStreamPatience : kPatience;
  return series().begun_at + gap() * static_cast<int>(series().wanted) + patience;
}

bool ThrottleProbe::is_over(TimePoint now) const {
  return series().answered == series().wanted || now >= ends_at() ||
         (phase_ == Phase::kStream && !has_stream_);
}

void ThrottleProbe::advance(TimePoint now) {
  while (!is_done() && is_over(now)) begin(static_cast<Phase>(static_cast<int>(phase_) + 1), now);
}

void ThrottleProbe::give_up_stream(TimePoint now) {
  has_stream_ = false;
  advance(now);
}

std::optional<TimePoint> ThrottleProbe::next_timeout() const {
  if (is_done()) return std::nullopt;
  const Series& current = series();
  if (current.sent.size() == current.wanted) return ends_at();
  return current.begun_at + gap() * static_cast<int>(current.sent.size());
}

void ThrottleProbe::conclude() {
  const auto& [slow, train, stream] = series_;
  report_.evidence.push_back(fmt::format("{} of {} small datagrams, {} ms apart, were answered",
                                         slow.answered, slow.sent.size(), kSlowGap / 1ms));
  report_.evidence.push_back(
      fmt::format("{} of {} datagrams of {} bytes, sent within {} ms, were "
                  "answered",
                  train.answered, train.sent.size(), kTrainDatagramBytes, kTrainTime / 1ms));
  if (train.answered >= kTrainAnsweredMin) {
    report_.throttling = Throttling::kNone;
    return;
  }
  if (slow.answered < kSlowAnsweredMin || train.answered > kTrainThinMax) return;
  const bool is_whole = stream.answered == kTrainCount;
  report_.evidence.push_back(
      is_whole ? fmt::format("over TCP all of them were, within {} ms",
                             (*stream.last_at - stream.begun_at) / 1ms)
               : fmt::format("over TCP {} of them were: the service may have had enough",
                             stream.answered));
  if (!is_whole) return;
  const Duration spread = train.first_at ? *train.last_at - *train.first_at : Duration::zero();
  report_.throttling =
      spread <= kTrainTime + kSpreadSlack ? Throttling::kThrottled : Throttling::kSlowLine;
}

}  // namespace openp2p::nat
