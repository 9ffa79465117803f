#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/tcp_queue.h"

namespace openp2p::net {
namespace {

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

std::size_t ask_bytes(int socket, unsigned long what) {
  int bytes = 0;
  if (::ioctl(socket, what, &bytes) != 0) return 0;
  return static_cast<std::size_t>(std::max(bytes, 0));
}

}  // namespace

bool is_tcp_queue_known() { return true; }

// The buffer holds what is on the way, too, and has to grow with the path: the kernel does that.
void limit_tcp_queue(int, std::size_t) {}

std::size_t unsent_bytes(int socket) { return ask_bytes(socket, SIOCOUTQNSD); }

std::size_t undelivered_bytes(int socket) { return ask_bytes(socket, SIOCOUTQ); }

void skip_time_wait(int socket) {
  if (undelivered_bytes(socket) != 0) return;
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  // Where it fails, the connection ends the usual way.
  static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
}

void watch_for_death(int socket) {
  constexpr int kIdleSeconds = 120;
  constexpr int kProbeEverySeconds = 15;
  constexpr int kProbesMax = 4;
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeEverySeconds);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbesMax);
  constexpr int kUnacknowledgedMax = 60'000;  // In milliseconds; paths are given up long before.
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnacknowledgedMax);
}

}  // namespace openp2p::net
