#include "server/admin.h"

#include <gtest/gtest.h>

#include "server/memory_records.h"
#include "server/password.h"

namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

constexpr WallTime kNow{1'800'000'000'000'000};

class AdminTest : public testing::Test {
 protected:
  TokenRequest request(std::string email = "admin") {
    return {.email = std::move(email),
            .is_reusable = true,
            .lifetime = 1h,
            .addresses = {"a.example:1"},
            .server = NodeId{}};
  }
  void join(const JoinToken& token, std::uint8_t node, std::string name) {
    NodeId id;
    id.key.fill(std::byte{node});
    ASSERT_TRUE(records_.join({.secret_hash = sha256(token.secret),
                               .node = id,
                               .name = std::move(name),
                               .version = "",
                               .platform = "",
                               .now = kNow}));
  }

  MemoryRecords records_;
  SystemSecrets secrets_;
};

TEST_F(AdminTest, MakesTokensWithWhichNodesJoin) {
  ASSERT_TRUE(add_user(records_, secrets_, "a@b", "", kNow));

  const auto token = make_token(records_, secrets_, request("a@b"), kNow);

  ASSERT_TRUE(token);
  EXPECT_EQ(token->expires.us, kNow.us + 3'600'000'000);
  EXPECT_EQ(JoinToken::parse(token->text())->addresses, std::vector<std::string>{"a.example:1"});
  join(*token, 1, "one");
  EXPECT_EQ(list_nodes(records_, "a@b")->size(), 1U);
  EXPECT_EQ(make_token(records_, secrets_, request("nobody"), kNow).error(),
            make_error_code(StoreError::kNoSuchUser));
  EXPECT_EQ(list_nodes(records_, "nobody").error(), make_error_code(StoreError::kNoSuchUser));
}

TEST_F(AdminTest, GivesEachUserANetworkOfItsOwn) {
  ASSERT_TRUE(add_user(records_, secrets_, "a@b", "", kNow));
  ASSERT_TRUE(add_user(records_, secrets_, "c@d", "", kNow));
  EXPECT_NE((*records_.users())[0].network, (*records_.users())[1].network);
}

TEST_F(AdminTest, OffersATokenUntilThereIsANode) {
  ASSERT_TRUE(ensure_first_user(records_, secrets_, kNow));
  ASSERT_TRUE(ensure_first_user(records_, secrets_, kNow));
  EXPECT_EQ(records_.users()->size(), 1U);

  const auto token = first_token(records_, secrets_, request(), kNow);
  ASSERT_TRUE(token && *token);
  join(**token, 1, "one");

  const auto none = first_token(records_, secrets_, request(), kNow);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
}

TEST_F(AdminTest, FindsANodeByNameOrById) {
  ASSERT_TRUE(ensure_first_user(records_, secrets_, kNow));
  const auto token = make_token(records_, secrets_, request(), kNow);
  join(*token, 0xab, "Desk");
  join(*token, 0xcd, "abababab");
  const auto nodes = list_nodes(records_, std::nullopt);

  EXPECT_EQ(match_nodes(*nodes, "desk").size(), 1U);
  EXPECT_EQ(match_nodes(*nodes, "CDCDCDCDCD").size(), 1U);
  EXPECT_EQ(match_nodes(*nodes, "abababab").size(), 2U);  // A name and an ID: to be asked about.
  EXPECT_TRUE(match_nodes(*nodes, "cdcdcdc").empty());    // Too short for an ID.
  EXPECT_TRUE(match_nodes(*nodes, "").empty());
}

TEST(ParseLifetime, TakesOneNumberAndOneUnit) {
  EXPECT_EQ(parse_lifetime("90s"), 90s);
  EXPECT_EQ(parse_lifetime("30m"), 30min);
  EXPECT_EQ(parse_lifetime("24h"), 24h);
  EXPECT_EQ(parse_lifetime("7d"), 168h);
  for (const char* bad : {"", "h", "0h", "-1h", "1.5h", "1", "1w", "1h ", "367d", "99999999999d"}) {
    EXPECT_FALSE(parse_lifetime(bad)) << bad;
  }
}

TEST(Password, IsVerifiedByItsHashOnly) {
  SystemSecrets secrets;
  const auto hash = hash_password("correct horse", secrets);

  ASSERT_TRUE(hash);
  EXPECT_TRUE(hash->starts_with("$argon2id$"));
  EXPECT_EQ(hash->find("correct"), std::string::npos);
  EXPECT_TRUE(verify_password("correct horse", *hash));
  EXPECT_FALSE(verify_password("correct horsf", *hash));
  EXPECT_FALSE(verify_password("correct horse", "nonsense"));
  EXPECT_NE(*hash_password("correct horse", secrets), *hash);  // Salted.
}

TEST(Size, IsAWholeNumberWithAUnit) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("1GiB"), std::uint64_t{1} << 30);
  EXPECT_EQ(parse_size("500MiB"), std::uint64_t{500} << 20);
  EXPECT_EQ(parse_size("7B"), 7U);
  EXPECT_EQ(parse_size("1048576TiB"), kCreditBytesMax);
  for (const char* wrong : {"", "1", "GiB", "-1GiB", "1.5GiB", "1 GiB", "1gb", "1048577TiB",
                            "99999999999999999999GiB", "0x1B"}) {
    EXPECT_FALSE(parse_size(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace openp2p::server
