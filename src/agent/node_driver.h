#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/node.h"
#include "agent/stay_awake.h"
#include "net/deferred.h"
#include "net/io_context.h"
#include "net/stream_table.h"
#include "net/timer.h"
#include "net/udp_socket.h"
#include "path/socket_source.h"

/// Runs a Node on real sockets.
///
/// The loop: input of any kind -> the node; at the end of the turn, poll the node until nothing is
/// left or the turn's share is used up, and arm the one timer. For a moment after data it does not
/// sleep, where more is about to come. A datagram train that the kernel does not take waits
/// here, and nothing more is polled until there is room.
///
/// The two main sockets have the numbers 0 and 1; extra UDP sockets and TCP connections those
/// above, each once. What is sent over TCP and has no room is dropped (net::FramedStream).
///
/// Threading: the loop's thread.
namespace openp2p::agent {

class NodeDriver final : public path::SocketSource, private net::StreamTableHandler {
 public:
  /// One fan against a symmetric NAT takes 512; the rest are winners of earlier ones.
  static constexpr std::size_t kExtraSocketsMax = 600;
  /// Connections being tried, strangers and those of sessions; beyond, they are closed as they
  /// come.
  static constexpr std::size_t kStreamsMax = 512;

  NodeDriver(net::IoContext& io, Node::Options options);
  ~NodeDriver() override;

  /// Opens the UDP sockets: IPv4, and IPv6 where the machine has it. Gives a sentence if not even
  /// one can be had. Where any port will do, those of the last time are taken, if nobody has them.
  std::optional<std::string> open(std::uint16_t port, const OwnPorts& last = {});
  void start();
  /// Says goodbye to everybody, and sends that at once.
  void stop();
  Node& node() { return *node_; }
  void request_flush() { flush_.request(); }

  // path::SocketSource, for the node.
  std::optional<Opened> open_udp(bool is_v4) override;
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout) override;
  std::uint16_t listen_tcp() override;
  void close(SocketId socket) override;

 private:
  bool is_free(const Address& local);
  static constexpr std::size_t kMainSockets = 2;
  class Socket;
  struct Held {
    SocketId socket;
    Address to;
    Bytes bytes;
    std::size_t segment_bytes;
    std::uint8_t hop_limit;
  };
  bool send_polled(TimePoint now);
  void flush(TimePoint now);
  void send(const session::Transmit& transmit, TimePoint now);
  void note_moved(std::size_t bytes, TimePoint now);
  Socket* find(SocketId socket);
  void send_or_hold(SocketId id, Socket& socket, const net::Outgoing& out, TimePoint now);
  void send_held(SocketId socket, TimePoint now);

  // net::StreamTableHandler
  SocketId new_socket_id() override { return SocketId(next_id_++); }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) override;
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) override;
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override;

  net::IoContext& io_;
  net::UdpBuffers receive_buffers_;
  Bytes send_buffer_;
  net::Deferred flush_;
  StayAwake after_bulk_;
  StayAwake after_message_;
  TimePoint bulk_at_;
  net::Deferred awake_;  ///< Its requests keep the loop turning.
  net::Timer timer_;
  std::optional<Held> held_;
  std::uint32_t next_id_ = kMainSockets;
  // Before the node: while it is destroyed, it closes what it had opened here.
  net::StreamTable streams_;
  std::unordered_map<SocketId, std::unique_ptr<Socket>> extra_;
  std::vector<std::unique_ptr<Socket>> closed_;  ///< Of extra_; maybe calling just now.
  std::unique_ptr<Node> node_;
  std::array<std::unique_ptr<Socket>, kMainSockets> sockets_;
};

}  // namespace openp2p::agent
