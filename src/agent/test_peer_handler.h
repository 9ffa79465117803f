#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "agent/peer_link.h"
#include "agent/test_party.h"
#include "agent/test_platform.h"
#include "quic/packet_protection.h"
#include "sim/seeded_secrets.h"

namespace openp2p::agent {

/// What parts of a node stand on, with nothing around it: no machine, no network, no time.
struct BareNode {
  explicit BareNode(const Party& party)
      : context{party.key(), platform, secrets, Log(), Random(4), 5, {}, nullptr, {}} {
    session::Endpoint::Options options;
    options.identity = &party.key();
    options.protection = protection.get();
    options.secrets = &secrets;
    endpoint.emplace(options);
    context.endpoint = &*endpoint;
    context.wake = [] {};
  }

  std::unique_ptr<quic::PacketProtection> protection = quic::make_packet_protection();
  sim::SeededSecrets secrets{3};
  NoPlatform platform;
  NodeContext context;
  std::optional<session::Endpoint> endpoint;
};

/// The node that links belong to, for tests in which none of them gets a session: a public address,
/// one of its LAN, and what is sent.
class QuietPeerHandler final : public PeerLinkHandler {
 public:
  bool send_signal(const NodeId&, ByteView, std::uint64_t) override {
    ++signals;
    return true;
  }
  std::vector<path::Candidate> local_candidates() const override {
    return {{path::CandidateType::kHost, {IpAddress::v4(192, 168, 1, 2), 1'000}, {}},
            {path::CandidateType::kHost, {IpAddress::v4(198, 51, 100, 2), 1'000}, {}},
            {path::CandidateType::kServerReflexive, {IpAddress::v4(203, 0, 113, 1), 5'000}, {}}};
  }
  path::SideProfile profile() const override { return {}; }
  bool refresh_profile() override { return false; }
  Duration server_rtt() const override { return std::chrono::milliseconds(10); }
  void hold_tcp() override {}
  void release_tcp() override {}
  void doubt_own_address() override {}
  void doubt_profile() override {}
  bool is_needed(const PeerLink&) const override { return true; }
  void on_peer_stream(PeerLink&, session::StreamId) override { ADD_FAILURE(); }
  void on_session_up(PeerLink&) override { ADD_FAILURE(); }
  void on_peer_batch_end(PeerLink&) override { ADD_FAILURE(); }
  void on_session_down(PeerLink&, const std::string&) override { ADD_FAILURE(); }

  int signals = 0;
};

}  // namespace openp2p::agent
