#include "server/refusal.h"

#include "server/store.h"

namespace openp2p::server {
namespace {

constexpr const char* kNewToken =
    "Make a new one on the server with: openp2p-server token new --user EMAIL";

/// A disk that is full stays so until somebody acts.
constexpr std::uint32_t kUnavailableRetrySeconds = 30;
constexpr std::uint32_t kBusyRetrySeconds = 5;

}  // namespace

Refusal refusal_of(std::error_code error) {
  const std::string new_token = kNewToken;
  if (error == make_error_code(StoreError::kTokenInvalid)) {
    return {RefusalCode::kTokenInvalid, "this server does not know the join token. " + new_token,
            0};
  }
  if (error == make_error_code(StoreError::kTokenExpired)) {
    return {RefusalCode::kTokenExpired, "the join token has expired. " + new_token, 0};
  }
  if (error == make_error_code(StoreError::kTokenUsed)) {
    return {RefusalCode::kTokenUsed,
            "the join token was used already, and is good for one node only. " + new_token, 0};
  }
  if (error == make_error_code(StoreError::kNoSuchNode)) {
    return {RefusalCode::kNotAMember,
            "this node is in no network of this server, or was removed from it. Make a join token "
            "on the server with: openp2p-server token new --user EMAIL; then run on the node: "
            "openp2p up --token TOKEN",
            0};
  }
  if (error == make_error_code(StoreError::kLimitReached)) {
    return {RefusalCode::kLimitReached,
            "the network has as many nodes as it may have (" + std::to_string(kNodesPerNetworkMax) +
                "). Remove one on the server with: openp2p-server node remove NAME",
            kUnavailableRetrySeconds};
  }
  return {RefusalCode::kUnavailable,
          "the server cannot use its database now: is its disk full? This node tries again by "
          "itself",
          kUnavailableRetrySeconds};
}

Refusal name_refusal(std::string_view wished) {
  return {
      RefusalCode::kNameInvalid,
      "the name \"" + printable(wished, 63) +
          "\" cannot be used: 1 to 63 bytes, no control characters, none of "
          "/\\:@,;\"'`<>|&$*?#% and no '-' in front. Choose another with: openp2p up --node NAME",
      0};
}

Refusal busy_refusal() {
  return {RefusalCode::kUnavailable, "the server is busy; this node tries again by itself",
          kBusyRetrySeconds};
}

}  // namespace openp2p::server
