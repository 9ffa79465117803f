#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "net/io_context.h"
#include "net/udp_syscalls.h"

/// Batched UDP.
///
/// The hot path, per 64 KiB of datagrams (44 of 1,452 bytes): one system call to receive (GRO), one
/// to send (GSO), one copy in the kernel each; per wake-up one epoll_wait(), one epoll_ctl() and
/// one clock read. No allocation. Measured on loopback, both ends on one core: 26 Gbit/s, against
/// 1.1 without offloads.
namespace openp2p::net {

/// Where received datagrams land: allocated once and shared by all sockets of a program, since
/// there is one thread and what arrived is handled before the next call. The kernel gives memory to
/// a buffer only when it is first used, so an idle program pays almost nothing.
class UdpBuffers {
 public:
  static constexpr std::size_t kCount = 8;          // 512 KiB: what fits a level 2 cache.
  static constexpr std::size_t kBytes = 64 * 1024;  // The largest UDP payload, or GRO train.
  struct Slots;                                     // What a system call fills beside them.

  UdpBuffers();
  ~UdpBuffers();
  UdpBuffers(const UdpBuffers&) = delete;
  UdpBuffers& operator=(const UdpBuffers&) = delete;
  MutableByteView operator[](std::size_t i) { return {bytes_.get() + i * kBytes, kBytes}; }
  Slots& slots() { return *slots_; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::unique_ptr<Slots> slots_;
};

/// Datagrams that one address sent and the kernel coalesced: all of `segment_bytes`, but the last,
/// which may be shorter.
struct Received {
  Address from;
  IpAddress local;  ///< The address it was sent to; unspecified where the system does not tell.
  unsigned int interface_index = 0;
  ByteView datagrams;  ///< In UdpBuffers: gone when the handler returns.
  std::size_t segment_bytes = 0;
};

/// Datagrams to one address, laid out likewise, of any total size.
struct Outgoing {
  Address to;        ///< Port 0: to the one peer of a socket that has one.
  IpAddress source;  ///< Ours to send from; unspecified: the kernel chooses.
  ByteView datagrams;
  std::size_t segment_bytes = 0;
  /// Of the IP header, for datagrams that are to die on their way; 0: the system's own.
  std::uint8_t hop_limit = 0;
};

/// How far a send() came: `batches` were dealt with whole, and of the next one `bytes`. Dealt with
/// means sent or, as UDP may, dropped: those are counted, and reported to the handler.
struct SendProgress {
  std::size_t batches = 0;
  std::size_t bytes = 0;
};

/// A handler must not destroy the socket. Errors never end a socket: each is about one destination.
class UdpHandler {
 public:
  virtual ~UdpHandler() = default;
  virtual void on_datagrams(std::span<const Received> batch, TimePoint now) = 0;
  /// The kernel has room again, after a send() that could not finish. Told once.
  virtual void on_writable(TimePoint now) = 0;
  /// From inside send(), which it must not call: no way to `to` now (no route, a firewall, no
  /// network). The rest of that Outgoing was dropped.
  virtual void on_unreachable(const Address& to, std::error_code error) = 0;
  /// Likewise: datagrams of that size do not fit the first link of the path.
  virtual void on_too_big(const Address& to, std::size_t datagram_bytes) = 0;
  /// Of a socket with one peer, maybe from inside send(): ICMP says that an earlier datagram did
  /// not arrive, since nobody listens or nothing leads there.
  virtual void on_refused(std::error_code) {}
};

struct UdpCounters {
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t receive_calls = 0;
  std::uint64_t send_calls = 0;
  std::uint64_t receive_errors = 0;  ///< ICMP errors and the like; receiving goes on.
  std::uint64_t truncated = 0;       ///< Datagrams dropped because they did not fit a buffer.
  std::uint64_t unreachable = 0;     ///< Batches dropped, and told by on_unreachable().
  std::uint64_t too_big = 0;         ///< Batches dropped, and told by on_too_big().
  std::uint64_t no_buffers = 0;      ///< Messages dropped because the kernel had no memory.
  std::uint64_t blocked = 0;         ///< Calls of send() that could not finish.
  std::uint64_t offload_failures = 0;
};

class UdpSocket {
 public:
  /// Binds to `local` (port 0: any). Errors are the system's; `address_in_use` if another program
  /// has the port, `address_not_available` or `address_family_not_supported` where the machine has
  /// no such address. `io`, `buffers` and `handler` outlive the socket.
  static Result<std::unique_ptr<UdpSocket>> open(IoContext& io, const Address& local,
                                                 UdpBuffers& buffers, UdpHandler& handler,
                                                 UdpOptions options = {});
  ~UdpSocket();
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  /// Sends at once what the kernel takes. Where that is not all, the handler hears on_writable(),
  /// and offers the rest again: nothing is kept here.
  SendProgress send(std::span<const Outgoing> batches, TimePoint now);

  /// A datagram without a byte, which no Outgoing can be. False: the kernel did not take it.
  bool send_empty(const Address& to, const IpAddress& source);

  Address local_address() const;  ///< With the real port.
  const UdpCounters& counters() const;
  bool is_offloading() const;  ///< Whether the next batch would leave in one piece.

 private:
  struct State;
  explicit UdpSocket(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace openp2p::net
