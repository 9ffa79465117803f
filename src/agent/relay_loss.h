#pragma once

#include <cstdint>

#include "base/time.h"
#include "session/session.h"

/// What a relayed path loses from end to end, while it is the one in use: packets of streams that
/// this end sends, as QUIC declares them lost (RFC 9002 section 6.1), and sealed datagrams of the
/// peer's that are missing. Neither can be made to look better by the relay.
///
/// Sans-I/O. Threading: one owner.
namespace openp2p::agent {

class RelayLoss {
 public:
  /// What one judgement rests on: some round trips, and packets enough for a percentage.
  static constexpr Duration kWindow = std::chrono::seconds(2);
  static constexpr std::uint64_t kWindowPackets = 200;
  /// A full queue loses up to 2 %, bad radio 5 %; with more, a stream gets no tenth of the line.
  static constexpr unsigned kLossPermilleMax = 60;
  static constexpr int kBadWindows = 2;  ///< In a row: slow start loses more, once.
  /// After the path came into use: what the one before it lost is noticed late.
  static constexpr Duration kSettle = std::chrono::seconds(2);

  /// About once a second while anything flows.
  void on_sample(const quic::Traffic& traffic, const session::SealedArrivals& arrivals,
                 bool is_in_use, TimePoint now);
  /// It loses so much that another relay is worth a try. Good until the next window ends.
  bool is_bad() const { return bad_windows_ >= kBadWindows; }
  /// Of all since the last call; while it is bad, of the last window: that is what comes next. 0
  /// where nothing was sent.
  unsigned take_permille();

 private:
  struct Count {
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;
  };
  static unsigned permille(const Count& count);
  void begin(const Count& total, TimePoint now);

  bool was_in_use_ = false;
  TimePoint settled_at_;
  TimePoint window_began_at_;
  Count window_begin_;  ///< Of the session, then.
  Count last_;          ///< Of the session, at the last sample.
  Count untold_;        ///< Of this path, since take_permille().
  Count window_;        ///< The last whole one.
  int bad_windows_ = 0;
};

}  // namespace openp2p::agent
