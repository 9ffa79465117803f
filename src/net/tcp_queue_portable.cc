#include <sys/socket.h>

#include "net/tcp_queue.h"

namespace openp2p::net {
namespace {

void set_option(int socket, int name, int value) {
  ::setsockopt(socket, SOL_SOCKET, name, &value, sizeof value);
}

}  // namespace

bool is_tcp_queue_known() { return false; }

// A small buffer limits the speed of long paths; a large one would hold seconds on slow ones.
void limit_tcp_queue(int socket, std::size_t bytes_max) {
  set_option(socket, SO_SNDBUF, static_cast<int>(bytes_max));
}

std::size_t unsent_bytes(int) { return 0; }

std::size_t undelivered_bytes(int) { return 0; }

// What is undelivered is not known, so everything ends the usual way.
void skip_time_wait(int) {}

void watch_for_death(int socket) { set_option(socket, SO_KEEPALIVE, 1); }

}  // namespace openp2p::net
