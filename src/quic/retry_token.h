#pragma once

#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"

/// Tokens of Retry packets (RFC 9000 section 8.1.2): the server's memory, kept by the client. A
/// token says when it was made and which connection id the client chose first, and is authenticated
/// together with the client's address and the connection id that the Retry gave out.
///
///     time (8, ns) | size of the id (1) | id (0..20) | HMAC-SHA-256 (32)
namespace openp2p::quic {

class RetryTokens {
 public:
  static constexpr std::size_t kConnectionIdBytesMax = 20;  ///< RFC 9000 section 17.2.
  static constexpr std::size_t kTokenBytesMax = 8 + 1 + kConnectionIdBytesMax + 32;
  /// A client answers a Retry at once; a few round trips of a bad path are enough.
  static constexpr Duration kAgeMax = std::chrono::seconds(10);

  struct Token {
    std::array<std::byte, kTokenBytesMax> bytes;
    std::size_t size = 0;
    ByteView view() const { return ByteView(bytes).first(size); }
  };
  struct OriginalId {
    std::array<std::byte, kConnectionIdBytesMax> bytes;
    std::size_t size = 0;
    ByteView view() const { return ByteView(bytes).first(size); }
  };

  explicit RetryTokens(SecretSource& secrets);  ///< The key lives as long as the object.
  ~RetryTokens();
  RetryTokens(const RetryTokens&) = delete;
  RetryTokens& operator=(const RetryTokens&) = delete;

  /// `original_id` is of at most kConnectionIdBytesMax bytes.
  Token make(ByteView client, ByteView retry_id, ByteView original_id, TimePoint now) const;
  /// nullopt: forged, too old, from the future, or another client's.
  std::optional<OriginalId> check(ByteView token, ByteView client, ByteView retry_id,
                                  TimePoint now) const;

 private:
  Digest authenticate(ByteView content, ByteView client, ByteView retry_id) const;

  Digest key_;
};

}  // namespace openp2p::quic
