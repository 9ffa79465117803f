#include "nat/stun_message.h"

#include <algorithm>

#include "base/check.h"
#include "nat/stun_attributes.h"
#include "wire/codec.h"

namespace openp2p::nat {
namespace {

constexpr std::uint8_t kFamilyV4 = 1;
constexpr std::uint8_t kFamilyV6 = 2;
constexpr std::uint32_t kChangeIpFlag = 4;
constexpr std::uint32_t kChangePortFlag = 2;
constexpr std::uint16_t kComprehensionOptional = 0x8000;

// --- Types: RFC 8489 section 5 spreads the class over bits 4 and 8 of the message type. ---

std::uint16_t pack_type(StunClass message_class, std::uint16_t method) {
  const auto bits = static_cast<unsigned>(message_class);
  return static_cast<std::uint16_t>((method & 0xf80u) << 2 | (method & 0x70u) << 1 |
                                    (method & 0xfu) | (bits & 2u) << 7 | (bits & 1u) << 4);
}

StunClass class_of(std::uint16_t type) {
  return static_cast<StunClass>((type >> 7 & 2) | (type >> 4 & 1));
}

std::uint16_t method_of(std::uint16_t type) {
  return static_cast<std::uint16_t>((type >> 2 & 0xf80) | (type >> 1 & 0x70) | (type & 0xf));
}

// --- Addresses: section 14.1, and 14.2 with the exclusive or. ---

std::array<std::uint8_t, 16> xor_mask(const TransactionId& transaction) {
  std::array<std::uint8_t, 16> mask{};
  for (int i = 0; i < 4; ++i) mask[i] = static_cast<std::uint8_t>(kStunCookie >> (24 - 8 * i));
  std::transform(transaction.bytes.begin(), transaction.bytes.end(), mask.begin() + 4,
                 [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  return mask;
}

Result<Address> read_address(ByteView value, const std::array<std::uint8_t, 16>& mask) {
  if (value.size() != 8 && value.size() != 20) return WireError::kMalformed;
  const auto family = std::to_integer<std::uint8_t>(value[1]);
  if (family != (value.size() == 8 ? kFamilyV4 : kFamilyV6)) return WireError::kMalformed;
  const std::uint8_t* from = as_u8(value);
  std::array<std::uint8_t, 16> ip{};
  for (std::size_t i = 0; i + 4 < value.size(); ++i) ip[i] = from[i + 4] ^ mask[i];
  Address address;
  address.port = static_cast<std::uint16_t>((from[2] ^ mask[0]) << 8 | (from[3] ^ mask[1]));
  address.ip = family == kFamilyV4 ? IpAddress::v4(ip[0], ip[1], ip[2], ip[3]) : IpAddress::v6(ip);
  return address;
}

// --- Decoding ---

/// Takes attributes in order and knows which still count.
class Decoder {
 public:
  Decoder(ByteView datagram, StunMessage& message) : datagram_(datagram), message_(message) {}

  Status take(const Attribute& attribute);

 private:
  Status take_trailer(const Attribute& attribute);
  Status take_value(AttributeType type, ByteView value);
  Status take_address(std::optional<Address>& field, ByteView value, bool is_xored);
  Status take_username(ByteView value);
  Status take_error(ByteView value);
  Status take_unknown_attributes(ByteView value);
  void note_unknown(std::uint16_t type);

  ByteView datagram_;
  StunMessage& message_;
  std::array<std::uint16_t, kAttributesMax> seen_{};
  std::size_t seen_count_ = 0;
};

Status Decoder::take(const Attribute& attribute) {
  if (message_.has_fingerprint) return WireError::kMalformed;  // It must be the last one.
  const auto seen_end = seen_.begin() + static_cast<std::ptrdiff_t>(seen_count_);
  if (std::find(seen_.begin(), seen_end, attribute.type) != seen_end) return {};
  seen_[seen_count_++] = attribute.type;
  const auto type = static_cast<AttributeType>(attribute.type);
  const bool is_trailer = type == AttributeType::kMessageIntegrity ||
                          type == AttributeType::kMessageIntegritySha256 ||
                          type == AttributeType::kFingerprint;
  if (is_trailer) return take_trailer(attribute);
  if (message_.has_integrity || message_.has_integrity_sha256) return {};
  return take_value(type, attribute.value);
}

Status Decoder::take_trailer(const Attribute& attribute) {
  Reader in(attribute.value);
  if (static_cast<AttributeType>(attribute.type) == AttributeType::kFingerprint) {
    const auto crc = in.u32();
    if (!crc || !in.empty()) return WireError::kMalformed;
    if (*crc != fingerprint_of(datagram_.first(attribute.offset))) return WireError::kMalformed;
    message_.has_fingerprint = true;
  } else if (static_cast<AttributeType>(attribute.type) == AttributeType::kMessageIntegrity) {
    // Behind the SHA-256 one only FINGERPRINT may count (RFC 8489 section 14.6).
    if (message_.has_integrity_sha256) return {};
    if (attribute.value.size() != std::tuple_size_v<Sha1Digest>) return WireError::kMalformed;
    message_.has_integrity = true;
  } else {
    message_.has_integrity_sha256 = true;
  }
  return {};
}

template <class Number>
Status take_number(Number& field, Result<Number> value, const Reader& in) {
  if (!value || !in.empty()) return WireError::kMalformed;
  field = *value;
  return {};
}

Status Decoder::take_value(AttributeType type, ByteView value) {
  Reader in(value);
  switch (type) {
    case AttributeType::kMappedAddress:
      return take_address(message_.mapped_address, value, /*is_xored=*/false);
    case AttributeType::kXorMappedAddress:
      return take_address(message_.xor_mapped_address, value, /*is_xored=*/true);
    case AttributeType::kResponseOrigin:
      return take_address(message_.response_origin, value, /*is_xored=*/false);
    case AttributeType::kOtherAddress:
      return take_address(message_.other_address, value, /*is_xored=*/false);
    case AttributeType::kSourceAddress:
      return take_address(message_.source_address, value, /*is_xored=*/false);
    case AttributeType::kChangedAddress:
      return take_address(message_.changed_address, value, /*is_xored=*/false);
    case AttributeType::kUsername:
      return take_username(value);
    case AttributeType::kErrorCode:
      return take_error(value);
    case AttributeType::kUnknownAttributes:
      return take_unknown_attributes(value);
    case AttributeType::kPriority:
      return take_number(message_.priority.emplace(), in.u32(), in);
    case AttributeType::kIceControlled:
      return take_number(message_.ice_controlled.emplace(), in.u64(), in);
    case AttributeType::kIceControlling:
      return take_number(message_.ice_controlling.emplace(), in.u64(), in);
    case AttributeType::kUseCandidate:
      message_.use_candidate = true;
      return in.empty() ? Status() : WireError::kMalformed;
    case AttributeType::kPreferStreams:
      message_.prefer_streams = true;  // Values are for later versions.
      return {};
    case AttributeType::kPadding:
      message_.padding_bytes = static_cast<std::uint16_t>(value.size());
      return {};
    case AttributeType::kChangeRequest: {
      std::uint32_t flags = 0;
      const Status status = take_number(flags, in.u32(), in);
      message_.change_ip = (flags & kChangeIpFlag) != 0;
      message_.change_port = (flags & kChangePortFlag) != 0;
      return status;
    }
    case AttributeType::kResponsePort: {
      const auto port = in.u16();
      if (!port || in.rest().size() > 2) return WireError::kMalformed;  // Two bytes may be padding.
      message_.response_port = *port;
      return {};
    }
    case AttributeType::kPeerSignal:  // stun_signal.h
    case AttributeType::kMessageIntegrity:
    case AttributeType::kMessageIntegritySha256:
    case AttributeType::kFingerprint:
      break;
  }
  note_unknown(static_cast<std::uint16_t>(type));
  return {};
}

Status Decoder::take_address(std::optional<Address>& field, ByteView value, bool is_xored) {
  const auto mask = is_xored ? xor_mask(message_.transaction) : std::array<std::uint8_t, 16>{};
  const auto address = read_address(value, mask);
  if (!address) return address.error();
  field = *address;
  return {};
}

Status Decoder::take_username(ByteView value) {
  if (value.size() > StunMessage::kUsernameBytesMax) return WireError::kTooLong;
  message_.set_username(as_text(value));
  return {};
}

Status Decoder::take_error(ByteView value) {
  Reader in(value);
  const auto head = in.u32();
  if (!head) return WireError::kMalformed;
  const unsigned hundreds = *head >> 8 & 7;
  const unsigned number = *head & 0xff;
  if (hundreds < 3 || hundreds > 6 || number > 99) return WireError::kMalformed;
  message_.error_code = static_cast<std::uint16_t>(hundreds * 100 + number);
  return {};
}

Status Decoder::take_unknown_attributes(ByteView value) {
  Reader in(value);
  while (!in.empty()) {
    const auto type = in.u16();
    if (!type) return WireError::kMalformed;
    message_.unknown_attributes.add(*type);
  }
  return {};
}

void Decoder::note_unknown(std::uint16_t type) {
  if (type >= kComprehensionOptional) return;
  if (message_.not_understood.count == 0) message_.unknown_attribute = type;
  message_.not_understood.add(type);
}

// --- Encoding ---

void write_header(Writer& out, AttributeType type, std::size_t size) {
  out.u16(static_cast<std::uint16_t>(type));
  out.u16(static_cast<std::uint16_t>(size));
}

void write_padding(Writer& out, std::size_t size) {
  for (; size % 4 != 0; ++size) out.u8(0);
}

void write_address(Writer& out, AttributeType type, const std::optional<Address>& address,
                   const std::array<std::uint8_t, 16>& mask) {
  if (!address) return;
  const bool is_v4 = address->ip.is_v4();
  const auto& ip = address->ip.bytes();
  const std::size_t first = is_v4 ? 12 : 0;  // Where the address starts in the 16 bytes.
  write_header(out, type, is_v4 ? 8 : 20);
  out.u8(0);
  out.u8(is_v4 ? kFamilyV4 : kFamilyV6);
  out.u16(static_cast<std::uint16_t>(address->port ^ (mask[0] << 8 | mask[1])));
  for (std::size_t i = first; i < ip.size(); ++i) out.u8(ip[i] ^ mask[i - first]);
}

void write_addresses(Writer& out, const StunMessage& message) {
  constexpr std::array<std::uint8_t, 16> kNoMask{};
  write_address(out, AttributeType::kMappedAddress, message.mapped_address, kNoMask);
  write_address(out, AttributeType::kSourceAddress, message.source_address, kNoMask);
  write_address(out, AttributeType::kChangedAddress, message.changed_address, kNoMask);
  write_address(out, AttributeType::kXorMappedAddress, message.xor_mapped_address,
                xor_mask(message.transaction));
  write_address(out, AttributeType::kResponseOrigin, message.response_origin, kNoMask);
  write_address(out, AttributeType::kOtherAddress, message.other_address, kNoMask);
}

void write_discovery(Writer& out, const StunMessage& message) {
  if (message.change_ip || message.change_port) {
    write_header(out, AttributeType::kChangeRequest, 4);
    out.u32((message.change_ip ? kChangeIpFlag : 0) | (message.change_port ? kChangePortFlag : 0));
  }
  if (message.response_port) {
    write_header(out, AttributeType::kResponsePort, 2);
    out.u16(*message.response_port);
    out.u16(0);
  }
  if (message.padding_bytes != 0) {
    write_header(out, AttributeType::kPadding, message.padding_bytes);
    for (std::size_t i = 0; i < message.padding_bytes && out.ok(); ++i) out.u8(0);
    write_padding(out, message.padding_bytes);
  }
}

void write_ice(Writer& out, const StunMessage& message) {
  if (message.username_size != 0) {
    write_header(out, AttributeType::kUsername, message.username_size);
    out.bytes(as_bytes(message.username()));
    write_padding(out, message.username_size);
  }
  if (message.priority) {
    write_header(out, AttributeType::kPriority, 4);
    out.u32(*message.priority);
  }
  if (message.use_candidate) write_header(out, AttributeType::kUseCandidate, 0);
  if (message.prefer_streams) write_header(out, AttributeType::kPreferStreams, 0);
  if (message.ice_controlled) {
    write_header(out, AttributeType::kIceControlled, 8);
    out.u64(*message.ice_controlled);
  }
  if (message.ice_controlling) {
    write_header(out, AttributeType::kIceControlling, 8);
    out.u64(*message.ice_controlling);
  }
}

std::string_view reason_phrase(std::uint16_t error_code) {
  switch (error_code) {
    case 300:
      return "Try Alternate";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthenticated";
    case 420:
      return "Unknown Attribute";
    case 447:
      return "Connection Timeout or Failure";
    case 487:
      return "Role Conflict";
    case 500:
      return "Server Error";
    case 508:
      return "Insufficient Capacity";
    default:
      return "";
  }
}

void write_error(Writer& out, const StunMessage& message) {
  if (message.error_code != 0) {
    const std::string_view reason = reason_phrase(message.error_code);
    write_header(out, AttributeType::kErrorCode, 4 + reason.size());
    out.u16(0);
    out.u8(static_cast<std::uint8_t>(message.error_code / 100));
    out.u8(static_cast<std::uint8_t>(message.error_code % 100));
    out.bytes(as_bytes(reason));
    write_padding(out, reason.size());
  }
  const AttributeTypes& unknown = message.unknown_attributes;
  if (unknown.count != 0) {
    write_header(out, AttributeType::kUnknownAttributes, 2 * unknown.count);
    for (std::size_t i = 0; i < unknown.count; ++i) out.u16(unknown.types[i]);
    write_padding(out, 2 * unknown.count);
  }
}

/// The header's length as it is once an attribute of `size` bytes is added, which is what integrity
/// and fingerprint are computed over.
void announce(Writer& out, std::size_t size) {
  out.set_u16(2, static_cast<std::uint16_t>(out.size() + size - kStunHeaderBytes));
}

void write_integrity(Writer& out, ByteView key, IntegrityHash hash) {
  if (hash == IntegrityHash::kSha1) {
    announce(out, kSha1AttributeBytes);
    const Sha1Digest digest = hmac_sha1(key, out.written());
    write_header(out, AttributeType::kMessageIntegrity, digest.size());
    out.bytes(digest);
  } else {
    announce(out, kSha256AttributeBytes);
    const Digest digest = hmac_sha256(key, out.written());
    write_header(out, AttributeType::kMessageIntegritySha256, digest.size());
    out.bytes(digest);
  }
}

void write_fingerprint(Writer& out) {
  announce(out, kFingerprintAttributeBytes);
  const std::uint32_t fingerprint = fingerprint_of(out.written());
  write_header(out, AttributeType::kFingerprint, 4);
  out.u32(fingerprint);
}

/// What the HMAC covers: everything before the attribute, with a length that ends behind it. Gives
/// the digest, or nothing where there is no such attribute of full size.
struct IntegrityInput {
  std::array<std::byte, kStunBytesMax> bytes;
  std::size_t size = 0;
  ByteView digest;  ///< Points into the datagram.
};

bool find_integrity(ByteView datagram, AttributeType wanted, std::size_t digest_bytes,
                    IntegrityInput& input) {
  if (!looks_like_stun(datagram) || datagram.size() > kStunBytesMax) return false;
  for (AttributeWalk walk(datagram); !walk.at_end();) {
    const auto attribute = walk.next();
    if (!attribute) return false;
    const auto type = static_cast<AttributeType>(attribute->type);
    if (type == AttributeType::kMessageIntegritySha256 && type != wanted) return false;
    if (type != wanted) continue;
    if (attribute->value.size() != digest_bytes) return false;
    const std::size_t end = attribute->offset + kAttributeHeaderBytes + digest_bytes;
    Writer out(input.bytes);
    out.bytes(datagram.first(attribute->offset));
    out.set_u16(2, static_cast<std::uint16_t>(end - kStunHeaderBytes));
    input.size = out.size();
    input.digest = attribute->value;
    return true;
  }
  return false;
}

}  // namespace

void StunMessage::set_username(std::string_view text) {
  CHECK(text.size() <= kUsernameBytesMax);
  username_bytes.fill(0);
  std::copy(text.begin(), text.end(), username_bytes.begin());
  username_size = text.size();
}

bool looks_like_stun(ByteView datagram) {
  if (datagram.size() < kStunHeaderBytes || datagram.size() % 4 != 0) return false;
  const std::uint8_t* head = as_u8(datagram);
  const std::size_t length = static_cast<std::size_t>(head[2]) << 8 | head[3];
  return head[0] <= 3 && length == datagram.size() - kStunHeaderBytes;
}

Result<StunMessage> decode_stun(ByteView datagram) {
  if (datagram.size() > kStunBytesMax) return WireError::kTooLong;
  if (datagram.size() < kStunHeaderBytes) return WireError::kTruncated;
  if (!looks_like_stun(datagram)) return WireError::kMalformed;
  Reader header(datagram.first(kStunHeaderBytes));
  StunMessage message;
  const std::uint16_t type = *header.u16();
  message.message_class = class_of(type);
  message.method = method_of(type);
  CHECK(header.u16().has_value());  // The length: looked at above.
  message.cookie = *header.u32();
  message.is_rfc3489 = message.cookie != kStunCookie;
  std::copy(header.rest().begin(), header.rest().end(), message.transaction.bytes.begin());

  Decoder decoder(datagram, message);
  for (AttributeWalk walk(datagram); !walk.at_end();) {
    const auto attribute = walk.next();
    if (!attribute) return attribute.error();
    const Status taken = decoder.take(*attribute);
    if (!taken) return taken.error();
  }
  return message;
}

bool verify_integrity(ByteView datagram, ByteView key) {
  IntegrityInput input;
  if (!find_integrity(datagram, AttributeType::kMessageIntegrity, sizeof(Sha1Digest), input)) {
    return false;
  }
  const Sha1Digest digest = hmac_sha1(key, ByteView(input.bytes).first(input.size));
  return equal_constant_time(digest, input.digest);
}

bool verify_integrity_sha256(ByteView datagram, ByteView key) {
  IntegrityInput input;
  if (!find_integrity(datagram, AttributeType::kMessageIntegritySha256, sizeof(Digest), input)) {
    return false;
  }
  const Digest digest = hmac_sha256(key, ByteView(input.bytes).first(input.size));
  return equal_constant_time(digest, input.digest);
}

std::size_t encode_stun(const StunMessage& message, ByteView integrity_key, MutableByteView out,
                        IntegrityHash hash) {
  Writer writer(out);
  writer.u16(pack_type(message.message_class, message.method));
  writer.u16(0);
  writer.u32(message.cookie);
  writer.bytes(message.transaction.bytes);
  write_error(writer, message);
  write_addresses(writer, message);
  write_discovery(writer, message);
  write_ice(writer, message);
  if (!writer.ok()) return 0;
  announce(writer, 0);
  if (!integrity_key.empty()) write_integrity(writer, integrity_key, hash);
  if (message.has_fingerprint) write_fingerprint(writer);
  return writer.ok() && writer.size() <= kStunBytesMax ? writer.size() : 0;
}

}  // namespace openp2p::nat
