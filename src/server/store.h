#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "server/credit.h"

/// What the server must not forget: users, their networks, join tokens, nodes, and who lent how
/// much.
namespace openp2p::server {

enum class StoreError {
  kUnavailable = 1,  ///< The disk is full or failing: nothing was changed, and later it may work.
  kCorrupt,
  kForeign,      ///< The file is another program's database.
  kSchemaNewer,  ///< Written by a newer version of this program.
  kUserExists,
  kNoSuchUser,
  kTokenInvalid,
  kTokenExpired,
  kTokenUsed,
  kNoSuchNode,  ///< Never joined, or removed.
  kNameInvalid,
  kLimitReached,
};
std::error_code make_error_code(StoreError error);

/// A network fits a person's or a small company's devices; every change of presence goes to each.
constexpr std::size_t kNodesPerNetworkMax = 1'000;
constexpr std::size_t kTokensPerUserMax = 10'000;
constexpr std::size_t kUsersMax = 100'000;
constexpr std::size_t kEmailBytesMax = 254;  ///< RFC 5321 section 4.5.3.1.3, less the brackets.

/// "admin", or "name@host": printable ASCII without spaces and quotes, at most kEmailBytesMax.
bool is_valid_email(std::string_view email);

/// `wished`, or the first of "wished-2", "wished-3", ... that `is_taken` says no to. The front is
/// cut so that the whole stays a valid name. Names that differ in the case of ASCII letters are
/// equal.
std::string unique_name(std::string_view wished,
                        const std::function<bool(std::string_view name_key)>& is_taken);
std::string name_key(std::string_view name);  ///< ASCII letters in lower case: what is unique.

struct User {
  std::string email;
  std::string password_hash;  ///< Argon2id in its own text form; empty: no password.
  NetworkId network{};        ///< One a user.
  std::string network_name;
  WallTime created_at;
};

/// The secret itself is never stored: who reads the database cannot join.
struct Token {
  Digest secret_hash{};  ///< SHA-256 of the 16 random bytes in the join token.
  std::string email;
  bool is_reusable = false;
  WallTime created_at;
  WallTime expires_at;  ///< 0: never.
};

struct Node {
  NodeId id;
  NetworkId network{};
  std::string name;
  std::string version;
  std::string platform;
  WallTime joined_at;
  WallTime seen_at;  ///< Last time known to be online.
};

struct JoinRequest {
  Digest secret_hash{};
  NodeId node;
  std::string name;  ///< Wished. Requires is_valid_name().
  std::string version;
  std::string platform;
  WallTime now;
};

struct Joined {
  Node node;
  bool is_new = false;  ///< The token was spent just now, and not at an earlier attempt.
  bool is_name_changed = false;
  std::optional<NetworkId> left{};  ///< The node was in this other network before.
};

struct Seen {
  NodeId node;
  WallTime at;
  std::string version;
  std::string platform;
};

/// The records, synchronously. Each call is one transaction: done whole and on the disk when it
/// returns a value, not at all when it returns an error. Threading: one at a time.
class Records {
 public:
  virtual ~Records() = default;

  virtual Status create_user(const User& user) = 0;
  virtual Result<std::vector<User>> users() = 0;  ///< By email.
  virtual Status new_token(const Token& token) = 0;
  /// Makes the node a member of the token's network and spends a one-time token, both or neither.
  /// A node that is a member of that network already is let in again whatever became of the token:
  /// the answer to its first attempt may have been lost.
  virtual Result<Joined> join(const JoinRequest& request) = 0;
  virtual Result<Node> find_node(const NodeId& id) = 0;
  virtual Result<std::string> network_name(const NetworkId& network) = 0;
  virtual Result<std::vector<Node>> nodes(const NetworkId& network) = 0;  ///< By name.
  /// Gives the name as recorded: made unique as on joining.
  virtual Result<std::string> rename(const NodeId& id, std::string_view wished) = 0;
  virtual Result<Node> remove(const NodeId& id, WallTime now) = 0;
  virtual Status touch(std::span<const Seen> seen) = 0;  ///< Removed nodes are passed over.
  /// Credits what receipts show (settle()), and forgets allocations that are too old. Gives the
  /// accounts that changed.
  virtual Result<std::map<NetworkId, CreditAccount>> credit(std::span<const ReceiptClaim> claims,
                                                            const CreditTerms& terms) = 0;
  virtual Result<CreditAccount> find_account(const NetworkId& network) = 0;
  virtual Result<std::uint64_t> lent_by(const NodeId& node) = 0;  ///< Bytes, 0 where unknown.
  /// Somebody else (an admin's command) changed the database since the last call.
  virtual Result<bool> poll_foreign_change() = 0;
};

/// Runs work on the records, one piece after another in the order given, and calls back with what
/// it gave on the owner's thread, never from inside run(). Threading: the owner's thread.
class Store {
 public:
  virtual ~Store() = default;

  /// work: Result<T>(Records&), on any thread, sharing nothing with its maker. done:
  /// void(Result<T>). False: too much is waiting, neither will be called.
  template <class Work, class Done>
  [[nodiscard]] bool run(Work work, Done done) {
    using Answer = decltype(work(std::declval<Records&>()));
    // Owned by the two halves of the job, of which only one lives on at a time.
    auto answer = std::make_shared<std::optional<Answer>>();
    return submit(
        {.work = [answer, work = std::move(work)](
                     Records& records) mutable { answer->emplace(work(records)); },
         .done = [answer, done = std::move(done)]() mutable { done(std::move(**answer)); }});
  }

 protected:
  struct Job {
    std::function<void(Records&)> work;
    std::function<void()> done;
  };
  virtual bool submit(Job job) = 0;
};

}  // namespace openp2p::server

template <>
struct std::is_error_code_enum<openp2p::server::StoreError> : std::true_type {};
