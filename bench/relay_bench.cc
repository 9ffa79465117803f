#include <fmt/core.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/check.h"
#include "bench/cpu_time.h"
#include "bench/relay_bench_link.h"
#include "bench/words.h"

/// A relay against a bare forwarder, each one process on one core.
///
///   relay_bench relay ADDRESS:PORT [CAP_BITS_PER_SECOND]
///   relay_bench bare ADDRESS:PORT              forwards what one sender sends to the other one
///   relay_bench source|sink ADDRESS:PORT relay|bare PAYLOAD_BYTES
///   relay_bench idle ADDRESS:PORT COUNT        makes COUNT allocations, 1,000 a pair of sessions
///
/// `relay` and `bare` print a JSON object a second: what they have handed on so far, and their own
/// processor time. `source` sends as fast as it can, `sink` takes what comes. A hello of one byte
/// tells `bare` who they are.
namespace openp2p::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kSourceNumber = 1;
constexpr std::uint32_t kSinkNumber = 2;
constexpr std::size_t kAllocationsPerPair = 1'000;
constexpr int kTrainsPerTurn = 16;
constexpr std::size_t kTrainBytes = 60'000;

void print_counts(std::uint64_t datagrams, std::uint64_t bytes, std::size_t allocations,
                  TimePoint now) {
  fmt::print(
      "{{\"datagrams\": {}, \"bytes\": {}, \"allocations\": {}, \"cpu\": {:.6f}, "
      "\"at\": {:.6f}}}\n",
      datagrams, bytes, allocations, cpu_seconds(),
      std::chrono::duration<double>(now.time_since_epoch()).count());
  std::fflush(stdout);
}

/// Calls `tell` on each line that is read: measurements are asked for, not timed here.
class Prompt {
 public:
  Prompt(net::IoContext& io, std::function<void(TimePoint)> tell)
      : tell_(std::move(tell)), timer_(io, [this](TimePoint now) { on_timer(now); }) {
    timer_.arm(net::monotonic_now());
  }

 private:
  void on_timer(TimePoint now) {
    tell_(now);
    timer_.arm(now + 250ms);
  }
  std::function<void(TimePoint)> tell_;
  net::Timer timer_;
};

/// Sends to its pair, or makes many pairs.
class End final : public Party {
 public:
  End(net::IoContext& io, net::UdpBuffers& buffers, std::uint32_t number, std::uint32_t peer,
      const Address& relay, std::size_t payload_bytes)
      : Party(io, buffers, number, {IpAddress::any_v4(), 0}),
        peer_(numbered_identity(peer).id()),
        train_(payload_bytes == 0 ? 0 : kTrainBytes / payload_bytes * payload_bytes),
        payload_bytes_(payload_bytes) {
    dial(relay);
  }
  void on_joined(relay::RelayClient& client, relay::Channel channel) override {
    ++joined;
    client_ = &client;
    channel_ = channel;
    request_flush();
  }
  void on_allocated(relay::RelayClient& client, std::uint64_t,
                    const relay::AllocatedMessage& message) override {
    if (message.is_peer_there) on_joined(client, message.channel);
  }
  std::size_t joined = 0;
  std::size_t wanted = 1;
  std::uint64_t first_ticket = 0;  ///< A relay takes each once, in all runs.

 private:
  void on_link_ready(Link& link) override {
    for (std::size_t i = 0; i < wanted; ++i) {
      CHECK(link.client->allocate(peer_, ticket_with(peer_, first_ticket + i)).has_value());
    }
  }
  void write() override {
    if (client_ == nullptr || payload_bytes_ == 0) return;
    if (client_->hop().datagram_max() < payload_bytes_) return;  // The path's size is not known.
    request_flush();
    for (int i = 0; i < kTrainsPerTurn; ++i) {
      if (client_->send(channel_, train_, payload_bytes_) < train_.size() / payload_bytes_) return;
    }
  }

  const NodeId peer_;
  const Bytes train_;
  const std::size_t payload_bytes_;
  relay::RelayClient* client_ = nullptr;
  relay::Channel channel_ = 0;
};

/// Each datagram of one sender goes to the other: no crypto, no lookups but that one.
class Bare final : public net::UdpHandler {
 public:
  Bare(net::IoContext& io, net::UdpBuffers& buffers, const Address& local) {
    auto socket = net::UdpSocket::open(io, local, buffers, *this);
    CHECK(socket.has_value());
    socket_ = std::move(*socket);
  }
  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    for (const net::Received& received : batch) {
      if (received.datagrams.size() == 1) {
        const auto who = std::to_integer<std::size_t>(received.datagrams[0]);
        if (who == kSourceNumber || who == kSinkNumber) ends_[who - 1] = received.from;
        continue;
      }
      const auto& to = ends_[received.from == ends_[0] ? 1 : 0];
      if (!to) continue;
      net::Outgoing out;
      out.to = *to;
      out.datagrams = received.datagrams;
      out.segment_bytes = received.segment_bytes;
      if (socket_->send({&out, 1}, now).batches == 0) continue;
      bytes += received.datagrams.size();
      datagrams +=
          (received.datagrams.size() + received.segment_bytes - 1) / received.segment_bytes;
    }
  }
  void on_writable(TimePoint) override {}
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}
  std::uint64_t datagrams = 0;
  std::uint64_t bytes = 0;

 private:
  std::unique_ptr<net::UdpSocket> socket_;
  std::array<std::optional<Address>, 2> ends_;
};

