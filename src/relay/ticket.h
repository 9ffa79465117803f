#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <system_error>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

/// What admits one pair of ends to one relay, each of them once.
///
/// Source: TOTP (RFC 6238) with HMAC-SHA-256, whole instead of cut to digits, since machines type
/// it. The key is the relay's secret, which the server tells it over its control session; the code
/// covers kind, relay, both ends, allocation and account, so it is worth nothing elsewhere. Steps
/// are the server's time: a relay's own wall clock does not matter.
///
///   version (1) | kind (1) | step (8) | allocation (16) | account (8) | code (32)
namespace openp2p::relay {

enum class TicketError { kMalformed = 1, kForged, kOld };
std::error_code make_error_code(TicketError error);

/// On whose account a relay carries.
enum class TicketKind : std::uint8_t {
  kOwn = 1,     ///< All three are of one network: no cap, no receipts.
  kShared = 2,  ///< A stranger's node.
  kServer = 3,  ///< The server itself.
};

/// What the server and one relay share. Wiped by who holds it.
using TicketSecret = std::array<std::byte, 32>;
/// Drawn by the server for each grant: names the allocation, equal for both ends.
using AllocationId = std::array<std::byte, 16>;
/// Whose quota pays, opaque to the relay: it shares its cap fairly among these.
using Account = std::array<std::byte, 8>;

/// Which relay, for whom. The order of the ends means nothing.
struct TicketScope {
  NodeId relay;
  NodeId one;
  NodeId other;
};

struct Ticket {
  static constexpr std::size_t kBytes = 66;
  TicketKind kind = TicketKind::kShared;
  std::uint64_t step = 0;
  AllocationId allocation{};
  Account account{};
  std::array<std::byte, 32> code{};
  friend bool operator==(const Ticket&, const Ticket&) = default;
};

inline constexpr Duration kTicketStep = std::chrono::seconds(30);
/// A ticket is good for so many steps before and after its own: long enough for a round trip and a
/// new session, short enough that a relay need not remember spent ones for long.
inline constexpr std::uint64_t kTicketStepsMax = 2;

/// The same for ever from the server's master key: a restarted server need not tell its relays.
TicketSecret derive_ticket_secret(ByteView master, const NodeId& relay);
std::uint64_t ticket_step(WallTime server_time);
constexpr std::uint64_t steps_apart(std::uint64_t a, std::uint64_t b) {
  return a < b ? b - a : a - b;
}
/// The server's part.
Ticket make_ticket(const TicketSecret& secret, const TicketScope& scope, TicketKind kind,
                   const AllocationId& allocation, const Account& account, WallTime server_time);

std::array<std::byte, Ticket::kBytes> encode(const Ticket& ticket);
Result<Ticket> decode_ticket(ByteView bytes);  ///< kMalformed.

/// Whether the code is the one of this secret and scope, whenever it was made. Constant time. With
/// it the server knows a ticket in a receipt as its own, and needs no memory of what it granted.
bool is_genuine(const TicketSecret& secret, const TicketScope& scope, const Ticket& ticket);
/// The relay's part: kForged before kOld, so that who guesses learns nothing of the time.
Status check_ticket(const TicketSecret& secret, const TicketScope& scope, const Ticket& ticket,
                    WallTime server_time);

/// The server's wall time as a relay knows it: told now and then, carried on by the monotonic
/// clock.
class ServerClock {
 public:
  void set(WallTime server_time, TimePoint now);
  std::optional<WallTime> at(TimePoint now) const;  ///< nullopt: never told.

 private:
  std::optional<WallTime> told_;
  TimePoint told_at_;
};

}  // namespace openp2p::relay

template <>
struct std::is_error_code_enum<openp2p::relay::TicketError> : std::true_type {};
