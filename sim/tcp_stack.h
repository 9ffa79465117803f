#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "sim/packet.h"
#include "sim/tcp_connection.h"

namespace openp2p::sim {

class Host;
class Interface;

/// The TCP of a simulated host: listeners and connections. A port may be shared by a listener and
/// any number of connections with different remotes, as SO_REUSEADDR and SO_REUSEPORT allow; a
/// segment goes to the connection that it names, else to the listener, else a RST answers.
class TcpStack {
 public:
  using AcceptHandler = std::function<void(TcpConnection& connection, TimePoint now)>;
  static constexpr std::size_t kSendBufferBytes = 256 << 10;

  struct ConnectOptions {
    std::uint16_t local_port = 0;  ///< 0: a free one.
    std::optional<IpAddress> source =
        {};  ///< One of the host's; nullopt: the one that leads there.
    /// Linux gives up a SYN that was sent seven times.
    Duration timeout = std::chrono::seconds(127);
    std::size_t send_buffer_bytes = kSendBufferBytes;
  };

  TcpStack(Host& host, Random random) : host_(host), random_(random) {}

  /// Port 0 picks a free one. False: it is taken by another listener.
  bool listen(std::uint16_t port, Family family, AcceptHandler accept);
  std::uint16_t free_port();
  /// Connections that were not accepted yet are reset.
  void stop_listening(std::uint16_t port, Family family);
  /// Its fate comes later by the handlers of the connection, which must be set before the next
  /// event. address_in_use: there is such a connection already; network_unreachable.
  Result<TcpConnection*> connect(const Address& remote, const ConnectOptions& options);
  Result<TcpConnection*> connect(const Address& remote) { return connect(remote, {}); }

  World& world() const;
  TimePoint host_time() const;                                ///< What handlers are told.
  std::size_t connections() const { return active_.size(); }  ///< Not closed; also in TIME-WAIT.

 private:
  friend class Host;
  friend class TcpConnection;
  using Ends = std::pair<Address, Address>;  // Local and remote.

  // From the host.
  void on_segment(const Packet& packet);
  void on_icmp(const IcmpError& error);
  // From connections.
  void send(const TcpConnection& connection, const TcpHeader& header, ByteView bytes);
  void release(const TcpConnection& connection);
  std::size_t mss(const TcpConnection& connection) const;

  TcpConnection& make(const Address& local, const Address& remote, std::size_t send_buffer_bytes);
  void accept(const Packet& syn, const AcceptHandler& handler);

  Host& host_;
  Random random_;
  std::map<Address, AcceptHandler> listeners_;  // By the unspecified address and the port.
  std::map<Ends, TcpConnection*> active_;
  std::vector<std::unique_ptr<TcpConnection>> connections_;
};

}  // namespace openp2p::sim
