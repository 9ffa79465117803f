#include <fmt/core.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/crypto.h"
#include "bench/cpu_time.h"
#include "bench/open_endpoint.h"
#include "bench/words.h"
#include "net/clock.h"
#include "net/deferred.h"
#include "net/timer.h"
#include "net/udp_socket.h"
#include "session/endpoint.h"

/// Sealed datagrams against a QUIC stream of the same session, between two processes: what reaches
/// the far end, one after the other, again and again. Both ends drive their sockets as agents do.
///
///   sealed_bench serve ADDRESS:PORT
///   sealed_bench drive ADDRESS:PORT ROUNDS MILLISECONDS [PAYLOAD_BYTES]
///
/// `drive` prints one JSON object a run: {"what": "stream" or "sealed", "gbit": .., "cpu": ..}, the
/// last being the processor time of both ends in s/GB; and for sealed what part was lost.
namespace openp2p::bench {
namespace {

using session::Session;
using session::StreamId;
using namespace std::chrono_literals;

constexpr session::SealedUse kUse = session::SealedUse::kForward;
// As agent/node_driver.cc has them.
constexpr std::size_t kBurstBytesMax = 65'000;
constexpr int kBurstsPerTurn = 16;
constexpr Duration kAwakeAfterBulk = 100us;
constexpr std::size_t kBulkBytesMin = 32 << 10;
/// What is written in a turn: as much as a turn's bursts carry.
constexpr int kDatagramsPerTurn = 48 * kBurstsPerTurn;
constexpr std::size_t kStreamBytesPerTurn = 1 << 20;
/// Until congestion control and all caches have settled.
constexpr Duration kWarmUp = 300ms;
constexpr int kServeNumber = 1;
constexpr int kDriveNumber = 2;

IdentityKey make_identity(int number) {
  std::array<std::byte, IdentityKey::kSeedSize> seed;
  seed.fill(static_cast<std::byte>(number));
  return IdentityKey(seed);
}

/// What the far end has counted, and when: sent as it is, since both ends are the same program.
struct Report {
  std::uint64_t stream_bytes = 0;
  std::uint64_t sealed_bytes = 0;
  std::uint64_t sealed_datagrams = 0;
  double seconds = 0;
  double cpu_seconds = 0;
};
using ReportBytes = std::array<std::byte, sizeof(Report)>;

/// One end: an Endpoint over one UDP socket.
class End : public net::UdpHandler,
            public session::SessionHandler,
            public session::SealedHandler,
            public session::Gatekeeper {
 public:
  End(int number, const Address& local)
      : identity_(make_identity(number)),
        protection_(quic::make_packet_protection()),
        flush_(io, [this](TimePoint now) { flush(now); }),
        awake_(io,
               [this](TimePoint now) {
                 if (!awake_until_) awake_until_ = now + kAwakeAfterBulk;
                 if (now < *awake_until_) awake_.request();
               }),
        timer_(io,
               [this](TimePoint now) {
                 endpoint_->on_timeout(now);
                 flush(now);
               }),
        send_buffer_(kBurstBytesMax) {
    endpoint_ =
        open_endpoint(identity_, *protection_, secrets_, *this, [this] { flush_.request(); });
    socket_ = open_socket(io, local, buffers_, *this, *endpoint_);
  }
  ~End() override = default;

  // net::UdpHandler
  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    for (const net::Received& received : batch) {
      endpoint_->on_datagrams(SocketId(0), received.from, received.datagrams,
                              received.segment_bytes, now);
      stay_awake(received.datagrams.size());
    }
    flush_.request();
  }
  void on_writable(TimePoint) override {
    held_.clear();  // Loss, as a full card makes it.
    flush_.request();
  }
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}

  // session::Gatekeeper
  bool is_welcome(const NodeId&) override { return true; }
  session::SessionHandler* on_session(Session&) override { return this; }

  // session::SessionHandler
  void on_established(Session& session) override { session.set_sealed_handler(kUse, this); }
  void on_stream_opened(Session&, StreamId) override {}
  void on_stream_data(Session&, StreamId, ByteView, bool) override {}
  void on_stream_writable(Session&, StreamId) override {}
  void on_stream_reset(Session&, StreamId, std::uint64_t) override {}
  void on_stream_stopped(Session&, StreamId, std::uint64_t) override {}
  void on_stream_closed(Session&, StreamId) override {}
  void on_path_changed(Session&) override {}
  void on_batch_end(Session&) override {}
  void on_closed(Session&, const session::CloseReason& reason) override {
    fmt::print(stderr, "sealed_bench: closed: {}\n", reason.text);
    std::exit(1);
  }

