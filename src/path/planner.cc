#include "path/planner.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "path/nat_class.h"
#include "path/probe_budget.h"

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

// Gaps. A fan costs its router one entry each; 500 a second is what a busy browser causes.
constexpr Duration kFanGap = 2ms;
constexpr Duration kAskGapShort = 3ms;
constexpr Duration kAskGapLong = 4ms;
/// Asking begins when most of a fan is up: sooner is wasted, later is late.
constexpr Duration kFanLead = 350ms;

constexpr unsigned kSequentialSockets = 4;
constexpr unsigned kSequentialPorts = 40;
constexpr unsigned kSequentialPortsMax = 320;
/// Both count: each port asked is an entry, and half as many drifts are covered.
constexpr unsigned kBothPorts = 320;
constexpr unsigned kBothPortsMax = 900;
constexpr unsigned kMendingPasses = 2;
/// Of a block, which a carrier gives to a whole home. As many meetings are to be expected.
constexpr unsigned kBlockPercent = 30;

/// Sockets x ports / range: e^-14 misses, were it not for the limits of both.
constexpr unsigned kMeetings = 14;
constexpr unsigned kSocketsMin = 8;
/// Where a NAT keeps an entry for each unsolicited packet too, it has those of both sides.
constexpr unsigned kTouchyEntriesMax = ProbeBudget::kEntriesMax;

constexpr unsigned kOpenerVariants = 3;

constexpr nat::PortRange kAllPorts{kPortMin, 65535};

/// One side, as this round sees it.
struct Side {
  const nat::NatProfile& profile;
  NatClass kind;
  bool is_touchy;
};

struct Search {
  unsigned sockets;
  unsigned ports;
};

Search search_of(unsigned range, bool are_both_kept) {
  const auto root = static_cast<unsigned>(std::lround(std::sqrt(9.0 * range)));
  const unsigned sockets = std::clamp(root, kSocketsMin, Plan::kSocketsMax);
  const unsigned ports = std::min(kMeetings * range / sockets + 1, range);
  const Search search{sockets, std::min(ports, Plan::kPortsMax)};
  if (!are_both_kept || search.sockets + search.ports <= kTouchyEntriesMax) return search;
  return {kTouchyEntriesMax / 2, kTouchyEntriesMax / 2};
}

/// As measured at first; later as what it may be instead.
NatClass doubted(NatClass kind, unsigned round) {
  if (round == 0) return kind;
  if (kind == NatClass::kOpen) return NatClass::kFixed;
  if (kind == NatClass::kBlocks) return NatClass::kRandom;
  if (kind == NatClass::kSequential && round >= 3) return NatClass::kRandom;
  return kind;
}

bool may_be_random(const Side& side) {
  return side.is_touchy || side.kind == NatClass::kUnknown || side.kind == NatClass::kPreserving;
}

/// Which of two mappings that should stay is taken for one that does not, after a failed round.
/// 0: neither; 1: the controlling side's; 2: the other.
int suspected(const Side& controlling, const Side& controlled, unsigned round) {
  if (round == 0) return 0;
  const bool first = may_be_random(controlling);
  const bool second = may_be_random(controlled);
  if (first && second) return round % 2 == 1 ? 1 : 2;
  if (first) return 1;
  return second ? 2 : 0;
}

class Planner {
 public:
  Planner(const SideProfile& own, const SideProfile& peer, IceRole role, unsigned round,
          MethodSet methods)
      : own_profile_(own),
        peer_profile_(peer),
        is_controlling_(role == IceRole::kControlling),
        round_(round),
        own_(side(own.udp)),
        peer_(side(peer.udp)) {
    plan_.methods = methods;
    suspect_one();
  }

  Plan make() {
    plan_udp();
    if (plan_.is_hopeless() && is_tcp_possible()) plan_.reason = ReasonCode::kNone;
    return std::move(plan_);
  }

 private:
  Side side(const nat::NatProfile& profile) const {
    return {profile, doubted(nat_class(profile), round_), is_touchy(profile)};
  }

  void suspect_one() {
    if (is_moving(own_.kind) || is_moving(peer_.kind)) return;
    const int who =
        is_controlling_ ? suspected(own_, peer_, round_) : suspected(peer_, own_, round_);
    if (who == 0) return;
    Side& suspect = (who == 1) == is_controlling_ ? own_ : peer_;
    if (suspect.kind == NatClass::kBlocked) return;
    suspect.kind = NatClass::kRandom;
    is_suspicion_ = true;
  }

