// A survey and the world it asks: the input chooses the sockets and servers, and for each request
// whether it is lost, late, answered honestly by a NAT of some kind, or with a lie. Law: the survey
// ends in its time, asks no more and nobody else than it may, and reports nothing impossible.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <set>
#include <span>
#include <utility>

#include "base/check.h"
#include "fuzz/stun_scene.h"
#include "nat/mapping_survey.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;

namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kFirstPort = 40'000;
constexpr std::uint32_t kTag = 0x0a0b0c0d;
constexpr unsigned kSendsEach = 5;

class Exchange {
 public:
  explicit Exchange(std::span<const std::uint8_t> input)
      : choices_(input), survey_(config(), secrets_, now_) {}

  void run() {
    constexpr unsigned kTurnsMax = 2'000;
    for (unsigned turn = 0; !survey_.is_done(); ++turn) {
      CHECK(turn < kTurnsMax);
      ask();
      if (wire_.is_due(now_)) {
        wire_.deliver(survey_, now_);
      } else {
        wire_.pass_time(survey_, choices_, now_);
      }
    }
    CHECK(now_ <= TimePoint{} + nat::MappingSurvey::kSilence + nat::MappingSurvey::kPatience);
    check_silence(survey_, now_ + 1s);
    check_report();
  }

 private:
  nat::MappingSurveyConfig config() {
    nat::MappingSurveyConfig config;
    config.tag = kTag;
    const std::uint8_t choice = choices_.byte();
    for (std::size_t i = 0; i <= choice % 5; ++i) config.servers.push_back(kServers[i]);
    config.asks_other_address = (choice & 0x80) == 0;
    if ((choice & 0x40) == 0) config.local_addresses = {kOwn};
    const std::size_t sockets = 1 + choices_.byte() % nat::kSurveySocketsMax;
    for (std::size_t i = 0; i < sockets; ++i) {
      config.ports.push_back(static_cast<std::uint16_t>(kFirstPort + i));
    }
    nat_kind_ = choices_.byte();
    return config_ = config;
  }

  // --- What is asked ---

  void ask() {
    Bytes out(nat::kStunBytesMax);
    Address to;
    std::size_t socket = 0;
    while (const std::size_t size = survey_.poll_datagram(socket, to, out, now_)) {
      CHECK(socket < config_.ports.size());
      CHECK(++requests_ <= kSendsEach * (config_.ports.size() + 3));
      asked_.emplace(socket, to);
      check_target(socket, to);
      const auto request = nat::decode_stun(ByteView(out).first(size));
      CHECK(request && request->message_class == nat::StunClass::kRequest);
      answer(socket, to, *request);
    }
  }

  /// Servers that were given, and one more address that a server named: first port, first socket.
  void check_target(std::size_t socket, const Address& to) {
    CHECK(to.port != 0 && to.ip.is_v4() && !to.ip.is_multicast() && !to.ip.is_unspecified());
    const Address& first = config_.servers.front();
    CHECK(socket == 0 || to == first);
    if (std::ranges::find(config_.servers, to) != config_.servers.end()) return;
    CHECK(config_.asks_other_address && to.port == first.port && to.ip != first.ip);
    CHECK(std::ranges::find(config_.local_addresses, to.ip) == config_.local_addresses.end());
    named_.insert(to);
    CHECK(named_.size() == 1);
  }

  // --- What is answered ---

  Address mapping(std::size_t socket, const Address& to) {
    const auto internal = static_cast<std::uint16_t>(kFirstPort + socket);
    if (nat_kind_ % 4 == 0) return {kExternal, internal};
    if (nat_kind_ % 4 == 1) return {kOwn, internal};
    const auto known = std::ranges::find_if(
        mappings_, [&](const auto& m) { return m.first == std::pair(socket, to); });
    if (known != mappings_.end()) return known->second;
    const std::uint16_t port =
        nat_kind_ % 4 == 2 ? next_port_++ : static_cast<std::uint16_t>(choices_.u16() | 1);
    mappings_.push_back({{socket, to}, {kExternal, port}});
    return mappings_.back().second;
  }

