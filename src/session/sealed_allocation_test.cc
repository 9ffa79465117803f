#include <gtest/gtest.h>

#include "quic/counting_new.h"
#include "session/test_sealed_pair.h"

namespace openp2p::session {
namespace {

/// Counts, and keeps nothing.
class Counter final : public SealedHandler {
 public:
  void on_sealed(Session&, SealedUse, MutableByteView payload, TimePoint) override {
    bytes += payload.size();
    ++datagrams;
  }
  std::size_t bytes = 0;
  std::size_t datagrams = 0;
};

TEST(Sealed, NothingIsAllocatedPerDatagram) {
  SealedPair pair;
  Counter counter;
  pair.listen(pair.two, counter);
  const Bytes payload(1'300);
  Bytes out(65'000);
  const auto turn = [&] {
    for (int i = 0; i < 300; ++i) pair.write(pair.one, SealedUse::kRelay, payload);
    for (;;) {
      const quic::Burst burst = pair.one.traffic.poll_burst(out, kSealedBytesMax, pair.now);
      if (burst.bytes == 0) return;
      pair.deliver(pair.two, SealedUse::kRelay, ByteView(out).first(burst.bytes),
                   burst.segment_bytes);
    }
  };
  turn();

  const std::uint64_t before = quic::allocations_so_far();
  ASSERT_GT(before, 0U) << "nothing is counted";
  for (int i = 0; i < 100; ++i) turn();

  EXPECT_EQ(quic::allocations_so_far() - before, 0U);
  EXPECT_EQ(counter.datagrams, 300U * 101);
}

}  // namespace
}  // namespace openp2p::session