  void plan_udp() {
    if (own_.kind == NatClass::kBlocked || peer_.kind == NatClass::kBlocked) return set_blocked();
    const bool is_tested = own_.kind != NatClass::kUnknown && peer_.kind != NatClass::kUnknown;
    const bool is_touchy = own_.is_touchy || peer_.is_touchy;
    if (is_touchy || !is_tested) {
      plan_.opener_hops = far_hops();
    }
    if (is_moving(own_.kind) && is_moving(peer_.kind)) return plan_both();
    if (is_moving(own_.kind)) return plan_one(own_, peer_, /*is_fan=*/true);
    if (is_moving(peer_.kind)) return plan_one(peer_, own_, /*is_fan=*/false);
    const bool has_way = has(Method::kDirect) || has(Method::kMapped) || has(Method::kPunch);
    if (!has_way) plan_.reason = ReasonCode::kMethodsDisabled;
  }

  void set_blocked() {
    const bool is_here = own_.kind == NatClass::kBlocked;
    const bool is_there = peer_.kind == NatClass::kBlocked;
    plan_.reason = is_here && is_there ? ReasonCode::kUdpBlockedBoth
                   : is_here           ? ReasonCode::kUdpBlockedHere
                                       : ReasonCode::kUdpBlockedThere;
  }

  bool has(Method method) const { return plan_.methods.has(method); }
  bool may_search() const {
    return is_searchable(own_.profile.external) && is_searchable(peer_.profile.external) &&
           // Behind one NAT the LAN or hairpinning is the way; searching it would be to no avail.
           own_.profile.external != peer_.profile.external;
  }

  void plan_both() {
    // As measured: there is no other way, so there is nothing to gain by a doubt.
    const NatClass own = nat_class(own_.profile);
    const NatClass peer = nat_class(peer_.profile);
    const bool one_counts = own == NatClass::kSequential || peer == NatClass::kSequential;
    const bool one_has_block = own == NatClass::kBlocks || peer == NatClass::kBlocks;
    if (!one_counts || (own != peer && !one_has_block)) {
      plan_.reason = ReasonCode::kBothRandom;
    } else if (!has(Method::kPredictBoth)) {
      plan_.reason = ReasonCode::kMethodsDisabled;
    } else if (may_search()) {
      one_has_block ? add_ask_of_block(own == NatClass::kBlocks) : add_ask_of_both();
    }
  }

  /// The one asks the next ports of the NAT that counts, and each datagram makes it a port
  /// somewhere in its block; the other asks ports of the block, each from its next one. A port that
  /// both use meets if the datagrams have chosen each other's: one in block.size().
  void add_ask_of_block(bool is_own) {
    const nat::PortRange& block = (is_own ? own_ : peer_).profile.block;
    const bool is_touchy = own_.is_touchy || peer_.is_touchy;
    const unsigned most = is_touchy ? kTouchyEntriesMax / 2 : kBothPortsMax;
    Step step{.method = Method::kPredictBoth,
              .part = Step::Part::kAsk,
              .count = std::min(block.size() * kBlockPercent / 100, most),
              .ports = {.range = block},
              .passes = kMendingPasses,
              .gap = kAskGapShort};
    if (is_own) step.ports = ahead(peer_, PortRule::Kind::kAhead);
    add(step);
    if (own_.is_touchy) plan_.arrivals = arrivals_of(step);
    // The whole budget: no other search takes from this block until routers have forgotten it.
    plan_.own_entries = plan_.peer_entries = ProbeBudget::kEntriesMax;
    plan_.missed = ReasonCode::kBlockMissed;
  }

  void add_ask_of_both() {
    const bool is_touchy = own_.is_touchy || peer_.is_touchy;
    const unsigned most = is_touchy ? kTouchyEntriesMax / 2 : kBothPortsMax;
    const unsigned count = std::min(kBothPorts << std::min(round_, 4U), most);
    const auto kind = is_controlling_ ? PortRule::Kind::kCatchUp : PortRule::Kind::kAhead;
    const Step step{.method = Method::kPredictBoth,
                    .part = Step::Part::kAsk,
                    .count = count,
                    .ports = ahead(peer_, kind),
                    .passes = kMendingPasses,
                    .gap = kAskGapLong};
    add(step);
    if (own_.is_touchy) plan_.arrivals = arrivals_of(step);
    plan_.own_entries = count + plan_.arrivals.count;
    plan_.peer_entries = count + (peer_.is_touchy ? count : 0);
  }

