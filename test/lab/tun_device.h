#pragma once

#include <cstddef>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace openp2p::lab {

/// A TUN device: what the kernel routes to it is read here, and what is written here arrives at the
/// kernel, one IP packet a call. Lives in the network namespace its thread was in when it was
/// opened, and ends with this object. Needs CAP_NET_ADMIN in that namespace, and access to
/// /dev/net/tun.
class TunDevice {
 public:
  static Result<TunDevice> open(const std::string& name);
  TunDevice(TunDevice&& other) noexcept;
  TunDevice& operator=(TunDevice&&) = delete;
  ~TunDevice();

  int descriptor() const { return descriptor_; }
  Result<std::size_t> read(MutableByteView packet);  ///< 0: nothing is there at present.
  bool write(ByteView packet);                       ///< False: the kernel refused it.

 private:
  explicit TunDevice(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace openp2p::lab
