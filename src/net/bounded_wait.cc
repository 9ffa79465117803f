#include "net/bounded_wait.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "net/clock.h"

namespace openp2p::net {
namespace {

std::error_code timed_out() { return std::make_error_code(std::errc::timed_out); }
bool is_retry(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

bool BoundedWait::is_over() const {
  pollfd withdrawn{cancelled_, POLLIN, 0};
  return monotonic_now() >= deadline_ || ::poll(&withdrawn, 1, 0) > 0;
}

bool BoundedWait::wait(int descriptor, short events, TimePoint end) const {
  end = std::min(end, deadline_);
  for (;;) {
    const Duration left = end - monotonic_now();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    std::array<pollfd, 2> both{pollfd{cancelled_, POLLIN, 0}, pollfd{descriptor, events, 0}};
    const int ready = ::poll(both.data(), both.size(), static_cast<int>(std::max<long>(ms, 0)));
    if (ready < 0 && errno != EINTR) return false;
    if (both[0].revents != 0) return false;
    if (ready > 0 && both[1].revents != 0) return true;
    if (ms <= 0) return false;
  }
}

Status BoundedWait::send_all(int descriptor, ByteView bytes, TimePoint end) const {
  while (!bytes.empty()) {
    if (!wait(descriptor, POLLOUT, end)) return timed_out();
    const ssize_t sent = ::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && is_retry(errno)) continue;
    if (sent < 0) return std::error_code(errno, std::system_category());
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<std::size_t> BoundedWait::receive(int descriptor, MutableByteView out, TimePoint end) const {
  for (;;) {
    if (!wait(descriptor, POLLIN, end)) return timed_out();
    const ssize_t received = ::recv(descriptor, out.data(), out.size(), 0);
    if (received >= 0) return static_cast<std::size_t>(received);
    if (!is_retry(errno)) return std::error_code(errno, std::system_category());
  }
}

}  // namespace openp2p::net
