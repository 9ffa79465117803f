#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "agent/node.h"
#include "net/deferred.h"
#include "net/io_context.h"
#include "net/timer.h"
#include "net/udp_socket.h"

/// Runs a Node on real sockets.
///
/// The loop: input of any kind -> the node; at the end of the turn, poll the node until nothing is
/// left or the turn's share is used up, and arm the one timer. For a moment after bulk data it does
/// not sleep, since more is about to come. A datagram train that the kernel does not take waits
/// here, and nothing more is polled until there is room.
///
/// Threading: the loop's thread.
namespace openp2p::agent {

class NodeDriver {
 public:
  NodeDriver(net::IoContext& io, Node::Options options);
  ~NodeDriver();

  /// Opens the UDP sockets: IPv4, and IPv6 where the machine has it. Gives a sentence if not even
  /// one can be had.
  std::optional<std::string> open(std::uint16_t port);
  void start();
  /// Says goodbye to everybody, and sends that at once.
  void stop();
  Node& node() { return *node_; }
  void request_flush() { flush_.request(); }

 private:
  class Socket;
  struct Held {
    SocketId socket;
    Address to;
    Bytes bytes;
    std::size_t segment_bytes;
  };
  void flush(TimePoint now);
  void send(const session::Transmit& transmit, TimePoint now);
  void stay_awake(std::size_t bytes);

  net::IoContext& io_;
  net::UdpBuffers receive_buffers_;
  Bytes send_buffer_;
  net::Deferred flush_;
  net::Deferred awake_;  ///< Its requests keep the loop turning until awake_until_.
  std::optional<TimePoint> awake_until_;  ///< nullopt: from the next look at the clock on.
  net::Timer timer_;
  std::unique_ptr<Node> node_;
  std::array<std::unique_ptr<Socket>, 2> sockets_;
  std::optional<Held> held_;
};

}  // namespace openp2p::agent
