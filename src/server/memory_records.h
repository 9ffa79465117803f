#pragma once

#include <map>
#include <string>

#include "server/store.h"

namespace openp2p::server {

/// Records in memory, for simulations and tests: they outlive the core that uses them, as a disk
/// would. Held to the same tests as SqliteRecords.
class MemoryRecords final : public Records {
 public:
  /// Every further change fails as on a full disk.
  void set_full(bool is_full) { is_full_ = is_full; }
  /// What an admin's command in another process would cause: the next poll says so.
  void note_foreign_change() { is_changed_ = true; }

  Status create_user(const User& user) override;
  Result<std::vector<User>> users() override;
  Status new_token(const Token& token) override;
  Result<Joined> join(const JoinRequest& request) override;
  Result<Node> find_node(const NodeId& id) override;
  Result<std::string> network_name(const NetworkId& network) override;
  Result<std::vector<Node>> nodes(const NetworkId& network) override;
  Result<std::string> rename(const NodeId& id, std::string_view wished) override;
  Result<Node> remove(const NodeId& id, WallTime now) override;
  Status touch(std::span<const Seen> seen) override;
  Result<std::map<NetworkId, CreditAccount>> credit(std::span<const ReceiptClaim> claims,
                                                    const CreditTerms& terms) override;
  Result<CreditAccount> find_account(const NetworkId& network) override;
  Result<std::uint64_t> lent_by(const NodeId& node) override;
  Result<bool> poll_foreign_change() override;
  std::size_t allocation_count() const { return claims_.size(); }

 private:
  struct StoredToken {
    Token token;
    NetworkId network{};
    bool is_used = false;
  };
  class Rows;
  std::string free_name(const NetworkId& network, const NodeId& id, std::string_view wished) const;
  std::size_t node_count(const NetworkId& network) const;

  std::map<std::string, User> users_;
  std::map<Digest, StoredToken> tokens_;
  std::map<NodeId, Node> nodes_;
  std::map<NodeId, NetworkId> past_nodes_;  ///< Removed ones too.
  std::map<NodeId, std::uint64_t> lent_;
  std::map<NetworkId, CreditAccount> accounts_;
  std::map<std::array<std::byte, 16>, AllocationClaims> claims_;
  bool is_full_ = false;
  bool is_changed_ = false;
};

}  // namespace openp2p::server
