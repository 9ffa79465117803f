#include "agent/direct_signal.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

/// A peer's attempt is 10 signals in 12 s, from a few addresses.
constexpr nat::SourceLimitConfig kPerSource{.answers_per_second = 4, .burst = 24};
/// A signature costs about 0.1 ms to verify: both limits together are 1 % of a small machine.
/// Sources at which the sender was known to be have one of their own, which a flood from anywhere
/// does not use up.
constexpr int kVerifiesBurst = 100;
constexpr Duration kVerifyKnownEvery = 20ms;
constexpr Duration kVerifyOthersEvery = 50ms;
/// Many forwards to peers that are away must not fill a line: 30 datagrams a second of 600 bytes.
constexpr int kSendBurst = 240;
constexpr Duration kSendEvery = 33ms;
constexpr std::uint64_t kFirstSignals = 3;

/// To tell its own indications in a capture; nobody answers them.
nat::TransactionId new_transaction(Random& random) {
  nat::TransactionId id;
  random.fill(id.bytes);
  return id;
}

Bytes place_bytes(const Address& source) {
  Bytes place = to_bytes(std::as_bytes(std::span(source.ip.bytes())));
  place.push_back(static_cast<std::byte>(source.port >> 8));
  place.push_back(static_cast<std::byte>(source.port & 0xff));
  return place;
}

}  // namespace

DirectSignals::DirectSignals(NodeContext& context, DirectSignalHost& host, std::uint64_t seed)
    : context_(context),
      host_(host),
      guard_(context),
      per_source_(kPerSource, seed),
      from_known_(kVerifiesBurst, kVerifyKnownEvery),
      from_others_(kVerifiesBurst, kVerifyOthersEvery),
      out_(kSendBurst, kSendEvery) {}

void DirectSignals::add_socket(SocketId socket, const Address& local) {
  sockets_.push_back({socket, local.ip.is_v4()});
}

bool DirectSignals::has_heard(const NodeId& peer) const {
  const auto found = heard_.find(peer);
  return found != heard_.end() && context_.now < found->second.at + kHeardFor;
}

bool DirectSignals::send(const NodeId& to, ByteView body, std::uint64_t number) {
  if (body.size() > kSignalBytesMax) return false;
  if (has_heard(to)) return transmit(heard_.at(to).path, to, body);
  if (number > kFirstSignals && !std::has_single_bit(number)) return false;
  return transmit_to_known(to, body);
}

bool DirectSignals::transmit_to_known(const NodeId& to, ByteView body) {
  bool is_sent = false;
  std::vector<Address> addresses = host_.known_addresses(to);
  if (uses_lan_) addresses.push_back(lan_group());
  for (const Address& address : addresses) {
    const auto socket = std::ranges::find(sockets_, address.ip.is_v4(), &Socket::is_v4);
    if (socket != sockets_.end()) is_sent |= transmit({socket->id, address}, to, body);
  }
  return is_sent;
}

bool DirectSignals::transmit(const Path& path, const NodeId& to, ByteView body) {
  if (!out_.take(context_.now)) return false;
  std::array<std::byte, nat::kStunSignalBytesMax> signal;
  std::copy(context_.identity.id().key.begin(), context_.identity.id().key.end(), signal.begin());
  std::copy_n(to.key.begin(), kHeadBytes - NodeId::kSize, signal.begin() + NodeId::kSize);
  std::ranges::copy(body, signal.begin() + kHeadBytes);
  std::array<std::byte, nat::kStunBytesMax> datagram;
  const std::size_t size = nat::encode_stun_signal(
      new_transaction(context_.random), ByteView(signal).first(kHeadBytes + body.size()), datagram);
  if (size == 0) return false;
  ++counters_.sent;
  context_.endpoint->send_datagram(path.socket, path.remote, ByteView(datagram).first(size));
  return true;
}

bool DirectSignals::may_verify(const NodeId& from, const Address& source) {
  const std::vector<Address> known = host_.known_addresses(from);
  const bool is_known = std::ranges::find(known, source.ip, &Address::ip) != known.end();
  return per_source_.take(source.ip, context_.now) &&
         (is_known ? from_known_ : from_others_).take(context_.now);
}

/// Sent from a main socket like all others, and answered from one.
bool DirectSignals::on_lan(const Address& from, ByteView datagram) {
  const auto socket = std::ranges::find(sockets_, from.ip.is_v4(), &Socket::is_v4);
  return socket != sockets_.end() && on_stun(socket->id, from, datagram);
}

bool DirectSignals::on_stun(SocketId socket, const Address& from, ByteView datagram) {
  const auto payload = nat::decode_stun_signal(datagram);
  if (!payload) return false;
  const NodeId& self = context_.identity.id();
  const bool is_main = std::ranges::find(sockets_, socket, &Socket::id) != sockets_.end();
  const auto sender = NodeId::from_bytes(payload->first(std::min(payload->size(), NodeId::kSize)));
  const bool is_ours =
      sender && payload->size() > kHeadBytes && is_main &&
      std::ranges::equal(payload->subspan(NodeId::kSize, 8), ByteView(self.key).first(8));
  if (!is_ours || !host_.is_member(*sender)) {
    ++counters_.stranger;
    return true;
  }
  if (!may_verify(*sender, from)) {
    ++counters_.limited;
    return true;
  }
  const ByteView bytes = payload->subspan(kHeadBytes);
  auto signal = decode_signal(bytes, *sender, self);
  if (!signal) {
    ++counters_.forged;
    return true;
  }
  take(std::move(*signal), bytes, {socket, from});
  return true;
}

void DirectSignals::take(PeerSignal signal, ByteView bytes, const Path& source) {
  const Bytes place = place_bytes(source.remote);
  if (signal.kind == PeerSignal::Kind::kOffer) {
    if (!guard_.is_fresh(signal, place)) {
      const Bytes challenge = guard_.challenge(signal, place);
      if (challenge.size() >= bytes.size()) return;  // Never more than was asked with.
      ++counters_.challenged;
      transmit(source, signal.from, challenge);
      return;
    }
  } else if (!host_.is_attempt(signal.from, signal.attempt)) {
    ++counters_.stale;
    return;
  }
  ++counters_.taken;
  note(signal.from, source);
  // Its router let it out there, so checks may come in there.
  const auto is_source = [&](const path::Candidate& c) { return c.address == source.remote; };
  if (signal.candidates.size() < PeerSignal::kCandidatesMax &&
      std::ranges::none_of(signal.candidates, is_source)) {
    signal.candidates.push_back({path::CandidateType::kServerReflexive, source.remote, {}});
  }
  host_.on_direct_signal(signal, bytes, source.remote);
}

void DirectSignals::note(const NodeId& peer, const Path& source) {
  if (heard_.size() >= kHeardMax && !heard_.contains(peer)) {
    std::erase_if(heard_, [&](const auto& entry) { return !has_heard(entry.first); });
    if (heard_.size() >= kHeardMax) return;
  }
  heard_[peer] = {source, context_.now};
}

}  // namespace openp2p::agent
