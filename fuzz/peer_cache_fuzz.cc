// Law: whatever a file of known peers holds, it is refused as a whole, or what is taken from it is
// within every limit, and writing that gives a file that reads the same.
#include "agent/peer_cache.h"

#include "agent/test_party.h"
#include "base/check.h"
#include "peer_cache.pb.h"

using namespace openp2p;
using namespace openp2p::agent;

/// The first byte tells whether the rest is a file as it is, or one that gets its owners filled in.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Party kSelf(1), kServer(9);
  if (size == 0) return 0;
  Bytes input = to_bytes(std::as_bytes(std::span(data, size)).subspan(1));
  if (data[0] != 0) {
    peer_cache::PeerCache file;
    if (!file.ParseFromArray(input.data(), static_cast<int>(input.size()))) return 0;
    file.set_schema(1);
    file.set_self(kSelf.id().key.data(), NodeId::kSize);
    file.set_server(kServer.id().key.data(), NodeId::kSize);
    input = to_bytes(as_bytes(file.SerializeAsString()));
  }
  PeerCache cache(kSelf.id(), kServer.id());
  if (!cache.decode(input)) {
    CHECK(cache.peers().empty());
    return 0;
  }
  for (const KnownPeer& peer : cache.peers()) {
    CHECK(is_valid_name(peer.name) && peer.id != kSelf.id());
    CHECK(printable(peer.version) == peer.version && printable(peer.platform) == peer.platform);
    const auto addresses = cache.addresses(peer.id);
    CHECK(addresses.size() <= PeerCache::kAddressesMax);
    for (const Address& address : addresses) {
      CHECK(address.port != 0 && !address.ip.is_multicast() && !address.ip.is_unspecified());
    }
  }
  PeerCache again(kSelf.id(), kServer.id());
  CHECK(again.decode(cache.encode()));
  CHECK(again.encode() == cache.encode());
  return 0;
}
