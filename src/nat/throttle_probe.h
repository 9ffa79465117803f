#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"
#include "nat/stun_message.h"

namespace openp2p::nat {

enum class Throttling {
  kUnknown,
  kNone,       ///< A short train of full datagrams arrives.
  kThrottled,  ///< It is thinned out, though the line carries as much over TCP.
  kSlowLine,   ///< It is, but so it would be by the line's own rate.
};

/// "unknown", "none", "throttled", "slow line"
std::string_view throttling_text(Throttling throttling);

struct ThrottleReport {
  Throttling throttling = Throttling::kUnknown;
  std::vector<std::string> evidence;  ///< A line each, for people.
};

/// Whether networks on the way to a STUN service hold UDP back, measured with at most 100 KB.
///
/// One after the other: a few small datagrams, slowly, which show what is lost anyway; a train of
/// full ones in 80 ms (5 Mbit/s); and the same bytes over TCP. Each is a Binding request, answered
/// by some 60 bytes, so nothing is amplified; padded ones are refused (420), which is an answer,
/// too. UDP is held back where the train is thinned out although slow datagrams arrive, TCP brings
/// all, and what came of the train came as fast as it was sent: a slow line delays before it drops.
///
/// What it does not see: limits above 1.5 Mbit/s or with a burst of more than 15 KB (half of the
/// train has to be lost), those of the other direction, those that begin after seconds, or that
/// know STUN.
/// Sans-I/O. Within 10 s. Threading: one owner.
class ThrottleProbe {
 public:
  static constexpr unsigned kSlowCount = 20;
  static constexpr Duration kSlowGap = std::chrono::milliseconds(30);
  static constexpr unsigned kTrainCount = 40;  ///< 48 KB, over each protocol.
  static constexpr std::size_t kTrainDatagramBytes = 1'200;
  static constexpr Duration kTrainGap = std::chrono::milliseconds(2);
  static constexpr Duration kPatience = std::chrono::seconds(1);  ///< For the last answer of UDP.
  static constexpr Duration kStreamPatience = std::chrono::seconds(5);

  ThrottleProbe(std::uint32_t tag, SecretSource& secrets, TimePoint now);

  /// True: the datagram is an answer to one of these.
  bool on_datagram(ByteView datagram, bool is_stream, TimePoint now);
  void on_timeout(TimePoint now) { advance(now); }
  /// 0: nothing now. `is_stream`: over TCP, else by UDP.
  std::size_t poll_datagram(bool& is_stream, MutableByteView out, TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  void give_up_stream(TimePoint now);  ///< There is no connection any more.

  bool is_done() const { return phase_ == Phase::kDone; }
  const ThrottleReport& report() const { return report_; }  ///< Complete when done.

 private:
  enum class Phase { kSlow, kTrain, kStream, kDone };
  struct Series {
    unsigned wanted = 0;
    std::vector<TransactionId> sent;
    std::vector<bool> is_answered;
    unsigned answered = 0;
    TimePoint begun_at{};
    std::optional<TimePoint> first_at, last_at;  ///< Of answers.
  };

  Series& series() { return series_[static_cast<std::size_t>(phase_)]; }
  const Series& series() const { return series_[static_cast<std::size_t>(phase_)]; }
  bool is_over(TimePoint now) const;
  TimePoint ends_at() const;
  Duration gap() const;
  void begin(Phase phase, TimePoint now);
  void advance(TimePoint now);
  void conclude();

  const std::uint32_t tag_;
  SecretSource& secrets_;
  Phase phase_ = Phase::kSlow;
  bool has_stream_ = true;
  Series series_[3];
  ThrottleReport report_;
};

}  // namespace openp2p::nat
