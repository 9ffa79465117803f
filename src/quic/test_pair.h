#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/random.h"
#include "quic/connection.h"

/// Two parties and a bad network between them, in virtual time. Only tests and benches include
/// this.
namespace openp2p::quic {

class SeededSecrets final : public SecretSource {
 public:
  explicit SeededSecrets(std::uint64_t seed) : random_(seed) {}
  void fill(MutableByteView out) override { random_.fill(out); }

 private:
  Random random_;
};

inline IdentityKey identity_of(std::uint8_t number) {
  std::array<std::byte, IdentityKey::kSeedSize> seed;
  seed.fill(static_cast<std::byte>(number));
  return IdentityKey(seed);
}

/// The byte that stands at `offset` of the stream named `seed`.
inline std::byte pattern(std::uint64_t seed, std::uint64_t offset) {
  return static_cast<std::byte>((offset * 31 + (offset >> 8) * 7 + seed * 131) & 0xff);
}

inline Bytes patterned(std::uint64_t seed, std::size_t size) {
  Bytes data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = pattern(seed, i);
  return data;
}

/// One party: its identity, its connection, and a record of everything that it was told.
class Party final : public ConnectionHandler, public PeerVerifier {
 public:
  struct Received {
    Bytes data;
    std::uint64_t size = 0;
    bool is_end = false;
    bool is_closed = false;
    bool is_opened_by_peer = false;
    std::optional<std::uint64_t> reset_code;
    std::optional<std::uint64_t> stop_code;
  };

  Party(std::uint8_t number, const PacketProtection& protection, std::uint64_t seed = 1)
      : identity(identity_of(number)),
        secrets(seed * 7919 + number),
        factory({.identity = &identity, .protection = &protection, .secrets = &secrets}) {}

  void on_authenticated(const NodeId& peer) override {
    authenticated_peer = peer;
    if (when_authenticated) when_authenticated();
  }
  void on_stream_opened(StreamId id) override {
    streams[id].is_opened_by_peer = true;
    ++opened;
    if (when_opened) when_opened(id);
  }
  void on_stream_data(StreamId id, ByteView data, bool is_end) override {
    Received& stream = streams[id];
    EXPECT_FALSE(stream.is_end);
    stream.size += data.size();
    stream.is_end = is_end;
    if (keeps_data) stream.data.insert(stream.data.end(), data.begin(), data.end());
    if (consumes) connection->consume(id, data.size());
    if (when_data) when_data(id, data, is_end);
  }
  void on_stream_writable(StreamId id) override {
    ++writable;
    if (when_writable) when_writable(id);
  }
  void on_stream_reset(StreamId id, std::uint64_t code) override {
    streams[id].reset_code = code;
    if (when_reset) when_reset(id);
  }
  void on_stream_stopped(StreamId id, std::uint64_t code) override {
    streams[id].stop_code = code;
    if (when_stopped) when_stopped(id);
  }
  void on_stream_closed(StreamId id) override {
    EXPECT_FALSE(streams[id].is_closed);
    streams[id].is_closed = true;
    ++closed_streams;
    if (when_stream_closed) when_stream_closed(id);
  }
  void on_closed(const CloseReason& reason) override {
    EXPECT_FALSE(closed.has_value());
    closed = reason;
    if (when_closed) when_closed();
  }
  bool is_welcome(const NodeId& peer) override {
    asked_about = peer;
    return expected == peer;
  }

  IdentityKey identity;
  SeededSecrets secrets;
  ConnectionFactory factory;
  ConnectionConfig config;
  std::unique_ptr<Connection> connection;
  NodeId expected;
  bool consumes = true;
  bool keeps_data = true;

  std::optional<NodeId> authenticated_peer;
  std::optional<NodeId> asked_about;
  std::map<StreamId, Received> streams;
  std::optional<CloseReason> closed;
  std::size_t opened = 0;
  std::size_t closed_streams = 0;
  std::size_t writable = 0;
  std::function<void()> when_authenticated, when_closed;
  std::function<void(StreamId)> when_opened, when_writable, when_reset, when_stopped,
      when_stream_closed;
  std::function<void(StreamId, ByteView, bool)> when_data;
};

/// Writes all of `data` to a stream as room comes, then finishes it. Call push() when writable.
class Sender {
 public:
  Sender(Party& party, StreamId id, Bytes data) : party_(party), id_(id), data_(std::move(data)) {}
  void push() {
    if (is_done_) return;
    sent_ += party_.connection->write(id_, ByteView(data_).subspan(sent_));
    if (sent_ < data_.size()) return;
    party_.connection->finish(id_);
    is_done_ = true;
  }
  StreamId id() const { return id_; }
  const Bytes& data() const { return data_; }
  std::size_t sent() const { return sent_; }

 private:
  Party& party_;
  StreamId id_;
  Bytes data_;
  std::size_t sent_ = 0;
  bool is_done_ = false;
};

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
