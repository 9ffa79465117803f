#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "nat/stun_message.h"
#include "path/planner.h"
#include "path/port_series.h"
#include "path/probe_budget.h"
#include "path/socket_source.h"

namespace openp2p::path {

/// Runs the steps of a plan: says from which socket to which port the next check goes, opens the
/// fan of sockets for it, and remembers what was asked, so that an answer is recognized. A check
/// of a spray is an ordinary one; what it meets becomes an ordinary pair, and until then it is
/// neither a candidate nor a pair, of which there are few.
///
/// What it can cost: for each plan at most Plan::kSocketsMax sockets and what ProbeBudget grants
/// when it starts, since peers count on it from then on; all towards one IPv4 address, which others
/// cannot choose (SideProfile::udp.external). Sans-I/O
/// but for the sockets it asks for; all of them are closed by the destructor at the latest.
class Spray {
 public:
  struct Probe {
    Path path;
    std::uint8_t hop_limit = 0;
    Method method = Method::kBirthday;
  };
  /// For the timeline: what began or ended since the last poll_event().
  struct Event {
    bool is_end = false;
    Method method = Method::kBirthday;
    ReasonCode reason = ReasonCode::kNone;
    unsigned count = 0;
  };

  /// Both may be nullptr: without sockets there are no fans, without a budget no searches.
  Spray(SocketSource* sockets, ProbeBudget* budget) : sockets_(sockets), budget_(budget) {}
  ~Spray();
  Spray(const Spray&) = delete;
  Spray& operator=(const Spray&) = delete;

  /// Begins the steps of a plan towards the NAT at `external`; earlier ones end. The fans of
  /// earlier ones stay open until close_unused().
  void start(const Plan& plan, const IpAddress& external, TimePoint go_at, Random random,
             TimePoint now);
  /// Where fans aim at: the peer's reflexive address. Until it is known they wait.
  void set_target(const Address& target);
  /// From where ports are asked: this party's socket for IPv4. Until it is known they wait.
  void set_main_socket(SocketId socket) { main_ = socket; }
  void postpone(Duration delay);  ///< All steps that have not begun.
  /// All steps end: a path was found, or the peer is given up.
  void stop(TimePoint now);

  /// nullopt: nothing to send now. The check that is made of a probe is told by on_sent().
  std::optional<Probe> poll(TimePoint now);
  void on_sent(const Path& path, Method method, const nat::TransactionId& id, TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::optional<Event> poll_event();

  /// Entries of the own router that stop() would give back.
  unsigned held(TimePoint now) const;
  bool is_running() const { return !runs_.empty(); }
  bool owns(SocketId socket) const;
  /// The method by which this path was asked, or its socket opened; nullopt: it was not.
  std::optional<Method> method_of(const Path& path) const;
  /// When the check that this answers was sent; nullopt: no such check on that path.
  std::optional<TimePoint> on_answer(const Path& from, const nat::TransactionId& id) const;

  std::span<const SocketId> fan() const { return fan_; }
  void close(SocketId socket);
  std::uint64_t probes_sent() const { return probes_sent_; }

 private:
  struct Run {
    Step step;
    PortSeries ports;
    TimePoint next_at;
    unsigned granted = 0;  // Entries.
    unsigned sent = 0;
    bool is_begun = false;
  };
  struct Asked {
    nat::TransactionId id;
    TimePoint at;
    Method method = Method::kBirthday;
  };

  static unsigned wanted(const Run& run);
  bool is_ready(const Run& run) const;
  bool begin(Run& run, TimePoint now);
  bool is_too_late(const Run& run, TimePoint now) const;
  std::optional<Probe> next_of(Run& run, TimePoint now);
  void end(Run& run, ReasonCode reason);
  void drop_ended();
  void expect(const Plan::Arrivals& arrivals, TimePoint go_at, TimePoint now);
  void expect_no_more(TimePoint now);
  void give_back(Run& run);
  unsigned not_arrived(TimePoint now) const;

  SocketSource* sockets_;
  ProbeBudget* budget_;
  IpAddress external_;
  std::optional<Address> target_;
  std::optional<SocketId> main_;
  std::vector<Run> runs_;
  std::vector<SocketId> fan_;
  std::optional<Method> fan_method_;
  std::unordered_map<Path, Asked> asked_;  // Of the last plan: at most its entries.
  std::vector<Event> events_;
  std::uint64_t probes_sent_ = 0;
  Plan::Arrivals arrivals_;  // Of the peer's part, which the budget was told to expect.
  TimePoint arrive_at_;
};

}  // namespace openp2p::path