  void answer(std::size_t socket, const Address& to, const nat::StunMessage& request) {
    nat::StunMessage reply;
    reply.message_class = nat::StunClass::kSuccess;
    reply.transaction = request.transaction;
    reply.xor_mapped_address = mapping(socket, to);
    LateDatagram datagram{socket, to, {}, now_ + 20ms};
    const std::uint8_t choice = choices_.byte();
    switch (choice % 12) {
      case 1:
        return;  // Lost.
      case 2:
        reply.xor_mapped_address = Address{choose_ip(choices_), choices_.u16()};
        break;
      case 3:
        reply.xor_mapped_address.reset();
        break;
      case 4:
        reply.message_class = nat::StunClass::kError;
        reply.error_code = 420;
        break;
      case 5:
        reply.other_address = Address{choose_ip(choices_), choices_.u16()};
        break;
      case 6:
        datagram.from = {choose_ip(choices_), choices_.u16()};
        break;
      case 7:
        datagram.socket = choices_.byte() % config_.ports.size();
        break;
      case 8:
        datagram.due += std::chrono::milliseconds(choices_.byte() * 20);
        break;
      case 9:
        reply.other_address = kServers[3];
        break;
      default:
        break;
    }
    send(std::move(datagram), reply, choice);
  }

  void send(LateDatagram datagram, const nat::StunMessage& reply, std::uint8_t choice) {
    datagram.bytes = encoded(reply);
    if (datagram.bytes.empty()) return;
    if (choice % 12 == 10) {
      datagram.bytes[choices_.byte() % datagram.bytes.size()] = std::byte{choices_.byte()};
    }
    LateDatagram again = datagram;
    wire_.insert(std::move(datagram));
    if (choice % 12 != 11) return;
    again.due = wire_.last_due();
    wire_.insert(std::move(again));
  }

  // --- Laws of the end ---

  void check_report() {
    const nat::SurveyReport& report = survey_.report();
    const nat::NatProfile& profile = report.profile;
    CHECK(report.is_silent() == report.samples.empty());
    CHECK(report.samples.size() <= asked_.size());
    CHECK(!report.evidence.empty());
    for (const nat::MappingSample& sample : report.samples) {
      const IpAddress& ip = sample.external.ip;
      CHECK(sample.external.port != 0 && ip.is_v4() && !ip.is_unspecified());
      CHECK(!ip.is_multicast() && !ip.is_loopback());
      CHECK(std::ranges::find(report.externals, ip) != report.externals.end());
      CHECK(std::ranges::find(config_.ports, sample.internal_port) != config_.ports.end());
    }
    if (report.is_silent()) CHECK(!profile.is_known() && profile.last_port == 0);
    if (!report.is_silent()) CHECK(profile.external == report.reflexive->ip);
    CHECK((profile.block.first == 0) == (profile.block.last == 0));
    CHECK(profile.block.first <= profile.block.last);
    CHECK((profile.step != 0) == (profile.allocation == nat::PortAllocation::kSequential));
  }

  Choices choices_;
  nat::MappingSurveyConfig config_;
  std::uint8_t nat_kind_ = 0;
  sim::SeededSecrets secrets_{std::uint64_t{1}};
  TimePoint now_{};
  nat::MappingSurvey survey_;
  LateWire wire_;
  std::deque<std::pair<std::pair<std::size_t, Address>, Address>> mappings_;
  std::uint16_t next_port_ = 50'000;
  std::set<std::pair<std::size_t, Address>> asked_;
  std::set<Address> named_;
  unsigned requests_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputBytesMax = 512;  // A few choices for each of 45 requests.
  Exchange(std::span(data, std::min(size, kInputBytesMax))).run();
  return 0;
}
