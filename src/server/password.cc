#include "server/password.h"

#include <argon2.h>

#include <array>

#include "base/check.h"

namespace openp2p::server {
namespace {

// RFC 9106 section 4, the second recommended choice: for where memory is scarce.
constexpr std::uint32_t kPasses = 3;
constexpr std::uint32_t kMemoryKib = 64 * 1'024;
constexpr std::uint32_t kLanes = 4;
constexpr std::size_t kHashBytes = 32;
constexpr std::size_t kSaltBytes = 16;

}  // namespace

Result<std::string> hash_password(std::string_view password, SecretSource& secrets) {
  CHECK(password.size() >= kPasswordBytesMin && password.size() <= kPasswordBytesMax);
  std::array<std::byte, kSaltBytes> salt;
  secrets.fill(salt);
  std::array<char, 256> text{};
  const int result =
      argon2id_hash_encoded(kPasses, kMemoryKib, kLanes, password.data(), password.size(),
                            salt.data(), salt.size(), kHashBytes, text.data(), text.size());
  if (result != ARGON2_OK) return std::make_error_code(std::errc::not_enough_memory);
  return std::string(text.data());
}

bool verify_password(std::string_view password, const std::string& hash) {
  return argon2id_verify(hash.c_str(), password.data(), password.size()) == ARGON2_OK;
}

}  // namespace openp2p::server
