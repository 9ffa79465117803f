// Law: a ticket that decodes encodes to the same bytes, and is genuine for no secret but by chance.
#include <algorithm>

#include "base/check.h"
#include "relay/ticket.h"

using namespace openp2p;
using namespace openp2p::relay;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  const auto ticket = decode_ticket(input);
  CHECK(ticket.has_value() || ticket.error() == TicketError::kMalformed);
  if (!ticket) return 0;
  CHECK(std::ranges::equal(encode(*ticket), input));

  TicketSecret secret;
  secret.fill(std::byte{1});
  const TicketScope scope{};
  const WallTime now{static_cast<std::int64_t>(ticket->step % (1ULL << 36)) * 30'000'000};
  CHECK(check_ticket(secret, scope, *ticket, now).error() == TicketError::kForged);
  Ticket genuine =
      make_ticket(secret, scope, ticket->kind, ticket->allocation, ticket->account, now);
  CHECK(check_ticket(secret, scope, genuine, now).has_value());
  genuine.step += kTicketStepsMax + 1;
  CHECK(!check_ticket(secret, scope, genuine, now));
  return 0;
}
