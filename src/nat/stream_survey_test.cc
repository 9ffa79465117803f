// The survey of TCP against a service that calls back, with every kind of NAT between them.
#include "nat/stream_survey.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "nat/stun_service.h"
#include "sim/framed_sockets.h"
#include "sim/internet.h"
#include "sim/seeded_secrets.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;
using enum Dependence;
using sim::Family;
using sim::NatKind;

struct ServiceOptions {
  bool has_second_address = false;
  bool is_v6 = false;
  bool calls = true;  ///< As ours; else it ignores CHANGE-REQUEST, as others may.
  bool lies = false;  ///< Answers a request for a call over the connection, as if it came from it.
  bool cannot = false;  ///< Says that it cannot.
};

/// A host with a STUN service over TCP, as the server has it.
class StreamService final : public path::ConnectionHandler {
 public:
  static constexpr std::uint16_t kPort = 3478;
  static constexpr std::uint16_t kOtherPort = 3479;

  StreamService(sim::Internet& internet, const ServiceOptions& options)
      : options_(options),
        host_(internet.world(), internet.core(), line(options)),
        streams_(host_, *this) {
    std::uint32_t id = 0;
    for (const IpAddress& ip : host_.addresses()) {
      if (ip.is_v6() != options.is_v6) continue;
      if (id > 0 && !options.has_second_address) break;
      for (const std::uint16_t port : {kPort, kOtherPort}) {
        sockets_.push_back({SocketId(id), {ip, port}, id >= 2, port == kOtherPort});
        ++id;
      }
    }
    service_.emplace(sockets_, SourceLimitConfig{}, /*seed=*/1);
    EXPECT_EQ(streams_.listen(kPort), kPort);
    EXPECT_EQ(streams_.listen(kOtherPort), kOtherPort);
  }

  std::vector<Address> addresses() const {
    return {sockets_.at(0).address, sockets_.at(1).address};
  }
  unsigned calls = 0;

 private:
  static sim::AttachOptions line(const ServiceOptions& options) {
    sim::AttachOptions attach = sim::line({.delay = 10ms});
    attach.v4_addresses = options.has_second_address ? 2 : 1;
    return attach;
  }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint) override {
    if (is_incoming) {
      const auto beside = std::ranges::find(sockets_, local, &StunSocket::address);
      beside_[socket] = beside->id;
      return;
    }
    say(socket, calling_.at(socket).answer);
    EXPECT_EQ(remote, calling_.at(socket).to);
    calling_.erase(socket);
  }
  void on_disconnected(SocketId socket, std::error_code, TimePoint) override {
    const auto call = calling_.find(socket);
    if (call == calling_.end()) return;
    say(call->second.asked_over, call->second.failure);
    calling_.erase(call);
  }
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override {
    Bytes out(StunService::kAnswerBytesMax);
    const auto answer =
        service_->on_stream_datagram(beside_.at(socket), from, train.datagrams, out, now);
    if (!answer) return;
    out.resize(answer->size);
    if (!answer->call_from || options_.lies) return say(socket, out);
    if (options_.cannot) return say(socket, no_call(train, StunService::NoCall::kCannot));
    if (!options_.calls) return;
    ++calls;
    const auto call = streams_.connect(from, 0, 1'800ms, answer->call_from);
    ASSERT_TRUE(call);
    calling_[*call] = {socket, from, out, no_call(train, StunService::NoCall::kFailed)};
  }
  static Bytes no_call(const DatagramTrain& asked, StunService::NoCall why) {
    Bytes out(StunService::kAnswerBytesMax);
    out.resize(StunService::encode_no_call(asked.datagrams, why, out));
    return out;
  }
  void say(SocketId over, const Bytes& bytes) { streams_.send(over, {bytes, bytes.size()}); }

  struct Call {
    SocketId asked_over;
    Address to;
    Bytes answer;
    Bytes failure;
  };
  const ServiceOptions options_;
  sim::Host host_;
  std::vector<StunSocket> sockets_;
  std::optional<StunService> service_;
  std::map<SocketId, SocketId> beside_;
  std::map<SocketId, Call> calling_;
  sim::FramedSockets streams_;
};

