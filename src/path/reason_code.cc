#include "path/reason_code.h"

#include <array>

namespace openp2p::path {
namespace {

struct Words {
  std::string_view name;
  std::string_view text;
};

constexpr std::array<Words, kReasonCodes> kWords{{
    {"none", "the best path known is in use"},
    {"checking", "checks are under way"},
    {"no-candidates", "the peer named no address that this node can reach"},
    {"no-answer", "no check was answered: a NAT or firewall in between lets none through"},
    {"lost-consent", "the path went silent and no other answers"},
    {"both-random",
     "both NATs choose a new port for each destination, and at least one's cannot be told"},
    {"udp-blocked-here", "UDP is blocked at this node, and TCP cannot replace it"},
    {"udp-blocked-there", "UDP is blocked at the peer, and TCP cannot replace it"},
    {"udp-blocked-both", "UDP is blocked at both nodes, and TCP cannot replace it"},
    {"tcp-blocked", "only TCP could be used, and it cannot pass"},
    {"spray-missed", "one NAT chooses random ports, and none of those asked was the right one"},
    {"budget-exhausted", "a search for the port would have cost a router too many entries"},
    {"methods-disabled", "what could work is switched off by an option"},
    {"black-hole", "small datagrams pass, full-size ones do not, and there is no other path"},
    {"waiting-for-retry", "the last attempt failed, and the next one has its time"},
    {"udp-throttled", "UDP is held back or loses too much, so TCP is used or tried instead"},
    {"block-missed",
     "not met yet: one NAT takes ports from a block, so one search in four meets, every few "
     "minutes"},
}};

}  // namespace

std::string_view reason_text(ReasonCode reason) {
  return kWords[static_cast<std::size_t>(reason)].text;
}
std::string_view reason_name(ReasonCode reason) {
  return kWords[static_cast<std::size_t>(reason)].name;
}

bool is_lasting(ReasonCode reason) {
  switch (reason) {
    case ReasonCode::kBothRandom:
    case ReasonCode::kUdpBlockedHere:
    case ReasonCode::kUdpBlockedThere:
    case ReasonCode::kUdpBlockedBoth:
    case ReasonCode::kTcpBlocked:
    case ReasonCode::kMethodsDisabled:
      return true;
    case ReasonCode::kNone:
    case ReasonCode::kChecking:
    case ReasonCode::kNoCandidates:
    case ReasonCode::kNoAnswer:
    case ReasonCode::kLostConsent:
    case ReasonCode::kSprayMissed:
    case ReasonCode::kBudgetExhausted:
    case ReasonCode::kBlackHole:
    case ReasonCode::kWaitingForRetry:
    case ReasonCode::kUdpThrottled:
    case ReasonCode::kBlockMissed:
      return false;
  }
  return false;
}

}  // namespace openp2p::path
