#include "path/finder_tag.h"

#include <array>

#include "base/bytes.h"

namespace openp2p::path {
namespace {

constexpr std::size_t kTagDigits = 8;

FinderTag from_bytes(ByteView bytes) {
  std::uint32_t value = 0;
  for (const std::byte b : bytes.first(4)) value = value << 8 | std::to_integer<std::uint32_t>(b);
  return FinderTag(value);
}

}  // namespace

std::string tag_text(FinderTag tag) {
  const std::uint32_t v = tag.value();
  const std::array<std::byte, 4> bytes = {std::byte(v >> 24 & 255), std::byte(v >> 16 & 255),
                                          std::byte(v >> 8 & 255), std::byte(v & 255)};
  return to_hex(bytes);
}

std::string check_username(FinderTag receiver, FinderTag sender) {
  return tag_text(receiver) + ":" + tag_text(sender);
}

std::optional<FinderTag> addressee(const nat::StunMessage& request) {
  const std::string_view username = request.username();
  if (username.size() != 2 * kTagDigits + 1 || username[kTagDigits] != ':') return std::nullopt;
  std::array<std::byte, 4> bytes;
  if (!from_hex(username.substr(0, kTagDigits), bytes)) return std::nullopt;
  return from_bytes(bytes);
}

FinderTag asker(const nat::TransactionId& transaction) { return from_bytes(transaction.bytes); }

}  // namespace openp2p::path
