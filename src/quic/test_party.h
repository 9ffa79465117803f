#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/crypto.h"
#include "base/random.h"
#include "quic/connection.h"
#include "sim/seeded_secrets.h"

/// One end of a connection, as tests see it: it does what it is told and remembers what it was
/// told.
namespace openp2p::quic {

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
  sim::SeededSecrets secrets;
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

}  // namespace openp2p::quic
