#include "wire/codec.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p {
namespace {

const char* words(WireError error) {
  switch (error) {
    case WireError::kTruncated:
      return "the message ends too early";
    case WireError::kMalformed:
      return "the message is malformed";
    case WireError::kTooLong:
      return "the message is longer than allowed";
  }
  return "unknown wire error";
}

}  // namespace

std::error_code make_error_code(WireError error) {
  static const ErrorCategory<WireError> kCategory("wire", words);
  return {static_cast<int>(error), kCategory};
}

Result<std::uint64_t> Reader::number(std::size_t size) {
  if (rest_.size() < size) return make_error_code(WireError::kTruncated);
  std::uint64_t value = 0;
  for (const std::byte b : rest_.first(size))
    value = value << 8 | std::to_integer<std::uint64_t>(b);
  rest_ = rest_.subspan(size);
  return value;
}

Result<std::uint8_t> Reader::u8() {
  const auto value = number(1);
  if (!value) return value.error();
  return static_cast<std::uint8_t>(*value);
}

Result<std::uint16_t> Reader::u16() {
  const auto value = number(2);
  if (!value) return value.error();
  return static_cast<std::uint16_t>(*value);
}

Result<std::uint32_t> Reader::u32() {
  const auto value = number(4);
  if (!value) return value.error();
  return static_cast<std::uint32_t>(*value);
}

Result<std::uint64_t> Reader::u64() { return number(8); }

Result<ByteView> Reader::bytes(std::size_t size) {
  if (rest_.size() < size) return make_error_code(WireError::kTruncated);
  const ByteView value = rest_.first(size);
  rest_ = rest_.subspan(size);
  return value;
}

void Writer::number(std::uint64_t value, std::size_t size) {
  if (!ok_ || out_.size() - size_ < size) {
    ok_ = false;
    return;
  }
  for (std::size_t i = 0; i < size; ++i) {
    out_[size_ + i] = static_cast<std::byte>(value >> (8 * (size - 1 - i)) & 255);
  }
  size_ += size;
}

void Writer::bytes(ByteView value) {
  if (!ok_ || out_.size() - size_ < value.size()) {
    ok_ = false;
    return;
  }
  std::copy(value.begin(), value.end(), out_.begin() + static_cast<std::ptrdiff_t>(size_));
  size_ += value.size();
}

void Writer::set_u16(std::size_t offset, std::uint16_t value) {
  CHECK(offset + 2 <= size_);
  out_[offset] = static_cast<std::byte>(value >> 8);
  out_[offset + 1] = static_cast<std::byte>(value & 255);
}

}  // namespace openp2p
