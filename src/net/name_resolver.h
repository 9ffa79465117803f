#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "net/io_context.h"

namespace openp2p::net {

/// Turns a host's name into its addresses. A virtual seam, so that tests need no name server.
class NameResolver {
 public:
  using Callback = std::function<void(Result<std::vector<IpAddress>> addresses)>;
  static constexpr std::size_t kAddressesMax = 32;  ///< Of one answer; the rest is ignored.

  /// A question under way. Destroying it withdraws it: the callback does not come.
  class Lookup {
   public:
    virtual ~Lookup() = default;
  };

  virtual ~NameResolver() = default;
  /// Errors are DialError: kNameNotFound, kNameLookupFailed. The callback comes from the loop,
  /// never from inside this call; it may destroy the Lookup.
  virtual std::unique_ptr<Lookup> look_up(const std::string& name, Callback callback) = 0;
};

/// The system's resolver (getaddrinfo) on a thread of its own, one question at a time; at most 256
/// may wait, further ones fail. `io` outlives it.
std::unique_ptr<NameResolver> make_name_resolver(IoContext& io);

}  // namespace openp2p::net