/// The survey on a host at home.
class Surveyor final : public path::ConnectionHandler {
 public:
  Surveyor(sim::Host& host, std::vector<Address> servers, std::uint64_t seed)
      : host_(host),
        streams_(host, *this),
        secrets_(seed),
        port_(streams_.listen(0)),
        survey_({.tag = 7,
                 .servers = std::move(servers),
                 .local_addresses = host.addresses(),
                 .port = port_},
                secrets_, host.now()),
        timer_(host.world(), [this] {
          survey_.on_timeout(host_.now());
          pump();
        }) {
    pump();
  }

  const StreamReport& run() {
    const TimePoint begun = host_.now();
    EXPECT_TRUE(host_.world().run_until([this] { return survey_.is_done(); }, begun + 20s));
    EXPECT_LE(host_.now() - begun, 12s);
    EXPECT_LE(connects, 3u);
    return survey_.report();
  }
  unsigned connects = 0;

 private:
  void pump() {
    while (const auto to = survey_.poll_connect()) {
      ++connects;
      survey_.on_connecting(*to, streams_.connect(*to, port_, StreamSurvey::kPatience),
                            host_.now());
    }
    Bytes out(kStunBytesMax);
    SocketId over;
    while (const std::size_t size = survey_.poll_datagram(over, out)) {
      streams_.send(over, {ByteView(out).first(size), size});
    }
    timer_.arm(survey_.next_timeout());
  }
  void on_connected(SocketId socket, const Address&, const Address& remote, bool is_incoming,
                    TimePoint now) override {
    survey_.on_connected(socket, remote, is_incoming, now);
    pump();
  }
  void on_disconnected(SocketId socket, std::error_code, TimePoint now) override {
    survey_.on_disconnected(socket, now);
    pump();
  }
  void on_datagrams(SocketId socket, const Address&, const DatagramTrain& train,
                    TimePoint now) override {
    survey_.on_datagram(socket, train.datagrams, now);
    pump();
  }

  sim::Host& host_;
  sim::FramedSockets streams_;
  sim::SeededSecrets secrets_;
  const std::uint16_t port_;
  StreamSurvey survey_;
  sim::Timer timer_;
};

struct Scene {
  explicit Scene(NatKind kind, const ServiceOptions& options = {}, double loss = 0,
                 std::uint64_t seed = 1)
      : world(seed),
        internet(world),
        service(internet, options),
        home(internet, kind, {.link = {.delay = 20ms, .loss = loss}, .has_v6 = options.is_v6}) {
    world.run_for(1s);
  }
  const StreamReport& survey(std::vector<Address> servers = {}) {
    surveyor.emplace(home.host(), servers.empty() ? service.addresses() : servers, 3);
    return surveyor->run();
  }

  sim::World world;
  sim::Internet internet;
  StreamService service;
  sim::Home home;
  std::optional<Surveyor> surveyor;
};

bool has_evidence(const StreamReport& report, std::string_view text) {
  return std::ranges::any_of(report.evidence, [&](const std::string& line) {
    return line.find(text) != std::string::npos;
  });
}

TEST(StreamSurvey, TellsWhatTwoPortsOfOneAddressTell) {
  const std::map<NatKind, std::pair<Dependence, Dependence>> expected = {
      {NatKind::kNone, {kEndpointIndependent, kIndependentOrAddressDependent}},
      {NatKind::kFullCone, {kIndependentOrAddressDependent, kIndependentOrAddressDependent}},
      {NatKind::kAddressRestricted,
       {kIndependentOrAddressDependent, kIndependentOrAddressDependent}},
      {NatKind::kPortRestricted, {kIndependentOrAddressDependent, kAddressAndPortDependent}},
      {NatKind::kSymmetricRandom, {kAddressAndPortDependent, kAddressAndPortDependent}},
      {NatKind::kUdpBlocked, {kIndependentOrAddressDependent, kAddressAndPortDependent}}};
  for (const auto& [kind, found] : expected) {
    SCOPED_TRACE(sim::nat_kind_text(kind));
    Scene scene(kind);

    const StreamReport& report = scene.survey();

    EXPECT_EQ(report.profile.mapping, found.first);
    EXPECT_EQ(report.profile.filtering, found.second);
    EXPECT_EQ(report.profile.is_translated, kind != NatKind::kNone);
    EXPECT_EQ(scene.service.calls, 1u);
  }
}

