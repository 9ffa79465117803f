#pragma once

#include <string>
#include <string_view>

#include "base/crypto.h"
#include "base/result.h"

namespace openp2p::server {

constexpr std::size_t kPasswordBytesMin = 8;
constexpr std::size_t kPasswordBytesMax = 1'024;

/// Argon2id (RFC 9106) in its usual text form, salt and costs included. Takes about 0.1 s and 64
/// MiB: not for the thread that serves datagrams. Requires a size within the limits above.
Result<std::string> hash_password(std::string_view password, SecretSource& secrets);
bool verify_password(std::string_view password, const std::string& hash);

}  // namespace openp2p::server