  // session::SealedHandler
  void on_sealed(Session&, session::SealedUse, MutableByteView payload, TimePoint) override {
    counts_.sealed_bytes += payload.size();
    ++counts_.sealed_datagrams;
  }

  net::IoContext io;

 protected:
  /// Called before each turn's output is polled: time to write.
  virtual void write() {}

  void flush(TimePoint now) {
    if (held_.empty()) write();
    int bursts = 0;
    while (held_.empty()) {
      if (bursts == kBurstsPerTurn) {
        flush_.request();
        break;
      }
      const auto transmit = endpoint_->poll_transmit(send_buffer_, now);
      if (!transmit) break;
      net::Outgoing out;
      out.to = transmit->to;
      out.datagrams = ByteView(send_buffer_).first(transmit->bytes);
      out.segment_bytes = transmit->segment_bytes;
      if (socket_->send({&out, 1}, now).batches == 0) held_ = to_bytes(out.datagrams);
      stay_awake(transmit->bytes);
      ++bursts;
    }
    timer_.arm(endpoint_->next_timeout());
  }

  void stay_awake(std::size_t bytes) {
    if (bytes < kBulkBytesMin) return;
    awake_until_.reset();
    awake_.request();
  }

  IdentityKey identity_;
  SystemSecrets secrets_;
  std::unique_ptr<quic::PacketProtection> protection_;
  net::UdpBuffers buffers_;
  net::Deferred flush_;
  net::Deferred awake_;
  net::Timer timer_;
  std::optional<TimePoint> awake_until_;
  Bytes send_buffer_;
  Bytes held_;
  std::unique_ptr<session::Endpoint> endpoint_;
  std::unique_ptr<net::UdpSocket> socket_;
  Report counts_;
};

/// Counts, and answers each byte of the first stream with a report.
class Server final : public End {
 public:
  explicit Server(const Address& local) : End(kServeNumber, local) {}

  void on_stream_data(Session& session, StreamId id, ByteView data, bool) override {
    session.consume(id, data.size());
    if (id.value() != 0) {
      counts_.stream_bytes += data.size();
      return;
    }
    for (std::size_t i = 0; i < data.size(); ++i) {
      counts_.seconds =
          std::chrono::duration<double>(net::monotonic_now().time_since_epoch()).count();
      counts_.cpu_seconds = cpu_seconds();
      session.write(id, std::as_bytes(std::span(&counts_, 1)));
    }
  }
};

/// Runs one measurement after the other.
class Driver final : public End {
 public:
  struct Plan {
    Address to;
    int rounds = 5;
    Duration run = 1s;
    std::size_t payload_bytes = 1'300;
  };

  explicit Driver(const Plan& plan)
      : End(kDriveNumber, {plan.to.ip.is_v4() ? IpAddress::any_v4() : IpAddress::any_v6(), 0}),
        plan_(plan),
        source_(kStreamBytesPerTurn, std::byte{42}),
        step_(io, [this](TimePoint now) { on_step(now); }) {
    endpoint_->dial(make_identity(kServeNumber).id(), {plan.to}, *this, net::monotonic_now());
  }

  void on_established(Session& session) override {
    End::on_established(session);
    session_ = &session;
    reports_ = *session.open_stream();
    bulk_ = *session.open_stream();
    step_.arm(net::monotonic_now());
  }

  void on_stream_data(Session& session, StreamId id, ByteView data, bool) override {
    session.consume(id, data.size());
    report_.insert(report_.end(), data.begin(), data.end());
    if (report_.size() < sizeof(Report)) return;
    Report report;
    std::memcpy(&report, report_.data(), sizeof(report));
    report_.clear();
    on_report(report);
  }
  void on_stream_writable(Session&, StreamId) override { flush_.request(); }

 private:
  enum class What { kStream, kSealed };
  enum class State { kWaiting, kWarmingUp, kMeasuring, kStopping };

  /// The path's size is known once this much goes in one datagram.
  bool is_ready() const { return session_->sealed_payload_max() >= plan_.payload_bytes; }
  void ask() {
    const std::byte question{1};
    session_->write(reports_, ByteView(&question, 1));
  }

  void on_step(TimePoint now) {
    switch (state_) {
      case State::kWaiting:
        if (is_ready()) {
          state_ = State::kWarmingUp;
          flush_.request();
        }
        break;
      case State::kWarmingUp:
        state_ = State::kMeasuring;
        ask();
        return;  // on_report() goes on.
      case State::kMeasuring:
        state_ = State::kStopping;
        ask();
        return;
      case State::kStopping:
        break;
    }
    step_.arm(now + kWarmUp);
  }

