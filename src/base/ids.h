#pragma once

#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace openp2p {

/// A node's identity: its Ed25519 public key (RFC 8032). Names are labels, never identity.
struct NodeId {
  static constexpr std::size_t kSize = 32;
  std::array<std::byte, kSize> key{};

  friend auto operator<=>(const NodeId&, const NodeId&) = default;

  std::string text() const;   ///< 64 hex digits.
  std::string brief() const;  ///< The first 10 hex digits, for people.
  static std::optional<NodeId> parse(std::string_view text);
  static std::optional<NodeId> from_bytes(ByteView bytes);  ///< Exactly kSize bytes.
};

/// A label that a person gave: 1 to 63 bytes of UTF-8 without control characters, and without the
/// characters that the command line and URLs give meaning to ('/', ':', '@', ',', quotes, spaces at
/// the ends). Limits follow a DNS label, so that names can become host names later.
bool is_valid_name(std::string_view name);

/// `text` as it may be shown in a terminal or a log: control characters become '?', the length is
/// cut.
std::string printable(std::string_view text, std::size_t bytes_max = 200);

}  // namespace openp2p

template <>
struct std::hash<openp2p::NodeId> {
  std::size_t operator()(const openp2p::NodeId& id) const noexcept {
    std::size_t value;  // A public key's bytes are as good as random.
    std::memcpy(&value, id.key.data(), sizeof value);
    return value;
  }
};
