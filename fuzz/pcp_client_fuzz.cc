// A PCP client and a gateway talk; the input is the wire between them, which loses, repeats,
// changes and delays, and a gateway that restarts. Law: requests keep their pace whatever is
// answered, and whatever is said to be mapped is an address that could be told to a peer.
#include <algorithm>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "base/random.h"
#include "fuzz/choices.h"
#include "nat/pcp_client.h"
#include "sim/pcp_service.h"

using namespace openp2p;

namespace {

using namespace std::chrono_literals;

const Address kGateway{IpAddress::v4(192, 168, 1, 1), nat::kPcpServerPort};
const IpAddress kClient = IpAddress::v4(192, 168, 1, 10);
const IpAddress kExternal = IpAddress::v4(203, 0, 113, 5);

class Exchange {
 public:
  explicit Exchange(std::span<const std::uint8_t> input) : choices_(input) {
    client_.add(nat::PcpProtocol::kUdp, 4'500, {std::byte{1}}, now_);
    client_.add(nat::PcpProtocol::kTcp, 4'500, {std::byte{2}}, now_);
  }

  void run() {
    constexpr unsigned kTurnsMax = 200;
    for (unsigned turn = 0; turn < kTurnsMax && !choices_.empty(); ++turn) {
      pump();
      check();
      const auto next = client_.next_timeout();
      if (!next) break;
      now_ = std::max(now_, *next);
      client_.on_timeout(now_);
    }
    client_.remove_all();
    for (pump(); const auto next = client_.next_timeout(); pump()) {
      now_ = std::max(now_, *next);
      client_.on_timeout(now_);
      CHECK(++removals_ <= 8);  // Three copies of two, and their ends.
    }
    CHECK(client_.is_removed());
  }

 private:
  void pump() {
    Bytes out(nat::kPcpBytesMax);
    unsigned sent = 0;
    while (const std::size_t size = client_.poll_datagram(out, now_)) {
      // Both mappings, and once more where one answer told that the other was lost.
      CHECK(++sent <= 4);
      Bytes answer(nat::kPcpBytesMax);
      const Address from{kClient, 50'000};
      answer.resize(service_.on_datagram(from, ByteView(out).first(size), answer, now_));
      pass(answer);
    }
  }

  void pass(Bytes& answer) {
    switch (choices_.byte() & 7) {
      case 1:
        return;
      case 2:
        client_.on_datagram(kGateway, answer, now_);
        break;
      case 3:
        if (!answer.empty()) answer[choices_.byte() % answer.size()] = std::byte{choices_.byte()};
        break;
      case 4:
        now_ += std::chrono::seconds(choices_.byte() * 16);
        break;
      case 5: {
        Bytes announcement(nat::kPcpBytesMax);
        announcement.resize(service_.restart(announcement, now_));
        client_.on_datagram(kGateway, announcement, now_);
        break;
      }
      case 6:
        answer.resize(std::min<std::size_t>(answer.size(), choices_.byte()));
        break;
      default:
        break;
    }
    client_.on_datagram(kGateway, answer, now_);
  }

  void check() const {
    for (const auto& mapping : client_.mappings()) {
      if (mapping.state != nat::PcpClient::State::kMapped) continue;
      CHECK(mapping.external.port != 0 && !mapping.external.ip.is_unspecified());
      CHECK(!mapping.external.ip.is_loopback() && !mapping.external.ip.is_multicast());
      CHECK(mapping.lifetime <= nat::PcpClient::kLifetimeMax);
    }
  }

  Choices choices_;
  TimePoint now_{1s};
  unsigned removals_ = 0;
  sim::NatTable udp_{sim::NatOptions{}, {kExternal}, Random(2)};
  sim::NatTable tcp_{sim::NatOptions{}, {kExternal}, Random(3)};
  sim::PcpService service_{&udp_, &tcp_, {}};
  nat::PcpClient client_{{kGateway, kClient}, Random(1)};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputBytesMax = 512;
  Exchange(std::span(data, std::min(size, kInputBytesMax))).run();
  return 0;
}
