#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/address.h"

/// What UDP sockets ask of the operating system: the narrow waist between the logic in
/// udp_sender.cc and udp_receiver.cc, which is portable, and udp_linux.cc or udp_portable.cc.
namespace openp2p::net {

/// One message of a batch; laid out as Linux's mmsghdr.
struct UdpMessage {
  ::msghdr header;
  unsigned int bytes;  ///< Received or sent.
};

/// The calls that move datagrams. Each returns what it moved, or -errno. Virtual, so that tests can
/// force every error; a virtual call is nothing beside a system call.
class UdpSyscalls {
 public:
  virtual ~UdpSyscalls() = default;
  virtual int receive_many(int socket, std::span<UdpMessage> messages) = 0;  ///< recvmmsg(2).
  virtual int receive_one(int socket, UdpMessage& message) = 0;              ///< recvmsg(2).
  virtual int send_many(int socket, std::span<UdpMessage> messages) = 0;     ///< sendmmsg(2).
  virtual int send_one(int socket, const UdpMessage& message) = 0;           ///< sendmsg(2).
};

/// The system's own. "Many" gives -ENOSYS where there is no such call.
std::unique_ptr<UdpSyscalls> make_udp_syscalls();

struct UdpOptions {
  /// Asked of the kernel for each direction. 8 MiB hold 3 ms at 20 Gbit/s: what may arrive while
  /// the loop is busy elsewhere. An ordinary user gets no more than net.core.rmem_max.
  int buffer_bytes = 8 << 20;
  bool wants_offload = true;  ///< UDP_SEGMENT and UDP_GRO, where the kernel has them.
  /// Where the system fragments what is larger than a link carries, as other programs have it; else
  /// nothing is ever fragmented.
  bool may_fragment = false;
  /// The one address to talk to; told from then on: on_refused(). Outgoing::to has port 0 then.
  std::optional<Address> peer;
  bool takes_empty = false;  ///< Datagrams without a byte are handed over too.
  /// Tests' own system calls; nullptr: the system's.
  std::unique_ptr<UdpSyscalls> syscalls;
};

/// Sets what can be set on a new UDP socket: only IPv6 on an IPv6 socket, large buffers, never
/// fragment unless options say so, tell each datagram's local address, coalesce on receipt. Nothing
/// here may fail the socket. True if the kernel can segment on sending.
bool configure_udp_socket(int socket, bool is_v4, const UdpOptions& options);

/// What the kernel tells beside received datagrams.
struct UdpReceivedControl {
  std::size_t segment_bytes = 0;  ///< 0: not coalesced.
  IpAddress local;                ///< Unspecified where the system does not tell.
  unsigned int interface_index = 0;
};
UdpReceivedControl read_udp_control(const ::msghdr& header);

/// Room for what goes beside sent and received datagrams.
struct alignas(::cmsghdr) UdpControlRoom {
  std::byte bytes[96];
};

/// What goes beside one sent message. Points header.msg_control at `room`.
struct UdpSendControl {
  std::size_t segment_bytes = 0;  ///< 0: no segmentation.
  IpAddress source;               ///< Unspecified: the kernel chooses.
  std::uint8_t hop_limit = 0;     ///< 0: the socket's own.
  bool is_v4 = true;
};
void write_udp_control(::msghdr& header, UdpControlRoom& room, const UdpSendControl& control);

}  // namespace openp2p::net
