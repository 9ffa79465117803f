#include "nat/pcp_message.h"

#include <algorithm>
#include <span>

namespace openp2p::nat {
namespace {

constexpr std::uint8_t kResponseBit = 0x80;
constexpr std::array<std::byte, 12> kZeros{};

void put_ip(Writer& out, const IpAddress& ip) { out.bytes(std::as_bytes(std::span(ip.bytes()))); }

Result<IpAddress> take_ip(Reader& in) {
  const auto bytes = in.bytes(16);
  if (!bytes) return bytes.error();
  std::array<std::uint8_t, 16> address;
  std::copy_n(as_u8(*bytes), address.size(), address.begin());
  return IpAddress::v6(address);
}

void put_map(Writer& out, const PcpMap& map) {
  out.bytes(map.nonce);
  out.u8(static_cast<std::uint8_t>(map.protocol));
  out.bytes(ByteView(kZeros).first(3));
  out.u16(map.internal_port);
  out.u16(map.external.port);
  put_ip(out, map.external.ip);
}

// Requires that kPcpMapBytes are there: checked by the caller.
Result<PcpMap> take_map(Reader& in) {
  PcpMap map;
  const auto nonce = in.bytes(map.nonce.size());
  if (!nonce) return nonce.error();
  std::ranges::copy(*nonce, map.nonce.begin());
  const auto protocol = in.u8();
  if (!protocol) return protocol.error();
  map.protocol = static_cast<PcpProtocol>(*protocol);
  if (map.protocol != PcpProtocol::kTcp && map.protocol != PcpProtocol::kUdp) {
    return WireError::kMalformed;
  }
  if (const auto reserved = in.bytes(3); !reserved) return reserved.error();
  const auto internal_port = in.u16();
  if (!internal_port) return internal_port.error();
  const auto external_port = in.u16();
  if (!external_port) return external_port.error();
  const auto ip = take_ip(in);
  if (!ip) return ip.error();
  map.internal_port = *internal_port;
  map.external = {*ip, *external_port};
  return map;
}

// Section 7.3: code, reserved, length, data, padding to 4 bytes.
Status skip_options(Reader& in) {
  while (!in.empty()) {
    if (const auto code = in.u16(); !code) return code.error();
    const auto length = in.u16();
    if (!length) return length.error();
    const std::size_t padded = (std::size_t{*length} + 3) & ~std::size_t{3};
    if (const auto data = in.bytes(padded); !data) return data.error();
  }
  return {};
}

// Bytes 2 to 23: reserved and result, lifetime, and the client's address or the epoch.
Status take_header(Reader& in, PcpMessage& message) {
  if (const auto reserved = in.u8(); !reserved) return reserved.error();
  const auto result = in.u8();
  if (!result) return result.error();
  const auto lifetime = in.u32();
  if (!lifetime) return lifetime.error();
  message.lifetime_s = *lifetime;
  if (!message.is_response) {
    const auto client = take_ip(in);
    if (!client) return client.error();
    message.client = *client;
    return {};
  }
  message.result = static_cast<PcpResult>(*result);
  const auto epoch = in.u32();
  if (!epoch) return epoch.error();
  message.epoch_s = *epoch;
  if (const auto reserved = in.bytes(kZeros.size()); !reserved) return reserved.error();
  return {};
}

}  // namespace

std::string_view pcp_result_text(PcpResult result) {
  switch (result) {
    case PcpResult::kSuccess:
      return "it agreed";
    case PcpResult::kUnsupportedVersion:
      return "it does not speak this version of PCP";
    case PcpResult::kNotAuthorized:
      return "it does not allow this device to map ports";
    case PcpResult::kMalformedRequest:
    case PcpResult::kMalformedOption:
    case PcpResult::kUnsupportedOption:
      return "it did not understand the request";
    case PcpResult::kUnsupportedOpcode:
      return "it speaks PCP, and maps no ports";
    case PcpResult::kNetworkFailure:
      return "it has no external address at the moment";
    case PcpResult::kNoResources:
      return "it has no room for another mapping";
    case PcpResult::kUnsupportedProtocol:
      return "it does not map ports of this protocol";
    case PcpResult::kUserExceededQuota:
      return "this device has as many mappings as it may have";
    case PcpResult::kCannotProvideExternal:
      return "it cannot give the port that was asked for";
    case PcpResult::kAddressMismatch:
      return "another NAT is between this device and it";
    case PcpResult::kExcessiveRemotePeers:
      return "it cannot filter for so many peers";
  }
  return "it answered with an error that is not known";
}

std::size_t encode_pcp(const PcpMessage& message, MutableByteView out) {
  Writer writer(out);
  const auto opcode = static_cast<std::uint8_t>(message.opcode);
  writer.u8(kPcpVersion);
  writer.u8(message.is_response ? opcode | kResponseBit : opcode);
  writer.u8(0);
  writer.u8(message.is_response ? static_cast<std::uint8_t>(message.result) : 0);
  writer.u32(message.lifetime_s);
  if (message.is_response) {
    writer.u32(message.epoch_s);
    writer.bytes(kZeros);
  } else {
    put_ip(writer, message.client);
  }
  if (message.opcode == PcpOpcode::kMap) put_map(writer, message.map);
  return writer.ok() ? writer.size() : 0;
}

Result<PcpMessage> decode_pcp(ByteView datagram) {
  if (datagram.size() > kPcpBytesMax) return WireError::kTooLong;
  if (datagram.size() % 4 != 0) return WireError::kMalformed;
  Reader in(datagram);
  const auto version = in.u8();
  if (!version) return version.error();
  const auto opcode = in.u8();
  if (!opcode) return opcode.error();
  if (*version != kPcpVersion) return WireError::kMalformed;
  PcpMessage message;
  message.is_response = (*opcode & kResponseBit) != 0;
  message.opcode = static_cast<PcpOpcode>(*opcode & ~kResponseBit);
  if (message.opcode != PcpOpcode::kAnnounce && message.opcode != PcpOpcode::kMap) {
    return WireError::kMalformed;
  }
  if (const Status header = take_header(in, message); !header) return header.error();
  if (message.opcode == PcpOpcode::kMap) {
    const auto map = take_map(in);
    if (!map) return map.error();
    message.map = *map;
  }
  if (const Status options = skip_options(in); !options) return options.error();
  return message;
}

bool is_pcp_version_refusal(ByteView datagram) {
  if (datagram.size() < 4) return false;
  const std::uint8_t* bytes = as_u8(datagram);
  const bool is_response = (bytes[1] & kResponseBit) != 0;
  // NAT-PMP has 16 bits of result there, PCP 8 reserved bits and 8 of result.
  const bool is_refused = bytes[2] == 0 && bytes[3] == 1;
  return is_response && is_refused;
}

}  // namespace openp2p::nat
