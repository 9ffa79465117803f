#pragma once

#include "server/credit.h"
#include "server/sqlite_database.h"

/// The credit rows in SQLite, for sqlite_records.cc only. Throws, as all of SQLite here does.
namespace openp2p::server {

class SqliteCredits final : public CreditRows {
 public:
  explicit SqliteCredits(SqliteDatabase& database) : database_(database) {}

  std::optional<AllocationClaims> find_claims(const std::array<std::byte, 16>& allocation) override;
  void put_claims(const std::array<std::byte, 16>& allocation,
                  const AllocationClaims& claims) override;
  std::optional<NetworkId> network_of(const NodeId& node) override;
  CreditAccount account(const NetworkId& network) override;
  void put_account(const NetworkId& network, const CreditAccount& account) override;
  void add_lent(const NodeId& node, std::uint64_t bytes) override;

  std::uint64_t lent_by(const NodeId& node);
  void forget_before(std::uint64_t step);

 private:
  SqliteDatabase& database_;
};

}  // namespace openp2p::server
