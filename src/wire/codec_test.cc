#include "wire/codec.h"

#include <gtest/gtest.h>

#include <array>

namespace openp2p {
namespace {

TEST(Codec, ReadsWhatItWrote) {
  std::array<std::byte, 18> memory;
  Writer out(memory);
  out.u8(1);
  out.u16(0x0203);
  out.u32(0x04050607);
  out.u64(0x08090a0b0c0d0e0f);
  out.bytes(as_bytes("xyz"));
  ASSERT_TRUE(out.ok());

  Reader in(out.written());
  EXPECT_EQ(*in.u8(), 1);
  EXPECT_EQ(*in.u16(), 0x0203);
  EXPECT_EQ(*in.u32(), 0x04050607U);
  EXPECT_EQ(*in.u64(), 0x08090a0b0c0d0e0fU);
  EXPECT_EQ(as_text(*in.bytes(3)), "xyz");
  EXPECT_TRUE(in.empty());
}

TEST(Reader, TakesNothingWhenTooShort) {
  const std::array<std::byte, 3> memory{};
  Reader in(memory);
  EXPECT_EQ(in.u32().error(), make_error_code(WireError::kTruncated));
  EXPECT_EQ(in.rest().size(), 3U);
}

TEST(Writer, StopsAtTheFirstThingThatDoesNotFit) {
  std::array<std::byte, 3> memory{};
  Writer out(memory);
  out.u16(1);
  out.u16(2);
  out.u8(3);
  EXPECT_FALSE(out.ok());
  EXPECT_EQ(out.size(), 2U);
}

}  // namespace
}  // namespace openp2p
