// A member of the network names somebody else's address as its own: that host must not be flooded,
// neither by one node that is told so again and again nor while it looks for ports there.

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "sim/network.h"
#include "test/world/three_nodes.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using nat::Dependence;
using nat::PortAllocation;
using path::Candidate;
using path::CandidateType;
using path::Transport;

/// Somebody in the internet who takes no part in any of this, and counts what arrives.
class Bystander final : public sim::Box {
 public:
  explicit Bystander(sim::Internet& internet)
      : interface_(internet.core().attach(*this, sim::line({.delay = 5ms}))) {}
  ~Bystander() override {
    if (interface_.is_attached()) interface_.network().detach(interface_);
  }

  IpAddress ip() const { return *interface_.address(sim::Family::kV4); }
  void on_packet(sim::Packet packet, sim::Interface&) override {
    packet.is_udp() ? ++datagrams : ++segments;
  }
  void on_network_gone(sim::Interface&) override {}

  int datagrams = 0;
  int segments = 0;  ///< Of TCP.

 private:
  sim::Interface& interface_;
};

std::vector<Candidate> candidates_at(const IpAddress& ip, Transport transport, int first) {
  std::vector<Candidate> all;
  for (int i = 0; i < 32; ++i) {
    const CandidateType type = i % 2 == 0 ? CandidateType::kHost : CandidateType::kServerReflexive;
    all.push_back({type, {ip, static_cast<std::uint16_t>(first + i)}, {}, transport});
  }
  return all;
}

/// What makes a peer search for a port of a random symmetric NAT.
path::SideProfile symmetric_at(const IpAddress& external) {
  path::SideProfile profile;
  for (nat::NatProfile* side : {&profile.udp, &profile.tcp}) {
    side->mapping = Dependence::kAddressAndPortDependent;
    side->filtering = Dependence::kAddressAndPortDependent;
    side->allocation = PortAllocation::kNoPattern;
    side->external = external;
    side->last_port = 4'000;
  }
  return profile;
}

/// Eve offers for five minutes, each second anew, each time with other ports of the bystander.
void offer_for_long(ThreeNodes& net, const Bystander& bystander, Transport transport) {
  for (int i = 0; i < 300; ++i) {
    const int first = 1'024 + i * 32;
    net.eve->offer(net.a.id(), candidates_at(bystander.ip(), transport, first), {});
    net.world.run_for(1s);
  }
}

TEST(LyingPeer, ABystanderGetsATrickleOfChecksHoweverOftenItIsNamed) {
  ThreeNodes net(21);
  Bystander bystander(net.internet);

  offer_for_long(net, bystander, Transport::kUdp);

  EXPECT_GT(bystander.datagrams, 10);  // Eve was believed.
  EXPECT_LE(bystander.datagrams, 900);
  EXPECT_EQ(bystander.segments, 0);
  net.expect_forward_works();
}

TEST(LyingPeer, ABystanderGetsATrickleOfSynsHoweverOftenItIsNamed) {
  ThreeNodes net(22);
  Bystander bystander(net.internet);

  offer_for_long(net, bystander, Transport::kTcp);

  EXPECT_GT(bystander.segments, 10);
  EXPECT_LE(bystander.segments, 900);
  net.expect_forward_works();
}

TEST(LyingPeer, PortsAreSearchedWhereTheServerSeesThePeerNotWhereItSays) {
  ThreeNodes net(23);
  Bystander bystander(net.internet);

  for (int i = 0; i < 20; ++i) {
    const auto named = candidates_at(bystander.ip(), Transport::kUdp, 4'000);
    net.eve->offer(net.a.id(), {named.front()}, symmetric_at(bystander.ip()));
    net.world.run_for(15s);
  }

  EXPECT_GT(bystander.datagrams, 0);
  EXPECT_LE(bystander.datagrams, 600);
  EXPECT_LE(bystander.segments, 600);
  net.expect_forward_works();
}

}  // namespace
}  // namespace openp2p::test
