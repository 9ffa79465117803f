#include "agent/peer_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "peer_cache.pb.h"

namespace openp2p::agent {
namespace {

constexpr std::uint32_t kSchema = 1;
constexpr std::size_t kTextBytesMax = 40;  // Version and platform, as the server's are cut.

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

std::string pack(const Address& address) {
  const ByteView ip = std::as_bytes(std::span(address.ip.bytes()));
  std::string text = to_string(address.ip.is_v4() ? ip.last(4) : ip);
  text += static_cast<char>(address.port >> 8);
  text += static_cast<char>(address.port & 0xff);
  return text;
}

std::uint16_t to_port(std::uint32_t number) {
  return number <= 65'535 ? static_cast<std::uint16_t>(number) : std::uint16_t{0};
}

std::optional<Address> unpack(const std::string& text) {
  std::array<std::uint8_t, 18> bytes{};
  if (text.size() != 6 && text.size() != bytes.size()) return std::nullopt;
  std::memcpy(bytes.data(), text.data(), text.size());
  std::array<std::uint8_t, 16> ip{};
  std::memcpy(ip.data(), bytes.data(), text.size() - 2);
  Address address;
  address.ip = text.size() == 6 ? IpAddress::v4(ip[0], ip[1], ip[2], ip[3]) : IpAddress::v6(ip);
  address.port = static_cast<std::uint16_t>(bytes[text.size() - 2] << 8 | bytes[text.size() - 1]);
  return address;
}

/// To be asked from anywhere: what a datagram may go to without doing harm.
bool is_sendable(const Address& address) {
  const IpAddress& ip = address.ip;
  return address.port != 0 && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() &&
         !ip.is_link_local();
}

/// Those that work from anywhere go first, then the rest as the peer gave them.
int rank(const path::Candidate& candidate) {
  const bool is_private = candidate.address.ip.is_private();
  if (candidate.type == path::CandidateType::kMapped) return 0;
  if (candidate.type == path::CandidateType::kHost && !is_private) return 1;
  return is_private ? 3 : 2;
}

}  // namespace

void PeerCache::set_own_ports(const OwnPorts& ports) {
  is_changed_ |= ports != own_ports_;
  own_ports_ = ports;
}

void PeerCache::set_history(const path::MethodHistory& history) {
  is_changed_ |= history != history_;
  history_ = history;
}

void PeerCache::put(const KnownPeer& peer) {
  const auto found = entries_.find(peer.id);
  if (found == entries_.end()) {
    if (peer.id == self_ || entries_.size() >= kPeersMax) return;
    entries_[peer.id].peer = peer;
  } else {
    if (found->second.peer == peer) return;
    found->second.peer = peer;
  }
  is_changed_ = true;
}

void PeerCache::remove(const NodeId& id) { is_changed_ |= entries_.erase(id) != 0; }

void PeerCache::on_signal(const PeerSignal& signal, ByteView bytes) {
  const auto found = entries_.find(signal.from);
  if (found == entries_.end() || signal.candidates.empty() || bytes.size() > kSignalBytesMax) {
    return;
  }
  if (std::ranges::equal(found->second.signal, bytes)) return;
  found->second.signal = to_bytes(bytes);
  found->second.candidates.reset();
  is_changed_ = true;
}

void PeerCache::on_proven(const NodeId& id, const Address& address) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !is_sendable(address)) return;
  std::vector<Address>& proven = found->second.proven;
  if (!proven.empty() && proven.front() == address) return;
  std::erase(proven, address);
  proven.insert(proven.begin(), address);
  if (proven.size() > kProvenMax) proven.pop_back();
  is_changed_ = true;
}

std::vector<KnownPeer> PeerCache::peers() const {
  std::vector<KnownPeer> peers;
  for (const auto& [id, entry] : entries_) peers.push_back(entry.peer);
  return peers;
}

const std::vector<path::Candidate>& PeerCache::candidates(const Entry& entry) const {
  if (entry.candidates) return *entry.candidates;
  auto signal = decode_signal(entry.signal, entry.peer.id, self_);
  if (!signal) return entry.candidates.emplace();
  std::erase_if(signal->candidates, [](const path::Candidate& candidate) {
    return candidate.transport != path::Transport::kUdp || !is_sendable(candidate.address);
  });
  std::ranges::stable_sort(signal->candidates, {}, rank);
  return entry.candidates.emplace(std::move(signal->candidates));
}

std::vector<Address> PeerCache::addresses(const NodeId& id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return {};
  std::vector<Address> addresses = found->second.proven;
  for (const path::Candidate& candidate : candidates(found->second)) {
    if (addresses.size() == kAddressesMax) break;
    if (std::ranges::find(addresses, candidate.address) != addresses.end()) continue;
    addresses.push_back(candidate.address);
  }
  return addresses;
}

bool PeerCache::is_open(const NodeId& id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  return std::ranges::any_of(candidates(found->second), [](const path::Candidate& candidate) {
    return !candidate.address.ip.is_private() && rank(candidate) <= 1;
  });
}

bool PeerCache::take_change() { return std::exchange(is_changed_, false); }

Bytes PeerCache::encode() const {
  peer_cache::PeerCache file;
  file.set_schema(kSchema);
  file.set_self(to_string(self_.key));
  file.set_server(to_string(server_.key));
  file.set_own_port_v4(own_ports_.v4);
  file.set_own_port_v6(own_ports_.v6);
  file.set_method_history(to_string(history_.encode()));
  for (const auto& [id, entry] : entries_) {
    peer_cache::KnownPeer& peer = *file.add_peers();
    peer.set_id(to_string(id.key));
    peer.set_name(entry.peer.name);
    peer.set_incarnation(entry.peer.incarnation);
    peer.set_version(entry.peer.version);
    peer.set_platform(entry.peer.platform);
    peer.set_signal(to_string(entry.signal));
    for (const Address& address : entry.proven) peer.add_proven(pack(address));
  }
  return to_bytes(as_bytes(file.SerializeAsString()));
}

bool PeerCache::decode(ByteView bytes) {
  peer_cache::PeerCache file;
  if (bytes.size() > kFileBytesMax ||
      !file.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return false;
  }
  const bool is_ours = NodeId::from_bytes(as_bytes(file.self())) == self_ &&
                       NodeId::from_bytes(as_bytes(file.server())) == server_;
  if (file.schema() != kSchema || !is_ours) return false;
  own_ports_ = {to_port(file.own_port_v4()), to_port(file.own_port_v6())};
  history_.decode(as_bytes(file.method_history()));  // Of another version: it is learned anew.
  for (const peer_cache::KnownPeer& peer : file.peers()) {
    const auto id = NodeId::from_bytes(as_bytes(peer.id()));
    if (!id || !is_valid_name(peer.name()) || peer.signal().size() > kSignalBytesMax) continue;
    put({*id, peer.name(), peer.incarnation(), printable(peer.version(), kTextBytesMax),
         printable(peer.platform(), kTextBytesMax)});
    const auto added = entries_.find(*id);
    if (added == entries_.end()) continue;
    added->second.signal = to_bytes(as_bytes(peer.signal()));
    for (int i = std::min(peer.proven_size(), static_cast<int>(kProvenMax)); i-- > 0;) {
      if (const auto address = unpack(peer.proven(i))) on_proven(*id, *address);
    }
  }
  is_changed_ = false;
  return true;
}

}  // namespace openp2p::agent
