#include "server/store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <memory>

#include "base/test_folder.h"
#include "server/memory_records.h"
#include "server/memory_store.h"
#include "server/sqlite_records.h"
#include "server/worker_store.h"

namespace openp2p::server {
namespace {

constexpr WallTime kNow{1'800'000'000'000'000};
constexpr WallTime kLater{kNow.us + 60'000'000};

NodeId node_id(int number) {
  NodeId id;
  id.key[0] = std::byte(number >> 8);
  id.key[1] = std::byte(number & 255);
  id.key[31] = std::byte{7};
  return id;
}

NetworkId network_id(int number) {
  NetworkId id{};
  id[0] = std::byte(number);
  return id;
}

User user(const char* email, int network) {
  return {.email = email,
          .password_hash = "",
          .network = network_id(network),
          .network_name = std::string(email) + "'s network",
          .created_at = kNow};
}

Digest secret(const char* text) { return sha256(as_bytes(text)); }

Token token(const char* text, const char* email, bool is_reusable = false) {
  return {.secret_hash = secret(text),
          .email = email,
          .is_reusable = is_reusable,
          .created_at = kNow,
          .expires_at = {}};
}

JoinRequest request(const char* text, int node, const char* name) {
  return {.secret_hash = secret(text),
          .node = node_id(node),
          .name = name,
          .version = "1.0",
          .platform = "linux/x86_64",
          .now = kNow};
}

/// Every kind of Records keeps the same promises.
class RecordsTest : public testing::TestWithParam<bool> {
 protected:
  RecordsTest() {
    if (GetParam()) {
      auto opened = SqliteRecords::open({.file = folder_.path() / "records.db"});
      EXPECT_TRUE(opened) << opened.error().message();
      records_ = std::move(*opened);
    } else {
      records_ = std::make_unique<MemoryRecords>();
    }
    EXPECT_TRUE(records_->create_user(user("a@example.org", 1)));
    EXPECT_TRUE(records_->create_user(user("b@example.org", 2)));
    EXPECT_TRUE(records_->new_token(token("reusable", "a@example.org", /*is_reusable=*/true)));
    EXPECT_TRUE(records_->new_token(token("once", "a@example.org")));
    EXPECT_TRUE(records_->new_token(token("of b", "b@example.org")));
  }

  TestFolder folder_;
  std::unique_ptr<Records> records_;
};
INSTANTIATE_TEST_SUITE_P(, RecordsTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "Sqlite" : "Memory"; });

TEST_P(RecordsTest, KeepsUsersByEmail) {
  const auto users = records_->users();

  ASSERT_TRUE(users);
  ASSERT_EQ(users->size(), 2U);
  EXPECT_EQ((*users)[0].email, "a@example.org");
  EXPECT_EQ((*users)[0].network, network_id(1));
  EXPECT_EQ((*users)[0].created_at, kNow);
  EXPECT_EQ((*users)[1].network_name, "b@example.org's network");
  EXPECT_EQ(*records_->network_name(network_id(1)), "a@example.org's network");
}

TEST_P(RecordsTest, RefusesASecondUserOfOneEmail) {
  EXPECT_EQ(records_->create_user(user("a@example.org", 9)).error(),
            make_error_code(StoreError::kUserExists));
  EXPECT_EQ(records_->users()->size(), 2U);
}

TEST_P(RecordsTest, RefusesATokenForNobody) {
  EXPECT_EQ(records_->new_token(token("x", "nobody@example.org")).error(),
            make_error_code(StoreError::kNoSuchUser));
}

TEST_P(RecordsTest, JoinsAndFindsANode) {
  const auto joined = records_->join(request("once", 1, "Desk"));

  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_EQ(joined->node.network, network_id(1));
  EXPECT_EQ(joined->node.name, "Desk");
  EXPECT_TRUE(joined->is_new);
  EXPECT_FALSE(joined->is_name_changed);
  EXPECT_FALSE(joined->left);
  const auto found = records_->find_node(node_id(1));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "Desk");
  EXPECT_EQ(found->platform, "linux/x86_64");
  EXPECT_EQ(found->joined_at, kNow);
  EXPECT_EQ(records_->nodes(network_id(1))->size(), 1U);
  EXPECT_TRUE(records_->nodes(network_id(2))->empty());
}

TEST_P(RecordsTest, SpendsAOneTimeTokenOnce) {
  ASSERT_TRUE(records_->join(request("once", 1, "a")));

  EXPECT_EQ(records_->join(request("once", 2, "b")).error(),
            make_error_code(StoreError::kTokenUsed));
  EXPECT_EQ(records_->find_node(node_id(2)).error(), make_error_code(StoreError::kNoSuchNode));
}

TEST_P(RecordsTest, LetsANodeInAgainWhoseAnswerWasLost) {
  ASSERT_TRUE(records_->join(request("once", 1, "a")));

  const auto again = records_->join(request("once", 1, "other"));

  ASSERT_TRUE(again);
  EXPECT_EQ(again->node.name, "a");
  EXPECT_FALSE(again->is_new);
}

TEST_P(RecordsTest, TakesAReusableTokenAgainAndAgain) {
  for (int i = 1; i <= 5; ++i) EXPECT_TRUE(records_->join(request("reusable", i, "n")));
  EXPECT_EQ(records_->nodes(network_id(1))->size(), 5U);
}

TEST_P(RecordsTest, RefusesUnknownAndExpiredTokens) {
  Token expiring = token("soon", "a@example.org");
  expiring.expires_at = kLater;
  ASSERT_TRUE(records_->new_token(expiring));
  JoinRequest late = request("soon", 1, "a");
  late.now = kLater;

  EXPECT_EQ(records_->join(late).error(), make_error_code(StoreError::kTokenExpired));
  EXPECT_EQ(records_->join(request("never made", 1, "a")).error(),
            make_error_code(StoreError::kTokenInvalid));
  EXPECT_TRUE(records_->join(request("soon", 1, "a")));
}

TEST_P(RecordsTest, MakesNamesUniqueWithinANetwork) {
  EXPECT_EQ(records_->join(request("reusable", 1, "desk"))->node.name, "desk");
  const auto second = records_->join(request("reusable", 2, "Desk"));
  EXPECT_EQ(second->node.name, "Desk-2");
  EXPECT_TRUE(second->is_name_changed);
  EXPECT_EQ(records_->join(request("reusable", 3, "DESK"))->node.name, "DESK-3");
  EXPECT_EQ(records_->join(request("of b", 4, "desk"))->node.name, "desk");
}

TEST_P(RecordsTest, KeepsNamesWhichSqlWouldUnderstand) {
  const char* name = "x) OR 1=1 -- \xc3\xa4";
  ASSERT_TRUE(records_->join(request("once", 1, name)));
  EXPECT_EQ(records_->find_node(node_id(1))->name, name);
}

TEST_P(RecordsTest, RenamesAndFreesTheOldName) {
  ASSERT_TRUE(records_->join(request("reusable", 1, "old")));
  ASSERT_TRUE(records_->join(request("reusable", 2, "other")));

  EXPECT_EQ(*records_->rename(node_id(1), "Other"), "Other-2");
  EXPECT_EQ(*records_->rename(node_id(1), "OTHER-2"), "OTHER-2");  // Its own name is not taken.
  EXPECT_EQ(*records_->rename(node_id(2), "old"), "old");
  EXPECT_EQ(records_->rename(node_id(1), "a/b").error(), make_error_code(StoreError::kNameInvalid));
  EXPECT_EQ(records_->rename(node_id(9), "x").error(), make_error_code(StoreError::kNoSuchNode));
}

TEST_P(RecordsTest, ForgetsARemovedNodeAndFreesItsName) {
  ASSERT_TRUE(records_->join(request("once", 1, "desk")));

  const auto removed = records_->remove(node_id(1), kLater);

  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->network, network_id(1));
  EXPECT_FALSE(records_->find_node(node_id(1)));
  EXPECT_FALSE(records_->remove(node_id(1), kLater));
  EXPECT_FALSE(records_->rename(node_id(1), "x"));
  EXPECT_EQ(records_->join(request("once", 1, "desk")).error(),
            make_error_code(StoreError::kTokenUsed));
  EXPECT_EQ(records_->join(request("reusable", 2, "desk"))->node.name, "desk");
  EXPECT_EQ(records_->join(request("reusable", 1, "desk"))->node.name, "desk-2");
}

