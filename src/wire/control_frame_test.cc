#include "wire/control_frame.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "wire/codec.h"

namespace openp2p {
namespace {

std::vector<std::string> take_all(ControlFrameDecoder& decoder, ByteView data) {
  std::vector<std::string> messages;
  for (;;) {
    const auto message = decoder.take(data);
    EXPECT_TRUE(message);
    if (!message || !*message) return messages;
    messages.emplace_back(as_text(**message));
  }
}

TEST(ControlFrame, IsALengthAndTheMessage) {
  Bytes out = to_bytes(as_bytes("before"));
  append_control_frame(as_bytes("hello"), out);
  EXPECT_EQ(as_text(out), std::string_view("before\0\0\0\5hello", 15));
}

TEST(ControlFrameDecoder, GivesTheSameMessagesHoweverTheBytesAreCut) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    std::vector<std::string> sent;
    Bytes stream;
    for (std::size_t i = 0; i < 8; ++i) {
      sent.emplace_back(random.below(random.chance(0.2) ? 5'000 : 20), static_cast<char>('a' + i));
      append_control_frame(as_bytes(sent.back()), stream);
    }

    ControlFrameDecoder decoder;
    std::vector<std::string> got;
    for (ByteView rest = stream; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(rest.size(), 1 + random.below(900));
      for (auto& message : take_all(decoder, rest.first(size))) got.push_back(std::move(message));
      rest = rest.subspan(size);
    }

    EXPECT_EQ(got, sent);
    EXPECT_TRUE(decoder.is_between_messages());
  }
}

TEST(ControlFrameDecoder, TakesTheLongestMessageAndNoLonger) {
  const std::string longest(kControlMessageBytesMax, 'x');
  Bytes stream;
  append_control_frame(as_bytes(longest), stream);
  ControlFrameDecoder decoder;
  EXPECT_EQ(take_all(decoder, stream), std::vector{longest});

  const Bytes too_long = {std::byte{0}, std::byte{1}, std::byte{0}, std::byte{1}};
  ByteView data = too_long;
  EXPECT_EQ(decoder.take(data).error(), make_error_code(WireError::kTooLong));
  ByteView more = stream;
  EXPECT_EQ(decoder.take(more).error(), make_error_code(WireError::kTooLong));
}

TEST(ControlFrameDecoder, SpendsNoMemoryOnAClaimedLength) {
  const Bytes header = {std::byte{0}, std::byte{1}, std::byte{0}, std::byte{0}};
  ControlFrameDecoder decoder;
  EXPECT_TRUE(take_all(decoder, header).empty());
  EXPECT_EQ(decoder.held_bytes(), 4U);
  EXPECT_FALSE(decoder.is_between_messages());
}

}  // namespace
}  // namespace openp2p
