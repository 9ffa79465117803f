#include "path/timeline.h"

#include <algorithm>
#include <array>

namespace openp2p::path {
namespace {

constexpr std::array<std::string_view, kTimelineEvents> kTexts{
    "candidate",     "planned",   "method-begun", "method-ended", "path-selected",
    "path-switched", "path-lost", "black-hole",   "failed"};

bool is_candidate(const TimelineEntry& entry) { return entry.event == TimelineEvent::kCandidate; }

}  // namespace

std::string_view timeline_event_text(TimelineEvent event) {
  return kTexts[static_cast<std::size_t>(event)];
}

void Timeline::add(const TimelineEntry& entry) {
  if (is_candidate(entry) &&
      std::ranges::count_if(entries_, is_candidate) >= static_cast<long>(kCandidatesMax)) {
    ++std::find_if(entries_.rbegin(), entries_.rend(), is_candidate)->count;
    return;
  }
  if (entries_.size() == kEntriesMax) entries_.erase(entries_.begin());
  entries_.push_back(entry);
}

}  // namespace openp2p::path
