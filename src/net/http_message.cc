#include "net/http_message.h"

#include "base/result.h"

namespace openp2p::net {
namespace {

const char* words(HttpError error) {
  switch (error) {
    case HttpError::kNotRunning:
      return "nobody listens on the socket";
    case HttpError::kAlreadyRunning:
      return "another process listens on the socket";
    case HttpError::kNotPermitted:
      return "the socket belongs to another user";
    case HttpError::kFolderNotPrivate:
      return "the socket's folder is open to other users";
    case HttpError::kPathTooLong:
      return "the socket's path is too long";
    case HttpError::kTimedOut:
      return "no answer in time";
    case HttpError::kMalformed:
      return "the answer is not HTTP";
    case HttpError::kTooLarge:
      return "the answer is too large";
    case HttpError::kClosed:
      return "the connection ended in the middle";
  }
  return "unknown";
}

}  // namespace

std::error_code make_error_code(HttpError error) {
  static const ErrorCategory<HttpError> category("http", words);
  return {static_cast<int>(error), category};
}

}  // namespace openp2p::net
