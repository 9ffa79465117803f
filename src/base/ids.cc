#include "base/ids.h"

#include <algorithm>

namespace openp2p {
namespace {

constexpr std::size_t kNameBytesMax = 63;

/// The length of the well-formed UTF-8 character at the front of `text` (RFC 3629), or 0.
std::size_t utf8_length(std::string_view text) {
  const auto at = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = at(1);  // No overlong forms, surrogates, or beyond U+10FFFF.
  if (first == 0xe0 && second < 0xa0) return 0;
  if (first == 0xed && second > 0x9f) return 0;
  if (first == 0xf0 && second < 0x90) return 0;
  if (first == 0xf4 && second > 0x8f) return 0;
  return length;
}

/// Control characters: C0, DEL, C1 (as UTF-8), and the bidirectional overrides that make a name
/// read as another.
bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  if (first == 0xc2) return static_cast<unsigned char>(character[1]) < 0xa0;
  if (first != 0xe2 || character.size() != 3) return false;
  const auto second = static_cast<unsigned char>(character[1]);
  const auto third = static_cast<unsigned char>(character[2]);
  if (second == 0x80) return third >= 0x8e && third <= 0xae && (third <= 0x8f || third >= 0xa8);
  return second == 0x81 && third >= 0xa6 && third <= 0xa9;
}

}  // namespace

std::string NodeId::text() const { return to_hex(key); }

std::string NodeId::brief() const { return to_hex(ByteView(key).first(5)); }

std::optional<NodeId> NodeId::parse(std::string_view text) {
  NodeId id;
  if (!from_hex(text, id.key)) return std::nullopt;
  return id;
}

std::optional<NodeId> NodeId::from_bytes(ByteView bytes) {
  if (bytes.size() != kSize) return std::nullopt;
  NodeId id;
  std::copy(bytes.begin(), bytes.end(), id.key.begin());
  return id;
}

bool is_valid_name(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax) return false;
  if (name.front() == ' ' || name.back() == ' ' || name.front() == '-') return false;
  constexpr std::string_view kReserved = "/\\:@,;\"'`<>|&$*?#%";
  for (std::string_view rest = name; !rest.empty();) {
    const std::size_t length = utf8_length(rest);
    if (length == 0 || is_control(rest.substr(0, length))) return false;
    if (length == 1 && kReserved.find(rest[0]) != std::string_view::npos) return false;
    rest.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, std::size_t bytes_max) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t length = std::max<std::size_t>(utf8_length(text), 1);
    const bool bad = utf8_length(text) == 0 || is_control(text.substr(0, length));
    if (shown.size() + length > bytes_max) {
      shown += "...";
      break;
    }
    if (bad) {
      shown += '?';
    } else {
      shown += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return shown;
}

}  // namespace openp2p
