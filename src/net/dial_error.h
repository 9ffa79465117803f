#pragma once

#include <system_error>

namespace openp2p::net {

/// Why a dial failed. Of several addresses, the failure that tells most is reported: a refusal
/// before a timeout before no route.
enum class DialError {
  kRefused = 1,
  kUnreachable,
  kTimedOut,
  kNameNotFound,
  kNameLookupFailed,  ///< No answer from the name server, or too many questions wait.
  kVetoed,            ///< Every address of the host was vetoed.
  kNoResources,       ///< No descriptors or memory left.
};
std::error_code make_error_code(DialError error);

}  // namespace openp2p::net

template <>
struct std::is_error_code_enum<openp2p::net::DialError> : std::true_type {};
