#include "test/lab/delayed_packets.h"

#include <gtest/gtest.h>

namespace openp2p::lab {
namespace {

using namespace std::chrono_literals;

class DelayedPacketsTest : public testing::Test {
 protected:
  bool push(Duration at, std::string_view text) {
    return packets_.push(TimePoint{} + at, pool_.copy(as_bytes(text)));
  }
  std::string pop(Duration now) {
    const auto packet = packets_.pop_due(TimePoint{} + now);
    return packet ? std::string(as_text(packet->view())) : "";
  }
  sim::BufferPool pool_;
  DelayedPackets packets_;
};

TEST_F(DelayedPacketsTest, ArriveInOrderOfTimeThenOfSending) {
  EXPECT_TRUE(push(2ms, "late") && push(1ms, "one") && push(1ms, "two") && push(1ms, "three"));

  EXPECT_EQ(packets_.next_at(), TimePoint{} + 1ms);
  EXPECT_EQ(pop(999us), "");
  EXPECT_EQ(pop(1ms), "one");
  EXPECT_EQ(pop(1ms), "two");
  EXPECT_EQ(pop(1ms), "three");
  EXPECT_EQ(pop(1ms), "");
  EXPECT_EQ(pop(5ms), "late");
  EXPECT_EQ(packets_.next_at(), std::nullopt);
  EXPECT_EQ(packets_.bytes(), 0u);
}

TEST_F(DelayedPacketsTest, RefuseMoreThanTheirLimit) {
  const std::string megabyte(1 << 20, 'x');
  std::size_t taken = 0;
  while (push(1ms, megabyte)) ++taken;

  EXPECT_EQ(taken, DelayedPackets::kBytesMax >> 20);
  EXPECT_EQ(pop(1ms), megabyte);
  EXPECT_TRUE(push(1ms, megabyte));
}

}  // namespace
}  // namespace openp2p::lab
