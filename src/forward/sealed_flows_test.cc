#include "forward/sealed_flows.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "forward/test_datagram_ends.h"
#include "quic/counting_new.h"

namespace openp2p::forward {
namespace {

constexpr TimePoint kNow{};
constexpr auto kUse = session::SealedUse::kForward;

struct Listener final : DatagramUser {
  Listener() { last.reserve(kDatagramBytesMax); }
  void on_datagram(ByteView datagram) override {
    ++datagrams;
    last.assign(datagram.begin(), datagram.end());
  }
  void on_datagrams_end() override { ++ends; }

  Bytes last;
  int datagrams = 0;
  int ends = 0;
};

/// Everything that one side sealed is opened by the other.
void carry(DatagramSession& from, DatagramSession& to) {
  for (std::size_t i = 0; i < from.sealed_count; ++i) {
    to.handler->on_sealed(to, kUse, from.sealed[i], kNow);
  }
  from.sealed_count = 0;
}

struct Ends {
  DatagramSession a, b;
  SealedFlows flows_a{a}, flows_b{b};
};

TEST(SealedFlows, BringEachDatagramToItsFlow) {
  Ends ends;
  Listener one, two;
  ends.flows_b.add(FlowId(1), one);
  ends.flows_b.add(FlowId(2), two);

  EXPECT_TRUE(ends.flows_a.send(FlowId(1), as_bytes("for one")));
  EXPECT_TRUE(ends.flows_a.send(FlowId(2), as_bytes("for two")));
  EXPECT_TRUE(ends.flows_a.send(FlowId(1), as_bytes("again")));
  carry(ends.a, ends.b);
  ends.flows_b.on_batch_end();

  EXPECT_EQ(as_text(one.last), "again");
  EXPECT_EQ(one.datagrams, 2);
  EXPECT_EQ(as_text(two.last), "for two");
  EXPECT_EQ(one.ends, 1);
  EXPECT_EQ(two.ends, 1);
  ends.flows_b.remove(FlowId(1));
  ends.flows_b.remove(FlowId(2));
}

TEST(SealedFlows, EverySizeArrivesWholeThroughEveryPath) {
  Random random(1);
  Ends ends;
  Listener listener;
  ends.flows_b.add(FlowId(1), listener);
  for (const std::size_t payload_max : {1'203U, 1'443U, 9'000U}) {
    ends.a.payload_max = payload_max;
    for (const std::size_t size :
         {0U, 1U, 1'198U, 1'199U, 1'420U, 1'439U, 2'400U, 9'000U, 65'507U}) {
      Bytes datagram(size);
      random.fill(datagram);
      ASSERT_TRUE(ends.flows_a.send(FlowId(1), datagram));
      const std::size_t pieces = ends.a.sealed_count;
      for (std::size_t i = 0; i < pieces; ++i) ASSERT_LE(ends.a.sealed[i].size(), payload_max);
      EXPECT_EQ(pieces == 1, size + kWholeHeaderBytes <= payload_max);
      carry(ends.a, ends.b);
      ASSERT_EQ(listener.last, datagram) << size << " through " << payload_max;
    }
  }
  EXPECT_FALSE(ends.flows_a.send(FlowId(1), Bytes(kDatagramBytesMax + 1)));
  ends.flows_b.remove(FlowId(1));
}

TEST(SealedFlows, WhatFindsNoRoomIsDropped) {
  Ends ends;
  ends.a.sealed_max = 2;

  EXPECT_TRUE(ends.flows_a.send(FlowId(1), as_bytes("a")));
  EXPECT_FALSE(ends.flows_a.send(FlowId(1), Bytes(3'000)));  // One of three fragments fits.
  EXPECT_FALSE(ends.flows_a.send(FlowId(1), as_bytes("b")));
}

TEST(SealedFlows, WhatPeersInventIsCountedAndHoldsNoMemory) {
  Random random(2);
  Ends ends;
  Bytes fragment(kFragmentHeaderBytes + 5);
  encode_datagram({FlowId(9), FragmentPlace{1, 10, 0, 2}, ByteView(fragment).last(5)}, fragment);
  ends.flows_b.on_sealed(ends.b, kUse, fragment, kNow);
  Bytes whole(kWholeHeaderBytes);
  encode_datagram({FlowId(9), std::nullopt, {}}, whole);
  ends.flows_b.on_sealed(ends.b, kUse, whole, kNow);
  Bytes nonsense(3);
  ends.flows_b.on_sealed(ends.b, kUse, nonsense, kNow);

  EXPECT_EQ(ends.flows_b.counters().unknown, 2U);
  EXPECT_EQ(ends.flows_b.counters().malformed, 1U);
  EXPECT_EQ(ends.flows_b.fragments().held_bytes(), 0U);
}

TEST(SealedFlows, ANumberInUseIsNotGivenAgain) {
  Ends ends;
  Listener one, two;

  EXPECT_TRUE(ends.flows_a.add(FlowId(1), one));
  EXPECT_FALSE(ends.flows_a.add(FlowId(1), two));
  ends.flows_a.remove(FlowId(1));
  EXPECT_TRUE(ends.flows_a.add(FlowId(1), two));
  ends.flows_a.remove(FlowId(1));
}

TEST(SealedFlows, AFlowMayLeaveInTheMiddleOfABatch) {
  Ends ends;
  Listener one;
  ends.flows_b.add(FlowId(1), one);
  ends.flows_a.send(FlowId(1), as_bytes("x"));
  carry(ends.a, ends.b);

  ends.flows_b.remove(FlowId(1));
  ends.flows_b.on_batch_end();

  EXPECT_EQ(one.ends, 0);
}

TEST(SealedFlows, SteadyTrafficAllocatesNothing) {
  Ends ends;
  Listener listeners[3];
  for (std::uint32_t i = 0; i < 3; ++i) ends.flows_b.add(FlowId(i), listeners[i]);
  const Bytes small(1'200), large(kDatagramBytesMax);
  const auto exchange = [&] {
    for (std::uint32_t i = 0; i < 90; ++i) ends.flows_a.send(FlowId(i / 10 % 3), small);
    ends.flows_a.send(FlowId(1), large);
    carry(ends.a, ends.b);
    ends.flows_b.on_batch_end();
  };
  for (int i = 0; i < 3; ++i) exchange();

  const std::uint64_t before = quic::allocations_so_far();
  for (int i = 0; i < 200; ++i) exchange();

  EXPECT_EQ(quic::allocations_so_far(), before);
  EXPECT_EQ(listeners[0].datagrams, 30 * 203);
  for (std::uint32_t i = 0; i < 3; ++i) ends.flows_b.remove(FlowId(i));
}

}  // namespace
}  // namespace openp2p::forward