/// One of the bare forwarder's two.
class BareEnd final : public net::UdpHandler {
 public:
  BareEnd(net::IoContext& io, net::UdpBuffers& buffers, std::uint32_t number, const Address& to,
          std::size_t payload_bytes)
      : number_(number),
        to_(to),
        train_(kTrainBytes / payload_bytes * payload_bytes),
        payload_bytes_(payload_bytes),
        flush_(io, [this](TimePoint now) { flush(now); }) {
    auto socket = net::UdpSocket::open(io, {IpAddress::any_v4(), 0}, buffers, *this);
    CHECK(socket.has_value());
    socket_ = std::move(*socket);
    const auto hello = static_cast<std::byte>(number);
    send({&hello, 1}, 1, net::monotonic_now());
    flush_.request();
  }
  void on_datagrams(std::span<const net::Received>, TimePoint) override {}
  void on_writable(TimePoint) override { flush_.request(); }
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}

 private:
  bool send(ByteView bytes, std::size_t segment_bytes, TimePoint now) {
    net::Outgoing out;
    out.to = to_;
    out.datagrams = bytes;
    out.segment_bytes = segment_bytes;
    return socket_->send({&out, 1}, now).batches == 1;
  }
  void flush(TimePoint now) {
    if (number_ != kSourceNumber) return;
    for (int i = 0; i < kTrainsPerTurn; ++i) {
      if (!send(train_, payload_bytes_, now)) return;
    }
    flush_.request();
  }

  const std::uint32_t number_;
  const Address to_;
  const Bytes train_;
  const std::size_t payload_bytes_;
  net::Deferred flush_;
  std::unique_ptr<net::UdpSocket> socket_;
};

void run_relay(net::IoContext& io, net::UdpBuffers& buffers, const Address& at, std::uint64_t cap) {
  Party party(io, buffers, kRelayNumber, at);
  party.service().set_secret(known_secret());
  party.service().set_server_time(kKnownTime, net::monotonic_now());
  party.service().set_cap(cap, net::monotonic_now());
  Prompt prompt(io, [&](TimePoint now) {
    const auto& counters = party.service().counters();
    print_counts(counters.datagrams, counters.bytes, party.service().allocation_count(), now);
  });
  io.run();
}

void run_bare(net::IoContext& io, net::UdpBuffers& buffers, const Address& at) {
  Bare bare(io, buffers, at);
  Prompt prompt(io, [&](TimePoint now) { print_counts(bare.datagrams, bare.bytes, 0, now); });
  io.run();
}

void run_end(net::IoContext& io, net::UdpBuffers& buffers, bool is_source, bool is_relayed,
             const Address& at, std::size_t payload_bytes, std::uint64_t round) {
  const std::uint32_t number = is_source ? kSourceNumber : kSinkNumber;
  if (!is_relayed) {
    BareEnd end(io, buffers, number, at, payload_bytes);
    io.run();
    return;
  }
  End end(io, buffers, number, kSourceNumber + kSinkNumber - number, at,
          is_source ? payload_bytes : 0);
  end.first_ticket = round;
  io.run();
}

void run_idle(net::IoContext& io, net::UdpBuffers& buffers, const Address& at, std::size_t count) {
  std::vector<std::unique_ptr<End>> ends;
  for (std::uint32_t i = 0; i * kAllocationsPerPair < count; ++i) {
    for (const std::uint32_t side : {1U, 2U}) {
      const std::uint32_t number = 100 + 2 * i;
      ends.push_back(std::make_unique<End>(io, buffers, number + side, number + 3 - side, at, 0));
      ends.back()->wanted = kAllocationsPerPair;
    }
  }
  io.run();
}

int usage() {
  fmt::print(stderr,
             "relay_bench relay|bare ADDRESS:PORT [CAP_BITS_PER_SECOND]\n"
             "relay_bench source|sink ADDRESS:PORT relay|bare PAYLOAD_BYTES ROUND\n"
             "relay_bench idle ADDRESS:PORT COUNT\n");
  return 2;
}

int run(std::span<char*> arguments) {
  const std::vector<std::string_view> words(arguments.begin(), arguments.end());
  const auto at = words.size() > 2 ? Address::parse(words[2]) : std::nullopt;
  if (!at) return usage();
  net::IoContext io;
  net::UdpBuffers buffers;
  if (words[1] == "bare") return run_bare(io, buffers, *at), 0;
  if (words[1] == "relay") {
    const auto cap = words.size() > 3 ? positive<std::uint64_t>(words[3]) : std::nullopt;
    return run_relay(io, buffers, *at, cap.value_or(relay::RelayService::kNoCap)), 0;
  }
  const auto last = words.size() > 3 ? positive<std::size_t>(words.back()) : std::nullopt;
  if (!last) return usage();
  if (words[1] == "idle") return run_idle(io, buffers, *at, *last), 0;
  if (words.size() != 6 || (words[1] != "source" && words[1] != "sink")) return usage();
  const auto payload_bytes = positive<std::size_t>(words[4]);
  if (!payload_bytes) return usage();
  run_end(io, buffers, words[1] == "source", words[3] == "relay", *at, *payload_bytes, *last);
  return 0;
}

}  // namespace
}  // namespace openp2p::bench

int main(int argc, char** argv) {
  return openp2p::bench::run(std::span(argv, static_cast<std::size_t>(argc)));
}
