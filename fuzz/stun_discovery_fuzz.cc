// The discovery client and the STUN service talk; the input is the network between them, and an
// attacker on it. Law: the discovery ends, sends no more than it may, and the service never answers
// with more than its limit.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "fuzz/choices.h"
#include "nat/behaviour_discovery.h"
#include "nat/stun_service.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;

namespace {

struct Datagram {
  Address from;
  Address to;
  Bytes bytes;
};

const Address kClient{IpAddress::v4(192, 0, 2, 10), 5000};

std::vector<nat::StunSocket> server_sockets() {
  const IpAddress one = IpAddress::v4(203, 0, 113, 1);
  const IpAddress two = IpAddress::v4(203, 0, 113, 2);
  return {{SocketId{0}, {one, 3478}, false, false},
          {SocketId{1}, {one, 3479}, false, true},
          {SocketId{2}, {two, 3478}, true, false},
          {SocketId{3}, {two, 3479}, true, true}};
}

class Exchange {
 public:
  explicit Exchange(std::span<const std::uint8_t> input)
      : choices_(input),
        service_(server_sockets(), {}, /*seed=*/1),
        discovery_({.server = server_sockets()[0].address, .local_addresses = {kClient}}, secrets_,
                   TimePoint{}) {}

  void run() {
    constexpr unsigned kRequestsMax = 7 * 6;  // Probes, times copies of each.
    for (int turn = 0; turn < 1000 && !discovery_.is_done(); ++turn) {
      Bytes out(nat::kStunBytesMax);
      Address to;
      while (const std::size_t size = discovery_.poll_datagram(to, out, now_)) {
        CHECK(++requests_ <= kRequestsMax);
        pass({kClient, to, {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)}});
      }
      if (!wire_.empty()) {
        deliver();
      } else if (const auto next = discovery_.next_timeout()) {
        now_ = std::max(now_, *next);
        discovery_.on_timeout(now_);
      }
    }
    CHECK(discovery_.is_done());
    CHECK(!discovery_.next_timeout());
    CHECK(!nat::describe(discovery_.report()).empty());
  }

 private:
  /// Loss, duplication, delay, a changed byte, a forged sender: or none of them.
  void pass(Datagram datagram) {
    const std::uint8_t choice = choices_.byte();
    switch (choice & 7) {
      case 1:
        return;
      case 2:
        wire_.push_back(datagram);
        break;
      case 3:
        datagram.bytes[choices_.byte() % datagram.bytes.size()] = std::byte{choices_.byte()};
        break;
      case 4:
        datagram.from.port = choices_.u16();
        break;
      case 5:
        now_ += std::chrono::milliseconds(choices_.byte() * 4);
        break;
      case 6:
        wire_.push_front(std::move(datagram));
        return;
      default:
        break;
    }
    wire_.push_back(std::move(datagram));
  }

  void deliver() {
    const Datagram datagram = std::move(wire_.front());
    wire_.pop_front();
    now_ += std::chrono::milliseconds(1);
    if (datagram.to == kClient) {
      discovery_.on_datagram(datagram.from, datagram.bytes, now_);
      return;
    }
    for (const nat::StunSocket& socket : server_sockets()) {
      if (socket.address != datagram.to) continue;
      Bytes out(nat::StunService::kAnswerBytesMax);
      const auto answer = service_.on_datagram(socket.id, datagram.from, datagram.bytes, out, now_);
      if (!answer) return;
      CHECK(answer->size <= out.size() && answer->to.ip == datagram.from.ip);
      out.resize(answer->size);
      pass({server_sockets()[answer->socket.value()].address, answer->to, std::move(out)});
    }
  }

  Choices choices_;
  sim::SeededSecrets secrets_{std::uint64_t{1}};
  nat::StunService service_;
  nat::BehaviourDiscovery discovery_;
  std::deque<Datagram> wire_;
  TimePoint now_{};
  unsigned requests_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputBytesMax = 512;  // Two choices a datagram, and then some.
  Exchange(std::span(data, std::min(size, kInputBytesMax))).run();
  return 0;
}