TEST(StreamSurvey, TellsAllWhereTheServerHasTwoAddresses) {
  const std::map<NatKind, std::pair<Dependence, Dependence>> expected = {
      {NatKind::kNone, {kEndpointIndependent, kEndpointIndependent}},
      {NatKind::kFullCone, {kEndpointIndependent, kEndpointIndependent}},
      {NatKind::kAddressRestricted, {kEndpointIndependent, kAddressDependent}},
      {NatKind::kPortRestricted, {kEndpointIndependent, kAddressAndPortDependent}},
      {NatKind::kSymmetricSequential, {kAddressAndPortDependent, kAddressAndPortDependent}}};
  for (const auto& [kind, found] : expected) {
    SCOPED_TRACE(sim::nat_kind_text(kind));
    Scene scene(kind, {.has_second_address = true});

    const StreamReport& report = scene.survey();

    EXPECT_EQ(report.profile.mapping, found.first);
    EXPECT_EQ(report.profile.filtering, found.second);
    EXPECT_EQ(scene.service.calls, 2u);
  }
}

TEST(StreamSurvey, FindsAFirewallForIpv6) {
  Scene scene(NatKind::kIpv6Firewall, {.is_v6 = true});

  const StreamReport& report = scene.survey();

  EXPECT_FALSE(report.profile.is_translated);
  EXPECT_EQ(report.profile.mapping, kEndpointIndependent);
  EXPECT_EQ(report.profile.filtering, kAddressAndPortDependent);
  EXPECT_TRUE(has_evidence(report, "nothing came through"));
}

TEST(StreamSurvey, FindsAnOpenDoorForIpv6) {
  Scene scene(NatKind::kNone, {.is_v6 = true});

  const StreamReport& report = scene.survey();

  EXPECT_EQ(report.profile.filtering, kIndependentOrAddressDependent);
  EXPECT_TRUE(has_evidence(report, "it came through"));
}

TEST(StreamSurvey, ServersThatDoNotCallProveNothing) {
  for (const ServiceOptions& options :
       {ServiceOptions{.calls = false}, ServiceOptions{.lies = true},
        ServiceOptions{.cannot = true}}) {
    Scene scene(NatKind::kFullCone, options);

    const StreamReport& report = scene.survey();

    EXPECT_EQ(report.profile.filtering, kUnknown);
    EXPECT_EQ(report.profile.mapping, kIndependentOrAddressDependent);
    EXPECT_TRUE(has_evidence(report, "does not say that it did"));
  }
}

TEST(StreamSurvey, IsSilentWhereNothingAnswers) {
  Scene scene(NatKind::kPortRestricted);

  const StreamReport& report = scene.survey({Address{IpAddress::v4(203, 0, 113, 250), 3478}});

  EXPECT_FALSE(report.reflexive);
  EXPECT_EQ(report.profile, NatProfile());
  EXPECT_TRUE(has_evidence(report, "no answer from 203.0.113.250:3478"));
}

TEST(StreamSurvey, LossMakesItUnsureSometimesAndWrongNever) {
  unsigned unsure = 0;
  constexpr unsigned kSeeds = 100;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    Scene scene(NatKind::kAddressRestricted, {.has_second_address = true}, /*loss=*/0.02, seed);

    const StreamReport& report = scene.survey();

    unsure += report.profile.filtering != kAddressDependent;
    EXPECT_NE(report.profile.filtering, kEndpointIndependent);
  }
  EXPECT_LE(unsure, kSeeds / 10);
}

}  // namespace
}  // namespace openp2p::nat
