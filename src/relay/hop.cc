#include "relay/hop.h"

#include <cstring>

#include "base/check.h"
#include "relay/network_headers.h"

namespace openp2p::relay {
namespace {

constexpr std::uint32_t kFromRelayBit = 1U << 23;

std::uint32_t read_u24(ByteView bytes) {
  return std::to_integer<std::uint32_t>(bytes[0]) << 16 |
         std::to_integer<std::uint32_t>(bytes[1]) << 8 | std::to_integer<std::uint32_t>(bytes[2]);
}

void write_u24(std::uint32_t value, MutableByteView out) {
  out[0] = static_cast<std::byte>(value >> 16);
  out[1] = static_cast<std::byte>(value >> 8);
  out[2] = static_cast<std::byte>(value);
}

constexpr std::size_t kFramingBytes = 2;  // RFC 4571.

std::size_t network_headers(session::Session& session) {
  const auto path = session.path();
  const std::size_t ip = ip_header_bytes(path ? path->remote.ip : IpAddress::any_v4());
  const path::PathFinder* paths = session.paths();
  const bool is_tcp = paths != nullptr && paths->direct_transport() == path::Transport::kTcp;
  return ip + (is_tcp ? kTcpHeaderBytes + kFramingBytes : kUdpHeaderBytes);
}

}  // namespace

Hop::Hop(session::Session& session) : session_(&session) {
  session.set_sealed_handler(session::SealedUse::kRelay, this);
}

Hop::~Hop() {
  if (session_ != nullptr) session_->set_sealed_handler(session::SealedUse::kRelay, nullptr);
}

void Hop::on_session_lost() { session_ = nullptr; }

void Hop::set_receiver(Way way, HopReceiver* receiver) {
  (way == Way::kFromRelay ? from_relay_ : to_relay_) = receiver;
}

std::size_t Hop::datagram_max() const {
  if (session_ == nullptr) return 0;
  const std::size_t payload = session_->sealed_payload_max();
  return payload > kChannelBytes ? payload - kChannelBytes : 0;
}

bool Hop::is_relayed() const {
  const path::PathFinder* paths = session_ == nullptr ? nullptr : session_->paths();
  const Path* selected = paths == nullptr ? nullptr : paths->selected();
  return selected != nullptr && path::is_relayed(selected->socket);
}

std::size_t Hop::header_bytes(TimePoint now) {
  if (session_ == nullptr || headers_at_ == now) return header_bytes_;
  headers_at_ = now;
  header_bytes_ = kChannelBytes + session::kSealedOverhead + network_headers(*session_);
  return header_bytes_;
}

bool Hop::send(Way way, Channel channel, ByteView datagram) {
  CHECK(channel <= kChannelMax);
  if (session_ == nullptr || datagram.empty()) return false;
  const MutableByteView room =
      session_->sealed_room(session::SealedUse::kRelay, kChannelBytes + datagram.size());
  if (room.empty()) return false;
  write_u24(way == Way::kFromRelay ? channel | kFromRelayBit : channel, room);
  std::memcpy(room.data() + kChannelBytes, datagram.data(), datagram.size());  // The one copy.
  session_->commit_sealed();
  return true;
}

void Hop::on_sealed(session::Session&, session::SealedUse, MutableByteView payload, TimePoint now) {
  if (payload.size() <= kChannelBytes) {
    ++malformed_;
    return;
  }
  const std::uint32_t word = read_u24(payload);
  HopReceiver* receiver = (word & kFromRelayBit) != 0 ? from_relay_ : to_relay_;
  if (receiver == nullptr) {
    ++unwanted_;
    return;
  }
  receiver->on_hop_datagram(word & kChannelMax, payload.subspan(kChannelBytes), now);
}

}  // namespace openp2p::relay
