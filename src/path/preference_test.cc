#include "path/preference.h"

#include <gtest/gtest.h>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

struct Measured {
  Measured(const char* remote, Duration rtt, int samples = 5,
           CandidateType type = CandidateType::kHost, Transport transport = Transport::kUdp)
      : candidate{.candidate = {type, *Address::parse(remote), SocketId{}, transport},
                  .added_at = TimePoint{}},
        pair({SocketId{1}, candidate.candidate.address}, candidate, 100ms, TimePoint{}) {
    pair.local.transport = transport;
    nat::TransactionId id;
    for (int i = 0; i < samples; ++i) {
      pair.on_sent(id, /*is_nomination=*/false, TimePoint{});
      pair.on_answer(id, TimePoint{} + rtt);
    }
  }
  RemoteCandidate candidate;
  CheckPair pair;
};

bool wins(const Measured& a, const Measured& b) { return is_clearly_better(a.pair, b.pair); }

TEST(Preference, ShorterMustBeClearlyShorter) {
  const Measured base("198.51.100.1:1", 50ms);
  EXPECT_TRUE(wins({"198.51.100.2:1", 44ms}, base));
  EXPECT_FALSE(wins({"198.51.100.2:1", 46ms}, base)) << "10 %";
  EXPECT_FALSE(wins({"198.51.100.2:1", 2ms}, {"198.51.100.1:1", 4ms})) << "3 ms";
  EXPECT_FALSE(wins({"198.51.100.2:1", 10ms, /*samples=*/1}, base)) << "one sample proves nothing";
}

Measured over_tcp(const char* remote, Duration rtt, int samples = 5) {
  return {remote, rtt, samples, CandidateType::kHost, Transport::kTcp};
}

TEST(Preference, TcpGoesBeforeUdpWhereItIsFavoured) {
  const Measured udp("192.168.1.9:1", 5ms);
  const Measured tcp = over_tcp("198.51.100.1:1", 500ms);
  const Measured relayed("198.51.100.3:1", 10ms, 5, CandidateType::kRelayed);
  EXPECT_TRUE(is_clearly_better(tcp.pair, udp.pair, Favour::kStreams));
  EXPECT_FALSE(is_clearly_better(udp.pair, tcp.pair, Favour::kStreams));
  EXPECT_TRUE(goes_before(tcp.pair, udp.pair, Favour::kStreams));
  EXPECT_TRUE(is_clearly_better(udp.pair, relayed.pair, Favour::kStreams)) << "direct first";
}

TEST(Preference, UdpGoesBeforeTcpUnlessItIsClearlyBad) {
  const Measured udp("198.51.100.1:1", 150ms);
  EXPECT_TRUE(wins(udp, over_tcp("198.51.100.1:1", 50ms)));
  EXPECT_TRUE(wins({"198.51.100.1:1", 150ms, /*samples=*/1}, over_tcp("192.168.1.9:1", 50ms)));
  EXPECT_FALSE(wins(over_tcp("192.168.1.9:1", 1ms), udp)) << "a LAN's TCP neither";
  EXPECT_TRUE(wins(over_tcp("198.51.100.1:1", 50ms), {"198.51.100.1:1", 500ms}));
  EXPECT_FALSE(wins(over_tcp("198.51.100.1:1", 50ms, /*samples=*/2), {"198.51.100.1:1", 500ms}));
  EXPECT_TRUE(wins(over_tcp("198.51.100.1:1", 500ms),
                   {"198.51.100.3:1", 10ms, 5, CandidateType::kRelayed}));
}

TEST(Preference, UdpAndTcpNeverBothWin) {
  for (int udp_ms = 1; udp_ms < 2'000; udp_ms += 7) {
    for (int tcp_ms = 1; tcp_ms < 500; tcp_ms += 11) {
      const Measured udp("198.51.100.1:1", udp_ms * 1ms);
      const Measured tcp = over_tcp("198.51.100.1:1", tcp_ms * 1ms);
      ASSERT_FALSE(wins(udp, tcp) && wins(tcp, udp)) << udp_ms << " " << tcp_ms;
    }
  }
}

TEST(Preference, LanThenIpv6ThenIpv4ThenRelay) {
  const Measured lan("192.168.1.9:1", 20ms);
  const Measured v6("[2001:db8::1]:1", 20ms);
  const Measured v4("198.51.100.1:1", 20ms);
  const Measured relay("198.51.100.3:1", 10ms, 5, CandidateType::kRelayed);
  EXPECT_TRUE(wins(lan, v6));
  EXPECT_TRUE(wins(v6, v4));
  EXPECT_TRUE(wins(v4, relay));
  EXPECT_FALSE(wins(relay, v4));
  EXPECT_FALSE(wins({"192.168.1.9:1", 60ms}, v4)) << "a LAN through a tunnel";
}

TEST(Preference, NoTwoPathsWinAgainstEachOther) {
  const char* const kAddresses[] = {"192.168.1.9:1", "[2001:db8::1]:1", "198.51.100.1:1"};
  for (const char* first : kAddresses) {
    for (const char* second : kAddresses) {
      for (Duration a = 1ms; a < 60ms; a += 700us) {
        for (Duration b = 1ms; b < 60ms; b += 1300us) {
          const Measured left(first, a), right(second, b);
          ASSERT_FALSE(wins(left, right) && wins(right, left)) << first << " " << second;
        }
      }
    }
  }
}

}  // namespace
}  // namespace openp2p::path
