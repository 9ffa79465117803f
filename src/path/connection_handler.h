#pragma once

#include <system_error>

#include "base/address.h"
#include "base/time.h"
#include "wire/datagram_frame.h"

namespace openp2p::path {

/// What drivers tell about TCP connections that carry datagrams (RFC 4571), each a socket with one
/// remote address: the other direction of SocketSource. Never from inside a call to the driver,
/// which may be called back.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  virtual void on_connected(SocketId socket, const Address& local, const Address& remote,
                            bool is_incoming, TimePoint now) = 0;
  /// It ended, or never came to be. broken_pipe: the other side finished.
  virtual void on_disconnected(SocketId socket, std::error_code why, TimePoint now) = 0;
  virtual void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                            TimePoint now) = 0;
};

}  // namespace openp2p::path
