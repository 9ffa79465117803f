#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "relay/hop.h"
#include "relay/receipt.h"
#include "relay/ticket.h"

/// Messages between an end and a relay (proto/relay.proto) as values: the one place of this folder
/// that meets protobuf. What is decoded is bounded, and texts are printable().
namespace openp2p::relay {

/// The stream's first bytes: forward::StreamKind::kRelay, and the version of what follows.
inline constexpr std::byte kStreamKind{3};
inline constexpr std::byte kStreamVersion{1};

inline constexpr std::size_t kMessageBytesMax = 16'384;
inline constexpr std::size_t kLetterBytesMax = 8'192;  ///< As the server carries signals.
inline constexpr std::size_t kTextBytesMax = 200;

/// The codes of Refused in proto/relay.proto, in its order.
enum class RefusalCode : std::uint8_t {
  kUnknown = 0,
  kTicketInvalid,
  kTicketOld,
  kTicketSpent,
  kNotSharing,
  kFull,
  kTooManyGuesses,
  kRelayedHop,
};

struct AllocateMessage {
  std::uint64_t number = 0;
  NodeId peer;
  std::optional<Ticket> ticket;
};
struct ReleaseMessage {
  Channel channel = 0;
};
struct ReceiptMessage {
  Channel channel = 0;
  SignedReceipt receipt;
};
/// To a relay `node` is the addressee, from it the sender.
struct LetterMessage {
  NodeId node;
  Bytes body;
};
struct UnknownMessage {};  ///< Of a newer version: ignored.
using EndMessage =
    std::variant<UnknownMessage, AllocateMessage, ReleaseMessage, ReceiptMessage, LetterMessage>;

struct AllocatedMessage {
  std::uint64_t number = 0;
  Channel channel = 0;
  std::uint64_t bits_per_second = 0;  ///< The cap that it shares with others; 0: none.
  bool is_peer_there = false;
};
struct RefusedMessage {
  std::uint64_t number = 0;
  RefusalCode code = RefusalCode::kUnknown;
  std::string text;
};
struct JoinedMessage {
  Channel channel = 0;
};
struct LeftMessage {
  Channel channel = 0;
  std::string text;
};
struct ReceiptWantedMessage {
  Channel channel = 0;
};
struct LetterFailedMessage {
  NodeId node;
};
using RelayMessage =
    std::variant<UnknownMessage, AllocatedMessage, RefusedMessage, JoinedMessage, LeftMessage,
                 ReceiptWantedMessage, LetterMessage, LetterFailedMessage>;

/// WireError::kMalformed or kTooLong. A ticket or receipt of a wrong size is malformed.
Result<EndMessage> decode_end_message(ByteView bytes);
Result<RelayMessage> decode_relay_message(ByteView bytes);
/// Not of UnknownMessage.
Bytes encode(const EndMessage& message);
Bytes encode(const RelayMessage& message);

}  // namespace openp2p::relay