  void on_report(const Report& report) {
    if (state_ == State::kMeasuring) {
      first_ = report;
      own_cpu_ = cpu_seconds();
      sent_ = written_;
      step_.arm(net::monotonic_now() + plan_.run);
      return;
    }
    print(report);
    if (what_ == What::kSealed && --plan_.rounds == 0) {
      io.stop();
      return;
    }
    what_ = what_ == What::kSealed ? What::kStream : What::kSealed;
    state_ = State::kWarmingUp;
    step_.arm(net::monotonic_now() + kWarmUp);
    flush_.request();
  }

  void print(const Report& last) const {
    const bool is_sealed = what_ == What::kSealed;
    const std::uint64_t bytes = is_sealed ? last.sealed_bytes - first_.sealed_bytes
                                          : last.stream_bytes - first_.stream_bytes;
    const double seconds = last.seconds - first_.seconds;
    const double cpu = last.cpu_seconds - first_.cpu_seconds + cpu_seconds() - own_cpu_;
    const auto gigabytes = static_cast<double>(bytes) / 1e9;
    fmt::print("{{\"what\": \"{}\", \"gbit\": {:.3f}, \"cpu\": {:.4f}",
               is_sealed ? "sealed" : "stream", gigabytes * 8 / seconds, cpu / gigabytes);
    if (is_sealed) {
      const auto received = static_cast<double>(last.sealed_datagrams - first_.sealed_datagrams);
      fmt::print(", \"lost\": {:.4f}", 1 - received / static_cast<double>(written_ - sent_));
    }
    fmt::print("}}\n");
    std::fflush(stdout);
  }

  void write() override {
    if (state_ != State::kWarmingUp && state_ != State::kMeasuring) return;
    if (what_ == What::kSealed) {
      write_sealed();
    } else {
      write_stream();
    }
  }

  void write_sealed() {
    flush_.request();  // There is always more.
    for (int i = 0; i < kDatagramsPerTurn; ++i) {
      const MutableByteView room = session_->sealed_room(kUse, plan_.payload_bytes);
      if (room.empty()) return;
      std::memcpy(room.data(), source_.data(), room.size());
      session_->commit_sealed();
      ++written_;
    }
  }

  void write_stream() {
    std::size_t left = kStreamBytesPerTurn;
    while (left > 0) {
      const MutableByteView room = session_->write_room(bulk_);
      const std::size_t bytes = std::min(left, room.size());
      if (bytes == 0) return;
      std::memcpy(room.data(), source_.data(), bytes);
      session_->commit(bulk_, bytes);
      left -= bytes;
    }
  }

  Plan plan_;
  const Bytes source_;
  net::Timer step_;
  Session* session_ = nullptr;
  StreamId reports_, bulk_;
  What what_ = What::kStream;
  State state_ = State::kWaiting;
  Bytes report_;
  Report first_;
  double own_cpu_ = 0;
  std::uint64_t written_ = 0;  ///< Sealed datagrams.
  std::uint64_t sent_ = 0;     ///< Of these, before the measurement.
};

int usage() {
  fmt::print(stderr,
             "sealed_bench serve ADDRESS:PORT\n"
             "sealed_bench drive ADDRESS:PORT ROUNDS MILLISECONDS [PAYLOAD_BYTES]\n");
  return 2;
}

int run(std::span<char*> words) {
  const auto at = words.size() > 2 ? Address::parse(words[2]) : std::nullopt;
  if (!at) return usage();
  if (words.size() == 3 && std::string_view(words[1]) == "serve") {
    Server server(*at);
    fmt::print("listening\n");
    std::fflush(stdout);
    server.io.run();
    return 0;
  }
  if (words.size() < 5 || std::string_view(words[1]) != "drive") return usage();
  const auto rounds = positive<int>(words[3]);
  const auto milliseconds = positive<int>(words[4]);
  const auto bytes = positive<std::size_t>(words.size() > 5 ? words[5] : "1300");
  if (!rounds || !milliseconds || !bytes) return usage();
  Driver driver({*at, *rounds, std::chrono::milliseconds(*milliseconds), *bytes});
  driver.io.run();
  return 0;
}

}  // namespace
}  // namespace openp2p::bench

int main(int argc, char** argv) {
  return openp2p::bench::run(std::span(argv, static_cast<std::size_t>(argc)));
}