TEST_P(RecordsTest, MovesANodeToAnotherNetwork) {
  ASSERT_TRUE(records_->join(request("once", 1, "desk")));

  const auto moved = records_->join(request("of b", 1, "desk"));

  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->left, network_id(1));
  EXPECT_EQ(moved->node.network, network_id(2));
  EXPECT_TRUE(records_->nodes(network_id(1))->empty());
}

TEST_P(RecordsTest, TouchesManyNodesAtOnceAndPassesOverTheUnknown) {
  ASSERT_TRUE(records_->join(request("reusable", 1, "a")));
  ASSERT_TRUE(records_->join(request("reusable", 2, "b")));
  const std::vector<Seen> seen = {
      {.node = node_id(1), .at = kLater, .version = "2.0", .platform = "linux/arm64"},
      {.node = node_id(9), .at = kLater, .version = "", .platform = ""},
      {.node = node_id(2), .at = {kLater.us + 5}, .version = "3.0", .platform = "p"}};

  ASSERT_TRUE(records_->touch(seen));

  EXPECT_EQ(records_->find_node(node_id(1))->seen_at, kLater);
  EXPECT_EQ(records_->find_node(node_id(1))->version, "2.0");
  EXPECT_EQ(records_->find_node(node_id(2))->seen_at.us, kLater.us + 5);
  EXPECT_FALSE(records_->find_node(node_id(9)));
}

