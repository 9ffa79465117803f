#include "server/memory_records.h"

#include <algorithm>
#include <set>

#include "base/check.h"

namespace openp2p::server {

Status MemoryRecords::create_user(const User& user) {
  if (is_full_) return StoreError::kUnavailable;
  if (users_.contains(user.email)) return StoreError::kUserExists;
  if (users_.size() >= kUsersMax) return StoreError::kLimitReached;
  users_.emplace(user.email, user);
  return {};
}

Result<std::vector<User>> MemoryRecords::users() {
  std::vector<User> all;
  for (const auto& [email, user] : users_) all.push_back(user);
  return all;
}

Status MemoryRecords::new_token(const Token& token) {
  if (is_full_) return StoreError::kUnavailable;
  const auto user = users_.find(token.email);
  if (user == users_.end()) return StoreError::kNoSuchUser;
  const auto count = std::ranges::count_if(
      tokens_, [&](const auto& entry) { return entry.second.token.email == token.email; });
  if (static_cast<std::size_t>(count) >= kTokensPerUserMax) return StoreError::kLimitReached;
  tokens_[token.secret_hash] = {.token = token, .network = user->second.network};
  return {};
}

Result<Joined> MemoryRecords::join(const JoinRequest& request) {
  CHECK(is_valid_name(request.name));
  const auto found = tokens_.find(request.secret_hash);
  if (found == tokens_.end()) return StoreError::kTokenInvalid;
  StoredToken& stored = found->second;
  const auto member = nodes_.find(request.node);
  if (member != nodes_.end() && member->second.network == stored.network) {
    return Joined{.node = member->second};
  }
  const WallTime expires = stored.token.expires_at;
  if (expires.us != 0 && expires <= request.now) return StoreError::kTokenExpired;
  if (!stored.token.is_reusable && stored.is_used) return StoreError::kTokenUsed;
  if (node_count(stored.network) >= kNodesPerNetworkMax) return StoreError::kLimitReached;
  if (is_full_) return StoreError::kUnavailable;

  Joined joined;
  if (member != nodes_.end()) joined.left = member->second.network;
  joined.node = {.id = request.node,
                 .network = stored.network,
                 .name = free_name(stored.network, request.node, request.name),
                 .version = request.version,
                 .platform = request.platform,
                 .joined_at = request.now,
                 .seen_at = request.now};
  joined.is_new = true;
  joined.is_name_changed = joined.node.name != request.name;
  stored.is_used = true;
  nodes_[request.node] = joined.node;
  past_nodes_[request.node] = joined.node.network;
  return joined;
}

Result<Node> MemoryRecords::find_node(const NodeId& id) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return StoreError::kNoSuchNode;
  return found->second;
}

Result<std::string> MemoryRecords::network_name(const NetworkId& network) {
  for (const auto& [email, user] : users_) {
    if (user.network == network) return user.network_name;
  }
  return StoreError::kNoSuchUser;
}

Result<std::vector<Node>> MemoryRecords::nodes(const NetworkId& network) {
  std::vector<Node> members;
  for (const auto& [id, node] : nodes_) {
    if (node.network == network) members.push_back(node);
  }
  std::ranges::sort(members, {}, [](const Node& node) { return name_key(node.name); });
  return members;
}

Result<std::string> MemoryRecords::rename(const NodeId& id, std::string_view wished) {
  if (!is_valid_name(wished)) return StoreError::kNameInvalid;
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return StoreError::kNoSuchNode;
  if (is_full_) return StoreError::kUnavailable;
  found->second.name = free_name(found->second.network, id, wished);
  return found->second.name;
}

Result<Node> MemoryRecords::remove(const NodeId& id, WallTime) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return StoreError::kNoSuchNode;
  if (is_full_) return StoreError::kUnavailable;
  Node removed = std::move(found->second);
  nodes_.erase(found);
  return removed;
}

Status MemoryRecords::touch(std::span<const Seen> seen) {
  if (is_full_) return StoreError::kUnavailable;
  for (const Seen& one : seen) {
    const auto found = nodes_.find(one.node);
    if (found == nodes_.end()) continue;
    found->second.seen_at = one.at;
    found->second.version = one.version;
    found->second.platform = one.platform;
  }
  return {};
}

class MemoryRecords::Rows final : public CreditRows {
 public:
  explicit Rows(MemoryRecords& records) : records_(records) {}
  std::optional<AllocationClaims> find_claims(
      const std::array<std::byte, 16>& allocation) override {
    const auto found = records_.claims_.find(allocation);
    return found == records_.claims_.end() ? std::nullopt : std::optional(found->second);
  }
  void put_claims(const std::array<std::byte, 16>& allocation,
                  const AllocationClaims& claims) override {
    records_.claims_[allocation] = claims;
  }
  std::optional<NetworkId> network_of(const NodeId& node) override {
    const auto found = records_.past_nodes_.find(node);
    return found == records_.past_nodes_.end() ? std::nullopt : std::optional(found->second);
  }
  CreditAccount account(const NetworkId& network) override { return records_.accounts_[network]; }
  void put_account(const NetworkId& network, const CreditAccount& account) override {
    records_.accounts_[network] = account;
  }
  void add_lent(const NodeId& node, std::uint64_t bytes) override {
    records_.lent_[node] = std::min(records_.lent_[node] + bytes, kCreditBytesMax);
  }

 private:
  MemoryRecords& records_;
};

Result<std::map<NetworkId, CreditAccount>> MemoryRecords::credit(
    std::span<const ReceiptClaim> claims, const CreditTerms& terms) {
  if (is_full_) return StoreError::kUnavailable;
  Rows rows(*this);
  auto changed = settle(rows, claims, terms);
  std::erase_if(claims_, [&](const auto& entry) { return entry.second.step < terms.oldest_step; });
  return changed;
}

Result<CreditAccount> MemoryRecords::find_account(const NetworkId& network) {
  const auto found = accounts_.find(network);
  return found == accounts_.end() ? CreditAccount{} : found->second;
}

Result<std::uint64_t> MemoryRecords::lent_by(const NodeId& node) {
  const auto found = lent_.find(node);
  return found == lent_.end() ? 0 : found->second;
}

Result<bool> MemoryRecords::poll_foreign_change() { return std::exchange(is_changed_, false); }

std::string MemoryRecords::free_name(const NetworkId& network, const NodeId& id,
                                     std::string_view wished) const {
  std::set<std::string, std::less<>> taken;
  for (const auto& [other, node] : nodes_) {
    if (node.network == network && other != id) taken.insert(name_key(node.name));
  }
  return unique_name(wished, [&](std::string_view key) { return taken.contains(key); });
}

std::size_t MemoryRecords::node_count(const NetworkId& network) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      nodes_, [&](const auto& entry) { return entry.second.network == network; }));
}

}  // namespace openp2p::server
