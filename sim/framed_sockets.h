#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"
#include "path/connection_handler.h"
#include "sim/host.h"
#include "wire/datagram_frame.h"

namespace openp2p::sim {

/// TCP connections of a simulated host that carry datagrams (RFC 4571), as the programs' drivers
/// have them: each is a socket with one remote address.
///
/// TCP would let datagrams wait for seconds behind each other; so when the oldest one has waited
/// for its turn longer than kQueueDelayMax, further ones are dropped, as on any full link.
class FramedSockets {
 public:
  static constexpr Duration kQueueDelayMax = std::chrono::milliseconds(100);
  /// As many as a server has sessions; further ones are refused as they come.
  static constexpr std::size_t kConnectionsMax = 20'000;

  FramedSockets(Host& host, path::ConnectionHandler& handler) : host_(host), handler_(handler) {}
  ~FramedSockets();  ///< Closes all, and tells nobody.
  FramedSockets(const FramedSockets&) = delete;
  FramedSockets& operator=(const FramedSockets&) = delete;

  /// In both families. 0 picks a free port. Gives the port; 0: it is taken.
  std::uint16_t listen(std::uint16_t port);
  /// nullopt: there is that very connection already, or no room for more.
  std::optional<SocketId> connect(const Address& remote, std::uint16_t local_port, Duration timeout,
                                  std::optional<IpAddress> source = {});
  bool has(SocketId socket) const { return entries_.contains(socket); }
  std::size_t size() const { return entries_.size(); }
  void send(SocketId socket, const DatagramTrain& train);
  void close(SocketId socket);  ///< Unknown ids are ignored.
  std::uint64_t bytes_dropped() const { return bytes_dropped_; }

 private:
  struct Entry {
    TcpConnection* connection = nullptr;  // nullptr: it has failed, and that is still to be told.
    EventId failure;
    DatagramDeframer deframer;
    bool is_open = true;
  };
  SocketId add(TcpConnection& connection);
  SocketId add_failed(std::error_code why);
  void accept(TcpConnection& connection, TimePoint now);
  void on_data(SocketId socket, Entry& entry, ByteView bytes, TimePoint now);
  void fail(SocketId socket, std::error_code why, TimePoint now);

  Host& host_;
  path::ConnectionHandler& handler_;
  std::vector<std::uint16_t> ports_;
  std::map<SocketId, std::unique_ptr<Entry>> entries_;
  std::vector<std::unique_ptr<Entry>> retired_;  // Closed, but maybe in use by the present event.
  EventId sweep_;
  std::uint64_t bytes_dropped_ = 0;
};

}  // namespace openp2p::sim