TEST_P(RecordsTest, HoldsTheLimitOfNodesInANetwork) {
  for (std::size_t i = 0; i < kNodesPerNetworkMax; ++i) {
    const std::string name = "n" + std::to_string(i);
    ASSERT_TRUE(records_->join(request("reusable", static_cast<int>(i), name.c_str())));
  }
  EXPECT_EQ(records_->join(request("reusable", 5'000, "x")).error(),
            make_error_code(StoreError::kLimitReached));
  EXPECT_EQ(records_->nodes(network_id(1))->size(), kNodesPerNetworkMax);
}

TEST_P(RecordsTest, SeesNoForeignChangeInItsOwn) {
  EXPECT_FALSE(*records_->poll_foreign_change());
  ASSERT_TRUE(records_->join(request("once", 1, "a")));
  EXPECT_FALSE(*records_->poll_foreign_change());
}

TEST(UniqueName, CutsBetweenCharacters) {
  std::string wished;
  for (int i = 0; i < 31; ++i) wished += "\xc3\xa4";
  wished += "x";
  ASSERT_TRUE(is_valid_name(wished));

  const std::string name =
      unique_name(wished, [&](std::string_view key) { return key == name_key(wished); });

  EXPECT_TRUE(is_valid_name(name));
  EXPECT_TRUE(name.ends_with("\xa4-2"));
}

TEST(Email, IsAdminOrAnAddress) {
  for (const char* good : {"admin", "a@b", "first.last+tag@example.org"}) {
    EXPECT_TRUE(is_valid_email(good)) << good;
  }
  for (const char* bad : {"", "a", "@b", "a@", "a b@c", "a@b@c", "-a@b", "a\x1b@b", "a'@b"}) {
    EXPECT_FALSE(is_valid_email(bad)) << bad;
  }
  EXPECT_FALSE(is_valid_email(std::string(250, 'a') + "@example.org"));
}

TEST(MemoryStore, RunsWorkInOrderWhenAsked) {
  MemoryRecords records;
  MemoryStore store(records);
  std::vector<int> order;
  const auto done = [&order](int number) {
    return [&order, number](const Status& status) {
      EXPECT_TRUE(status);
      order.push_back(number);
    };
  };
  ASSERT_TRUE(store.run([](Records& r) { return r.create_user(user("a@b", 1)); }, done(1)));
  ASSERT_TRUE(store.run([](Records& r) { return r.new_token(token("t", "a@b")); }, done(2)));
  EXPECT_TRUE(order.empty());

  store.run_all();

  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST(MemoryStore, RefusesWorkBeyondItsLimit) {
  MemoryRecords records;
  MemoryStore store(records);
  const auto submit = [&] {
    return store.run([](Records& r) { return r.users(); }, [](Result<std::vector<User>>) {});
  };
  for (std::size_t i = 0; i < MemoryStore::kJobsMax; ++i) ASSERT_TRUE(submit());
  EXPECT_FALSE(submit());
  store.run_all();
  EXPECT_TRUE(submit());
}

TEST_P(RecordsTest, KeepsWhatReceiptsShow) {
  ASSERT_TRUE(records_->join(request("reusable", 1, "one")));
  ASSERT_TRUE(records_->join(request("reusable", 2, "two")));
  ASSERT_TRUE(records_->join(request("of b", 3, "relay")));
  const CreditTerms terms{.allowance_bytes = 1'500, .month = 24'000, .oldest_step = 3};
  const auto claim = [](std::uint64_t lower, std::uint64_t higher, std::uint64_t step = 5) {
    return ReceiptClaim{.allocation = {std::byte{9}},
                        .relay = node_id(3),
                        .lower = node_id(1),
                        .higher = node_id(2),
                        .claims = {.step = step, .lower_bytes = lower, .higher_bytes = higher}};
  };

  const std::vector<ReceiptClaim> batch = {claim(1'000, 0), claim(0, 1'000), claim(900, 900)};
  const auto changed = records_->credit(batch, terms);

  ASSERT_TRUE(changed);
  ASSERT_EQ(changed->size(), 2U);
  const CreditAccount payer{
      .borrowed_bytes = 2'000, .paid_bytes = 500, .free_bytes = 1'500, .month = 24'000};
  EXPECT_EQ(changed->at(network_id(1)), payer);
  EXPECT_EQ(*records_->find_account(network_id(1)), payer);
  EXPECT_EQ(records_->find_account(network_id(2))->lent_bytes, 2'000U);
  EXPECT_EQ(*records_->find_account(network_id(77)), CreditAccount{});
  EXPECT_EQ(*records_->lent_by(node_id(3)), 2'000U);
  EXPECT_EQ(*records_->lent_by(node_id(88)), 0U);

  EXPECT_TRUE(records_->credit(batch, terms)->empty());  // Again: nothing.
  // Removed, and in another network since: what it lent before stays with that network.
  ASSERT_TRUE(records_->remove(node_id(3), kLater));
  ASSERT_TRUE(records_->credit(std::vector{claim(1'001, 0)}, terms));
  EXPECT_EQ(records_->find_account(network_id(2))->lent_bytes, 2'001U);
  // Forgotten with its step; until then the ledger lets no receipt of it in.
  ASSERT_TRUE(records_->credit({}, {.month = 1, .oldest_step = 6}));
  ASSERT_TRUE(records_->credit(std::vector{claim(10, 10, 7)}, terms));
  EXPECT_EQ(records_->find_account(network_id(2))->lent_bytes, 2'021U);
}

TEST_P(RecordsTest, HoldsHugeCredits) {
  ASSERT_TRUE(records_->join(request("reusable", 1, "one")));
  ASSERT_TRUE(records_->join(request("reusable", 2, "two")));
  ASSERT_TRUE(records_->join(request("of b", 3, "relay")));
  for (int i = 0; i < 3; ++i) {
    const ReceiptClaim huge{
        .allocation = {std::byte(i)},
        .relay = node_id(3),
        .lower = node_id(1),
        .higher = node_id(2),
        .claims = {.step = UINT64_MAX, .lower_bytes = UINT64_MAX, .higher_bytes = UINT64_MAX}};
    ASSERT_TRUE(records_->credit({&huge, 1}, {.allowance_bytes = UINT64_MAX, .month = 24'000}));
  }
  EXPECT_EQ(records_->find_account(network_id(1))->borrowed_bytes, kCreditBytesMax);
  EXPECT_LE(records_->find_account(network_id(2))->lent_bytes, kCreditBytesMax);
  EXPECT_EQ(*records_->lent_by(node_id(3)), records_->find_account(network_id(2))->lent_bytes);
}

/// Functions posted by the worker thread, run by the test's.
class Mailbox {
 public:
  void post(std::function<void()> function) {
    const std::lock_guard lock(mutex_);
    functions_.push_back(std::move(function));
    wake_.notify_one();
  }
  void run_one() {
    std::function<void()> function;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !functions_.empty(); });
      function = std::move(functions_.front());
      functions_.pop_front();
    }
    function();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> functions_;
};

TEST(WorkerStore, WorksOnAnotherThreadAndAnswersOnThisOne) {
  Mailbox mailbox;
  WorkerStore store(std::make_unique<MemoryRecords>(),
                    [&](std::function<void()> f) { mailbox.post(std::move(f)); });
  std::thread::id worked, answered;

  const bool is_taken = store.run(
      [&worked](Records& records) {
        worked = std::this_thread::get_id();
        return records.create_user(user("a@b", 1));
      },
      [&answered](const Status& status) {
        EXPECT_TRUE(status);
        answered = std::this_thread::get_id();
      });
  ASSERT_TRUE(is_taken);
  mailbox.run_one();

  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_EQ(answered, std::this_thread::get_id());
}

TEST(WorkerStore, RefusesBeyondItsLimitAndFinishesWhatWaitsAtItsEnd) {
  Mailbox mailbox;
  std::promise<void> gate;
  std::size_t done = 0;
  {
    WorkerStore store(std::make_unique<MemoryRecords>(),
                      [&](std::function<void()> f) { mailbox.post(std::move(f)); });
    const auto blocked = [opened = gate.get_future().share()](Records& records) {
      opened.wait();
      return records.users();
    };
    const auto count = [&done](const Result<std::vector<User>>&) { ++done; };
    std::size_t taken = 0;
    while (store.run(blocked, count)) ++taken;
    EXPECT_GE(taken, WorkerStore::kJobsMax);
    EXPECT_LE(taken, WorkerStore::kJobsMax + 1);  // One may be at work.
    gate.set_value();
    for (std::size_t i = 0; i < taken / 2; ++i) mailbox.run_one();
  }
  EXPECT_GE(done, WorkerStore::kJobsMax / 2);
}

}  // namespace
}  // namespace openp2p::server
