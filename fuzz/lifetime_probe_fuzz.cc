// A lifetime probe and the service that it asks: the input chooses for each request whether it is
// lost, late, answered to the socket that was named, to another one, by somebody else or with a
// lie. Law: it ends in its time, sends only to its server and no more than it may, and what it
// reports can be.
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "base/check.h"
#include "fuzz/stun_scene.h"
#include "nat/lifetime_probe.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;

namespace {

using namespace std::chrono_literals;
using nat::LifetimeProbe;

constexpr std::uint32_t kTag = 0x0a0b0c0d;
/// Two exchanges of six requests a mapping, and five that ask for its answer.
constexpr unsigned kSendsMax = 6 + 6 + 5;
/// The two exchanges at their slowest, the longest silence, and the last answers.
constexpr Duration kEndsWithin = 298s + 60s;

class Exchange {
 public:
  explicit Exchange(std::span<const std::uint8_t> input)
      : choices_(input),
        silences_(1 + choices_.byte() % nat::kLifetimeSilences.size()),
        probe_({.tag = kTag, .server = kServers[0], .silences = silences_}, secrets_, now_) {}

  void run() {
    constexpr unsigned kTurnsMax = 4'000;
    for (unsigned turn = 0; !probe_.is_done(); ++turn) {
      CHECK(turn < kTurnsMax);
      ask();
      if (wire_.is_due(now_)) {
        wire_.deliver(probe_, now_);
      } else {
        wire_.pass_time(probe_, choices_, now_);
      }
    }
    CHECK(now_ <= TimePoint{} + kEndsWithin);
    check_end();
  }

 private:
  void ask() {
    Bytes out(nat::kStunBytesMax);
    Address to;
    std::size_t socket = 0;
    while (const std::size_t size = probe_.poll_datagram(socket, to, out, now_)) {
      CHECK(to == kServers[0]);
      CHECK(socket < silences_ || socket == LifetimeProbe::kAsker);
      CHECK(++sent_ <= kSendsMax * silences_);
      const auto request = nat::decode_stun(ByteView(out).first(size));
      CHECK(request && request->message_class == nat::StunClass::kRequest);
      CHECK(request->response_port.has_value() == (socket == LifetimeProbe::kAsker));
      answer(socket, *request);
    }
  }

  void answer(std::size_t socket, const nat::StunMessage& request) {
    nat::StunMessage reply;
    reply.message_class = nat::StunClass::kSuccess;
    reply.transaction = request.transaction;
    const std::size_t named = request.response_port ? *request.response_port - 40'000U : socket;
    reply.xor_mapped_address = {kExternal, static_cast<std::uint16_t>(40'000 + named)};
    LateDatagram datagram{named, kServers[0], {}, now_ + 20ms};
    switch (choices_.byte() % 12) {
      case 1:
      case 2:
        return;  // Lost, or the mapping is gone.
      case 3:
        reply.xor_mapped_address = Address{choose_ip(choices_), choices_.u16()};
        break;
      case 4:
        reply.xor_mapped_address.reset();
        break;
      case 5:
        reply.message_class = nat::StunClass::kError;
        reply.error_code = 420;
        datagram.socket = socket;
        break;
      case 6:
        datagram.from = {choose_ip(choices_), choices_.u16()};
        break;
      case 7:
        datagram.socket = choices_.byte() % (LifetimeProbe::kAsker + 1);
        break;
      case 8:
        datagram.due += std::chrono::milliseconds(choices_.byte() * 40);
        break;
      default:
        break;
    }
    datagram.bytes = encoded(reply);
    if (!datagram.bytes.empty()) wire_.insert(std::move(datagram));
  }

  void check_end() {
    check_silence(probe_, now_ + 1s);
    const nat::LifetimeReport& report = probe_.report();
    const auto tried = std::span(nat::kLifetimeSilences).first(silences_);
    for (const auto& silence : {report.alive, report.dead}) {
      CHECK(!silence || std::ranges::find(tried, *silence) != tried.end());
    }
    CHECK(!report.alive || !report.dead || *report.alive < *report.dead);
    CHECK(report.problem.empty() == (report.alive || report.dead));
  }

  Choices choices_;
  const std::size_t silences_;
  sim::SeededSecrets secrets_{std::uint64_t{1}};
  TimePoint now_{};
  LifetimeProbe probe_;
  LateWire wire_;
  unsigned sent_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputBytesMax = 512;  // A few choices for each request.
  Exchange(std::span(data, std::min(size, kInputBytesMax))).run();
  return 0;
}
