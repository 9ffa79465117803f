#include "agent/platform.h"

namespace openp2p::agent {
namespace {

const char* words(DialError error) {
  switch (error) {
    case DialError::kRefused: return "connection refused";
    case DialError::kUnreachable: return "unreachable";
    case DialError::kTimedOut: return "timed out";
    case DialError::kNameNotFound: return "name not found";
    case DialError::kDenied: return "not allowed";
    case DialError::kFailed: return "failed";
  }
  return "failed";
}

}  // namespace

std::error_code make_error_code(DialError error) {
  static const ErrorCategory<DialError> kCategory("dial", words);
  return {static_cast<int>(error), kCategory};
}

}  // namespace openp2p::agent
