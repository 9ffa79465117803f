#pragma once

#include <functional>
#include <memory>

#include "base/address.h"
#include "base/descriptor.h"
#include "base/result.h"
#include "forward/local_stream.h"
#include "net/io_context.h"

namespace openp2p::net {

/// Accepts TCP connections on one address.
///
/// When the process or the machine has no descriptors or memory left, connections wait in the
/// kernel's backlog, and accepting is tried again every 100 ms: never an error, never a busy loop.
///
/// Threading: the loop's thread. The callback may destroy the listener.
class TcpListener {
 public:
  using OnAccept = std::function<void(std::unique_ptr<forward::LocalStream> stream)>;

  /// Listens at once. `address_in_use` if another program has the port. IPv6 listens on IPv6 only.
  /// `io` outlives the listener and the streams.
  static Result<std::unique_ptr<TcpListener>> listen(IoContext& io, const Address& local,
                                                     OnAccept on_accept);
  /// Likewise, and gives the sockets themselves. `shares_port`: connections may be opened from the
  /// same port (FramedStream::connect), but nobody else may listen there.
  using OnSocket = std::function<void(Descriptor socket)>;
  static Result<std::unique_ptr<TcpListener>> listen_bare(IoContext& io, const Address& local,
                                                          bool shares_port, OnSocket on_socket);
  ~TcpListener();
  TcpListener(const TcpListener&) = delete;
  TcpListener& operator=(const TcpListener&) = delete;

  Address local_address() const;  ///< With the real port.
  void pause();                   ///< New connections wait in the backlog.
  void resume();
  bool is_starved() const;  ///< Waits for descriptors or memory.

 private:
  struct State;
  explicit TcpListener(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // Owned by this object, and by the loop that is accepting.
};

}  // namespace openp2p::net
