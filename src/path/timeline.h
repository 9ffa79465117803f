#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "path/method.h"
#include "path/reason_code.h"

namespace openp2p::path {

enum class TimelineEvent : std::uint8_t {
  kCandidate,     ///< The peer has an address; `count`: how many more after it.
  kPlanned,       ///< Both sides are known; `count`: the round; `reason`: why nothing can work.
  kMethodBegun,   ///< `count`: sockets or ports that it may use.
  kMethodEnded,   ///< `count`: those that it used; `reason`: why without success.
  kPathSelected,  ///< The first one, or the next after none.
  kPathSwitched,
  kPathLost,
  kBlackHole,  ///< Small datagrams pass and larger ones do not; `count`: the size that passed.
  kFailed,     ///< All was tried; `reason`.
};
inline constexpr int kTimelineEvents = 9;
std::string_view timeline_event_text(TimelineEvent event);  ///< "candidate", "method-begun", ..

/// What happened on the way to a path, for who asks why it is this one and not a better one.
struct TimelineEntry {
  TimePoint at;
  TimelineEvent event = TimelineEvent::kCandidate;
  std::optional<Method> method = {};
  ReasonCode reason = ReasonCode::kNone;
  std::optional<Address> address = {};
  unsigned count = 0;
};

/// The last entries. Candidates, which the peer names as it likes, are told one by one only at
/// first and then counted, so that they never push out the rest.
class Timeline {
 public:
  static constexpr std::size_t kEntriesMax = 64;  ///< Some attempts' worth; the oldest go.
  static constexpr std::size_t kCandidatesMax = 12;

  void add(const TimelineEntry& entry);
  const std::vector<TimelineEntry>& entries() const { return entries_; }

 private:
  std::vector<TimelineEntry> entries_;  // Oldest first.
};

}  // namespace openp2p::path
