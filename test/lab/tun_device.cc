#include "test/lab/tun_device.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace openp2p::lab {
namespace {

std::error_code last_error() { return {errno, std::system_category()}; }

}  // namespace

Result<TunDevice> TunDevice::open(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  const int descriptor = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return last_error();
  TunDevice device(descriptor);
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(descriptor, TUNSETIFF, &request) != 0) return last_error();
  return device;
}

TunDevice::TunDevice(TunDevice&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

TunDevice::~TunDevice() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::size_t> TunDevice::read(MutableByteView packet) {
  const ssize_t size = ::read(descriptor_, packet.data(), packet.size());
  if (size >= 0) return static_cast<std::size_t>(size);
  if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
  return last_error();
}

bool TunDevice::write(ByteView packet) {
  return ::write(descriptor_, packet.data(), packet.size()) == static_cast<ssize_t>(packet.size());
}

}  // namespace openp2p::lab
