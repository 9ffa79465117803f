#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "base/time.h"
#include "path/method.h"
#include "path/method_history.h"
#include "path/path_finder.h"
#include "path/port_series.h"
#include "path/reason_code.h"

namespace openp2p::path {

/// Our part of a method that needs more than checks between candidates. Steps run in parallel.
struct Step {
  enum class Part : std::uint8_t {
    kFan,  ///< One check from each of `count` new sockets to the peer's reflexive address.
    kAsk,  ///< Checks from the main socket to `count` ports of the peer's external address.
  };
  Method method = Method::kBirthday;
  Part part = Part::kFan;
  unsigned count = 0;
  PortRule ports;              ///< Of kAsk.
  unsigned passes = 1;         ///< Later ones mend losses; they cost packets, but no entries.
  Duration start{};            ///< After the moment on which both sides agreed.
  Duration gap{};              ///< Between two checks.
  std::uint8_t hop_limit = 0;  ///< Of fans; see Plan::opener_hops.
  friend bool operator==(const Step&, const Step&) = default;
};

/// What two sides do in one round of an attempt, from what both know of both: equal inputs give
/// plans that fit each other. Pure values and tables, no time, no randomness.
///
/// Which method goes with which NATs (rows and columns are NatClass; the table is symmetric):
///
///                open    fixed, preserving, unknown       sequential    blocks, random
///     open       punch   punch                            punch         punch
///     fixed, ..          punch, openers where touchy      predict-one   birthday
///     sequential                                          predict-both  blocks: predict-both
///     blocks, random                                                    none
///
/// From the second round on measurements are doubted: searches are wider, blocks and sequences are
/// taken for random ones, open NATs for fixed ones, and NATs that are not known or touchy for
/// random ones (which of two plays that part changes with the round); openers travel further.
struct Plan {
  static constexpr unsigned kSocketsMax = 600;    ///< Of a fan: a usual limit of files is 1,024.
  static constexpr unsigned kPortsMax = 980;      ///< With 600 sockets they miss once in 9,000.
  static constexpr std::uint8_t kOpenerHops = 3;  ///< Passes a home's router and a carrier's.
  static constexpr Duration kWatchFirst = std::chrono::milliseconds(400);

  MethodSet methods = MethodSet::all();  ///< Those that both sides allow.
  std::vector<Step> steps;
  /// Not 0: the first check to each reflexive address has this hop limit, so that it opens our NAT
  /// and does not reach the peer's, and real ones wait for the moment on which both agreed.
  std::uint8_t opener_hops = 0;
  /// What the searches of both sides make together in each of the two routers, and what of the
  /// first are the peer's probes, where the own NAT keeps what comes unasked.
  unsigned own_entries = 0;
  unsigned peer_entries = 0;
  struct Arrivals {
    unsigned count = 0;
    Duration start{};  ///< As of a Step.
    Duration gap{};
    friend bool operator==(const Arrivals&, const Arrivals&) = default;
  };
  Arrivals arrivals;
  /// What is said if the searches end without a path.
  ReasonCode missed = ReasonCode::kSprayMissed;
  /// Not kNone: nothing direct can work between NATs like these; IPv6 or a common LAN still may.
  ReasonCode reason = ReasonCode::kNone;

  bool is_hopeless() const { return reason != ReasonCode::kNone; }
  Duration duration() const;  ///< Until the last step has sent all.
  /// Makes the searches fit what both routers may yet be asked to remember. False: they do not, so
  /// there are none; the peer, which knows the same numbers, drops its part as well.
  bool fit(const SideProfile& own, const SideProfile& peer);
  /// No step waits to see whether easier ways work: they are known not to.
  void skip_watch();
  friend bool operator==(const Plan&, const Plan&) = default;
};

Plan make_plan(const SideProfile& own, const SideProfile& peer, IceRole role, unsigned round,
               const MethodHistory* history = nullptr);

}  // namespace openp2p::path
