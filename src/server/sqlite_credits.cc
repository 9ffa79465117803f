#include "server/sqlite_credits.h"

#include <algorithm>

namespace openp2p::server {
namespace {

using soci::into;
using soci::use;

/// SQLite's integers are signed. Ours are far below.
long long to_column(std::uint64_t number) {
  return static_cast<long long>(std::min(number, kCreditBytesMax));
}
std::uint64_t from_number(long long column) {
  if (column < 0) throw RecordsFailure{StoreError::kCorrupt};
  return static_cast<std::uint64_t>(column);
}

}  // namespace

std::optional<AllocationClaims> SqliteCredits::find_claims(
    const std::array<std::byte, 16>& allocation) {
  const std::string id = to_hex(allocation);
  long long step = 0, lower = 0, higher = 0;
  database_.sql() << "SELECT ticket_step, lower_bytes, higher_bytes FROM relay_allocations "
                     "WHERE allocation = :id",
      use(id), into(step), into(lower), into(higher);
  if (!database_.sql().got_data()) return std::nullopt;
  return AllocationClaims{.step = from_number(step),
                          .lower_bytes = from_number(lower),
                          .higher_bytes = from_number(higher)};
}

void SqliteCredits::put_claims(const std::array<std::byte, 16>& allocation,
                               const AllocationClaims& claims) {
  const std::string id = to_hex(allocation);
  const long long step = to_column(claims.step);
  const long long lower = to_column(claims.lower_bytes);
  const long long higher = to_column(claims.higher_bytes);
  database_.sql() << "INSERT INTO relay_allocations (allocation, ticket_step, lower_bytes, "
                     "higher_bytes) VALUES (:id, :step, :lower, :higher) "
                     "ON CONFLICT (allocation) DO UPDATE SET lower_bytes = excluded.lower_bytes, "
                     "higher_bytes = excluded.higher_bytes",
      use(id), use(step), use(lower), use(higher);
}

std::optional<NetworkId> SqliteCredits::network_of(const NodeId& node) {
  const std::string key = node.text();
  std::string network;
  database_.sql() << "SELECT network_id FROM nodes WHERE node_key = :key", use(key), into(network);
  if (!database_.sql().got_data()) return std::nullopt;
  return from_column<std::tuple_size_v<NetworkId>>(network);
}

CreditAccount SqliteCredits::account(const NetworkId& network) {
  const std::string id = to_hex(network);
  long long lent = 0, borrowed = 0, paid = 0, free = 0;
  int month = 0;
  database_.sql() << "SELECT lent_bytes, borrowed_bytes, paid_bytes, free_bytes, free_month "
                     "FROM credits WHERE network_id = :id",
      use(id), into(lent), into(borrowed), into(paid), into(free), into(month);
  return {.lent_bytes = from_number(lent),
          .borrowed_bytes = from_number(borrowed),
          .paid_bytes = from_number(paid),
          .free_bytes = from_number(free),
          .month = month};
}

void SqliteCredits::put_account(const NetworkId& network, const CreditAccount& account) {
  const std::string id = to_hex(network);
  const long long lent = to_column(account.lent_bytes);
  const long long borrowed = to_column(account.borrowed_bytes);
  const long long paid = to_column(account.paid_bytes);
  const long long free = to_column(account.free_bytes);
  database_.sql() << "INSERT INTO credits (network_id, lent_bytes, borrowed_bytes, paid_bytes, "
                     "free_bytes, free_month) VALUES (:id, :lent, :borrowed, :paid, :free, :month) "
                     "ON CONFLICT (network_id) DO UPDATE SET lent_bytes = excluded.lent_bytes, "
                     "borrowed_bytes = excluded.borrowed_bytes, paid_bytes = excluded.paid_bytes, "
                     "free_bytes = excluded.free_bytes, free_month = excluded.free_month",
      use(id), use(lent), use(borrowed), use(paid), use(free), use(account.month);
}

void SqliteCredits::add_lent(const NodeId& node, std::uint64_t bytes) {
  const std::string key = node.text();
  const long long lent = to_column(bytes);
  const long long most = to_column(kCreditBytesMax);
  database_.sql() << "UPDATE nodes SET lent_bytes = min(lent_bytes + :lent, :most) "
                     "WHERE node_key = :key",
      use(lent), use(most), use(key);
}

std::uint64_t SqliteCredits::lent_by(const NodeId& node) {
  const std::string key = node.text();
  long long lent = 0;
  database_.sql() << "SELECT lent_bytes FROM nodes WHERE node_key = :key", use(key), into(lent);
  return from_number(lent);
}

void SqliteCredits::forget_before(std::uint64_t step) {
  const long long oldest = to_column(step);
  database_.sql() << "DELETE FROM relay_allocations WHERE ticket_step < :oldest", use(oldest);
}

}  // namespace openp2p::server
