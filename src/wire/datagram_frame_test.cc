#include "wire/datagram_frame.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "wire/codec.h"
#include "wire/each_datagram.h"

namespace openp2p {
namespace {

struct Taken {
  std::vector<std::string> datagrams;
  std::size_t trains = 0;
  bool is_broken = false;
};

void take_all(DatagramDeframer& deframer, ByteView piece, Taken& taken) {
  Bytes copy = to_bytes(piece);
  MutableByteView data = copy;
  for (;;) {
    const auto train = deframer.take(data);
    if (!train) {
      EXPECT_EQ(train.error(), make_error_code(WireError::kTooLong));
      taken.is_broken = true;
      return;
    }
    if (!*train) break;
    ++taken.trains;
    for_each_datagram(**train,
                      [&](ByteView datagram) { taken.datagrams.emplace_back(as_text(datagram)); });
  }
  EXPECT_TRUE(data.empty());
}

Taken take_all(DatagramDeframer& deframer, ByteView piece) {
  Taken taken;
  take_all(deframer, piece, taken);
  return taken;
}

void append_frame(std::string_view datagram, Bytes& out) {
  out.push_back(static_cast<std::byte>(datagram.size() >> 8));
  out.push_back(static_cast<std::byte>(datagram.size() & 0xff));
  const ByteView bytes = as_bytes(datagram);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

Bytes frames(const std::vector<std::string>& datagrams) {
  Bytes out;
  for (const std::string& datagram : datagrams) append_frame(datagram, out);
  return out;
}

TEST(DatagramFrame, IsALengthAndTheDatagram) {
  Bytes out(100);
  DatagramTrain train{as_bytes("aaabbbc"), 3};
  EXPECT_EQ(framed_bytes(train), 13U);

  const std::size_t size = write_datagram_frames(train, out);

  EXPECT_EQ(as_text(ByteView(out).first(size)), std::string_view("\0\3aaa\0\3bbb\0\1c", 13));
  EXPECT_TRUE(train.datagrams.empty());
}

TEST(DatagramFrame, WritesWholeFramesOnly) {
  for (const auto& [room, written] :
       {std::pair{4U, 0U}, {5U, 5U}, {9U, 5U}, {10U, 10U}, {12U, 10U}, {13U, 13U}}) {
    Bytes out(room);
    DatagramTrain train{as_bytes("aaabbbc"), 3};
    EXPECT_EQ(write_datagram_frames(train, out), written) << room;
    EXPECT_EQ(framed_bytes(train), 13U - written) << room;
  }
}

TEST(DatagramDeframer, GivesTheSameDatagramsHoweverTheBytesAreCut) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    std::vector<std::string> sent;
    Bytes stream;
    for (std::size_t i = 0; i < 40; ++i) {
      const std::size_t size = random.chance(0.7) ? 30 : random.below(60);
      sent.emplace_back(size, static_cast<char>('a' + i % 26));
      append_frame(sent.back(), stream);
    }
    std::erase(sent, "");

    DatagramDeframer deframer;
    Taken got;
    for (ByteView rest = stream; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(rest.size(), 1 + random.below(200));
      take_all(deframer, rest.first(size), got);
      rest = rest.subspan(size);
    }

    EXPECT_EQ(got.datagrams, sent);
    EXPECT_EQ(deframer.held_bytes(), 0U);
  }
}

TEST(DatagramDeframer, MakesTrainsOfEqualDatagramsAndAShorterLastOne) {
  DatagramDeframer deframer;

  const Taken got = take_all(deframer, frames({"aaa", "bbb", "", "c", "dd", "eeee", "ffff"}));

  EXPECT_EQ(got.datagrams, (std::vector<std::string>{"aaa", "bbb", "c", "dd", "eeee", "ffff"}));
  EXPECT_EQ(got.trains, 3U);  // aaa bbb c, dd, eeee ffff
}

TEST(DatagramDeframer, PassesOverEmptyFrames) {
  DatagramDeframer deframer;
  const Bytes nothing(1'001);  // The last frame's header is half there.

  EXPECT_TRUE(take_all(deframer, nothing).datagrams.empty());
  EXPECT_EQ(deframer.held_bytes(), 1U);
  const Bytes rest = {std::byte{1}, std::byte{'x'}};
  EXPECT_EQ(take_all(deframer, rest).datagrams, std::vector<std::string>{"x"});
}

TEST(DatagramDeframer, TakesTheLongestDatagramAndNoLonger) {
  const std::string longest(100, 'x');
  DatagramDeframer deframer(longest.size());
  EXPECT_EQ(take_all(deframer, frames({longest})).datagrams, std::vector{longest});

  const Taken got = take_all(deframer, frames({"good", longest + "y"}));
  EXPECT_EQ(got.datagrams, std::vector<std::string>{"good"});
  EXPECT_TRUE(got.is_broken);
  EXPECT_TRUE(take_all(deframer, frames({"later"})).is_broken);
}

TEST(DatagramDeframer, RefusesALongDatagramThatComesInPieces) {
  DatagramDeframer deframer(256);
  const Bytes header = {std::byte{1}, std::byte{1}};
  EXPECT_FALSE(take_all(deframer, ByteView(header).first(1)).is_broken);
  EXPECT_TRUE(take_all(deframer, ByteView(header).last(1)).is_broken);
}

TEST(DatagramDeframer, TakesWhatTheLengthCanSay) {
  const std::string longest(kFramedDatagramBytesMax, 'x');
  const Bytes stream = frames({longest});
  DatagramDeframer deframer;
  Taken got;
  take_all(deframer, ByteView(stream).first(40'000), got);
  take_all(deframer, ByteView(stream).subspan(40'000), got);
  EXPECT_EQ(got.datagrams, std::vector{longest});
}

TEST(DatagramDeframer, SpendsNoMemoryOnAClaimedLength) {
  const Bytes header = {std::byte{0xff}, std::byte{0xff}, std::byte{0}};
  DatagramDeframer deframer;
  EXPECT_TRUE(take_all(deframer, header).datagrams.empty());
  EXPECT_EQ(deframer.held_bytes(), 3U);
}

}  // namespace
}  // namespace openp2p
