#pragma once

#include <algorithm>
#include <utility>

#include "agent/node_control.h"

namespace openp2p::agent {

/// For tests: a node that keeps forwards in memory, knows two peers and answers at once, or, for
/// pings of "later", when the test says so. Texts hold what hostile peers and servers could send.
class FakeNode final : public NodeControl {
 public:
  static constexpr const char* kHostileText = "bad\x1b[2J\xc2\x9b\xff\n\"\\name";

  NodeStatus status() const override {
    NodeStatus status;
    status.name = "laptop";
    status.network = "home";
    status.version = "0.1.0";
    status.server_address = "server.example:27183";
    status.server_state = "waiting";
    status.server_reason = kHostileText;
    status.server_retry_in = std::chrono::seconds(3);
    status.observed_address = Address{IpAddress::v4(198, 51, 100, 7), 4'500};
    status.local_addresses = {Address{IpAddress::v4(192, 168, 1, 2), 4'000}};
    status.uptime = std::chrono::hours(26) + std::chrono::minutes(4);
    status.peers_total = 2;
    status.peers_online = 1;
    status.forwards = forwards_.size();
    status.accepts = {"nas:22"};
    status.signals.letters_taken = 1;
    status.signals.direct_forged = 2;
    return status;
  }

  std::vector<PeerStatus> peers() const override {
    PeerStatus online;
    online.name = "büro-nas";
    online.id.key[0] = std::byte{0xab};
    online.is_online = true;
    online.session = "connected";
    online.path = "direct IPv4";
    online.address = Address{IpAddress::v4(203, 0, 113, 5), 4'500};
    online.rtt = std::chrono::microseconds(12'345);
    online.bytes_sent = 5'000'000'000;
    online.version = "0.1.0";
    online.platform = "linux";
    PathCandidateStatus candidate;
    candidate.local = "host 192.168.1.2:4000";
    candidate.remote = "srflx 203.0.113.5:4500";
    candidate.state = "succeeded";
    candidate.checks_sent = 3;
    online.candidates = {candidate};
    online.method = "punch";
    online.reason_code = "none";
    online.timeline = {
        {std::chrono::milliseconds(1'250), "method-ended", "mapped", "no-answer", {}, 3},
        {std::chrono::milliseconds(1'100), "path-selected", "punch", "none", online.address, 0}};
    PeerStatus hostile;
    hostile.name = kHostileText;
    hostile.session = "none";
    hostile.reason = kHostileText;
    hostile.retry_in = std::chrono::seconds(7);
    hostile.timeline = {{Duration::zero(), kHostileText, kHostileText, kHostileText, {}, 1}};
    return {online, hostile};
  }

  std::vector<ForwardStatus> forwards() const override { return forwards_; }

  std::optional<ControlError> add_forward(const ForwardSpec& spec) override {
    if (find(spec.name) != forwards_.end()) {
      return ControlError{ControlError::Kind::kConflict, "there is a forward of that name"};
    }
    ForwardStatus forward;
    forward.spec = spec;
    forward.state = spec.is_enabled ? "listening" : "disabled";
    forward.bound = spec.listen;
    forwards_.push_back(std::move(forward));
    return std::nullopt;
  }

  std::optional<ControlError> remove_forward(std::string_view name) override {
    const auto found = find(name);
    if (found == forwards_.end()) return unknown(name);
    forwards_.erase(found);
    return std::nullopt;
  }

  std::optional<ControlError> set_forward_enabled(std::string_view name, bool enabled) override {
    const auto found = find(name);
    if (found == forwards_.end()) return unknown(name);
    found->spec.is_enabled = enabled;
    found->state = enabled ? "listening" : "disabled";
    return std::nullopt;
  }

  std::optional<ControlError> ping(std::string_view peer, unsigned count,
                                   std::function<bool(const PingReply&)> reply) override {
    if (peer == "later") {
      held_ping = std::move(reply);
      return std::nullopt;
    }
    if (peer != "büro-nas" && peer != "silent") return unknown(peer);
    for (unsigned number = 1; number <= count; ++number) {
      if (!reply(reply_of(number, peer == "silent"))) return std::nullopt;
    }
    reply({});
    return std::nullopt;
  }

  void share(std::function<void(const ShareStatus&)> done) override {
    ShareStatus share;
    share.share_mbit = share_mbit;
    share.lends = share_mbit > 0;
    share.lent = {{NodeId{}, NodeId{}, true, true, 1'000, 8'000, std::chrono::seconds(5), {}}};
    share.borrowed = {
        {NodeId{}, NodeId{}, kHostileText, true, true, 10, 20, std::chrono::seconds(6)}};
    share.has_credit = true;
    share.lent_bytes = 7;
    share.may_borrow = true;
    share.reason = kHostileText;
    share.refusals.tickets_forged = 8;
    share.refusals.streams_reset = 3;
    done(share);
  }
  std::optional<ControlError> set_share(unsigned mbit) override {
    share_mbit = mbit;
    return std::nullopt;
  }
  unsigned share_mbit = 10;
  void netcheck(const NetcheckOptions& options,
                std::function<void(const NetcheckReport&)> done) override {
    NetcheckReport report;
    report.udp_v4 = true;
    report.reflexive_v4 = Address{IpAddress::v4(198, 51, 100, 7), 4'500};
    report.mapping = "endpoint-independent";
    report.filtering = "address and port-dependent";
    report.nat = "port-restricted cone";
    report.hairpin = false;
    report.evidence = {"the mapping is the same towards two addresses", kHostileText};
    NetcheckFinding udp;
    udp.transport = "udp";
    udp.family = "ipv4";
    udp.works = true;
    udp.ports = "out of the block 4096 to 5119";
    udp.sample_ports = {4'500, 4'900};
    udp.block_first = 4'096;
    udp.block_last = 5'119;
    udp.addresses = {"198.51.100.7"};
    NetcheckFinding tcp;
    tcp.transport = "tcp";
    tcp.family = "ipv4";
    tcp.is_blocked = true;
    report.findings = {udp, tcp};
    report.port_mappings = {kHostileText};
    if (options.measures_lifetime) {
      report.lifetime_alive = std::chrono::seconds(58);
      report.lifetime_dead = std::chrono::seconds(88);
    }
    done(report);
  }

  static PingReply reply_of(unsigned number, bool is_lost) {
    PingReply reply;
    reply.number = number;
    if (is_lost) {
      reply.reason = "the peer is offline";
      return reply;
    }
    reply.rtt = std::chrono::microseconds(10'000 * number);
    reply.path = "direct IPv4";
    reply.address = Address{IpAddress::v4(203, 0, 113, 5), 4'500};
    return reply;
  }

  std::function<bool(const PingReply&)> held_ping;

 private:
  std::vector<ForwardStatus>::iterator find(std::string_view name) {
    return std::find_if(forwards_.begin(), forwards_.end(),
                        [&](const ForwardStatus& each) { return each.spec.name == name; });
  }
  static ControlError unknown(std::string_view name) {
    return {ControlError::Kind::kNotFound, "nothing is named " + std::string(name)};
  }

  std::vector<ForwardStatus> forwards_;
};

}  // namespace openp2p::agent
