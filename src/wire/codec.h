#pragma once

#include <cstdint>
#include <optional>
#include <system_error>

#include "base/bytes.h"
#include "base/result.h"

/// Bytes to values and back, network byte order (RFC 1700), every bound checked once.
namespace openp2p {

enum class WireError { kTruncated = 1, kMalformed, kTooLong };
std::error_code make_error_code(WireError error);

}  // namespace openp2p

template <>
struct std::is_error_code_enum<openp2p::WireError> : std::true_type {};

namespace openp2p {

/// Takes values off the front of bytes it does not own. Nothing is taken by a call that fails.
class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}

  Result<std::uint8_t> u8();
  Result<std::uint16_t> u16();
  Result<std::uint32_t> u32();
  Result<std::uint64_t> u64();
  Result<ByteView> bytes(std::size_t size);
  ByteView rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }

 private:
  Result<std::uint64_t> number(std::size_t size);
  ByteView rest_;
};

/// Puts values into memory it does not own. After a put that does not fit, ok() stays false and
/// nothing more is written.
class Writer {
 public:
  explicit Writer(MutableByteView out) : out_(out) {}

  void u8(std::uint8_t value) { number(value, 1); }
  void u16(std::uint16_t value) { number(value, 2); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void bytes(ByteView value);
  void set_u16(std::size_t offset, std::uint16_t value);  ///< Patches what was already written.

  bool ok() const { return ok_; }
  std::size_t size() const { return size_; }  ///< Bytes written so far.
  ByteView written() const { return out_.first(size_); }

 private:
  void number(std::uint64_t value, std::size_t size);
  MutableByteView out_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace openp2p
