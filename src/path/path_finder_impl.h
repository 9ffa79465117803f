#pragma once

#include <optional>
#include <vector>

#include "base/replay_window.h"
#include "path/check_list.h"
#include "path/path_finder.h"
#include "path/planner.h"
#include "path/preference.h"
#include "path/spray.h"
#include "path/stream_opener.h"
#include "path/timeline.h"
#include "path/token_bucket.h"

namespace openp2p::path {

/// The inside of PathFinder. A source for each concern: candidates and reports
/// (path_finder.cc), STUN in and out (path_finder_checks.cc), which path is used and whether it
/// lives (path_finder_choice.cc), TCP (path_finder_streams.cc), and plans and searches
/// (path_finder_reach.cc).
class PathFinder::Impl {
 public:
  Impl(const PathFinderConfig& config, Random random, Log log, TimePoint now);
  ~Impl() { wipe(config_.check_key); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void add_local(const Candidate& candidate, TimePoint now);
  void remove_socket(SocketId socket, TimePoint now);
  void add_remote(const Candidate& candidate, TimePoint now);
  void add_proven(const Path& path, TimePoint now);
  void set_profiles(const SideProfile& local, const SideProfile& peer, unsigned round,
                    TimePoint go_at, TimePoint now);
  void be_quiet(TimePoint until);
  void on_peer_told() { is_peer_told_ = true; }
  std::optional<TimePoint> closed_until(const Path& path, TimePoint now) const;
  void add_connection(const Path& path, const Address& local, TimePoint now);
  void add_relayed(const Path& path, TimePoint now, unsigned rank);
  bool is_proof(const nat::StunMessage& message, ByteView raw) const;
  void on_stun(const Path& from, const nat::StunMessage& message, ByteView raw, TimePoint now);
  void on_authentic(const Path& from, TimePoint now);
  void on_sent(TimePoint now);
  bool is_silent(TimePoint now) const;
  void note_elsewhere(TimePoint now);
  void ask_if_silent(TimePoint now);
  void prefer_streams(bool is_preferred, TimePoint now);
  std::optional<Transport> direct_transport() const;
  void on_network_changed(TimePoint now);
  void set_mapping_lifetime(std::optional<Duration> lifetime) { mapping_lifetime_ = lifetime; }
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::size_t poll_datagram(CheckTarget& to, MutableByteView out, TimePoint now);
  std::optional<Address> reflexive_v4() const { return reflexive_v4_; }
  std::optional<Address> answered_v4() const { return answered_v4_; }
  const Path* selected() const { return selected_ == nullptr ? nullptr : &selected_->path(); }
  const Path* duplicate_to(TimePoint now) const;
  std::optional<Duration> selected_rtt() const;
  std::size_t datagram_bytes() const;
  bool is_failed() const { return is_failed_ && selected_ == nullptr; }
  bool is_doubted() const { return suspect_since_.has_value(); }
  ReasonCode reason() const;
  std::vector<PairReport> report() const;
  const Counters& counters() const { return counters_; }
  std::vector<TimelineEntry> timeline() const { return timeline_.entries(); }
  std::optional<Method> method() const;
  unsigned search_entries_held(TimePoint now) const { return spray_.held(now); }

 private:
  /// Answers wait here for poll_datagram only; drivers poll after each batch.
  static constexpr std::size_t kAnswersMax = 32;

  struct Answer {
    Path to;
    nat::TransactionId transaction;
  };

  // path_finder.cc
  bool has_direct() const;  ///< What is selected goes over no relay.
  bool is_controlling() const { return config_.role == IceRole::kControlling; }
  void revive(TimePoint now);
  void restart_all(TimePoint now);
  void note(const TimelineEntry& entry);

  // path_finder_checks.cc
  void on_request(const Path& from, const nat::StunMessage& message, ByteView raw, TimePoint now);
  void on_answer(const Path& from, const nat::StunMessage& message, ByteView raw, TimePoint now);
  bool is_addressed_to_us(const nat::StunMessage& message) const;
  CheckPair* learn(const Path& from, TimePoint now);
  void queue_answer(const Path& to, const nat::TransactionId& transaction);
  void trigger(CheckPair& pair, TimePoint now);
  void share_wakeup(CheckPair& pair, TimePoint now);
  CheckPair* next_due(TimePoint now);
  TimePoint next_check_at(const CheckPair& pair, TimePoint now) const;
  void spend_check(CheckPair& pair, TimePoint now);
  void note_answer(CheckPair& pair);
  std::size_t write_answer(Path& to, MutableByteView out);
  std::size_t write_check(CheckPair& pair, MutableByteView out, TimePoint now);
  std::size_t poll_probe(Path& to, MutableByteView out, TimePoint now);
  nat::StunMessage make_check(const Path& path, bool is_nomination);

  // path_finder_choice.cc
  void on_pair_answered(CheckPair& pair, TimePoint now);
  void on_nomination(CheckPair& pair, std::uint64_t number, TimePoint now);
  void select(CheckPair* pair, TimePoint now);
  void consider_better(TimePoint now);
  CheckPair* best_other(TimePoint answered_since, TimePoint now);
  void schedule_settled(TimePoint now);
  Duration standby_interval() const;
  Duration patience() const;
  Duration lost_after() const;
  Duration overdue_after() const;
  void suspect(TimePoint now);
  void trust();
  void watch_selected(TimePoint now);
  bool is_overtaken(TimePoint now);
  void lose_selected(TimePoint now);
  bool watch_width(TimePoint now);
  void watch_others(TimePoint now);
  void note_challenger(const CheckPair& pair, TimePoint now);
  void watch_challenger(TimePoint now);
  std::optional<TimePoint> choice_deadline() const;

  // path_finder.cc
  Duration jittered(Duration interval);
  void start_sweeps(TimePoint now);
  void sweep(TimePoint now);
  void share_consent_wakeup(TimePoint now);

  // path_finder_streams.cc
  void note_peer_wish(bool is_preferred, std::uint64_t number, TimePoint now);
  void on_favour_changed(TimePoint now);
  Favour favour() const;
  bool are_streams_wanted() const;
  bool is_over_favoured_stream() const;
  void tend_streams(TimePoint now);
  bool is_unneeded(const CheckPair& stream, TimePoint now) const;
  TimePoint unneeded_at(const CheckPair& stream) const;
  std::optional<TimePoint> streams_deadline() const;

  // path_finder_reach.cc
  bool fit(Plan& plan, TimePoint now) const;
  bool is_turn(Plan plan, TimePoint now) const;
  void start_search(TimePoint now);
  void set_patience(TimePoint now);
  bool is_hopeless() const;
  void prepare(CheckPair& pair, TimePoint now);
  void note_begun(Method method, std::optional<Address> to, TimePoint now);
  void hold(CheckPair& pair, TimePoint now);
  std::uint8_t opener_hops(const CheckPair& pair, TimePoint now) const;
  bool may_spoil(const CheckPair& pair) const;
  TimePoint quiet_until(const CheckPair& pair) const;
  TimePoint closed_until(const CheckPair& pair) const;
  void begin_anew(TimePoint now);
  Method method_of(const CheckPair& pair) const;
  bool is_doubtful(TimePoint now) const;
  bool is_cut_off(TimePoint now) const;
  bool is_search_wanted() const;
  std::size_t poll_spray(CheckTarget& to, MutableByteView out, TimePoint now);
  void postpone_search();
  void note_search(TimePoint now);
  CheckPair* learn_searched(const Path& from, TimePoint now);
  void on_search_answer(const Path& from, const nat::StunMessage& message, ByteView raw,
                        TimePoint now);
  void note_choice(const CheckPair* old, TimePoint now);
  bool is_in_use(SocketId socket) const;
  void tidy_fan(TimePoint now);
  std::optional<TimePoint> reach_deadline() const;
  ReasonCode failure_reason() const;

  PathFinderConfig config_;
  std::optional<Duration> mapping_lifetime_;
  SideProfile local_profile_;
  SideProfile peer_profile_;
  Random random_;
  Log log_;
  Counters counters_;
  std::optional<Address> reflexive_v4_, answered_v4_;
  CheckList list_;
  TokenBucket pace_;
  /// Checks of a whole burst over all pairs may overtake each other; more than that do not.
  ReplayWindow<1024> replays_;
  std::uint64_t checks_numbered_ = 0;
  std::vector<Answer> answers_;

  CheckPair* selected_ = nullptr;  // Protected from eviction by list_.
  std::optional<Path> nominated_;  // By the peer; of the controlled side only.
  std::uint64_t nomination_number_ = 0;
  std::optional<Path> previous_;
  TimePoint duplicate_until_;
  TimePoint switched_at_;
  Duration hold_{};
  bool is_better_waiting_ = false;  // For the end of the hold.

  std::optional<TimePoint> waiting_since_;  // Something sent over selected_ wants an answer.
  bool is_peer_elsewhere_ = false;          // It sends over another path, and not over selected_.
  std::optional<TimePoint> suspect_since_;
  std::optional<Path> challenger_;
  TimePoint challenge_ends_at_;

  StreamOpener streams_;
  bool prefers_streams_ = false;       // The own wish ..
  bool peer_prefers_streams_ = false;  // .. and the peer's, by its check of this number.
  std::uint64_t peer_wish_number_ = 0;
  bool has_wished_ = false;  // The own wish is to be told, on each path anew.

  std::optional<Plan> plan_;
  MethodSet begun_ = MethodSet::none();  // Of this plan, as the timeline tells.
  unsigned round_ = 0;
  TimePoint go_at_;
  TimePoint moved_at_;  // The own network changed.
  TimePoint quiet_until_;
  TimePoint all_open_at_;      // By then nothing forbids any path.
  bool is_peer_told_ = false;  // Of the new address, by the next profiles.
  TimePoint come_by_;          // By then the peer, which was told, asks us here.
  Spray spray_;
  bool is_search_postponed_ = false;
  bool is_search_over_budget_ = false;
  TimePoint tidy_at_ = CheckPair::kNever;
  Timeline timeline_;

  TimePoint sweep_at_ = CheckPair::kNever;
  Duration sweep_gap_{};
  TimePoint give_up_at_;
  TimePoint refilled_at_;
  bool is_failed_ = false;  ///< The search for a direct path came to nothing.
  bool was_connected_ = false;
  bool was_direct_ = false;  ///< The peer was reached without a relay.
};

}  // namespace openp2p::path
