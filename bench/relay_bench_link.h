#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/crypto.h"
#include "net/clock.h"
#include "net/deferred.h"
#include "net/timer.h"
#include "net/udp_socket.h"
#include "relay/relay_client.h"
#include "relay/relay_service.h"
#include "session/endpoint.h"

/// The relay benchmark's parties: an Endpoint over one UDP socket, driven as agents drive theirs,
/// with a Hop for each of its sessions.
namespace openp2p::bench {

/// As agent/node_driver.cc has them.
inline constexpr std::size_t kBurstBytesMax = 65'000;
inline constexpr int kBurstsPerTurn = 16;

inline IdentityKey numbered_identity(std::uint32_t number) {
  std::array<std::byte, IdentityKey::kSeedSize> seed{};
  for (std::size_t i = 0; i < 4; ++i) seed[i] = static_cast<std::byte>(number >> (8 * i));
  return IdentityKey(seed);
}
inline constexpr std::uint32_t kRelayNumber = 1'000'000;
inline relay::TicketSecret known_secret() {
  relay::TicketSecret secret;
  secret.fill(std::byte{7});
  return secret;
}
inline constexpr WallTime kKnownTime{1'800'000'000'000'000};

class Party;

/// One session of a party, with the streams that belong to relaying.
class Link final : public session::SessionHandler {
 public:
  explicit Link(Party& party) : party_(party) {}

  void on_established(session::Session& session) override;
  void on_stream_opened(session::Session&, session::StreamId id) override;
  void on_stream_data(session::Session&, session::StreamId id, ByteView data,
                      bool is_end) override {
    if (forward::StreamUser* user = users[id]) user->on_stream_data(data, is_end);
  }
  void on_stream_writable(session::Session&, session::StreamId id) override {
    if (forward::StreamUser* user = users[id]) user->on_stream_writable();
  }
  void on_stream_reset(session::Session&, session::StreamId, std::uint64_t) override;
  void on_stream_stopped(session::Session&, session::StreamId, std::uint64_t) override {}
  void on_stream_closed(session::Session&, session::StreamId id) override { users.erase(id); }
  void on_path_changed(session::Session&) override {}
  void on_batch_end(session::Session&) override {}
  void on_closed(session::Session&, const session::CloseReason& reason) override;

  std::unique_ptr<relay::Hop> hop;
  std::unique_ptr<relay::RelayClient> client;
  std::map<session::StreamId, forward::StreamUser*> users;

 private:
  Party& party_;
};

class Party : public net::UdpHandler,
              public session::Gatekeeper,
              public relay::RelayHost,
              public relay::RelayClientHandler {
 public:
  Party(net::IoContext& io, net::UdpBuffers& buffers, std::uint32_t number, const Address& local);
  ~Party() override = default;

  const NodeId& id() const { return identity_.id(); }
  Link& dial(const Address& relay);
  relay::RelayService& service() { return *service_; }
  void request_flush() { flush_.request(); }
  std::vector<std::unique_ptr<Link>> links;

  // net::UdpHandler
  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override;
  void on_writable(TimePoint) override;
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}

  // session::Gatekeeper
  bool is_welcome(const NodeId&) override { return true; }
  session::SessionHandler* on_session(session::Session&) override;

  // relay::RelayHost
  TimePoint now() const override { return now_; }
  bool is_own_node(const NodeId&) const override { return false; }
  void on_receipt(const relay::SignedReceipt&, const relay::Receipt&) override {}
  void on_allocations_changed() override {}

  // relay::RelayClientHandler
  void on_allocated(relay::RelayClient&, std::uint64_t, const relay::AllocatedMessage&) override {}
  using net::UdpHandler::on_refused;
  void on_refused(relay::RelayClient&, const relay::RefusedMessage& refused) override;
  void on_joined(relay::RelayClient&, relay::Channel) override {}
  void on_left(relay::RelayClient&, relay::Channel, std::string_view why) override;
  void on_relayed(relay::RelayClient&, relay::Channel, MutableByteView, TimePoint) override {}
  void on_letter(relay::RelayClient&, const NodeId&, ByteView) override {}
  void on_letter_failed(relay::RelayClient&, const NodeId&) override {}
  void on_relay_lost(relay::RelayClient&) override;

 protected:
  friend class Link;
  virtual void on_link_ready(Link&) {}
  virtual void write() {}  ///< Before each turn's output is polled.
  relay::Ticket ticket_with(const NodeId& peer, std::uint64_t number) const;

  const IdentityKey identity_;
  TimePoint now_;

 private:
  void flush(TimePoint now);
  void transmit(TimePoint now);

  SystemSecrets secrets_;
  std::unique_ptr<quic::PacketProtection> protection_;
  net::Deferred flush_;
  net::Timer timer_;
  Bytes send_buffer_;
  bool is_blocked_ = false;
  std::unique_ptr<session::Endpoint> endpoint_;
  std::unique_ptr<relay::RelayService> service_;
  std::unique_ptr<net::UdpSocket> socket_;
};

}  // namespace openp2p::bench
