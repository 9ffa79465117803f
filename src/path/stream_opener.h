#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "path/candidate.h"
#include "path/method.h"
#include "path/port_series.h"
#include "path/probe_budget.h"
#include "path/socket_source.h"
#include "path/token_bucket.h"

namespace openp2p::path {

/// Opens TCP connections to the peer, for when there is no path over UDP.
///
/// Source: RFC 6544 (TCP candidates), RFC 9293 section 3.5 (simultaneous open), RFC 5382 (what NATs
/// do with SYNs). Addresses that may be listening are simply connected to. Towards reflexive ones
/// both sides connect at the same moments from the port that they listen on, so that each SYN opens
/// its own NAT before the other's arrives; it then meets the connecting socket, or the listener.
///
/// The moments: a campaign has kSteps of them, counted from the one both sides agreed on; each
/// closes what did not come up and sends fresh SYNs, since the system repeats its own only each
/// second. The gaps grow, so that the later steps wait for 300 ms round trips and more. A NAT that
/// drops unsolicited SYNs silently needs no precision: the later SYN of the two passes. One that
/// answers with RST needs both under way at once, that is, apart by less than the one-way delay; so
/// the controlling side moves its moments to and fro around the common ones, by more each time,
/// which makes up for what signalling got wrong.
///
/// What a campaign left in a NAT may be in the way of the next: one that keeps ports gives another
/// where the peer's SYN came before ours, one that counts keeps for minutes a mapping that the peer
/// did not foresee. So each round connects from the next port, which both sides know.
///
/// Toward others: only addresses that may be asked, and no more SYNs to one that never answered
/// than checks (RemoteCandidate): kConnectsPerAddress at once, then one each kTrickle; together
/// kConnectsBurst, then one a second; and what the ProbeBudget leaves to one IP address. Sans-I/O.
/// Threading: one owner.
class StreamOpener {
 public:
  static constexpr std::size_t kTargetsMax = 16;        ///< Addresses that the peer may name.
  static constexpr std::size_t kTargetsPerHostMax = 4;  ///< .. of them, ports of one IP address.
  static constexpr std::size_t kPendingMax = 24;        ///< Connections on the way at once.
  static constexpr int kConnectsPerAddress = 12;
  static constexpr Duration kTrickle = std::chrono::seconds(10);
  static constexpr int kConnectsBurst = 96;
  static constexpr unsigned kPredictedPerStep = 12;  ///< Ports, where the peer's NAT counts them.
  static constexpr unsigned kPredictedBehind = 3;    ///< .. so many not after the last one.
  static constexpr int kSteps = 9;                   ///< 5 s.
  /// So much later than UDP, which in easy cases has a path by then, and no SYN is sent at all. At
  /// once where UDP is known not to pass.
  static constexpr Duration kUdpLead = std::chrono::milliseconds(200);
  /// One that just came up gets this long to be proven before more are opened.
  static constexpr Duration kProofPatience = std::chrono::seconds(1);
  static constexpr Duration kRestFirst = std::chrono::seconds(10);  ///< Between campaigns; doubles.
  static constexpr Duration kRestMax = std::chrono::minutes(2);

  /// `sockets` may be nullptr: then nothing is opened. `budget` is the host's, or nullptr. Both
  /// outlive this.
  StreamOpener(SocketSource* sockets, ProbeBudget* budget, bool is_controlling, Duration rtt_hint)
      : sockets_(sockets), budget_(budget), is_controlling_(is_controlling), rtt_hint_(rtt_hint) {}
  ~StreamOpener() { stop(); }
  StreamOpener(const StreamOpener&) = delete;
  StreamOpener& operator=(const StreamOpener&) = delete;

  /// Host candidates name the port to connect from; reflexive ones are told to the peer now.
  void add_local(const Candidate& candidate);
  void add_remote(const Candidate& candidate, TimePoint now);
  /// `go_at`: where a campaign is to begin; nullopt: what goes on goes on.
  void set_profiles(const SideProfile& own, const SideProfile& peer, unsigned round,
                    std::optional<TimePoint> go_at, TimePoint now);
  /// Whether there is no path, or one that is doubted. Told whenever it may have changed.
  void set_wanted(bool is_wanted, TimePoint now);
  bool is_wanted() const { return is_wanted_; }
  /// The peer has named an address in the internet that it had not before: it is elsewhere, or
  /// looks for a path by TCP. Until set_profiles().
  bool has_news() const { return has_news_; }
  /// Or this side has: both sides begin anew, at the moment that set_profiles() tells.
  bool is_due() const { return has_news_ || has_told_; }
  /// The network changed: a campaign begins, `udp_lead` after UDP.
  void restart(Duration udp_lead, TimePoint now);

  /// A connection of the session is up, asked for here or come in. Gives what made it.
  Method on_connected(const Path& path, TimePoint now);
  void on_closed(SocketId socket);  ///< It ended, or did not come to be. Unknown ones are ignored.

  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::uint64_t connects() const { return connects_made_; }
  /// The methods by which connects were made since the last call.
  MethodSet take_tried() { return std::exchange(tried_, MethodSet::none()); }

 private:
  struct Target {
    Address address;
    bool is_direct = false;  // May be listening: connected to without the peer's help.
    TokenBucket connects{kConnectsPerAddress, kTrickle};
  };
  struct Attempt {
    SocketId socket;
    Address remote;
    Method method = Method::kTcpDirect;
    TimePoint since;
  };
  struct Up {
    Path path;
    TimePoint since;
  };

  bool may_open() const { return sockets_ != nullptr && is_wanted_ && has_targets(); }
  bool has_targets() const { return !targets_.empty() || prediction_; }
  void begin(TimePoint now);
  void step(TimePoint now);
  void connect_targets(TimePoint now);
  void connect_predicted(TimePoint now);
  bool connect(const Address& remote, Method method, std::uint16_t local_port, TimePoint now);
  std::uint16_t local_port_for(const Target& target) const;
  Address asked_at(const Target& target) const;
  bool is_up(const Address& remote) const;
  bool is_under_way(const Address& remote) const;
  void close_pending(TimePoint until);
  void stop();
  Duration shift(int step) const;
  void plan_prediction(const SideProfile& own, const SideProfile& peer);

  SocketSource* sockets_;
  ProbeBudget* budget_;
  const bool is_controlling_;
  const Duration rtt_hint_;
  MethodSet methods_ = MethodSet::all();
  std::uint16_t local_port_ = 0;
  unsigned local_shift_ = 0;  // Of the ports that simultaneous opens leave from, in this round ..
  unsigned peer_shift_ = 0;   // .. and of those at which the peer's NAT, at peer_ip_, shows them.
  IpAddress peer_ip_;
  std::vector<Target> targets_;
  std::optional<PortSeries> prediction_;
  IpAddress predicted_ip_;
  bool is_prediction_mutual_ = false;
  unsigned predicted_ = 0;
  std::vector<Attempt> pending_;
  std::vector<Up> up_;
  TokenBucket connects_{kConnectsBurst, std::chrono::seconds(1)};
  std::uint64_t connects_made_ = 0;
  MethodSet tried_ = MethodSet::none();

  bool is_wanted_ = false;
  TimePoint go_at_ = TimePoint::min();
  TimePoint grid_at_;  // The current step's moment, before it is moved.
  int step_ = 0;
  bool is_resting_ = false;  // Between two campaigns.
  std::optional<TimePoint> next_at_;
  Duration rest_ = kRestFirst;
  Duration udp_lead_ = kUdpLead;
  bool has_news_ = false;
  bool has_told_ = false;
  Address told_;
};

}  // namespace openp2p::path
