#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

/// HTTP/1.1 (RFC 9112) as the local API uses it, between the command line and the agent, over a
/// Unix socket. What both ends share.
namespace openp2p::net {

enum class HttpError {
  kNotRunning = 1,    ///< Nobody listens on the socket.
  kAlreadyRunning,    ///< Somebody does.
  kNotPermitted,      ///< The socket belongs to another user.
  kFolderNotPrivate,  ///< Others could replace the socket.
  kPathTooLong,
  kTimedOut,
  kMalformed,
  kTooLarge,
  kClosed,  ///< The other side went away in the middle.
};
std::error_code make_error_code(HttpError error);

/// The largest body of a request: two orders above a forward's description.
inline constexpr std::size_t kHttpRequestBodyMax = 1024 * 1024;
/// The largest header of a request or response; ours have 200 bytes, curl's 300.
inline constexpr std::size_t kHttpHeaderMax = 8 * 1024;

struct HttpRequest {
  std::string method;  ///< "GET"
  std::string target;  ///< As sent: "/v1/forwards/a%20b"; begins with '/'.
  std::string body;
};

/// The answer to one request: either send() once, or start(), any number of write(), finish().
/// Dropped before its end, the client gets status 500, or a body that visibly ends too early.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  virtual void send(unsigned status, std::string_view content_type, std::string_view body) = 0;
  virtual void start(unsigned status, std::string_view content_type) = 0;
  /// False: the client is gone or does not read; stop.
  virtual bool write(std::string_view text) = 0;
  virtual void finish() = 0;
};

/// shared_ptr: owned by whatever will answer, often several copies of one callback.
using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<HttpReply>)>;

}  // namespace openp2p::net

template <>
struct std::is_error_code_enum<openp2p::net::HttpError> : std::true_type {};
