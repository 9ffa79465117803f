#pragma once

#include <cstdint>
#include <string_view>

namespace openp2p::path {

/// Why there is no path, or none better, or why something was tried and ended.
enum class ReasonCode : std::uint8_t {
  kNone,            ///< There is a path and it is as good as can be.
  kChecking,        ///< Checks are under way.
  kNoCandidates,    ///< The peer named no address that this node can reach (family, sockets).
  kNoAnswer,        ///< No check was answered: a NAT or firewall in between lets none through.
  kLostConsent,     ///< The path went silent and no other answers.
  kBothRandom,      ///< Both NATs choose new ports for new destinations that cannot be told.
  kUdpBlockedHere,  ///< No UDP passes here, and TCP is no way either.
  kUdpBlockedThere,
  kUdpBlockedBoth,
  kTcpBlocked,       ///< Only TCP may be used, and it is blocked or cannot pass the NATs.
  kSprayMissed,      ///< One NAT chooses random ports, and none of those asked was hit.
  kBudgetExhausted,  ///< Such a search would have cost a router more entries than is fair.
  kMethodsDisabled,  ///< What could work is switched off by an option, here or there.
  kBlackHole,        ///< Small datagrams pass and full-size ones do not; there is no other path.
  kWaitingForRetry,  ///< The last attempt failed, and the next has its time.
  kUdpThrottled,     ///< TCP is used, though UDP passes: it carries clearly more.
  kBlockMissed,      ///< One NAT counts, the other has a block: one search in four meets.
};
inline constexpr int kReasonCodes = 17;

std::string_view reason_text(ReasonCode reason);  ///< For people.
std::string_view reason_name(ReasonCode reason);  ///< For machines, never changed: "no-answer".
/// It follows from what the networks are like, and not from one attempt's luck.
bool is_lasting(ReasonCode reason);

}  // namespace openp2p::path
