#include "sim/counters.h"

#include <numeric>

namespace openp2p::sim {

std::string_view drop_reason_text(DropReason reason) {
  switch (reason) {
    case DropReason::kLoss:
      return "loss";
    case DropReason::kQueueFull:
      return "queue full";
    case DropReason::kTooBig:
      return "too big";
    case DropReason::kDown:
      return "link down";
    case DropReason::kBlackhole:
      return "blackhole";
    case DropReason::kNoRoute:
      return "no route";
    case DropReason::kHops:
      return "too many hops";
    case DropReason::kUnsolicited:
      return "unsolicited";
    case DropReason::kNoHairpin:
      return "no hairpin";
    case DropReason::kNoPort:
      return "no port left";
    case DropReason::kBlocked:
      return "blocked";
    case DropReason::kClosed:
      return "no socket";
  }
  return "unknown";
}

std::uint64_t Counters::dropped_total() const {
  return std::accumulate(dropped.begin(), dropped.end(), std::uint64_t{0});
}

}  // namespace openp2p::sim
