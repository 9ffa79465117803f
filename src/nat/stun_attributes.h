#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "wire/codec.h"

/// How STUN attributes lie in a datagram: types, and a walk over them. For nat/ alone.
namespace openp2p::nat {

/// IANA's registry "STUN Attributes"; below 0x8000 comprehension is required.
enum class AttributeType : std::uint16_t {
  kMappedAddress = 0x0001,
  kChangeRequest = 0x0003,   // RFC 5780
  kSourceAddress = 0x0004,   // RFC 3489
  kChangedAddress = 0x0005,  // RFC 3489
  kUsername = 0x0006,
  kMessageIntegrity = 0x0008,
  kErrorCode = 0x0009,
  kUnknownAttributes = 0x000a,
  kMessageIntegritySha256 = 0x001c,
  kXorMappedAddress = 0x0020,
  kPriority = 0x0024,      // RFC 8445
  kUseCandidate = 0x0025,  // RFC 8445
  kPadding = 0x0026,       // RFC 5780
  kResponsePort = 0x0027,  // RFC 5780
  kFingerprint = 0x8028,
  kIceControlled = 0x8029,   // RFC 8445
  kIceControlling = 0x802a,  // RFC 8445
  kResponseOrigin = 0x802b,  // RFC 5780
  kOtherAddress = 0x802c,    // RFC 5780
  kPeerSignal = 0xc0f2,      // Ours, of those for expert review (RFC 8489 section 18.3).
  kPreferStreams = 0xc0f3,   // Likewise: no value, in connectivity checks.
};

inline constexpr std::size_t kAttributeHeaderBytes = 4;
inline constexpr std::size_t kSha1AttributeBytes = kAttributeHeaderBytes + 20;
inline constexpr std::size_t kSha256AttributeBytes = kAttributeHeaderBytes + 32;
inline constexpr std::size_t kFingerprintAttributeBytes = kAttributeHeaderBytes + 4;

struct Attribute {
  std::uint16_t type = 0;
  std::size_t offset = 0;  ///< Of its header, from the start of the message.
  ByteView value;          ///< Without padding. Lives as long as the datagram.
};

/// Walks the attributes of a datagram whose header was checked.
class AttributeWalk {
 public:
  explicit AttributeWalk(ByteView datagram);

  bool at_end() const { return rest_.empty(); }
  Result<Attribute> next();

 private:
  Reader rest_;
  std::size_t size_;
  std::size_t count_ = 0;
};

/// RFC 8489 section 14.7, with the exclusive or already applied.
std::uint32_t fingerprint_of(ByteView message);

}  // namespace openp2p::nat
