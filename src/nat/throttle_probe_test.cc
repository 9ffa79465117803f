// The probe against a STUN service, over lines that hold UDP back, are slow, or lose.
#include "nat/throttle_probe.h"

#include <gtest/gtest.h>

#include "nat/stun_service.h"
#include "sim/framed_sockets.h"
#include "sim/internet.h"
#include "sim/seeded_secrets.h"
#include "wire/each_datagram.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kPort = 3478;

/// Answers STUN over both protocols.
class Service final : public path::ConnectionHandler {
 public:
  Service(sim::Internet& internet, const SourceLimitConfig& limit)
      : host_(sim::make_public_host(internet)),
        udp_(host_->open_udp(kPort)),
        streams_(*host_, *this),
        service_({{udp_.id(), udp_.local()}}, limit, /*seed=*/1) {
    udp_.on_receive([this](const Address& from, ByteView datagram, TimePoint now) {
      const Bytes bytes = answer(from, datagram, now);
      if (!bytes.empty()) udp_.send(from, bytes);
    });
    EXPECT_EQ(streams_.listen(kPort), kPort);
  }
  Address address() const { return udp_.local(); }

 private:
  Bytes answer(const Address& from, ByteView datagram, TimePoint now) {
    Bytes out(StunService::kAnswerBytesMax);
    const auto answer = service_.on_datagram(udp_.id(), from, datagram, out, now);
    out.resize(answer ? answer->size : 0);
    return out;
  }
  void on_connected(SocketId, const Address&, const Address&, bool, TimePoint) override {}
  void on_disconnected(SocketId, std::error_code, TimePoint) override {}
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override {
    for_each_datagram(train, [&](ByteView datagram) {
      const Bytes bytes = answer(from, datagram, now);
      if (!bytes.empty()) streams_.send(socket, {bytes, bytes.size()});
    });
  }

  std::unique_ptr<sim::Host> host_;
  sim::UdpSocket& udp_;
  sim::FramedSockets streams_;
  StunService service_;
};

class Prober final : public path::ConnectionHandler {
 public:
  Prober(sim::Host& host, const Address& server)
      : host_(host),
        server_(server),
        udp_(host.open_udp()),
        streams_(host, *this),
        stream_(*streams_.connect(server, 0, 5s)),
        timer_(host.world(), [this] {
          probe_->on_timeout(host_.now());
          pump();
        }) {
    udp_.on_receive([this](const Address&, ByteView datagram, TimePoint now) {
      probe_->on_datagram(datagram, /*is_stream=*/false, now);
      pump();
    });
    host.world().run_for(1s);
    probe_.emplace(/*tag=*/5, secrets_, host.now());
    pump();
  }
  const ThrottleReport& run() {
    const TimePoint end = host_.now() + 10s;
    EXPECT_TRUE(host_.world().run_until([this] { return probe_->is_done(); }, end));
    EXPECT_LE(bytes_sent, 100'000u);
    return probe_->report();
  }
  std::size_t bytes_sent = 0;

 private:
  void pump() {
    Bytes out(kStunBytesMax);
    bool is_stream = false;
    while (const std::size_t size = probe_->poll_datagram(is_stream, out, host_.now())) {
      bytes_sent += size;
      const ByteView bytes = ByteView(out).first(size);
      if (is_stream) {
        streams_.send(stream_, {bytes, size});
      } else {
        udp_.send(server_, bytes);
      }
    }
    timer_.arm(probe_->next_timeout());
  }
  void on_connected(SocketId, const Address&, const Address&, bool, TimePoint) override {}
  void on_disconnected(SocketId, std::error_code, TimePoint now) override {
    if (probe_) probe_->give_up_stream(now);
  }
  void on_datagrams(SocketId, const Address&, const DatagramTrain& train, TimePoint now) override {
    for_each_datagram(
        train, [&](ByteView datagram) { probe_->on_datagram(datagram, /*is_stream=*/true, now); });
    pump();
  }

  sim::Host& host_;
  const Address server_;
  sim::SeededSecrets secrets_{std::uint64_t{1}};
  sim::UdpSocket& udp_;
  sim::FramedSockets streams_;
  const SocketId stream_;
  std::optional<ThrottleProbe> probe_;
  sim::Timer timer_;
};

ThrottleReport probe(const sim::HomeOptions& options, const SourceLimitConfig& limit = {},
                     std::uint64_t seed = 1) {
  sim::World world(seed);
  sim::Internet internet(world);
  Service service(internet, limit);
  sim::Home home(internet, sim::NatKind::kPortRestricted, options);
  Prober prober(home.host(), service.address());
  return prober.run();
}

TEST(ThrottleProbe, FindsNothingOnAPlainLine) {
  EXPECT_EQ(probe({.link = {.delay = 20ms}}).throttling, Throttling::kNone);
  EXPECT_EQ(probe({.link = {.delay = 150ms, .jitter = 20ms}}).throttling, Throttling::kNone);
}

TEST(ThrottleProbe, FindsUdpThatIsHeldBack) {
  for (const std::uint64_t rate : {100'000, 500'000, 1'000'000, 1'500'000}) {
    for (const Duration delay : {5ms, 40ms, 150ms}) {
      SCOPED_TRACE(testing::Message() << rate << " bit/s, " << delay / 1ms << " ms");
      sim::HomeOptions options{.link = {.delay = delay}};
      options.udp_policer = {.bits_per_second = rate, .burst_bytes = 6'000};

      const ThrottleReport report = probe(options);

      EXPECT_EQ(report.throttling, Throttling::kThrottled);
      EXPECT_EQ(report.evidence.size(), 3u);
    }
  }
}

TEST(ThrottleProbe, BlamesNobodyForASlowLine) {
  for (const std::uint64_t rate : {300'000, 1'000'000, 2'000'000}) {
    for (const std::size_t queue : {std::size_t{15'000}, std::size_t{256'000}}) {
      SCOPED_TRACE(testing::Message() << rate << " bit/s, queue of " << queue);
      sim::LinkOptions line{.delay = 20ms};
      line.bits_per_second = rate;
      line.queue_bytes = queue;

      EXPECT_NE(probe({.link = line}).throttling, Throttling::kThrottled);
    }
  }
}

TEST(ThrottleProbe, BlamesNobodyForLossOrAServiceThatHasHadEnough) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_EQ(probe({.link = {.delay = 20ms, .loss = 0.02}}, {}, seed).throttling,
              Throttling::kNone);
    EXPECT_NE(probe({.link = {.delay = 20ms, .loss = 0.15}}, {}, seed).throttling,
              Throttling::kThrottled);
  }
  const SourceLimitConfig tight{.answers_per_second = 20, .burst = 30};
  EXPECT_EQ(probe({.link = {.delay = 20ms}}, tight).throttling, Throttling::kUnknown);
}

}  // namespace
}  // namespace openp2p::nat
