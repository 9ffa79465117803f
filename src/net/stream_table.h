#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "base/time.h"
#include "net/deferred.h"
#include "net/framed_stream.h"
#include "net/io_context.h"
#include "net/tcp_listener.h"
#include "net/udp_socket.h"
#include "path/connection_handler.h"

namespace openp2p::net {

/// Whose connections they are: it numbers them together with its other sockets.
class StreamTableHandler : public path::ConnectionHandler {
 public:
  virtual SocketId new_socket_id() = 0;
};

/// All TCP connections of one party that carry datagrams, as sockets with numbers: those it opened,
/// and those that came in. Connections beyond `streams_max` are closed as they come: whom to keep
/// is for the machines above to say, by close().
///
/// Threading: the loop's thread. Never calls back from inside a call.
class StreamTable {
 public:
  /// Nothing that travels here is longer: neither STUN (nat::kStunBytesMax) nor QUIC on links of
  /// 1,500 bytes. Who sends more speaks another protocol, and is closed.
  static constexpr std::size_t kDatagramBytesMax = 2'048;

  struct Config {
    IoContext& io;
    UdpBuffers& buffers;
    StreamTableHandler& handler;
    std::size_t streams_max;
  };
  explicit StreamTable(const Config& config);
  ~StreamTable();  ///< Closes all, and tells nobody.
  StreamTable(const StreamTable&) = delete;
  StreamTable& operator=(const StreamTable&) = delete;

  /// Gives the address with its real port. `shares_port`: so that connect() can use it as well.
  Result<Address> listen(const Address& local, bool shares_port);
  /// As FramedStream::connect(). nullopt: the table is full, or the system gives no more.
  std::optional<SocketId> connect(const Address& remote, std::uint16_t local_port, Duration timeout,
                                  std::optional<IpAddress> source = {});
  void send(SocketId socket, const DatagramTrain& train, TimePoint now);  ///< Unknown: dropped.
  void close(SocketId socket);  ///< Tells nobody. Unknown ids are ignored.
  void close_all();             ///< Also stops listening.
  std::size_t size() const { return streams_.size(); }

  struct Counters {
    std::uint64_t accepted = 0;
    std::uint64_t turned_away = 0;  ///< Came when the table was full.
  };
  const Counters& counters() const { return counters_; }

 private:
  class Entry;
  FramedStream::Config config_of(Entry& entry) const;
  void accept(Descriptor socket);
  void retire(SocketId socket);

  const Config config_;
  Counters counters_;
  std::vector<std::unique_ptr<TcpListener>> listeners_;
  std::unordered_map<SocketId, std::unique_ptr<Entry>> streams_;
  std::vector<std::unique_ptr<Entry>> retired_;  ///< Closed, but maybe calling just now.
  Deferred sweep_;
};

}  // namespace openp2p::net
