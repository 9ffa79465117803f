#pragma once

#include <optional>

#include "base/bytes.h"
#include "nat/stun_message.h"

/// A message of the application's in a STUN Binding indication (RFC 8489 section 5: no answer is
/// expected, and who does not know the attribute ignores it), so that it passes wherever checks do.
///
/// Limits: as stun_message.h. Threading: pure functions.
namespace openp2p::nat {

/// What fits beside header and FINGERPRINT. Above 1,200 bytes networks may have to fragment it.
inline constexpr std::size_t kStunSignalBytesMax = kStunBytesMax - kStunHeaderBytes - 4 - 8;

/// Gives its size; 0 where the signal is too long or `out` too small.
std::size_t encode_stun_signal(const TransactionId& transaction, ByteView signal,
                               MutableByteView out);
/// The signal, a view into the datagram; nullopt where it is no such indication. FINGERPRINT must
/// be there and right: it keeps apart what only looks like STUN.
std::optional<ByteView> decode_stun_signal(ByteView datagram);

}  // namespace openp2p::nat
