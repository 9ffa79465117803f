#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"
#include "wire/codec.h"

/// The messages of the Port Control Protocol (RFC 6887): requests, answers and announcements, with
/// the opcodes MAP and ANNOUNCE. Options are stepped over: we send none that changes an answer.
namespace openp2p::nat {

constexpr std::uint8_t kPcpVersion = 2;
constexpr std::uint16_t kPcpServerPort = 5'351;
constexpr std::uint16_t kPcpAnnouncementPort = 5'350;  ///< On 224.0.0.1 and ff02::1.
constexpr std::size_t kPcpBytesMax = 1'100;            ///< RFC 6887 section 7.
constexpr std::size_t kPcpHeaderBytes = 24;
constexpr std::size_t kPcpMapBytes = kPcpHeaderBytes + 36;

enum class PcpOpcode : std::uint8_t { kAnnounce = 0, kMap = 1 };

/// RFC 6887 section 7.4. Values that are not listed are legal, and errors.
enum class PcpResult : std::uint8_t {
  kSuccess = 0,
  kUnsupportedVersion = 1,
  kNotAuthorized = 2,
  kMalformedRequest = 3,
  kUnsupportedOpcode = 4,
  kUnsupportedOption = 5,
  kMalformedOption = 6,
  kNetworkFailure = 7,
  kNoResources = 8,
  kUnsupportedProtocol = 9,
  kUserExceededQuota = 10,
  kCannotProvideExternal = 11,
  kAddressMismatch = 12,
  kExcessiveRemotePeers = 13,
};
/// What a person may read: "it does not allow this device to map ports".
std::string_view pcp_result_text(PcpResult result);

/// The IANA numbers that MAP wants.
enum class PcpProtocol : std::uint8_t { kTcp = 6, kUdp = 17 };

using PcpNonce = std::array<std::byte, 12>;

/// The body of a MAP request or answer (section 11.1).
struct PcpMap {
  PcpNonce nonce{};
  PcpProtocol protocol = PcpProtocol::kUdp;
  std::uint16_t internal_port = 0;
  Address external;  ///< In requests: suggested.
  friend bool operator==(const PcpMap&, const PcpMap&) = default;
};

struct PcpMessage {
  bool is_response = false;
  PcpOpcode opcode = PcpOpcode::kMap;
  std::uint32_t lifetime_s = 0;
  IpAddress client;                        ///< Of requests.
  PcpResult result = PcpResult::kSuccess;  ///< Of responses.
  std::uint32_t epoch_s = 0;               ///< Of responses: how long the server has its state.
  PcpMap map;                              ///< Of kMap.
  friend bool operator==(const PcpMessage&, const PcpMessage&) = default;
};

/// 0: `out` is too small; kPcpMapBytes are enough.
std::size_t encode_pcp(const PcpMessage& message, MutableByteView out);
/// Errors are WireError: also kMalformed for opcodes and protocols that are not ours.
Result<PcpMessage> decode_pcp(ByteView datagram);
/// The version that a gateway without PCP says it has instead: NAT-PMP answers a PCP request with
/// version 0 and "unsupported version" (RFC 6887 appendix A), other versions of PCP with theirs.
bool is_pcp_version_refusal(ByteView datagram);

}  // namespace openp2p::nat