  static PortRule ahead(const Side& side, PortRule::Kind kind) {
    return {.kind = kind, .last = side.profile.last_port, .step = side.profile.step, .range = {}};
  }

  void plan_one(const Side& moving, const Side& fixed, bool is_fan) {
    // Who is let in from any port needs no search, and a peer that sends first is seen at once.
    if (fixed.kind == NatClass::kOpen) return;
    const bool is_sequence = moving.kind == NatClass::kSequential;
    const Method method = is_sequence ? Method::kPredictOne : Method::kBirthday;
    if (!has(method)) {
      if (!is_suspicion_) plan_.reason = ReasonCode::kMethodsDisabled;
      return;
    }
    if (!may_search()) return;
    const Search size = is_sequence ? sequence_search() : search(moving, fixed);
    const Step fan = fan_step(method, size, fixed);
    const Step ask = ask_step(method, size, moving, fixed);
    add(is_fan ? fan : ask);
    note_entries(fan, ask, {moving.is_touchy, may_arrive(fixed)}, is_fan);
  }

  struct Kept {
    bool asks;  ///< By the NAT of the moving side, ..
    bool fan;   ///< .. and by the other.
  };
  /// What each router will have to remember: of what its own side sends, and, where it keeps that,
  /// of what comes.
  void note_entries(const Step& fan, const Step& ask, const Kept& kept, bool is_fan) {
    const unsigned at_moving = fan.count + (kept.asks ? ask.count : 0);
    const unsigned at_fixed = ask.count + (kept.fan ? fan.count : 0);
    plan_.own_entries = is_fan ? at_moving : at_fixed;
    plan_.peer_entries = is_fan ? at_fixed : at_moving;
    const bool is_kept = is_fan ? kept.asks : kept.fan;
    if (is_kept) plan_.arrivals = arrivals_of(is_fan ? ask : fan);
  }
  static Plan::Arrivals arrivals_of(const Step& theirs) {
    return {theirs.count, theirs.start, theirs.gap};
  }

  static unsigned range_of(const Side& moving) {
    return moving.kind == NatClass::kBlocks ? moving.profile.block.size() : kAllPorts.size();
  }

  /// What might work without a search is given a moment first where nobody measured the filter.
  Duration patience(const Side& fixed) const {
    const bool is_sure = fixed.profile.filtering == nat::Dependence::kAddressAndPortDependent;
    return is_sure && !is_suspicion_ ? Duration::zero() : Plan::kWatchFirst;
  }

  /// Whether a NAT keeps an entry for each unsolicited packet, or may do so.
  static bool may_keep(const Side& fixed) {
    return fixed.is_touchy || fixed.profile.filtering == nat::Dependence::kUnknown;
  }

  std::uint8_t far_hops() const {
    return static_cast<std::uint8_t>(Plan::kOpenerHops + round_ % kOpenerVariants);
  }

  /// At first a fan's hop limit keeps it away from a NAT that may keep what arrives; later it goes
  /// further.
  Search search(const Side& moving, const Side& fixed) const {
    return search_of(range_of(moving), moving.is_touchy || may_arrive(fixed));
  }
  bool may_arrive(const Side& fixed) const { return may_keep(fixed) && round_ > 0; }

  Search sequence_search() const {
    return {kSequentialSockets,
            std::min(kSequentialPorts << std::min(round_, 3U), kSequentialPortsMax)};
  }

  Step fan_step(Method method, const Search& size, const Side& fixed) const {
    return {.method = method,
            .part = Step::Part::kFan,
            .count = size.sockets,
            .ports = {},
            .start = patience(fixed),
            .gap = kFanGap,
            .hop_limit = may_keep(fixed) ? far_hops() : plan_.opener_hops};
  }

  Step ask_step(Method method, const Search& size, const Side& moving, const Side& fixed) const {
    Step step{.method = method,
              .part = Step::Part::kAsk,
              .count = size.ports,
              .ports = {},
              .start = patience(fixed)};
    if (method == Method::kPredictOne) {
      step.ports = ahead(moving, PortRule::Kind::kAhead);
      step.passes = kMendingPasses;
      step.gap = kAskGapShort;
      return step;
    }
    step.ports.range = moving.kind == NatClass::kBlocks ? moving.profile.block : kAllPorts;
    const Duration fan_time = size.sockets * kFanGap;
    step.start += std::max(fan_time - kFanLead, Duration::zero());
    step.gap = fan_time > kFanLead ? kAskGapLong : kAskGapShort;
    return step;
  }

