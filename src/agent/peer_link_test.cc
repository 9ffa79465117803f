#include "agent/peer_link.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "agent/test_party.h"
#include "agent/test_platform.h"
#include "quic/packet_protection.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

/// A node that has nothing but a socket.
class BareNode final : public PeerLinkHandler {
 public:
  bool send_signal(const NodeId& to, ByteView body, std::uint64_t) override {
    sent.emplace_back(to, to_bytes(body));
    return true;
  }
  std::vector<path::Candidate> local_candidates() const override { return {}; }
  path::SideProfile profile() const override { return fixed(IpAddress::v4(198, 51, 100, 2)); }
  bool refresh_profile() override { return false; }
  Duration server_rtt() const override { return 20ms; }
  void hold_tcp() override {}
  void release_tcp() override {}
  void doubt_own_address() override {}
  void doubt_profile() override {}
  bool is_needed(const PeerLink&) const override { return false; }
  void on_peer_stream(PeerLink&, session::StreamId) override {}
  void on_session_up(PeerLink&) override {}
  void on_peer_batch_end(PeerLink&) override {}
  void on_session_down(PeerLink&, const std::string&) override {}

  std::vector<std::pair<NodeId, Bytes>> sent;

  static path::SideProfile fixed(const IpAddress& external) {
    path::SideProfile profile;
    profile.entries_left = path::ProbeBudget::kEntriesMax;
    profile.udp.mapping = nat::Dependence::kEndpointIndependent;
    profile.udp.filtering = nat::Dependence::kAddressAndPortDependent;
    profile.udp.external = external;
    profile.tcp.is_blocked = true;
    return profile;
  }
};

/// A peer's offer arrives. It says that its NAT, at `external`, takes random ports: a search.
struct Offered {
  explicit Offered(const IpAddress& external) {
    endpoint.add_socket(SocketId(1), {IpAddress::any_v4(), 4'000});
    record.id = peer.id();
    link.emplace(context, handler, record);
    signal.from = peer.id();
    signal.to = self.id();
    signal.attempt.fill(std::byte{1});
    signal.agreement_key = AgreementKey::generate(secrets).public_key();
    signal.tag = path::FinderTag(7);
    signal.sequence = 1;
    signal.profile = BareNode::fixed(external);
    signal.profile.udp.mapping = nat::Dependence::kAddressAndPortDependent;
    signal.profile.udp.allocation = nat::PortAllocation::kNoPattern;
    signal.candidates = {{path::CandidateType::kServerReflexive, {external, 5'000}, {}}};
  }
  ~Offered() { link->close("over"); }

  session::Endpoint::Options options() {
    session::Endpoint::Options options;
    options.identity = &self.key();
    options.protection = protection.get();
    options.secrets = &secrets;
    options.wake = [] {};
    return options;
  }
  /// Where checks to ports that nobody named are sent in the next seconds.
  std::vector<IpAddress> searched(std::optional<Address> seen_at) {
    link->on_signal(signal, seen_at);
    std::vector<IpAddress> found;
    Bytes buffer(65'536);
    for (TimePoint now{}; now < TimePoint{} + 3s; now += 2ms) {
      endpoint.on_timeout(now);
      while (const auto sent = endpoint.poll_transmit(buffer, now)) {
        const bool is_named = sent->to == signal.candidates.front().address;
        const bool is_new = std::ranges::find(found, sent->to.ip) == found.end();
        if (!is_named && is_new) found.push_back(sent->to.ip);
      }
    }
    return found;
  }

  sim::SeededSecrets secrets{1};
  Party self{2};
  Party peer{3};
  std::unique_ptr<quic::PacketProtection> protection = quic::make_packet_protection();
  NoPlatform platform;
  session::Endpoint endpoint{options()};
  NodeContext context{self.key(), platform, secrets,   Log(),      Random(4),
                      5,          [] {},    &endpoint, TimePoint{}};
  BareNode handler;
  NodeRecord record;
  std::optional<PeerLink> link;
  PeerSignal signal;
};

constexpr std::uint16_t kAnyPort = 6'000;

TEST(PeerLink, PortsAreSearchedWhereTheServerSawThePeer) {
  const IpAddress peer_ip = IpAddress::v4(203, 0, 113, 9);
  Offered offer(peer_ip);

  EXPECT_EQ(offer.searched(Address{peer_ip, kAnyPort}), std::vector{peer_ip});
}

TEST(PeerLink, PortsAreSearchedNowhereElse) {
  const IpAddress bystander = IpAddress::v4(203, 0, 113, 80);
  const IpAddress peer_ip = IpAddress::v4(203, 0, 113, 9);
  Offered offer(bystander);

  EXPECT_EQ(offer.searched(Address{peer_ip, kAnyPort}), std::vector{peer_ip});
}

/// The signal came through a node, or from the LAN: nobody has seen the peer at what it names.
TEST(PeerLink, NoPortsAreSearchedAtAnAddressThatNobodyAttested) {
  Offered offer(IpAddress::v4(203, 0, 113, 80));

  EXPECT_TRUE(offer.searched(std::nullopt).empty());
}

/// Two offers in a row, before either is answered.
TEST(PeerLink, WhatOneOfferPromisesTheNextDoesNot) {
  Offered first(IpAddress::v4(203, 0, 113, 9));
  const Party other(9);
  NodeRecord record;
  record.id = other.id();
  PeerLink second(first.context, first.handler, record);
  const auto told = [&](const NodeId& to) {
    const auto& [addressee, body] = first.handler.sent.back();
    EXPECT_EQ(addressee, to);
    const auto signal = decode_signal(body, first.self.id(), to);
    return signal ? signal->profile.entries_left : std::nullopt;
  };

  first.link->want(TimePoint{} + 30s);
  EXPECT_EQ(told(first.peer.id()), path::ProbeBudget::kEntriesMax);
  second.want(TimePoint{} + 30s);
  EXPECT_EQ(told(other.id()), 0U);

  first.link->close("not wanted any more");
  second.on_network_changed();
  EXPECT_EQ(told(other.id()), path::ProbeBudget::kEntriesMax);
  second.close("over");
}

}  // namespace
}  // namespace openp2p::agent
