#include "wire/each_datagram.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace openp2p {
namespace {

using testing::ElementsAre;

std::vector<std::string> cut(std::string_view bytes, std::size_t segment_bytes) {
  std::vector<std::string> datagrams;
  for_each_datagram({as_bytes(bytes), segment_bytes},
                    [&](ByteView datagram) { datagrams.emplace_back(as_text(datagram)); });
  return datagrams;
}

TEST(EachDatagram, OnlyTheLastOneMayBeShorter) {
  EXPECT_THAT(cut("abcdefgh", 3), ElementsAre("abc", "def", "gh"));
  EXPECT_THAT(cut("abcdef", 3), ElementsAre("abc", "def"));
  EXPECT_THAT(cut("ab", 3), ElementsAre("ab"));
}

TEST(EachDatagram, AnEmptyTrainIsOneEmptyDatagram) {
  EXPECT_THAT(cut("", 3), ElementsAre(""));
  EXPECT_THAT(cut("", 0), ElementsAre(""));
}

TEST(EachDatagramDeathTest, WhatCannotBeCutIsABug) { EXPECT_DEATH(cut("a", 0), "segment_bytes"); }

}  // namespace
}  // namespace openp2p
