#include <fmt/core.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "base/check.h"
#include "base/crypto.h"
#include "bench/cpu_time.h"
#include "quic/connection.h"

/// Bulk streams between two connections in one process, through memory: what QUIC itself costs,
/// both ends together on one core, without any socket. Time is virtual; only the processor's is
/// measured.
///
///   quic_stream_bench [MEBIBYTES [STREAMS]]
namespace openp2p::quic {
namespace {

constexpr std::size_t kDatagramBytes = 1452;
constexpr std::size_t kBurstsInFlightMax = 32;
constexpr Duration kOneWay = std::chrono::microseconds(25);
constexpr std::uint64_t kWarmUpBytes = 256ULL << 20;

IdentityKey make_identity(int number) {
  std::array<std::byte, IdentityKey::kSeedSize> seed;
  seed.fill(static_cast<std::byte>(number));
  return IdentityKey(seed);
}

std::uint64_t cycles() {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return 0;
#endif
}

struct End final : ConnectionHandler, PeerVerifier {
  End(int number, const PacketProtection& protection)
      : identity(make_identity(number)),
        factory({.identity = &identity, .protection = &protection, .secrets = &secrets}) {}

  void on_authenticated(const NodeId&) override {}
  void on_stream_opened(StreamId) override {}
  void on_stream_data(StreamId id, ByteView data, bool) override {
    received += data.size();
    connection->consume(id, data.size());
  }
  void on_stream_writable(StreamId) override {}
  void on_stream_reset(StreamId, std::uint64_t) override {}
  void on_stream_stopped(StreamId, std::uint64_t) override {}
  void on_stream_closed(StreamId) override {}
  void on_closed(const CloseReason& reason) override {
    fmt::print("closed: {}\n", reason.text);
    std::abort();
  }
  bool is_welcome(const NodeId&) override { return true; }

  IdentityKey identity;
  SystemSecrets secrets;
  ConnectionFactory factory;
  std::unique_ptr<Connection> connection;
  std::uint64_t received = 0;
};

class Loop {
 public:
  Loop(const PacketProtection& protection, std::size_t stream_count)
      : client_(1, protection), server_(2, protection), buffer_(65536) {
    client_.connection = client_.factory.connect({}, client_, client_, now_);
    while (!client_.connection->is_authenticated() || !server_.connection->is_authenticated()) {
      turn();
    }
    for (std::size_t i = 0; i < stream_count; ++i) {
      streams_.push_back(*client_.connection->open_stream());
    }
  }

  /// Sends until the server has `bytes` more.
  void transfer(std::uint64_t bytes) {
    const std::uint64_t goal = server_.received + bytes;
    while (server_.received < goal) {
      fill();
      turn();
    }
  }

  double segments_per_burst() const {
    return static_cast<double>(segments_) / static_cast<double>(bursts_);
  }

 private:
  /// The local applications have always more to send; the bytes themselves do not matter.
  void fill() {
    for (const StreamId stream : streams_) {
      for (;;) {
        const MutableByteView room = client_.connection->write_room(stream);
        if (room.empty()) break;
        client_.connection->commit(stream, room.size());
      }
    }
  }

  void turn() {
    now_ += kOneWay;
    move(client_, server_, kBurstsInFlightMax);
    now_ += kOneWay;
    move(server_, client_, kBurstsInFlightMax);
    client_.connection->on_timeout(now_);
    if (server_.connection) server_.connection->on_timeout(now_);
  }

  void move(End& from, End& to, std::size_t bursts_max) {
    if (!from.connection) return;
    for (std::size_t i = 0; i < bursts_max; ++i) {
      const Burst burst = from.connection->poll_burst(buffer_, kDatagramBytes, now_);
      if (burst.bytes == 0) return;
      if (&from == &client_) ++bursts_;
      for (std::size_t at = 0; at < burst.bytes; at += burst.segment_bytes) {
        const auto datagram =
            ByteView(buffer_).subspan(at, std::min(burst.segment_bytes, burst.bytes - at));
        if (&from == &client_) ++segments_;
        if (!to.connection) {
          to.connection = to.factory.accept(datagram, {}, false, {}, to, to, now_);
          CHECK(to.connection != nullptr);
        }
        to.connection->on_datagram(datagram, now_);
      }
    }
  }

  End client_;
  End server_;
  Bytes buffer_;
  TimePoint now_{};
  std::vector<StreamId> streams_;
  std::uint64_t bursts_ = 0;
  std::uint64_t segments_ = 0;
};

/// By processor time, so that a busy machine does not spoil the figure.
void measure(Backend backend, std::uint64_t bytes, std::size_t stream_count) {
  const auto protection = make_packet_protection(backend);
  if (!protection) return;
  Loop loop(*protection, stream_count);
  loop.transfer(kWarmUpBytes);
  const auto started = std::chrono::steady_clock::now();
  const std::uint64_t first_cycle = cycles();
  const double first_cpu = bench::cpu_seconds();
  loop.transfer(bytes);
  const double cpu = bench::cpu_seconds() - first_cpu;
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - started;
  const double hertz = static_cast<double>(cycles() - first_cycle) / wall.count();
  fmt::print(
      "{:<9} {:6.2f} Gbit/s both ends on one core, {:.2f} cycles/byte, {:.1f} datagrams/burst\n",
      protection->name(), static_cast<double>(bytes) * 8 / cpu / 1e9,
      cpu * hertz / static_cast<double>(bytes), loop.segments_per_burst());
}

}  // namespace
}  // namespace openp2p::quic

int main(int argc, char** argv) {
  using openp2p::quic::Backend;
  const std::uint64_t mebibytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2048;
  const std::size_t streams = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  openp2p::quic::measure(Backend::kGnutls, mebibytes << 20, streams);
  openp2p::quic::measure(Backend::kIpsecMb, mebibytes << 20, streams);
  return 0;
}
