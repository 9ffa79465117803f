#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "forward/local_datagrams.h"
#include "net/io_context.h"
#include "net/udp_socket.h"

/// forward::LocalDatagrams over real sockets.
namespace openp2p::net {

/// Memory for what sockets receive and gather, shared by all of them: a socket holds a part of it
/// only between its first send() and its flush(). Threading: the loop's thread.
class LocalUdpMemory {
 public:
  /// Where datagrams gather: one of the largest, or 106 of 1,200 bytes.
  static constexpr std::size_t kGatherBytes = 128 << 10;
  static constexpr std::size_t kEntriesMax = 64;  ///< What one sendmmsg() takes.
  static constexpr std::size_t kKeptMax = 8;      ///< Sockets that gather at one time, in practice.

  /// Datagrams that wait for one call: those of equal size to one address are a train.
  struct Gathered {
    Gathered() : bytes(kGatherBytes) { outgoing.reserve(kEntriesMax); }
    Bytes bytes;
    std::size_t used = 0;
    std::vector<Outgoing> outgoing;
  };

  UdpBuffers& buffers() { return buffers_; }
  std::unique_ptr<Gathered> take();
  void give(std::unique_ptr<Gathered> gathered);

 private:
  UdpBuffers buffers_;
  std::vector<std::unique_ptr<Gathered>> free_;
};

/// A port that local programs send to. Errors as UdpSocket::open(). All arguments outlive it.
Result<std::unique_ptr<forward::LocalDatagrams>> listen_local_udp(
    IoContext& io, const Address& at, LocalUdpMemory& memory,
    forward::LocalDatagramsHandler& handler);

/// A socket with one remote address, the first of `addresses` that can be had. While nothing has
/// come back, and an address turns out to refuse, the next one is tried, with what was sent so far
/// (kResentMax datagrams): "localhost" has two, and most services listen on one.
inline constexpr std::size_t kResentMax = 8;
Result<std::unique_ptr<forward::LocalDatagrams>> connect_local_udp(
    IoContext& io, std::vector<Address> addresses, LocalUdpMemory& memory,
    forward::LocalDatagramsHandler& handler);

}  // namespace openp2p::net
