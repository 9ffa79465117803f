#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "net/http_message.h"

namespace openp2p::net {

struct HttpResponse {
  unsigned status = 0;
  std::string content_type;
  std::string body;
};

/// Asks the local API, one request a connection. Blocks: for the command line, which has nothing
/// else to do.
///
/// Errors: HttpError::kNotRunning, kNotPermitted, kTimedOut, kMalformed, kTooLarge, kClosed, or a
/// system error.
class HttpClient {
 public:
  static constexpr std::size_t kBodyBytesMax = 16 * 1024 * 1024;  ///< 20 x the largest answer.

  /// `silence_max`: how long the agent may say nothing before the call fails.
  HttpClient(std::string socket_path, Duration silence_max);

  Result<HttpResponse> request(std::string_view method, std::string_view target,
                               std::string_view body) const;

  /// Gives each line of a successful (2xx) answer to `on_line` as it comes, without its newline;
  /// `on_line` returning false ends the call. The body of other answers is in the response.
  using OnLine = std::function<bool(std::string_view line)>;
  Result<HttpResponse> stream(std::string_view method, std::string_view target,
                              std::string_view body, const OnLine& on_line) const;

 private:
  std::string socket_path_;
  Duration silence_max_;
};

}  // namespace openp2p::net
