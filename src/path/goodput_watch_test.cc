#include "path/goodput_watch.h"

#include <gtest/gtest.h>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

/// What a transport carries, in packets of 1,000 bytes.
struct Line {
  std::uint64_t packets_per_second = 1'000;
  std::uint64_t loss_percent = 0;
  bool has_queue = false;
};
constexpr Line kFree{};
constexpr Line kPoliced{100, 12};

/// A sender whose path follows the watch's wish at once, if it may.
struct Sender {
  explicit Sender(GoodputWatch::View view = GoodputWatch::View::kSender) : watch(view) {}
  void run(Duration span, bool has_demand = true) {
    for (const TimePoint end = now + span; now < end;) {
      now += GoodputWatch::kInterval;
      if (!has_demand) watch.on_timeout(now);
      const bool is_stream = has_tcp && watch.prefers_streams();
      if (is_stream != was_stream) ++switches;
      was_stream = is_stream;
      const Line& line = is_stream ? tcp : udp;
      const std::uint64_t arrived = line.packets_per_second / 4;
      const std::uint64_t sent = arrived * 100 / (100 - line.loss_percent);
      watch.on_interval({.span = GoodputWatch::kInterval,
                         .bytes_arrived = has_demand ? arrived * 1'000 : 10,
                         .packets_sent = sent,
                         .packets_lost = sent - arrived,
                         .has_demand = has_demand,
                         .is_stream = is_stream,
                         .has_queue = line.has_queue},
                        now);
    }
  }

  GoodputWatch watch;
  Line udp = kFree;
  Line tcp = kFree;
  bool has_tcp = true;
  bool was_stream = false;
  int switches = 0;
  TimePoint now;
};

TEST(GoodputWatch, LeavesACleanLineAlone) {
  Sender sender;
  sender.udp = {100, 0};
  sender.run(1h);
  EXPECT_EQ(sender.switches, 0) << "a slow one too, whatever TCP might do";
}

TEST(GoodputWatch, KeepsTcpThatCarriesClearlyMore) {
  Sender sender;
  sender.udp = kPoliced;
  sender.run(10s);
  EXPECT_TRUE(sender.was_stream);
  sender.run(45s);
  EXPECT_EQ(sender.switches, 1);
}

TEST(GoodputWatch, GoesBackWhereTcpCarriesLittleMore) {
  Sender sender;
  sender.udp = kPoliced;
  sender.tcp = {140, 0};
  sender.run(30s);
  EXPECT_FALSE(sender.was_stream);
  EXPECT_EQ(sender.switches, 2);
}

TEST(GoodputWatch, TriesMoreAndMoreRarely) {
  Sender sender;
  sender.udp = kPoliced;
  sender.tcp = kPoliced;
  sender.run(8h);
  // Rests of 1, 2, 4, 8, 16 minutes, then 30; two changes a trial.
  EXPECT_GE(sender.switches, 2 * 18);
  EXPECT_LE(sender.switches, 2 * 22);
}

TEST(GoodputWatch, NoticesThatUdpCarriesFarLessThanItDid) {
  Sender sender;
  sender.run(10s);
  sender.udp = {150, 1};
  sender.run(15s);
  EXPECT_TRUE(sender.was_stream) << "loss alone would not tell";
}

TEST(GoodputWatch, BelievesThatALineBecameSlowWhenTcpIsAsSlow) {
  Sender sender;
  sender.run(10s);
  sender.udp = {150, 1};
  sender.tcp = {150, 0};
  sender.run(1h);
  EXPECT_EQ(sender.switches, 2) << "one trial, and no second";
}

TEST(GoodputWatch, ComesBackToUdpThatIsWellAgain) {
  Sender sender;
  sender.udp = kPoliced;
  sender.run(30s);
  sender.udp = kFree;
  sender.run(1h);
  EXPECT_FALSE(sender.was_stream);
  EXPECT_EQ(sender.switches, 2);
}

TEST(GoodputWatch, LeavesTcpThatBecameWorseThanUdpWas) {
  Sender sender;
  sender.udp = {300, 12};
  sender.run(30s);
  ASSERT_TRUE(sender.was_stream);
  sender.tcp = {100, 0};
  sender.run(10s);
  EXPECT_FALSE(sender.was_stream);
}

TEST(GoodputWatch, CountsNothingWhileTheProgramIsTheLimit) {
  Sender sender;
  sender.udp = kPoliced;
  sender.run(10min, /*has_demand=*/false);
  EXPECT_EQ(sender.switches, 0);
  sender.run(3s);
  sender.run(10min, /*has_demand=*/false);
  EXPECT_EQ(sender.switches, 0) << "one bad window is not enough";
}

