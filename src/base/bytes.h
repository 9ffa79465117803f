#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace openp2p {

using ByteView = std::span<const std::byte>;   ///< For arguments only; never stored.
using MutableByteView = std::span<std::byte>;  ///< For arguments only; never stored.
using Bytes = std::vector<std::byte>;

inline ByteView as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline const std::uint8_t* as_u8(ByteView bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}
inline std::uint8_t* as_u8(MutableByteView bytes) {
  return reinterpret_cast<std::uint8_t*>(bytes.data());
}
inline Bytes to_bytes(ByteView bytes) { return {bytes.begin(), bytes.end()}; }

std::string to_hex(ByteView bytes);  ///< Lower case.
bool from_hex(std::string_view text,
              MutableByteView out);                      ///< False unless exactly out.size() bytes.
std::string to_base64url(ByteView bytes);                ///< RFC 4648 section 5, no padding.
bool from_base64url(std::string_view text, Bytes& out);  ///< False on any foreign character.

}  // namespace openp2p
