#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace openp2p {

enum class JoinTokenError { kGarbled = 1, kVersionUnknown };
std::error_code make_error_code(JoinTokenError error);

/// What a person copies from the server to a new device: where the server is,
/// its key, and a secret that lets a node join. Text: "op2p1-" and base64url of the fields and a
/// checksum, so that a lost character is noticed.
///
/// The secret is spent with the server only. Never logged.
struct JoinToken {
  static constexpr std::size_t kAddressesMax = 8;
  static constexpr std::size_t kAddressBytesMax = 255;
  static constexpr std::size_t kSecretBytes = 16;
  static constexpr std::size_t kTextBytesMax = 4'096;

  std::vector<std::string> addresses;  ///< "host:port", host a name or an IP address.
  NodeId server;                       ///< The server's key.
  Bytes secret;                        ///< 16 bytes.
  WallTime expires;                    ///< 0: never. For people; the server decides.

  /// Requires addresses that are valid and no more than kAddressesMax, and kSecretBytes of secret.
  std::string text() const;
  /// Spaces and line ends around the token are ignored; nothing else is forgiven.
  static Result<JoinToken> parse(std::string_view text);
  /// "name:port", "a.b.c.d:port" or "[v6]:port".
  static bool is_valid_address(std::string_view address);
};

}  // namespace openp2p

template <>
struct std::is_error_code_enum<openp2p::JoinTokenError> : std::true_type {};
