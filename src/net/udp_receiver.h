#pragma once

#include <array>
#include <span>

#include "net/socket_address.h"
#include "net/udp_socket.h"

namespace openp2p::net {

/// Shared by all receivers, so that hundreds of them cost little.
struct UdpBuffers::Slots {
  struct Slot {
    iovec slice;
    SocketAddress address;
    UdpControlRoom control;
  };
  std::array<UdpMessage, kCount> messages;
  std::array<Slot, kCount> slots;
  std::array<Received, kCount> received;
};

/// The receiving half of a UdpSocket: one call fills up to UdpBuffers::kCount buffers, each with a
/// train of datagrams from one sender. Goes on with recvmsg() where there is no recvmmsg().
class UdpReceiver {
 public:
  struct Config {
    int socket = -1;
    UdpSyscalls* syscalls = nullptr;
    UdpBuffers* buffers = nullptr;
    UdpCounters* counters = nullptr;
    bool takes_empty = false;
  };
  explicit UdpReceiver(const Config& config) : config_(config) {}
  UdpReceiver(const UdpReceiver&) = delete;
  UdpReceiver& operator=(const UdpReceiver&) = delete;

  struct Batch {
    std::span<const Received> received;  ///< Valid until the next call on any socket.
    bool may_have_more = false;
    int error = 0;  ///< What an earlier datagram met, as ICMP told a connected socket.
  };
  Batch receive();

 private:
  void prepare();
  int fill();
  int fill_one_by_one();
  bool read_message(std::size_t index, Received& out) const;

  Config config_;
  bool has_many_ = true;
};

}  // namespace openp2p::net
