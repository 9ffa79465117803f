#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/log.h"
#include "net/io_context.h"
#include "server/listen.h"
#include "server/store.h"

namespace openp2p::server {

/// A server on real sockets: the driver around Core. Sockets, one timer, and a worker thread for
/// the database.
///
/// Hot path, per received batch: Core's handling, then at the end of the turn one pass that polls
/// and sends. Datagrams that the kernel has no room for are dropped, as networks do; QUIC sends
/// again.
///
/// Each UDP port is a TCP port as well, for nodes whose UDP is blocked: connections carry datagrams
/// behind their length (RFC 4571), and are sockets like the others to all above. The endpoint says
/// which of them may stay (session::SocketLedger). Threading: the loop's thread.
class Server {
 public:
  /// TCP connections at once: one for each session that there may be. Beyond, they are closed as
  /// they come.
  static constexpr std::size_t kStreamsMax = 20'000;

  struct Options {
    IdentityKey identity;
    std::unique_ptr<Records> records;
    std::vector<ListenSocket> sockets;
    std::vector<Address> also_tcp = {};  ///< TCP alone, for networks that let few ports through.
    std::vector<std::string> stun_servers;
    std::vector<std::string> addresses = {};  ///< As in join tokens; told to nodes.
    std::uint64_t relay_bits_per_second = 0;  ///< What the server itself relays; 0: nothing.
    /// What each network may borrow a month without lending.
    std::uint64_t relay_allowance_bytes = std::uint64_t{1} << 30;
    Log log;
  };

  Server(net::IoContext& io, Options options);
  /// Finishes what the database was asked to do. The loop has to have ended.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Binds the sockets. A sentence for people where that cannot be.
  std::optional<std::string> open();
  std::vector<Address> addresses() const;  ///< With the real ports. After open().
  std::vector<Address> tcp_addresses() const;
  /// Tells every node that the server stops, at once. Idempotent.
  void stop();

  std::vector<NodeId> online() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace openp2p::server
