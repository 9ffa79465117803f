// Laws: no bytes from a network or a peer break a connection's rules or memory. The input is a
// schedule of two connections that talk: what is delivered, lost, doubled, spoilt or made up, and
// what their owners do meanwhile. Packets are not encrypted here, so that what is spoilt is a frame
// and not only a tag.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "quic/connection.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;
using namespace openp2p::quic;

namespace {

class PlainKey final : public AeadKey {
 public:
  void seal(Nonce, ByteView, ByteView plain, MutableByteView out) const override {
    std::copy(plain.begin(), plain.end(), out.begin());
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(plain.size()), out.end(), std::byte{0});
  }
  bool open(Nonce, ByteView, ByteView sealed, MutableByteView out) const override {
    std::copy_n(sealed.begin(), out.size(), out.begin());
    return true;
  }
};

class PlainHeader final : public HeaderKey {
 public:
  HeaderMask mask(HeaderSample) const override { return {}; }
};

class PlainProtection final : public PacketProtection {
 public:
  std::string_view name() const override { return "plain"; }
  std::unique_ptr<AeadKey> make_aead(AeadAlgorithm, ByteView) const override {
    return std::make_unique<PlainKey>();
  }
  std::unique_ptr<HeaderKey> make_header(AeadAlgorithm, ByteView) const override {
    return std::make_unique<PlainHeader>();
  }
};

IdentityKey identity_of(std::uint8_t number) {
  std::array<std::byte, IdentityKey::kSeedSize> seed;
  seed.fill(static_cast<std::byte>(number));
  return IdentityKey(seed);
}

/// One owner; it checks what it is told.
struct Owner final : ConnectionHandler, PeerVerifier {
  Owner(std::uint8_t number, const PacketProtection& protection)
      : identity(identity_of(number)),
        secrets(number),
        factory({.identity = &identity, .protection = &protection, .secrets = &secrets}) {}

  void on_authenticated(const NodeId&) override { CHECK(!is_closed); }
  void on_stream_opened(StreamId id) override {
    CHECK(!is_closed && open.insert(id).second);
    last = id;
  }
  void on_stream_data(StreamId id, ByteView data, bool is_end) override {
    CHECK(!is_closed && open.contains(id) && !ended.contains(id));
    if (is_end) ended.insert(id);
    if (consumes) connection->consume(id, data.size());
  }
  void on_stream_writable(StreamId id) override { CHECK(!is_closed && open.contains(id)); }
  void on_stream_reset(StreamId id, std::uint64_t) override {
    CHECK(!is_closed && open.contains(id));
  }
  void on_stream_stopped(StreamId id, std::uint64_t) override {
    CHECK(!is_closed && open.contains(id));
  }
  void on_stream_closed(StreamId id) override { CHECK(!is_closed && open.erase(id) == 1); }
  void on_closed(const CloseReason&) override {
    CHECK(!is_closed);
    is_closed = true;
  }
  bool is_welcome(const NodeId&) override { return true; }

  IdentityKey identity;
  sim::SeededSecrets secrets;
  ConnectionFactory factory;
  std::unique_ptr<Connection> connection;
  std::deque<Bytes> sent;
  std::set<StreamId> open, ended;
  StreamId last{0};
  bool consumes = true;
  bool is_closed = false;
};

class Schedule {
 public:
  Schedule(const std::uint8_t* data, std::size_t size) : rest_(data, size) {
    client_.connection = client_.factory.connect({}, client_, client_, now_);
  }

  void run() {
    if (byte() % 2 == 1) shake_hands();
    while (!rest_.empty()) step();
    // Whatever happened, all timers come to an end.
    for (int i = 0; i < 1000; ++i) {
      now_ += std::chrono::seconds(1);
      tick();
    }
  }

