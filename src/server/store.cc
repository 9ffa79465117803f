#include "server/store.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::server {
namespace {

constexpr std::size_t kNameBytesMax = 63;  // As is_valid_name() demands.

const char* words(StoreError error) {
  switch (error) {
    case StoreError::kUnavailable:
      return "the database cannot be written or read now: is the disk full?";
    case StoreError::kCorrupt:
      return "the database is damaged. Nothing was changed: restore it from a backup, or move it "
             "away to start anew (every node then has to join again)";
    case StoreError::kForeign:
      return "this is not a database of openp2p-server. Nothing was changed: choose another --data";
    case StoreError::kSchemaNewer:
      return "the database was written by a newer openp2p-server. Nothing was changed: update this "
             "program";
    case StoreError::kUserExists:
      return "a user with this email exists already";
    case StoreError::kNoSuchUser:
      return "there is no user with this email";
    case StoreError::kTokenInvalid:
      return "this server does not know the join token";
    case StoreError::kTokenExpired:
      return "the join token has expired";
    case StoreError::kTokenUsed:
      return "the join token was used already";
    case StoreError::kNoSuchNode:
      return "there is no such node";
    case StoreError::kNameInvalid:
      return "the name is not valid";
    case StoreError::kLimitReached:
      return "the limit for this is reached";
  }
  return "unknown store error";
}

/// The longest front of `text` of at most `bytes_max` bytes that cuts no UTF-8 character in two.
std::string_view front(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

std::error_code make_error_code(StoreError error) {
  static const ErrorCategory<StoreError> kCategory("store", words);
  return {static_cast<int>(error), kCategory};
}

bool is_valid_email(std::string_view email) {
  if (email.empty() || email.size() > kEmailBytesMax || email.front() == '-') return false;
  const bool is_plain = std::ranges::all_of(email, [](char c) { return c > ' ' && c < 0x7f; });
  if (!is_plain || email.find_first_of("\"'`\\<>|&;,") != std::string_view::npos) return false;
  if (email == "admin") return true;
  const auto at = email.find('@');
  return at != std::string_view::npos && at > 0 && at + 1 < email.size() &&
         email.find('@', at + 1) == std::string_view::npos;
}

std::string name_key(std::string_view name) {
  std::string key(name);
  for (char& c : key) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return key;
}

std::string unique_name(std::string_view wished,
                        const std::function<bool(std::string_view name_key)>& is_taken) {
  if (!is_taken(name_key(wished))) return std::string(wished);
  for (std::size_t number = 2; number <= kNodesPerNetworkMax + 1; ++number) {
    const std::string ending = "-" + std::to_string(number);
    std::string name = std::string(front(wished, kNameBytesMax - ending.size())) + ending;
    if (!is_taken(name_key(name))) return name;
  }
  CHECK(false && "more names taken than a network has nodes");
  return {};
}

}  // namespace openp2p::server
