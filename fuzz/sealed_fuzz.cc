#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <vector>

#include "base/check.h"
#include "session/sealed_receiver.h"
#include "session/sealed_sender.h"
#include "wire/codec.h"

/// Two sides seal for each other while the input picks what happens to the datagrams: order,
/// copies, losses, changed bytes, forged epochs, datagrams that go back or elsewhere, time. Laws:
/// what opens is exactly what was sealed in that direction, and opens once; what was sealed last
/// and arrives at once always opens, unless more than the told epochs were lost.
namespace openp2p::session {
namespace {

using namespace std::chrono_literals;
using Verdict = SealedReceiver::Verdict;

constexpr int kOperationsMax = 400;
constexpr std::size_t kPayloadMax = 64;
constexpr std::size_t kKept = 64;
constexpr SealedLimits kLimits{.datagrams_per_key_max = 8,
                               .forged_per_key_max = std::uint64_t{1} << 36};

class Schedule {
 public:
  explicit Schedule(ByteView input)
      : in_(input), protection_(quic::make_packet_protection(quic::Backend::kGnutls)) {
    for (int side = 0; side < 2; ++side) {
      std::array<std::byte, kSealedSecretSize> secret;
      secret.fill(static_cast<std::byte>(side + 1));
      const SealedRatchet ratchet(*protection_, quic::AeadAlgorithm::kAes128Gcm, secret);
      ways_.emplace_back(static_cast<SealedId>(side), ratchet);
    }
  }

  void run() {
    for (int i = 0; i < kOperationsMax && !in_.empty(); ++i) operate();
    for (int side = 0; side < 2; ++side) check_recovery(side);
  }

 private:
  struct Way {
    Way(SealedId id, const SealedRatchet& ratchet)
        : sender(id, ratchet, kLimits), receiver(ratchet, kLimits) {}
    SealedSender sender;
    SealedReceiver receiver;
    std::map<Bytes, Bytes> payloads;  ///< What each datagram sealed holds.
    std::set<Bytes> opened;
    std::vector<Bytes> in_flight;
    std::uint64_t sealed = 0;
  };

  std::uint8_t byte() {
    const auto value = in_.u8();
    return value ? *value : std::uint8_t{0};
  }

  void operate() {
    Way& way = ways_[byte() % 2];
    switch (byte() % 8) {
      case 0:
      case 1:
        seal(way);
        return;
      case 2:
        return deliver(way, byte());
      case 3:
        return replay(way, byte());
      case 4:
        return forge(way);
      case 5:
        now_ += byte() * 50ms;
        return;
      case 6:
        now_ += byte() * 1min;
        return;
      case 7:  // Lost: many at once.
        for (int i = byte() % 32; i > 0; --i) seal(way);
        way.in_flight.clear();
        return;
    }
  }

  Bytes seal(Way& way) {
    Bytes payload(byte() % kPayloadMax, std::byte{byte()});
    Bytes datagram(payload.size() + kSealedOverhead);
    way.sender.seal(payload, datagram, now_);
    const bool is_new = way.payloads.emplace(datagram, payload).second;
    CHECK(is_new);  // Else a counter came twice.
    if (way.in_flight.size() == kKept) way.in_flight.erase(way.in_flight.begin());
    way.in_flight.push_back(datagram);
    ++way.sealed;
    return datagram;
  }

  Verdict open(Way& way, ByteView datagram) {
    Bytes payload(datagram.size() - std::min(datagram.size(), kSealedOverhead));
    const Verdict verdict = way.receiver.open(datagram, payload, now_);
    if (verdict != Verdict::kOpened) return verdict;
    const auto sealed = way.payloads.find(to_bytes(datagram));
    CHECK(sealed != way.payloads.end());
    CHECK(sealed->second == payload);
    CHECK(way.opened.insert(sealed->first).second);
    return verdict;
  }

  void deliver(Way& way, std::uint8_t which) {
    if (way.in_flight.empty()) return;
    const auto at = way.in_flight.begin() + which % static_cast<int>(way.in_flight.size());
    const Bytes datagram = *at;
    way.in_flight.erase(at);
    open(way, datagram);
  }

  /// A copy, perhaps back to who sealed it.
  void replay(Way& way, std::uint8_t which) {
    if (way.payloads.empty()) return;
    auto at = way.payloads.begin();
    std::advance(at, which % way.payloads.size());
    open(ways_[byte() % 2], Bytes(at->first));
  }

  void forge(Way& way) {
    Bytes datagram = way.in_flight.empty() ? Bytes(byte()) : way.in_flight[0];
    const std::size_t place = byte();
    if (place < datagram.size()) datagram[place] ^= std::byte{byte()};
    if (byte() % 4 == 0) datagram.resize(byte());
    open(way, datagram);
  }

  /// Nothing that happened keeps the next datagram from being opened.
  void check_recovery(int side) {
    Way& way = ways_[static_cast<std::size_t>(side)];
    const std::uint64_t ahead = way.sender.epoch() - way.receiver.epoch();
    if (ahead + 2 >= kSealedEpochsTold) return;
    now_ += 1s;  // A forged epoch may have taken the last search ahead.
    CHECK(open(way, seal(way)) == Verdict::kOpened);
    CHECK(way.receiver.epoch() == way.sender.epoch());
  }

  Reader in_;
  std::unique_ptr<quic::PacketProtection> protection_;
  std::vector<Way> ways_;
  TimePoint now_{1h};
};

}  // namespace
}  // namespace openp2p::session

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  openp2p::session::Schedule(std::as_bytes(std::span(data, size))).run();
  return 0;
}
