#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/time.h"

/// Notices networks that hold UDP back, by what arrives, and says whether TCP is to be used.
///
/// What is acknowledged is watched by who sends it, what is not (sealed datagrams) by who receives
/// it and sees what is missing. UDP is bad while much of it is lost, or while far less arrives than
/// this session had before. Bad for long enough, TCP is asked for and tried: it is kept only if
/// clearly more arrives. UDP has a trial again after a rest, which grows from trial to trial,
/// whoever won: a guess that was wrong costs two changes of path, ever more rarely. A sender counts
/// only intervals in which the network was the limit: what a slow program sends says nothing.
///
/// A policer of more than about 2 Mbit/s that was there from the start loses less, and there is no
/// better past to compare with. It is suspected where a steady rate goes on losing while nothing
/// waits in a queue: then too TCP is tried, but rarely, since radio looks alike.
///
/// Rates are compared, not round trips or loss alone, since a policer of an otherwise empty line
/// shows neither in a check (RFC 8445). Sans-I/O. Threading: one owner.
namespace openp2p::path {

class GoodputWatch {
 public:
  /// How often the owner should tell; shorter ones would only cost wake-ups.
  static constexpr Duration kInterval = std::chrono::milliseconds(250);
  /// A longer one says that the program, or the whole machine, was held up.
  static constexpr Duration kIntervalMax = std::chrono::seconds(1);
  /// What one judgement rests on: some round trips, and packets enough for a percentage.
  static constexpr Duration kWindow = std::chrono::seconds(2);
  static constexpr std::uint64_t kWindowPackets = 200;
  /// Several in a row: the first of a transfer has the losses of slow start.
  static constexpr int kBadWindows = 2;
  /// Queues lose about 1 %, bad radio 5 %. A policer that leaves a round trip the room of a few
  /// packets makes congestion control lose more than 10 %, at 1 Mbit/s as well as below.
  static constexpr std::uint64_t kLossPercentMax = 8;
  /// A policer of 10 Mbit/s loses 1.1 %, slower ones more; a queue so short that the round trip
  /// does not show it 0.4 %. Receivers see no queues, of which some lose 1.6 %.
  static constexpr std::uint64_t kSuspiciousLossPermille = 7;
  static constexpr std::uint64_t kSuspiciousMissingPermille = 20;
  /// So many in a row, at rates no further apart than a quarter.
  static constexpr int kSuspiciousWindows = 4;
  static constexpr Duration kSuspicionRestFirst = std::chrono::minutes(10);
  static constexpr Duration kSuspicionRestMax = std::chrono::hours(2);
  /// UDP is bad if it carries less than this part of the session's best, over whatever path.
  static constexpr std::uint64_t kBestPart = 5;
  /// After a change of path the congestion window has to fit itself to it.
  static constexpr Duration kSettle = std::chrono::seconds(1);
  static constexpr int kTrialWindows = 3;  ///< TCP's congestion window starts small.
  static constexpr Duration kOpenPatience = std::chrono::seconds(15);  ///< Two attempts at TCP.
  static constexpr Duration kTrialPatience =
      std::chrono::minutes(1);  ///< Then too little was sent.
  static constexpr Duration kRestFirst = std::chrono::minutes(1);
  static constexpr Duration kRestMax = std::chrono::minutes(30);
  static constexpr Duration kRestForgiven = std::chrono::hours(2);  ///< Without a trial.

  /// Where the owner stands. A receiver does not know what else would have been sent: it goes by
  /// what is missing, and does not leave TCP because less comes.
  enum class View { kSender, kReceiver };
  explicit GoodputWatch(View view = View::kSender) : view_(view) {}

  struct Interval {
    Duration span{};
    std::uint64_t bytes_arrived = 0;  ///< Acknowledged; a receiver's own count.
    std::uint64_t packets_sent = 0;
    std::uint64_t packets_lost = 0;
    bool has_demand = false;  ///< More would have been sent if the network took it.
    bool is_stream = false;   ///< Over TCP; false: over UDP. Relayed time is not told.
    bool has_queue = false;   ///< The round trip is a quarter longer than it can be.
  };
  void on_interval(const Interval& interval, TimePoint now);
  void on_network_changed();  ///< What was measured counts no more.
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const { return deadline_; }

  /// TCP is wanted, be it for a trial; false: whatever is best otherwise.
  bool prefers_streams() const { return state_ != State::kUdp; }

 private:
  enum class State {
    kUdp,
    kAsked,    ///< TCP is being opened.
    kTrial,    ///< TCP is in use, and measured.
    kStreams,  ///< It has won.
  };

  void on_transport(bool is_stream, TimePoint now);
  void judge_udp(TimePoint now);
  void judge_stream(TimePoint now);
  bool is_udp_bad(std::uint64_t rate) const;
  bool loses(std::uint64_t permille) const;
  std::uint64_t suspicious_permille() const;
  bool is_suspicious(std::uint64_t rate, TimePoint now);
  void ask(TimePoint now);
  void begin_trial(TimePoint now);
  void keep_streams(TimePoint now);
  void give_up(TimePoint now);
  void try_udp();
  Duration next_rest(TimePoint now);

  const View view_;
  State state_ = State::kUdp;
  std::optional<TimePoint> deadline_;  // Of the state.
  std::optional<bool> is_stream_;      // Of the last interval.
  TimePoint settled_at_;
  Interval window_;             // The sum of those that count.
  int bad_windows_ = 0;         // In a row; of the transport in use.
  int trial_windows_ = 0;       // Of the trial of TCP that goes on.
  std::uint64_t udp_rate_ = 0;  // Bytes a second: the best of the bad windows, or the last.
  std::uint64_t stream_rate_ = 0;
  std::uint64_t best_rate_ = 0;
  bool is_udp_tried_ = false;                    // It is back for a trial against stream_rate_.
  TimePoint udp_kept_until_ = TimePoint::min();  // TCP lost a trial, or could not be had.
  int suspicious_windows_ = 0;                   // In a row, all between these two rates.
  std::uint64_t suspicious_low_ = 0;
  std::uint64_t suspicious_high_ = 0;
  TimePoint unsuspected_until_ = TimePoint::min();
  Duration suspicion_rest_ = kSuspicionRestFirst;  // After the next suspicion.
  Duration rest_ = kRestFirst;
  std::optional<TimePoint> rested_at_;
};

}  // namespace openp2p::path
