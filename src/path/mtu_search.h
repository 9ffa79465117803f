#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace openp2p::path {

/// Finds the largest UDP payload that one path carries, and notices when it shrinks.
///
/// Source: RFC 8899 (DPLPMTUD). Probes are padded checks; what is answered fits. All sizes are
/// tried in one round, since a burst of six datagrams is cheaper than six round trips. The size in
/// use is confirmed along with each consent check; three misses are a black hole (section 4.3). A
/// path on which not even the base is answered is of no use for QUIC, however alive it looks.
/// Sans-I/O: says when to probe what, and is told the outcome.
class MtuSearch {
 public:
  static constexpr std::size_t kBaseBytes = 1200;  ///< RFC 8899's BASE_PLPMTU, QUIC's minimum.
  static constexpr std::size_t kSizesMax = 6;
  static constexpr int kRoundsMax = 3;  ///< MAX_PROBES.
  static constexpr int kMissesMax = 3;
  static constexpr Duration kRaiseAfter = std::chrono::minutes(10);  ///< PMTU_RAISE_TIMER.
  static constexpr Duration kRoundMin = std::chrono::milliseconds(300);

  explicit MtuSearch(bool is_v4);

  std::size_t datagram_bytes() const { return known_bytes_; }
  /// Three rounds of all sizes, the base included, went unanswered.
  bool is_too_narrow() const { return is_too_narrow_; }
  /// Nothing is to be searched: a TCP connection cuts its segments itself.
  void set_fixed(std::size_t bytes);
  void restart(TimePoint now);  ///< Forgets all: what lies on the path may be another.
  /// Consent is being asked: a good moment to confirm the size, and to try for more now and then.
  void on_consent(TimePoint now);
  /// Data went unanswered though small checks are: is it the size?
  void doubt(TimePoint now);

  std::optional<TimePoint> next_probe_at() const;
  /// The size to send now; 0: none. Counts as sent.
  std::size_t poll_probe(TimePoint now, Duration rtt);
  void on_answer(std::size_t bytes);

 private:
  void start_round(TimePoint now);
  bool is_wanted(std::size_t bytes) const;
  void end_round(TimePoint now, Duration rtt);
  std::size_t poll_confirmation(TimePoint now, Duration rtt);
  std::size_t poll_search(TimePoint now, Duration rtt);

  std::array<std::uint16_t, kSizesMax> sizes_;  // Largest first.
  std::size_t known_bytes_ = kBaseBytes;
  bool is_base_known_ = false;
  bool is_too_narrow_ = false;
  int rounds_left_ = 0;
  std::size_t next_size_ = 0;  // Of this round: an index into sizes_.
  std::optional<TimePoint> search_at_;
  std::optional<TimePoint> raise_at_;
  std::optional<TimePoint> confirm_at_;
  int misses_ = 0;
  bool is_doubted_ = false;
  bool is_fixed_ = false;
};

}  // namespace openp2p::path
