#include "agent/relay_loss.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

/// An end whose session goes over the path, a sample a second.
struct End {
  /// Percent of streams' packets, and of the peer's sealed datagrams.
  void run(int seconds, std::uint64_t streams_lost, std::uint64_t sealed_lost = 0,
           bool is_in_use = true) {
    for (int i = 0; i < seconds; ++i) {
      now += 1s;
      traffic.packets_sent += packets;
      traffic.packets_lost += packets * streams_lost / 100;
      arrivals.sent += sealed;
      arrivals.came += sealed - sealed * sealed_lost / 100;
      loss.on_sample(traffic, arrivals, is_in_use, now);
    }
  }
  RelayLoss loss;
  quic::Traffic traffic;
  session::SealedArrivals arrivals;
  std::uint64_t packets = 200;
  std::uint64_t sealed = 0;
  TimePoint now;
};

TEST(RelayLoss, SaysThatAPathLosesTooMuch) {
  End end;
  end.run(20, 2);
  EXPECT_FALSE(end.loss.is_bad());
  end.run(6, 10);
  EXPECT_TRUE(end.loss.is_bad());
  end.run(4, 2);
  EXPECT_FALSE(end.loss.is_bad()) << "it became better";
}

TEST(RelayLoss, ForgivesOneBadMoment) {
  End end;
  end.run(20, 0);
  end.run(2, 30);
  end.run(4, 0);
  EXPECT_FALSE(end.loss.is_bad());
}

TEST(RelayLoss, CountsSealedDatagramsThatAreMissing) {
  End end;
  end.packets = 1;
  end.sealed = 200;
  end.run(20, 0, 10);
  EXPECT_TRUE(end.loss.is_bad());
  EXPECT_NEAR(end.loss.take_permille(), 100, 2);
}

TEST(RelayLoss, WaitsUntilThereIsEnoughToTell) {
  End end;
  end.packets = 10;
  end.run(30, 20);
  EXPECT_FALSE(end.loss.is_bad()) << "one window is not enough";
  end.run(30, 20);
  EXPECT_TRUE(end.loss.is_bad());
}

TEST(RelayLoss, CountsNothingOfOtherPaths) {
  End end;
  end.run(20, 50, 0, /*is_in_use=*/false);
  end.run(2, 50);
  end.run(10, 1);
  EXPECT_FALSE(end.loss.is_bad());
  EXPECT_EQ(end.loss.take_permille(), 10U);
  EXPECT_EQ(end.loss.take_permille(), 0U) << "it was told";
}

TEST(RelayLoss, BeginsAnewWithAnotherSession) {
  End end;
  end.run(20, 10);
  ASSERT_TRUE(end.loss.is_bad());
  end.traffic = {};
  end.run(1, 100);
  EXPECT_FALSE(end.loss.is_bad());
}

}  // namespace
}  // namespace openp2p::agent