TEST(GoodputWatch, GivesUpWhereThereIsNoTcp) {
  Sender sender;
  sender.udp = kPoliced;
  sender.has_tcp = false;
  sender.run(10s);
  EXPECT_TRUE(sender.watch.prefers_streams());
  sender.run(GoodputWatch::kOpenPatience);
  EXPECT_FALSE(sender.watch.prefers_streams());
  sender.run(30s);
  EXPECT_FALSE(sender.watch.prefers_streams()) << "rests";
}

TEST(GoodputWatch, AnUndecidedTrialEndsAndIsHeldAgainstNeither) {
  Sender sender;
  sender.udp = kPoliced;
  while (!sender.was_stream) sender.run(GoodputWatch::kInterval);
  sender.run(GoodputWatch::kTrialPatience + 1s, /*has_demand=*/false);
  EXPECT_FALSE(sender.was_stream);
  sender.run(10s);
  EXPECT_TRUE(sender.was_stream) << "no rest";
}

TEST(GoodputWatch, SuspectsASteadyRateThatLosesWithoutAQueue) {
  Sender sender;
  sender.udp = {500, 3};
  sender.run(7s);
  EXPECT_FALSE(sender.was_stream);
  sender.run(5s);
  EXPECT_TRUE(sender.was_stream);
  sender.run(45s);
  EXPECT_EQ(sender.switches, 1);
}

TEST(GoodputWatch, SuspectsTheSameLineEverMoreRarely) {
  Sender sender;
  sender.udp = {500, 3};
  sender.tcp = {500, 0};
  sender.run(8h);
  // After 0, 10, 30, 70 and 150 minutes, then each two hours.
  EXPECT_GE(sender.switches, 2 * 6);
  EXPECT_LE(sender.switches, 2 * 8);
}

TEST(GoodputWatch, DoesNotSuspectALineWhoseRateVaries) {
  Sender sender;
  for (int i = 0; i < 100; ++i) {
    sender.udp = {i % 2 == 0 ? 500U : 700U, 3};
    sender.run(3 * GoodputWatch::kWindow);
  }
  EXPECT_EQ(sender.switches, 0);
}

TEST(GoodputWatch, DoesNotSuspectAQueueThatIsFull) {
  Sender sender;
  sender.udp = {500, 3, /*has_queue=*/true};
  sender.run(1h);
  EXPECT_EQ(sender.switches, 0);
}

TEST(GoodputWatch, AReceiverGoesByWhatIsMissing) {
  Sender receiver(GoodputWatch::View::kReceiver);
  receiver.run(10s);
  receiver.udp = {60, 0};
  receiver.run(10min);
  EXPECT_EQ(receiver.switches, 0) << "perhaps less was sent";
  receiver.udp = kPoliced;
  receiver.run(20s);
  EXPECT_TRUE(receiver.was_stream);
  EXPECT_EQ(receiver.switches, 1);
}

TEST(GoodputWatch, AReceiverStaysWithTcpWhileLessIsSent) {
  Sender receiver(GoodputWatch::View::kReceiver);
  receiver.udp = kPoliced;
  receiver.run(20s);
  ASSERT_TRUE(receiver.was_stream);
  receiver.tcp = {30, 0};
  receiver.run(30s);
  EXPECT_TRUE(receiver.was_stream);
}

TEST(GoodputWatch, AReceiverComesBackToUdpThatLosesNothing) {
  Sender receiver(GoodputWatch::View::kReceiver);
  receiver.udp = kPoliced;
  receiver.run(20s);
  receiver.udp = {300, 0};
  receiver.run(10min);
  EXPECT_FALSE(receiver.was_stream) << "less than TCP carried, since less was sent";
  EXPECT_EQ(receiver.switches, 2);
}

TEST(GoodputWatch, ForgetsEverythingInANewNetwork) {
  Sender sender;
  sender.udp = kPoliced;
  sender.run(30s);
  ASSERT_TRUE(sender.was_stream);
  sender.watch.on_network_changed();
  EXPECT_FALSE(sender.watch.prefers_streams());
  EXPECT_FALSE(sender.watch.next_timeout());
  sender.udp = {120, 0};
  sender.run(1h);
  EXPECT_FALSE(sender.was_stream) << "the old network's best counts no more";
}

TEST(GoodputWatch, IgnoresTimeInWhichTheMachineSlept) {
  GoodputWatch watch;
  TimePoint now;
  for (int i = 0; i < 100; ++i) {
    now += 10s;
    watch.on_interval({.span = 10s, .packets_sent = 1'000, .packets_lost = 500, .has_demand = true},
                      now);
  }
  EXPECT_FALSE(watch.prefers_streams());
}

}  // namespace
}  // namespace openp2p::path
