#pragma once

#include <optional>

#include "forward/local_datagrams.h"
#include "sim/host.h"

namespace openp2p::test {

/// A simulated host's UDP socket as a forward sees it.
class SimulatedDatagrams final : public forward::LocalDatagrams {
 public:
  /// `peer`: the one remote address; nullopt: a port that anybody sends to.
  SimulatedDatagrams(sim::UdpSocket& socket, forward::LocalDatagramsHandler& handler,
                     std::optional<Address> peer)
      : socket_(socket), handler_(handler), peer_(peer) {
    socket_.on_receive([this](const Address& from, ByteView datagram, TimePoint now) {
      if (peer_ && from != *peer_) return;
      handler_.on_datagrams({from, {}}, {datagram, datagram.size()}, now);
    });
    socket_.on_error([this](const sim::SocketError&, TimePoint now) {
      if (peer_) handler_.on_failed(std::make_error_code(std::errc::connection_refused), now);
    });
  }
  ~SimulatedDatagrams() override { socket_.close(); }

  void send(const forward::LocalEnds& to, ByteView datagram) override {
    const Address& remote = peer_ ? *peer_ : to.program;
    if (socket_.send(remote, datagram) != sim::SendStatus::kSent) ++counters_.dropped;
  }
  void flush(TimePoint) override {}
  Address local_address() const override { return socket_.local(); }
  const Counters& counters() const override { return counters_; }

 private:
  sim::UdpSocket& socket_;
  forward::LocalDatagramsHandler& handler_;
  const std::optional<Address> peer_;
  Counters counters_;
};

}  // namespace openp2p::test
