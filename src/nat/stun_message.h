#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/result.h"

/// STUN messages (RFC 8489), with the attributes of behaviour discovery (RFC 5780), ICE (RFC 8445
/// section 16.1) and, as far as old clients need it, RFC 3489.
///
/// Limits: see the constants; what breaks them does not decode. Threading: pure functions.
namespace openp2p::nat {

inline constexpr std::uint32_t kStunCookie = 0x2112a442;
inline constexpr std::size_t kStunHeaderBytes = 20;
inline constexpr std::uint16_t kBindingMethod = 1;
/// No message of ours or of any STUN usage known comes near; padded ones (RFC 5780) fill one MTU.
inline constexpr std::size_t kStunBytesMax = 2048;
/// A Binding request of ICE has 8. Stops a datagram of empty attributes from costing 500 turns.
inline constexpr std::size_t kAttributesMax = 32;

/// 96 bits. Ours carry the owner's tag in the first 32, so that an answer finds its asker.
struct TransactionId {
  std::array<std::byte, 12> bytes{};
  friend auto operator<=>(const TransactionId&, const TransactionId&) = default;
};

enum class StunClass { kRequest, kIndication, kSuccess, kError };

/// A bounded list of attribute types; what does not fit is left out.
struct AttributeTypes {
  static constexpr std::size_t kTypesMax = 8;
  std::array<std::uint16_t, kTypesMax> types{};
  std::size_t count = 0;

  void add(std::uint16_t type) {
    if (count < kTypesMax) types[count++] = type;
  }
  friend bool operator==(const AttributeTypes&, const AttributeTypes&) = default;
};

/// What a message says: a view of nothing, all values are copied out and bounded.
struct StunMessage {
  static constexpr std::size_t kUsernameBytesMax = 64;

  StunClass message_class = StunClass::kRequest;
  std::uint16_t method = kBindingMethod;
  TransactionId transaction;
  bool is_rfc3489 = false;  ///< No magic cookie: an old client (its 128-bit id starts in `cookie`).
  std::uint32_t cookie = kStunCookie;

  std::optional<Address> mapped_address;
  std::optional<Address> xor_mapped_address;
  std::optional<Address> response_origin;
  std::optional<Address> other_address;
  std::optional<Address> source_address;   ///< RFC 3489; response_origin is its successor.
  std::optional<Address> changed_address;  ///< RFC 3489; other_address is its successor.
  std::optional<std::uint16_t> response_port;
  bool change_ip = false;
  bool change_port = false;
  std::uint16_t padding_bytes = 0;
  std::uint16_t error_code = 0;         ///< 300 to 699, in error responses.
  AttributeTypes unknown_attributes;    ///< What UNKNOWN-ATTRIBUTES lists, in error responses.
  std::uint16_t unknown_attribute = 0;  ///< The first comprehension-required one not understood.
  AttributeTypes not_understood;        ///< All of them, as the decoder met them; never encoded.

  std::array<char, kUsernameBytesMax> username_bytes{};
  std::size_t username_size = 0;
  std::optional<std::uint32_t> priority;
  bool use_candidate = false;
  bool prefer_streams = false;  ///< Ours: the sender's datagrams want a path over TCP.
  std::optional<std::uint64_t> ice_controlling;
  std::optional<std::uint64_t> ice_controlled;
  bool has_integrity = false;         ///< Set by the decoder: present, not yet verified.
  bool has_integrity_sha256 = false;  ///< Likewise.
  bool has_fingerprint = false;

  std::string_view username() const { return {username_bytes.data(), username_size}; }
  void set_username(std::string_view text);  ///< At most kUsernameBytesMax bytes.
  friend bool operator==(const StunMessage&, const StunMessage&) = default;
};

/// The first byte is 0 to 3 and the length fits the datagram exactly: cheap demultiplexing, which
/// also takes the cookie-less messages of RFC 3489.
bool looks_like_stun(ByteView datagram);
/// FINGERPRINT, where present, must be right. Of repeated attributes the first counts, and what
/// stands behind MESSAGE-INTEGRITY does not count at all (RFC 8489 section 14.5).
Result<StunMessage> decode_stun(ByteView datagram);
/// True if MESSAGE-INTEGRITY (HMAC-SHA-1, RFC 8489 section 14.5) is there and made with `key`.
bool verify_integrity(ByteView datagram, ByteView key);
/// True if MESSAGE-INTEGRITY-SHA256 (section 14.6), not truncated, is there and made with `key`.
bool verify_integrity_sha256(ByteView datagram, ByteView key);

enum class IntegrityHash { kSha1, kSha256 };
/// Writes the message, then its MESSAGE-INTEGRITY if `integrity_key` is not empty, then FINGERPRINT
/// if asked for in the message. Gives its size; 0 where `out` is too small.
std::size_t encode_stun(const StunMessage& message, ByteView integrity_key, MutableByteView out,
                        IntegrityHash hash = IntegrityHash::kSha1);

}  // namespace openp2p::nat