  void add(const Step& step) { plan_.steps.push_back(step); }

  /// TCP maps as UDP does where nobody measured it: most NATs have one rule for both.
  static NatClass tcp_class(const SideProfile& side) {
    const NatClass tcp = nat_class(side.tcp);
    const NatClass udp = nat_class(side.udp);
    return tcp == NatClass::kUnknown && udp != NatClass::kBlocked ? udp : tcp;
  }

  bool is_tcp_possible() const {
    const NatClass own = tcp_class(own_profile_);
    const NatClass peer = tcp_class(peer_profile_);
    if (own == NatClass::kBlocked || peer == NatClass::kBlocked) return false;
    if (has(Method::kTcpDirect) && (own == NatClass::kOpen || peer == NatClass::kOpen)) return true;
    if (!has(Method::kTcpSimultaneous)) return false;
    const bool own_moves = is_moving(own) && own != NatClass::kSequential;
    const bool peer_moves = is_moving(peer) && peer != NatClass::kSequential;
    return !own_moves && !peer_moves;
  }

  const SideProfile& own_profile_;
  const SideProfile& peer_profile_;
  const bool is_controlling_;
  const unsigned round_;
  Side own_;
  Side peer_;
  bool is_suspicion_ = false;
  Plan plan_;
};

constexpr std::array kUdpMethods{Method::kDirect,     Method::kMapped,   Method::kPunch,
                                 Method::kPredictOne, Method::kBirthday, Method::kPredictBoth};

bool has_udp(MethodSet methods) {
  return std::ranges::any_of(kUdpMethods, [&](Method method) { return methods.has(method); });
}

/// Truer words for a plan without hope: would it have one, were all methods allowed?
ReasonCode refined(ReasonCode reason, const Plan& unrestricted, MethodSet methods) {
  if (methods == MethodSet::all()) return reason;
  if (!unrestricted.is_hopeless()) {
    return has_udp(methods) ? ReasonCode::kMethodsDisabled : ReasonCode::kTcpBlocked;
  }
  return unrestricted.reason;
}

}  // namespace

Duration Plan::duration() const {
  Duration longest{};
  for (const Step& step : steps) {
    longest = std::max(longest, step.start + step.gap * (step.count * step.passes));
  }
  return longest;
}

bool Plan::fit(const SideProfile& own, const SideProfile& peer) {
  if (steps.empty()) return true;
  const unsigned own_left = own.entries_left.value_or(ProbeBudget::kEntriesMax);
  // Who does not tell has mostly searched for the same peer: this one.
  const unsigned peer_left = peer.entries_left.value_or(own_left);
  const unsigned own_percent = std::min(own_left, own_entries) * 100 / own_entries;
  const unsigned peer_percent = std::min(peer_left, peer_entries) * 100 / peer_entries;
  const unsigned percent = std::min(own_percent, peer_percent);
  if (percent < ProbeBudget::kWorthPercent) {
    steps.clear();
    return false;
  }
  for (Step& step : steps) step.count = step.count * percent / 100;
  arrivals.count = arrivals.count * percent / 100;
  return true;
}

void Plan::skip_watch() {
  for (Step& step : steps) {
    if (step.start >= kWatchFirst) step.start -= kWatchFirst;
  }
}

Plan make_plan(const SideProfile& own, const SideProfile& peer, IceRole role, unsigned round,
               const MethodHistory* history) {
  const MethodSet methods = own.methods & peer.methods;
  Plan plan = Planner(own, peer, role, round, methods).make();
  if (plan.is_hopeless()) {
    const Plan all = Planner(own, peer, role, round, MethodSet::all()).make();
    plan.reason = refined(plan.reason, all, methods);
  }
  if (history == nullptr) return plan;
  // Our part may begin without the wait that gives easier ways a chance, where they never helped.
  for (Step& step : plan.steps) {
    const bool is_usual = history->favours(nat_class(own.udp), nat_class(peer.udp), step.method);
    if (is_usual && step.start >= Plan::kWatchFirst) step.start -= Plan::kWatchFirst;
  }
  return plan;
}

}  // namespace openp2p::path
