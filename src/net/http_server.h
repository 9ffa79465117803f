#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "net/http_message.h"
#include "net/io_context.h"

namespace openp2p::net {

/// A small HTTP/1.1 server on a Unix socket, for the local API: only this user and root get in.
///
/// Limits: kHttpConnectionsMax connections, one request at a time on each, sizes as in
/// http_message.h, and times as in HttpConnection. What is beyond gets a status that says so.
///
/// Threading: the loop's thread, on which the handler runs too. The handler may answer at once or
/// later, and must not destroy the server. Destroying the server ends all connections; replies that
/// are still held then do nothing.
class HttpServer {
 public:
  /// A person runs one or two commands at a time; the rest is room for a program that polls.
  static constexpr std::size_t kHttpConnectionsMax = 32;

  /// The folder of `socket_path` must exist, of mode 0700. The socket of a dead process is
  /// replaced.
  static Result<std::unique_ptr<HttpServer>> listen(IoContext& io, std::string socket_path,
                                                    HttpHandler handler);
  ~HttpServer();  ///< Removes the socket.
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace openp2p::net
