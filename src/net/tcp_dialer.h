#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/address.h"
#include "base/result.h"
#include "base/time.h"
#include "forward/local_stream.h"
#include "net/dial_error.h"
#include "net/io_context.h"
#include "net/name_resolver.h"

namespace openp2p::net {

struct DialRequest {
  std::string host;  ///< A name, or an IPv4 or IPv6 address as text, without brackets.
  std::uint16_t port = 0;
  Duration timeout = std::chrono::seconds(10);  ///< For all of it, the lookup included.
  /// Asked about each address before it is dialled; empty: all are allowed. A policy about
  /// destinations belongs here and not before the lookup: whoever owns a name can point it at any
  /// address, and elsewhere a moment later (DNS rebinding).
  std::function<bool(const IpAddress& address)> allows;
};

/// A dial under way. Destroying it gives it up: the callback does not come.
class Dial {
 public:
  virtual ~Dial() = default;
};

/// Opens TCP connections by name (RFC 8305, Happy Eyeballs): IPv6 and IPv4 addresses by turns, a
/// new attempt every 250 ms, or at once when the last one failed; the first to connect wins.
///
/// Threading: the loop's thread. `io` and `resolver` outlive the dialer, its dials and streams.
class TcpDialer {
 public:
  using Callback =
      std::function<void(Result<std::unique_ptr<forward::LocalStream>> stream_or_dial_error)>;

  TcpDialer(IoContext& io, NameResolver& resolver) : io_(io), resolver_(resolver) {}

  /// The callback comes once, from the loop and never from inside this call; it may destroy the
  /// Dial. Errors are DialError.
  std::unique_ptr<Dial> dial(DialRequest request, Callback callback);

 private:
  IoContext& io_;
  NameResolver& resolver_;
};

}  // namespace openp2p::net
