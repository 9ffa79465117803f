#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "base/random.h"
#include "quic/connection.h"
#include "quic/test_party.h"

/// Two parties and a bad network between them, in virtual time. Only tests and benches include
/// this.
namespace openp2p::quic {

struct NetworkRules {
  Duration delay = std::chrono::milliseconds(10);
  double loss = 0;
  double duplication = 0;
  double reordering = 0;  ///< Of datagrams that are late by up to `jitter`.
  Duration jitter = std::chrono::milliseconds(8);
};

/// Client and server, joined by a network that obeys `rules`.
class Pair {
 public:
  explicit Pair(const PacketProtection& protection, std::uint64_t seed = 1)
      : client(1, protection, seed), server(2, protection, seed), random(seed) {
    client.expected = server.identity.id();
    server.expected = client.identity.id();
  }

  void dial() { client.connection = client.factory.connect(client.config, client, client, now); }

  /// Runs until `done`, or until `limit` has passed, or nothing can happen any more. True: `done`.
  bool run(
      Duration limit, const std::function<bool()>& done = [] { return false; }) {
    const TimePoint end = now + limit;
    for (;;) {
      pump(client, server);
      pump(server, client);
      if (done()) return true;
      std::optional<TimePoint> next;
      if (!in_flight.empty()) next = in_flight.top().at;
      for (Party* party : {&client, &server}) {
        if (party->connection) next = earlier(next, party->connection->next_timeout());
      }
      if (!next || *next > end) {
        now = end;
        return false;
      }
      if (++steps > kStepsMax) return false;
      now = std::max(now, *next);
      deliver();
      for (Party* party : {&client, &server}) {
        if (party->connection) party->connection->on_timeout(now);
      }
    }
  }

  bool connect() {
    dial();
    return run(std::chrono::seconds(20), [this] {
      return client.authenticated_peer.has_value() && server.authenticated_peer.has_value();
    });
  }

  /// A datagram from nowhere, at once.
  void inject(Party& to, ByteView datagram) {
    if (to.connection) to.connection->on_datagram(datagram, now);
  }

  static constexpr std::size_t kStepsMax = 2'000'000;
  Party client;
  Party server;
  Random random;
  NetworkRules rules;
  TimePoint now{};
  bool keeps_datagrams = false;
  std::vector<std::pair<bool, Bytes>> kept;  ///< To the server?, datagram.
  std::size_t datagrams = 0;
  std::size_t largest_burst = 0;
  std::size_t datagrams_at_once = 0;  ///< The most that one party sent at one time.
  std::size_t datagram_bytes = 1350;
  std::size_t steps = 0;
  bool token_required = false;
  std::function<void(Bytes&)> when_sent;  ///< May spoil it.

 private:
  struct Flying {
    TimePoint at;
    std::uint64_t order;
    Party* to;
    Bytes bytes;
    bool operator<(const Flying& other) const {
      return std::tie(at, order) > std::tie(other.at, other.order);
    }
  };

  void pump(Party& from, Party& to) {
    if (!from.connection) return;
    std::size_t now_sent = 0;
    for (;;) {
      const Burst burst = from.connection->poll_burst(buffer, datagram_bytes, now);
      if (burst.bytes == 0) return;
      EXPECT_LE(burst.segment_bytes, datagram_bytes);
      std::size_t count = 0;
      for (std::size_t at = 0; at < burst.bytes; at += burst.segment_bytes, ++count) {
        const std::size_t size = std::min(burst.segment_bytes, burst.bytes - at);
        send(to, ByteView(buffer).subspan(at, size));
      }
      largest_burst = std::max(largest_burst, count);
      now_sent += count;
      datagrams_at_once = std::max(datagrams_at_once, now_sent);
    }
  }

  void send(Party& to, ByteView datagram) {
    ++datagrams;
    Bytes bytes = to_bytes(datagram);
    if (keeps_datagrams) kept.emplace_back(&to == &server, bytes);
    if (when_sent) when_sent(bytes);
    if (random.chance(rules.loss)) return;
    const int copies = random.chance(rules.duplication) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      TimePoint at = now + rules.delay;
      if (random.chance(rules.reordering)) {
        at += Duration(static_cast<Duration::rep>(
            random.below(static_cast<std::uint64_t>(rules.jitter.count()))));
      }
      in_flight.push({at, order++, &to, bytes});
    }
  }

  void deliver() {
    while (!in_flight.empty() && in_flight.top().at <= now) {
      const Flying flying = in_flight.top();
      in_flight.pop();
      if (!flying.to->connection && !accept(*flying.to, flying.bytes)) continue;
      flying.to->connection->on_datagram(flying.bytes, now);
    }
  }

  bool accept(Party& to, const Bytes& datagram) {
    if (&to != &server) return false;
    const ByteView address = as_bytes("192.0.2.1:7");
    const auto initial = ConnectionFactory::inspect(datagram);
    if (token_required && initial.kind == ConnectionFactory::InitialKind::kAccept &&
        !initial.has_token) {
      const std::size_t size = to.factory.write_retry(datagram, address, buffer, now);
      send(client, ByteView(buffer).first(size));
      return false;
    }
    to.connection = to.factory.accept(datagram, address, token_required, to.config, to, to, now);
    return to.connection != nullptr;
  }

  std::priority_queue<Flying> in_flight;
  std::uint64_t order = 0;
  Bytes buffer = Bytes(65536);
};

}  // namespace openp2p::quic
