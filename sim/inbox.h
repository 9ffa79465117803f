#pragma once

#include <string>
#include <vector>

#include "sim/host.h"

namespace openp2p::sim {

/// What a socket received, for tests: texts, senders and times, in order. Outlives its socket's
/// use.
struct Inbox {
  explicit Inbox(UdpSocket& socket) {
    socket.on_receive([this](const Address& from, ByteView datagram, TimePoint now) {
      texts.emplace_back(as_text(datagram));
      senders.push_back(from);
      times.push_back(now.time_since_epoch());
    });
    socket.on_error([this](const SocketError& error, TimePoint) { errors.push_back(error); });
  }
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  std::vector<std::string> texts;
  std::vector<Address> senders;
  std::vector<Duration> times;
  std::vector<SocketError> errors;
};

}  // namespace openp2p::sim
