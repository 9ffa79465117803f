#include "agent/relay_inbox.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

const Path kOne{SocketId(1), {IpAddress::v4(192, 0, 2, 1), 1}};
const Path kTwo{SocketId(2), {IpAddress::v4(192, 0, 2, 2), 2}};

struct Delivered {
  Path from;
  std::size_t bytes;
  std::size_t segment_bytes;
  friend bool operator==(const Delivered&, const Delivered&) = default;
};

std::vector<Delivered> deliver(RelayInbox& inbox) {
  std::vector<Delivered> all;
  inbox.deliver([&](const RelayInbox::Train& train, ByteView bytes) {
    all.push_back({train.from, bytes.size(), train.segment_bytes});
  });
  return all;
}

TEST(RelayInbox, EqualDatagramsOfOnePathAreATrainThatAShorterOneEnds) {
  RelayInbox inbox;
  for (const std::size_t size : {100U, 100U, 40U, 100U}) {
    EXPECT_TRUE(inbox.add(kOne, Bytes(size)));
  }
  EXPECT_TRUE(inbox.add(kTwo, Bytes(100)));
  EXPECT_TRUE(inbox.add(kTwo, Bytes(101)));

  EXPECT_EQ(deliver(inbox),
            (std::vector<Delivered>{
                {kOne, 240, 100}, {kOne, 100, 100}, {kTwo, 100, 100}, {kTwo, 101, 101}}));
  EXPECT_TRUE(inbox.is_empty());
}

TEST(RelayInbox, KeepsWhatIsInTheDatagrams) {
  RelayInbox inbox;
  inbox.add(kOne, to_bytes(as_bytes("abc")));
  inbox.add(kTwo, to_bytes(as_bytes("defg")));
  std::string text;
  inbox.deliver([&](const RelayInbox::Train&, ByteView bytes) { text += as_text(bytes); });
  EXPECT_EQ(text, "abcdefg");
}

TEST(RelayInbox, TakesNothingWhileItDelivers) {
  RelayInbox inbox;
  inbox.add(kOne, Bytes(10));
  int calls = 0;
  inbox.deliver([&](const RelayInbox::Train&, ByteView) {
    ++calls;
    EXPECT_FALSE(inbox.add(kTwo, Bytes(10)));  // A relay over a relay.
  });
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(inbox.is_empty());
  EXPECT_TRUE(inbox.add(kTwo, Bytes(10)));
}

TEST(RelayInbox, HoldsNoMoreThanItsLimitAndNothingEmpty) {
  RelayInbox inbox;
  std::size_t taken = 0;
  while (inbox.add(kOne, Bytes(1'200)) && taken < 10'000) ++taken;
  EXPECT_EQ(taken, RelayInbox::kBytesMax / 1'200);
  EXPECT_FALSE(inbox.add(kTwo, {}));
}

}  // namespace
}  // namespace openp2p::agent
