#include "nat/stun_signal.h"

#include "nat/stun_attributes.h"
#include "wire/codec.h"

namespace openp2p::nat {
namespace {

constexpr std::uint16_t kBindingIndication = 0x0011;  // RFC 8489 section 5.

}  // namespace

std::size_t encode_stun_signal(const TransactionId& transaction, ByteView signal,
                               MutableByteView out) {
  if (signal.size() > kStunSignalBytesMax) return 0;
  const std::size_t padding = (4 - signal.size() % 4) % 4;
  const std::size_t body =
      kAttributeHeaderBytes + signal.size() + padding + kFingerprintAttributeBytes;
  Writer writer(out);
  writer.u16(kBindingIndication);
  writer.u16(static_cast<std::uint16_t>(body));
  writer.u32(kStunCookie);
  writer.bytes(transaction.bytes);
  writer.u16(static_cast<std::uint16_t>(AttributeType::kPeerSignal));
  writer.u16(static_cast<std::uint16_t>(signal.size()));
  writer.bytes(signal);
  for (std::size_t i = 0; i < padding; ++i) writer.u8(0);
  if (!writer.ok()) return 0;
  const std::uint32_t fingerprint = fingerprint_of(writer.written());
  writer.u16(static_cast<std::uint16_t>(AttributeType::kFingerprint));
  writer.u16(sizeof fingerprint);
  writer.u32(fingerprint);
  return writer.ok() ? writer.size() : 0;
}

std::optional<ByteView> decode_stun_signal(ByteView datagram) {
  const auto message = decode_stun(datagram);
  if (!message || message->message_class != StunClass::kIndication) return std::nullopt;
  const bool is_understood = message->not_understood.count == 0 && message->has_fingerprint;
  if (message->method != kBindingMethod || message->is_rfc3489 || !is_understood) {
    return std::nullopt;
  }
  for (AttributeWalk walk(datagram); !walk.at_end();) {
    const auto attribute = walk.next();
    if (!attribute) return std::nullopt;
    if (attribute->type == static_cast<std::uint16_t>(AttributeType::kPeerSignal)) {
      return attribute->value;
    }
  }
  return std::nullopt;
}

}  // namespace openp2p::nat
