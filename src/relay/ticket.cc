#include "relay/ticket.h"

#include <algorithm>
#include <string_view>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::relay {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::string_view kCodeLabel = "openp2p relay 1";
constexpr std::string_view kSecretLabel = "openp2p relay secret 1";
constexpr std::int64_t kStepUs = kTicketStep / std::chrono::microseconds(1);

const char* words(TicketError error) {
  switch (error) {
    case TicketError::kMalformed:
      return "the ticket is malformed";
    case TicketError::kForged:
      return "the ticket is not one for this relay and these two nodes";
    case TicketError::kOld:
      return "the ticket is too old, or not yet good";
  }
  return "unknown ticket error";
}

std::optional<TicketKind> to_kind(std::uint8_t number) {
  switch (static_cast<TicketKind>(number)) {
    case TicketKind::kOwn:
    case TicketKind::kShared:
    case TicketKind::kServer:
      return static_cast<TicketKind>(number);
  }
  return std::nullopt;
}

/// The key of RFC 6238 for one allocation: all that a code is bound to, but the time.
Digest code_key(const TicketSecret& secret, const TicketScope& scope, const Ticket& ticket) {
  std::array<std::byte,
             kCodeLabel.size() + 1 + 3 * NodeId::kSize + sizeof(AllocationId) + sizeof(Account)>
      bound;
  Writer writer(bound);
  writer.bytes(as_bytes(kCodeLabel));
  writer.u8(static_cast<std::uint8_t>(ticket.kind));
  writer.bytes(scope.relay.key);
  writer.bytes(std::min(scope.one, scope.other).key);
  writer.bytes(std::max(scope.one, scope.other).key);
  writer.bytes(ticket.allocation);
  writer.bytes(ticket.account);
  CHECK(writer.ok() && writer.size() == bound.size());
  return hmac_sha256(secret, bound);
}

Digest code_of(const TicketSecret& secret, const TicketScope& scope, const Ticket& ticket) {
  Digest key = code_key(secret, scope, ticket);
  std::array<std::byte, 8> counter;  // RFC 4226 section 5.2: eight bytes, the highest first.
  Writer(counter).u64(ticket.step);
  const Digest code = hmac_sha256(key, counter);
  wipe(key);
  return code;
}

template <std::size_t size>
void take(const ByteView& from, std::array<std::byte, size>& to) {
  std::ranges::copy(from, to.begin());
}

}  // namespace

std::error_code make_error_code(TicketError error) {
  static const ErrorCategory<TicketError> kCategory("ticket", words);
  return {static_cast<int>(error), kCategory};
}

TicketSecret derive_ticket_secret(ByteView master, const NodeId& relay) {
  TicketSecret secret;
  hkdf_sha256(master, relay.key, as_bytes(kSecretLabel), secret);
  return secret;
}

std::uint64_t ticket_step(WallTime server_time) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(server_time.us, 0) / kStepUs);
}

Ticket make_ticket(const TicketSecret& secret, const TicketScope& scope, TicketKind kind,
                   const AllocationId& allocation, const Account& account, WallTime server_time) {
  Ticket ticket{kind, ticket_step(server_time), allocation, account, {}};
  ticket.code = code_of(secret, scope, ticket);
  return ticket;
}

std::array<std::byte, Ticket::kBytes> encode(const Ticket& ticket) {
  std::array<std::byte, Ticket::kBytes> bytes;
  Writer writer(bytes);
  writer.u8(kVersion);
  writer.u8(static_cast<std::uint8_t>(ticket.kind));
  writer.u64(ticket.step);
  writer.bytes(ticket.allocation);
  writer.bytes(ticket.account);
  writer.bytes(ticket.code);
  CHECK(writer.ok() && writer.size() == bytes.size());
  return bytes;
}

Result<Ticket> decode_ticket(ByteView bytes) {
  if (bytes.size() != Ticket::kBytes) return TicketError::kMalformed;
  Reader reader(bytes);
  const std::uint8_t version = *reader.u8();
  const auto kind = to_kind(*reader.u8());
  if (version != kVersion || !kind) return TicketError::kMalformed;
  Ticket ticket;
  ticket.kind = *kind;
  ticket.step = *reader.u64();
  take(*reader.bytes(ticket.allocation.size()), ticket.allocation);
  take(*reader.bytes(ticket.account.size()), ticket.account);
  take(*reader.bytes(ticket.code.size()), ticket.code);
  return ticket;
}

bool is_genuine(const TicketSecret& secret, const TicketScope& scope, const Ticket& ticket) {
  return equal_constant_time(code_of(secret, scope, ticket), ticket.code);
}

Status check_ticket(const TicketSecret& secret, const TicketScope& scope, const Ticket& ticket,
                    WallTime server_time) {
  if (!is_genuine(secret, scope, ticket)) return TicketError::kForged;
  if (steps_apart(ticket_step(server_time), ticket.step) > kTicketStepsMax)
    return TicketError::kOld;
  return boost::system::in_place_value;
}

void ServerClock::set(WallTime server_time, TimePoint now) {
  told_ = server_time;
  told_at_ = now;
}

std::optional<WallTime> ServerClock::at(TimePoint now) const {
  if (!told_) return std::nullopt;
  return WallTime{told_->us + (now - told_at_) / std::chrono::microseconds(1)};
}

}  // namespace openp2p::relay
