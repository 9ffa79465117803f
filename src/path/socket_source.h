#pragma once

#include <cstdint>
#include <optional>

#include "base/address.h"
#include "base/time.h"

namespace openp2p::path {

/// Sockets of drivers have numbers below this; from here on they name relayed paths, whose
/// datagrams leave inside the sealed datagrams of another session.
inline constexpr std::uint32_t kRelayedSocketFirst = 0x8000'0000;
inline bool is_relayed(SocketId socket) { return socket.value() >= kRelayedSocketFirst; }

/// Where machines get sockets that they need beside the owner's main ones. Drivers implement it;
/// the calls only begin things, and never call back from inside.
///
/// What arrives on such a socket goes where all datagrams go (Endpoint::on_datagrams, with its id),
/// and what is polled for it is sent over it. A TCP connection is a socket whose one remote address
/// is known: datagrams travel over it behind their length (RFC 4571). Its fate comes as
/// Endpoint::on_connected() and Endpoint::on_disconnected().
/// Threading: the owner's thread.
class SocketSource {
 public:
  struct Opened {
    SocketId socket;
    Address local;  ///< Any address of the family, and the port.
  };

  virtual ~SocketSource() = default;
  /// A UDP socket on a port that was not used before. nullopt: the system gives no more.
  virtual std::optional<Opened> open_udp(bool is_v4) = 0;
  /// Begins to connect to `remote`, from `local_port` unless that is 0; the port may be shared with
  /// the TCP listener and other connections (SO_REUSEADDR). The system's own patience is cut to
  /// `timeout`. nullopt: the system gives no more.
  virtual std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                              Duration timeout) = 0;
  /// Listens for TCP connections that carry datagrams, on the main UDP port's number if that is
  /// free, else on any. Gives the port; 0: cannot. Called once; each connection that comes is told
  /// by Endpoint::on_connected().
  virtual std::uint16_t listen_tcp() = 0;
  /// Closes a socket that this source gave, or a connection that came. Unknown ids are ignored.
  virtual void close(SocketId socket) = 0;
};

}  // namespace openp2p::path
