#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/crypto.h"
#include "base/test_folder.h"
#include "server/sqlite_records.h"

/// A database in a file as its tests fill it: users, tokens and nodes with numbers for names.
namespace openp2p::server {

namespace fs = std::filesystem;

inline constexpr WallTime kNow{1'800'000'000'000'000};

inline NodeId node_id(std::uint32_t number) {
  NodeId id;
  std::memcpy(id.key.data(), &number, sizeof number);
  id.key[31] = std::byte{7};
  return id;
}

inline Digest secret(std::uint32_t number) {
  return sha256(std::as_bytes(std::span<const std::uint32_t>(&number, 1)));
}

inline std::unique_ptr<SqliteRecords> open_or_die(const fs::path& file) {
  auto opened = SqliteRecords::open({.file = file, .checks_integrity = true});
  CHECK(opened);
  return std::move(*opened);
}

inline void add_user(Records& records) {
  const User user{.email = "admin",
                  .password_hash = "",
                  .network = {},
                  .network_name = "home",
                  .created_at = kNow};
  ASSERT_TRUE(records.create_user(user));
}

inline void add_token(Records& records, std::uint32_t number, bool is_reusable = false) {
  const Token token{.secret_hash = secret(number),
                    .email = "admin",
                    .is_reusable = is_reusable,
                    .created_at = kNow,
                    .expires_at = {}};
  ASSERT_TRUE(records.new_token(token));
}

inline Result<Joined> join(Records& records, std::uint32_t token, std::uint32_t node) {
  return records.join({.secret_hash = secret(token),
                       .node = node_id(node),
                       .name = "node" + std::to_string(node),
                       .version = "1",
                       .platform = "p",
                       .now = kNow});
}

inline std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const fs::path& file, std::string_view content) {
  std::ofstream(file, std::ios::binary) << content;
}

inline std::error_code open_error(const fs::path& file) {
  const auto opened = SqliteRecords::open({.file = file});
  return opened ? std::error_code() : opened.error();
}

/// Nodes 1 and 2 of "admin" borrow of node 3 of "b@example.org".
inline void add_pair_and_relay(Records& records) {
  add_user(records);
  add_token(records, 0, /*is_reusable=*/true);
  ASSERT_TRUE(records.create_user({.email = "b@example.org",
                                   .password_hash = "",
                                   .network = {std::byte{2}},
                                   .network_name = "b",
                                   .created_at = kNow}));
  ASSERT_TRUE(records.new_token({.secret_hash = secret(1),
                                 .email = "b@example.org",
                                 .is_reusable = true,
                                 .created_at = kNow,
                                 .expires_at = {}}));
  ASSERT_TRUE(join(records, 0, 1));
  ASSERT_TRUE(join(records, 0, 2));
  ASSERT_TRUE(join(records, 1, 3));
}

inline Status claim_bytes(Records& records, std::uint64_t bytes) {
  const ReceiptClaim claim{.allocation = {std::byte{1}},
                           .relay = node_id(3),
                           .lower = node_id(1),
                           .higher = node_id(2),
                           .claims = {.step = 1, .lower_bytes = bytes, .higher_bytes = bytes}};
  const auto credited =
      records.credit({&claim, 1}, {.allowance_bytes = kCreditBytesMax, .month = 1});
  return credited ? Status() : Status(credited.error());
}

inline std::uint64_t lent(Records& records) {
  return records.find_account({std::byte{2}})->lent_bytes;
}

}  // namespace openp2p::server
