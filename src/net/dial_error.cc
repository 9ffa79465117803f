#include "net/dial_error.h"

#include "base/result.h"

namespace openp2p::net {
namespace {

const char* words(DialError error) {
  switch (error) {
    case DialError::kRefused:
      return "connection refused";
    case DialError::kUnreachable:
      return "no route to the host";
    case DialError::kTimedOut:
      return "no answer in time";
    case DialError::kNameNotFound:
      return "no host of that name";
    case DialError::kNameLookupFailed:
      return "the name server does not answer";
    case DialError::kVetoed:
      return "not allowed by the policy of this node";
    case DialError::kNoResources:
      return "out of file descriptors or memory";
  }
  return "unknown";
}

}  // namespace

std::error_code make_error_code(DialError error) {
  static const ErrorCategory<DialError> category("dial", words);
  return {static_cast<int>(error), category};
}

}  // namespace openp2p::net
