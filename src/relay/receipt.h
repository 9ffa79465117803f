#pragma once

#include <array>
#include <cstdint>
#include <system_error>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/result.h"
#include "relay/ticket.h"

/// What one end has received through one allocation so far, signed by it. The relay passes it to
/// the server, which credits the relay's user and debits who asked: so neither can lie alone.
///
/// It carries the ticket, so the server can check (is_genuine()) that it granted this allocation
/// and whose account pays, without remembering grants. Bytes only grow: of an allocation's receipts
/// by one end the largest counts, and copies change nothing.
///
///   body: version (1) | ticket (66) | relay (32) | end (32) | peer (32) | bytes (8)
namespace openp2p::relay {

enum class ReceiptError { kMalformed = 1, kBadSignature };
std::error_code make_error_code(ReceiptError error);

struct Receipt {
  static constexpr std::size_t kBytes = 1 + Ticket::kBytes + 3 * NodeId::kSize + 8;
  Ticket ticket;
  NodeId relay;
  NodeId end;   ///< Who received, and signs.
  NodeId peer;  ///< The other end.
  /// Bytes of relayed datagrams (without what the hop adds) that arrived at `end`, all together.
  std::uint64_t bytes = 0;
  friend bool operator==(const Receipt&, const Receipt&) = default;
};

/// As it travels.
struct SignedReceipt {
  std::array<std::byte, Receipt::kBytes> body{};
  IdentityKey::Signature signature{};
};

std::array<std::byte, Receipt::kBytes> encode(const Receipt& receipt);
Result<Receipt> decode_receipt(ByteView body);  ///< kMalformed. Says nothing of who signed.

/// Requires that the key is `receipt.end`'s.
SignedReceipt sign(const Receipt& receipt, const IdentityKey& key);
/// What `body` says, if `signature` is that of the end that it names. Whether the relay, the pair
/// and the ticket are the expected ones is the caller's to check.
Result<Receipt> check_receipt(ByteView body, ByteView signature);

}  // namespace openp2p::relay

template <>
struct std::is_error_code_enum<openp2p::relay::ReceiptError> : std::true_type {};
