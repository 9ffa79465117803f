#include "sim/log_recorder.h"

#include <gtest/gtest.h>

#include "sim/seeded_secrets.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;

TEST(LogRecorder, KeepsTheLastLinesWithVirtualTimes) {
  LogRecorder recorder(LogLevel::kInfo);
  const Log log(&recorder);
  log.debug(TimePoint{}, "not wanted");
  for (std::size_t i = 0; i < LogRecorder::kLinesMax; ++i) {
    log.info(TimePoint{} + 1s, "line.counted number={}", i);
  }
  log.warning(TimePoint{} + 1500ms, "path.lost peer={}", "b");

  EXPECT_EQ(recorder.lines().size(), LogRecorder::kLinesMax);
  EXPECT_EQ(recorder.lines().back(), "    1.500000 W path.lost peer=b");
  EXPECT_FALSE(recorder.contains("not wanted"));
  EXPECT_TRUE(recorder.contains("number=999"));
  EXPECT_TRUE(recorder.text().ends_with("peer=b\n"));
}

TEST(SeededSecrets, MakeTheSameKeysFromTheSameSeed) {
  SeededSecrets a(Random(1)), b(Random(1)), c(Random(2));
  const NodeId id = IdentityKey::generate(a).id();
  EXPECT_EQ(id, IdentityKey::generate(b).id());
  EXPECT_NE(id, IdentityKey::generate(c).id());
  EXPECT_NE(id, IdentityKey::generate(a).id());
}

}  // namespace
}  // namespace openp2p::sim
