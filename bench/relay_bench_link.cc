#include "bench/relay_bench_link.h"

#include <fmt/core.h>

#include <cstdlib>

#include "base/check.h"
#include "bench/open_endpoint.h"

namespace openp2p::bench {
namespace {

[[noreturn]] void give_up(std::string_view why) {
  fmt::print(stderr, "relay_bench: {}\n", why);
  std::exit(1);
}

}  // namespace

void Link::on_established(session::Session& session) {
  hop = std::make_unique<relay::Hop>(session);
  if (session.is_incoming()) return;
  client = std::make_unique<relay::RelayClient>(*hop, party_.identity_, party_);
  const auto id = client->open();
  CHECK(id.has_value());
  users[*id] = client.get();
  party_.on_link_ready(*this);
}

void Link::on_stream_opened(session::Session&, session::StreamId id) {
  if (forward::StreamUser* user = party_.service().on_stream(*hop, id)) users[id] = user;
}

void Link::on_stream_reset(session::Session&, session::StreamId, std::uint64_t) {
  give_up("a relay stream was reset");
}

void Link::on_closed(session::Session& session, const session::CloseReason& reason) {
  if (!session.is_incoming()) give_up("the session with the relay closed: " + reason.text);
  for (const auto& [id, user] : users) user->on_session_lost();
  users.clear();
  if (hop) hop->on_session_lost();
}

Party::Party(net::IoContext& io, net::UdpBuffers& buffers, std::uint32_t number,
             const Address& local)
    : identity_(numbered_identity(number)),
      now_(net::monotonic_now()),
      protection_(quic::make_packet_protection()),
      flush_(io, [this](TimePoint now) { flush(now); }),
      timer_(io,
             [this](TimePoint now) {
               now_ = now;
               endpoint_->on_timeout(now);
               service_->on_timeout(now);
               flush(now);
             }),
      send_buffer_(kBurstBytesMax) {
  endpoint_ = open_endpoint(identity_, *protection_, secrets_, *this, [this] { flush_.request(); });
  relay::RelayService::Options relaying;
  relaying.self = id();
  relaying.host = this;
  service_ = std::make_unique<relay::RelayService>(relaying);
  socket_ = open_socket(io, local, buffers, *this, *endpoint_);
}

Link& Party::dial(const Address& relay) {
  links.push_back(std::make_unique<Link>(*this));
  endpoint_->dial(numbered_identity(kRelayNumber).id(), {relay}, *links.back(), now_);
  flush_.request();
  return *links.back();
}

session::SessionHandler* Party::on_session(session::Session&) {
  links.push_back(std::make_unique<Link>(*this));
  return links.back().get();
}

relay::Ticket Party::ticket_with(const NodeId& peer, std::uint64_t number) const {
  relay::AllocationId id{};
  for (std::size_t i = 0; i < 8; ++i) id[i] = static_cast<std::byte>(number >> (8 * i));
  return relay::make_ticket(
      known_secret(), {numbered_identity(kRelayNumber).id(), this->id(), peer},
      relay::TicketKind::kShared, id, relay::Account{id[0], id[1]}, kKnownTime);
}

void Party::on_datagrams(std::span<const net::Received> batch, TimePoint now) {
  now_ = now;
  for (const net::Received& received : batch) {
    endpoint_->on_datagrams(SocketId(0), received.from, received.datagrams, received.segment_bytes,
                            now);
    transmit(now);  // A train at a time: what was opened is sealed while the caches have it.
  }
  flush_.request();
}

void Party::on_writable(TimePoint) {
  is_blocked_ = false;  // What was refused is lost, as a full card makes it.
  flush_.request();
}

void Party::on_refused(relay::RelayClient&, const relay::RefusedMessage& refused) {
  give_up("refused: " + refused.text);
}
void Party::on_left(relay::RelayClient&, relay::Channel, std::string_view why) {
  give_up("left: " + std::string(why));
}
void Party::on_relay_lost(relay::RelayClient&) { give_up("the relay is lost"); }

void Party::flush(TimePoint now) {
  now_ = now;
  service_->sweep();
  if (!is_blocked_) write();
  transmit(now);
  timer_.arm(earlier(endpoint_->next_timeout(), service_->next_timeout()));
}

void Party::transmit(TimePoint now) {
  for (int bursts = 0; !is_blocked_; ++bursts) {
    if (bursts == kBurstsPerTurn) return flush_.request();
    const auto transmit = endpoint_->poll_transmit(send_buffer_, now);
    if (!transmit) return;
    net::Outgoing out;
    out.to = transmit->to;
    out.datagrams = ByteView(send_buffer_).first(transmit->bytes);
    out.segment_bytes = transmit->segment_bytes;
    is_blocked_ = socket_->send({&out, 1}, now).batches == 0;
  }
}

}  // namespace openp2p::bench
