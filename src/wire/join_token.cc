#include "wire/join_token.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/address.h"
#include "base/check.h"
#include "base/crypto.h"
#include "base/host_name.h"
#include "wire/codec.h"

namespace openp2p {
namespace {

constexpr std::string_view kPrefix = "op2p1-";
constexpr std::string_view kPrefixOfAnyVersion = "op2p";
/// Enough to notice a slip of the hand (1 in 4 billion passes); nobody gains by forging it.
constexpr std::size_t kChecksumBytes = 4;

/// Count, addresses with their lengths, key, secret, expiry, checksum.
constexpr std::size_t kBodyBytesMax =
    1 + JoinToken::kAddressesMax * (1 + JoinToken::kAddressBytesMax) + NodeId::kSize +
    JoinToken::kSecretBytes + sizeof(std::uint64_t) + kChecksumBytes;
static_assert(kPrefix.size() + (kBodyBytesMax * 4 + 2) / 3 <= JoinToken::kTextBytesMax);

const char* words(JoinTokenError error) {
  switch (error) {
    case JoinTokenError::kGarbled:
      return "the join token is damaged: copy it whole, from \"op2p1-\" to its last character";
    case JoinTokenError::kVersionUnknown:
      return "the join token is of a newer kind: update this program";
  }
  return "unknown join token error";
}

std::array<std::byte, kChecksumBytes> checksum(ByteView fields) {
  const Digest digest = sha256(fields);
  std::array<std::byte, kChecksumBytes> sum;
  std::copy_n(digest.begin(), sum.size(), sum.begin());
  return sum;
}

/// What copying from a terminal or a mail adds.
std::string_view without_spaces_around(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const auto first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0 && text[0] != '0';
}

bool is_host(std::string_view host) {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    const auto ip = IpAddress::parse(host.substr(1, host.size() - 2));
    return ip && ip->is_v6();
  }
  return host.find(':') == std::string_view::npos && is_valid_host(host);
}

Result<std::vector<std::string>> read_addresses(Reader& in) {
  const auto count = in.u8();
  if (!count) return count.error();
  if (*count > JoinToken::kAddressesMax) return WireError::kTooLong;
  std::vector<std::string> addresses;
  for (std::size_t i = 0; i < *count; ++i) {
    const auto size = in.u8();
    if (!size) return size.error();
    const auto bytes = in.bytes(*size);
    if (!bytes) return bytes.error();
    if (!JoinToken::is_valid_address(as_text(*bytes))) return WireError::kMalformed;
    addresses.emplace_back(as_text(*bytes));
  }
  return addresses;
}

Result<JoinToken> read_fields(ByteView fields) {
  Reader in(fields);
  JoinToken token;
  auto addresses = read_addresses(in);
  if (!addresses) return addresses.error();
  token.addresses = std::move(*addresses);
  const auto key = in.bytes(NodeId::kSize);
  if (!key) return key.error();
  token.server = *NodeId::from_bytes(*key);
  const auto secret = in.bytes(JoinToken::kSecretBytes);
  if (!secret) return secret.error();
  token.secret = to_bytes(*secret);
  const auto expires = in.u64();
  if (!expires) return expires.error();
  token.expires.us = static_cast<std::int64_t>(*expires);
  if (token.expires.us < 0 || !in.empty()) return WireError::kMalformed;
  return token;
}

}  // namespace

std::error_code make_error_code(JoinTokenError error) {
  static const ErrorCategory<JoinTokenError> kCategory("join_token", words);
  return {static_cast<int>(error), kCategory};
}

bool JoinToken::is_valid_address(std::string_view address) {
  if (address.size() > kAddressBytesMax) return false;
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos) return false;
  return is_host(address.substr(0, colon)) && is_port(address.substr(colon + 1));
}

std::string JoinToken::text() const {
  CHECK(addresses.size() <= kAddressesMax && secret.size() == kSecretBytes && expires.us >= 0);
  std::array<std::byte, kBodyBytesMax> memory;
  Writer out(memory);
  out.u8(static_cast<std::uint8_t>(addresses.size()));
  for (const std::string& address : addresses) {
    CHECK(is_valid_address(address));
    out.u8(static_cast<std::uint8_t>(address.size()));
    out.bytes(as_bytes(address));
  }
  out.bytes(server.key);
  out.bytes(secret);
  out.u64(static_cast<std::uint64_t>(expires.us));
  out.bytes(checksum(out.written()));
  CHECK(out.ok());
  std::string text = std::string(kPrefix) + to_base64url(out.written());
  wipe(memory);
  return text;
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
  text = without_spaces_around(text);
  if (text.size() > kTextBytesMax) return JoinTokenError::kGarbled;
  if (!text.starts_with(kPrefix)) {
    const bool is_other_version = text.starts_with(kPrefixOfAnyVersion) && text.size() > 5 &&
                                  text[4] >= '2' && text[4] <= '9' && text[5] == '-';
    return is_other_version ? JoinTokenError::kVersionUnknown : JoinTokenError::kGarbled;
  }
  Bytes body;
  if (!from_base64url(text.substr(kPrefix.size()), body)) return JoinTokenError::kGarbled;
  if (body.size() < kChecksumBytes) return JoinTokenError::kGarbled;
  const ByteView fields = ByteView(body).first(body.size() - kChecksumBytes);
  if (!std::ranges::equal(checksum(fields), ByteView(body).last(kChecksumBytes))) {
    return JoinTokenError::kGarbled;
  }
  auto token = read_fields(fields);
  wipe(body);
  if (!token) return JoinTokenError::kGarbled;
  return token;
}

}  // namespace openp2p