 private:
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t value = rest_[0];
    rest_ = rest_.subspan(1);
    return value;
  }
  std::size_t number() {
    const std::size_t high = byte();
    return high << 8 | byte();
  }

  void collect(Owner& owner) {
    if (!owner.connection) return;
    while (owner.connection->poll_id_change()) {
    }
    for (int bursts = 0; bursts < 4; ++bursts) {
      const Burst burst = owner.connection->poll_burst(buffer_, 1250, now_);
      CHECK(burst.bytes <= buffer_.size() && burst.segment_bytes <= 1250);
      if (burst.bytes == 0) return;
      for (std::size_t at = 0; at < burst.bytes; at += burst.segment_bytes) {
        const std::size_t size = std::min(burst.segment_bytes, burst.bytes - at);
        owner.sent.push_back(to_bytes(ByteView(buffer_).subspan(at, size)));
      }
    }
  }

  void deliver(Owner& to, const Bytes& datagram) {
    if (!to.connection && &to == &server_) {
      to.connection = to.factory.accept(datagram, {}, /*token_required=*/false, {}, to, to, now_);
    }
    if (to.connection) to.connection->on_datagram(datagram, now_);
  }

  Owner& other(Owner& owner) { return &owner == &client_ ? server_ : client_; }

  void tick() {
    for (Owner* owner : {&client_, &server_}) {
      if (!owner->connection) continue;
      owner->connection->on_timeout(now_);
      collect(*owner);
    }
  }

  void shake_hands() {
    for (int i = 0; i < 20; ++i) {
      now_ += std::chrono::milliseconds(5);
      tick();
      for (Owner* owner : {&client_, &server_}) {
        std::deque<Bytes> sent;
        sent.swap(owner->sent);
        for (const Bytes& datagram : sent) deliver(other(*owner), datagram);
      }
    }
  }

  void step() {
    const std::uint8_t choice = byte();
    Owner& owner = (choice & 0x80) != 0 ? server_ : client_;
    if ((choice & 0x40) != 0) {
      network(owner, choice & 0x3f);
    } else if (owner.connection) {
      command(owner, choice & 0x3f);
    }
    tick();
  }

  void network(Owner& from, int choice) {
    if (choice % 8 == 0) {
      now_ += std::chrono::milliseconds(byte());
      return;
    }
    if (choice % 8 == 1) {  // Made up.
      Bytes datagram(std::min<std::size_t>(number() % 1400, rest_.size()));
      for (std::byte& each : datagram) each = static_cast<std::byte>(byte());
      return deliver(other(from), datagram);
    }
    if (from.sent.empty()) return;
    Bytes datagram = std::move(from.sent.front());
    from.sent.pop_front();
    if (choice % 8 == 2) return;  // Lost.
    if (choice % 8 == 3) deliver(other(from), datagram);
    if (choice % 8 == 4) datagram[number() % datagram.size()] = static_cast<std::byte>(byte());
    if (choice % 8 == 5) datagram.resize(number() % (datagram.size() + 1));
    if (choice % 8 == 6) {  // Frames of the input's making, behind a true header.
      const std::size_t at = std::min<std::size_t>(13 + byte() % 4, datagram.size());
      const std::size_t size = std::min<std::size_t>(byte(), datagram.size() - at);
      for (std::size_t i = 0; i < size; ++i) datagram[at + i] = static_cast<std::byte>(byte());
    }
    deliver(other(from), datagram);
  }

  void command(Owner& owner, int choice) {
    Connection& connection = *owner.connection;
    const StreamId id = (choice & 0x20) != 0 ? owner.last : StreamId(byte() % 16);
    switch (choice % 8) {
      case 0:
        if (const auto opened = connection.open_stream()) {
          CHECK(owner.open.insert(*opened).second);
          owner.last = *opened;
        }
        return;
      case 1:
        connection.write(id, Bytes(number()));
        return;
      case 2:
        return connection.finish(id);
      case 3:
        return connection.reset(id, byte());
      case 4:
        return connection.stop(id, byte());
      case 5:
        owner.consumes = !owner.consumes;
        return connection.consume(id, number());
      case 6:
        return connection.initiate_key_update(now_);
      default:
        if (byte() == 0) connection.close(byte(), "bye", now_);
    }
  }

  std::span<const std::uint8_t> rest_;
  PlainProtection protection_;
  Owner client_{1, protection_};
  Owner server_{2, protection_};
  TimePoint now_{};
  Bytes buffer_ = Bytes(16'000);
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;  // Each step costs time; long schedules teach nothing new.
  Schedule(data, size).run();
  return 0;
}
