#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"

/// What control messages (proto/control.proto) say about relays, as the server's own types.
/// messages.h turns them into bytes and back, and holds to the limits here.
namespace openp2p::server {

/// Nodes that a wish may name: more than a person pins, and few enough to be compared one by one.
constexpr std::size_t kWishNodesMax = 16;
/// relay::Receipt has 171 bytes; what is longer than this is not even read.
constexpr std::size_t kReceiptBytesMax = 256;
/// Relays named in one grant: two are tried at once, and the third is there when both fail.
constexpr std::size_t kGrantRelaysMax = 3;
/// What rates are cut to: 1 Tbit/s. Sums and products of them then fit 64 bits.
constexpr std::uint64_t kBitsPerSecondMax = 1'000'000'000'000;
/// What numbers of allocations are cut to.
constexpr std::uint32_t kAllocationsMax = 1'000'000;
/// What round trips are cut to: beyond this a relay is of no use to anybody.
constexpr std::uint32_t kRttMaxUs = 10'000'000;

/// The numbers of Relay.Kind in proto/control.proto.
enum class RelayKind { kOwn = 1, kShared = 2, kServer = 3 };

struct RelayWish {
  NodeId peer;
  std::uint64_t number = 0;
  std::vector<NodeId> only;  ///< Empty: any.
  std::vector<NodeId> without;
  bool no_strangers = false;
};

struct ShareOffer {
  std::uint64_t bits_per_second = 0;  ///< 0: neither lends nor borrows.
  std::uint64_t used_bits_per_second = 0;
  std::uint32_t allocations = 0;
  std::uint64_t own_bits_per_second = 0;
  bool is_reachable = false;
};

struct SignedReceipt {
  Bytes body;
  IdentityKey::Signature signature{};
};

struct RelayReport {
  NodeId relay;
  std::uint32_t rtt_us = 0;           ///< 0: not measured.
  std::uint64_t bits_per_second = 0;  ///< 0: not measured.
  std::uint32_t loss_permille = 0;    ///< At most 1,000.
  bool is_unusable = false;
};

struct CreditQuery {
  std::uint64_t number = 0;
};

struct GrantedRelay {
  RelayKind kind = RelayKind::kOwn;
  NodeId node;
  std::string name;  ///< Of own nodes only.
  Bytes ticket;
  std::uint64_t bits_per_second = 0;  ///< 0: no cap.
  std::uint32_t rtt_sum_us = 0;       ///< 0: not known.
};

struct RelayGrant {
  std::uint64_t number = 0;  ///< 0: the peer asked.
  NodeId peer;
  std::vector<GrantedRelay> relays;  ///< At most kGrantRelaysMax, best first.
  std::string reason;
  std::string reason_name;
};

struct Credit {
  std::uint64_t number = 0;
  std::uint64_t lent_bytes = 0;
  std::uint64_t borrowed_bytes = 0;
  std::uint64_t allowance_bytes = 0;  ///< What may still be borrowed.
  std::uint64_t lent_here_bytes = 0;
  bool may_borrow = false;
  std::string reason;
};

}  // namespace openp2p::server
