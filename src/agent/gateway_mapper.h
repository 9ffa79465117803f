#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "nat/pcp_client.h"
#include "net/gateway_request.h"

namespace openp2p::agent {

/// A port of ours that a gateway lets packets in to.
struct Mapped {
  Address external;
  Address internal;
  path::Transport transport = path::Transport::kUdp;
  net::MappingProtocol how = net::MappingProtocol::kPcp;
  Duration lease{};  ///< Zero: until the router restarts.
  friend bool operator==(const Mapped&, const Mapped&) = default;

  /// False: the gateway's own address is a private one (also a carrier's, RFC 6598): it is behind
  /// another NAT, and nobody reaches us there.
  bool is_public() const { return !external.ip.is_private(); }
};

struct MappedPort {
  path::Transport transport = path::Transport::kUdp;
  std::uint16_t port = 0;
};

/// Maps our ports at one gateway, by whichever of PCP, NAT-PMP and UPnP it has.
///
/// They are raced with a head start in this order, since they are less and less work for the
/// router: the next one starts after kHeadStart or as soon as those before it have failed, and all
/// run on until one has mapped a port. That one is kept and renewed; a mapping that a slower one
/// made at another external port is taken back. Where nothing helps, everything is tried again each
/// kRetryAfter, and when the gateway announces itself.
///
/// Sans-I/O but for what NodeContext::platform does. Threading: the node's.
class GatewayMapper {
 public:
  static constexpr Duration kHeadStart = std::chrono::milliseconds(700);
  static constexpr Duration kRetryAfter = std::chrono::hours(1);
  /// UPnP has no announcements: this is how long a restarted router may go unnoticed.
  static constexpr Duration kUpnpRenewalMax = std::chrono::minutes(10);
  /// Between renewals, whatever a gateway grants or announces.
  static constexpr Duration kPaceMin = nat::PcpClient::kPaceMin;

  GatewayMapper(NodeContext& context, const net::Gateway& gateway, std::vector<MappedPort> ports,
                Duration lease, std::function<void()> on_changed);
  ~GatewayMapper();
  GatewayMapper(const GatewayMapper&) = delete;
  GatewayMapper& operator=(const GatewayMapper&) = delete;

  void start();
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  /// Asks again soon: the machine or its network changed, and the mappings may be gone.
  void refresh();
  /// Takes the mappings back; is_removed() when the gateway was told.
  void remove();
  bool is_removed() const;
  bool is_settled() const;  ///< Every protocol has answered or was given up.

  const net::Gateway& gateway() const { return gateway_; }
  std::vector<Mapped> mapped() const;
  /// A line for each protocol: "UPnP: UDP 4500 is mapped to 203.0.113.5:4500 for 60 min".
  std::vector<std::string> evidence() const;

 private:
  /// NAT-PMP or UPnP: asked through the platform, one conversation at a time.
  struct Asked {
    net::MappingProtocol protocol;
    std::unique_ptr<Platform::Pending> pending = {};
    std::unique_ptr<Platform::Pending> release =
        {};                                ///< Taking back; its answer matters to nobody.
    bool is_waiting = true;                ///< For its turn in the race.
    std::optional<TimePoint> due_at = {};  ///< Of its start, or of a renewal.
    TimePoint confirmed_at{};
    std::optional<TimePoint> expires_at = {};  ///< nullopt: never, or nothing mapped.
    net::GatewayAnswer answer = {};
  };

  void start_race();
  void start_pcp();
  nat::PcpNonce nonce_of(const MappedPort& port) const;
  void pump();
  void on_pcp(const Address& from, ByteView datagram, TimePoint now);
  void on_announcement(const Address& from, ByteView datagram, TimePoint now);
  void ask(Asked& asked, bool is_release);
  void on_answer(Asked& asked, const net::GatewayAnswer& answer, TimePoint now);
  void schedule_renewal(Asked& asked);
  void expire(Asked& asked);
  void settle();
  void hurry();
  void choose_winner();
  bool is_holding(net::MappingProtocol protocol) const;
  Asked* find(net::MappingProtocol protocol);
  std::vector<Mapped> mapped_by(net::MappingProtocol protocol) const;
  net::GatewayRequest request_for(const Asked& asked, bool is_release) const;
  Address internal_address(std::uint16_t port) const { return {gateway_.local, port}; }
  Duration jittered(Duration base);

  NodeContext& context_;
  const net::Gateway gateway_;
  const std::vector<MappedPort> ports_;
  const Duration lease_;
  std::function<void()> on_changed_;
  std::unique_ptr<Platform::DatagramSocket> socket_;
  std::unique_ptr<Platform::Pending> announcements_;
  std::optional<nat::PcpClient> pcp_;
  std::array<Asked, 2> asked_;
  std::optional<net::MappingProtocol> winner_;
  std::vector<Mapped> told_;
  std::optional<TimePoint> retry_at_;
  std::optional<TimePoint> refreshed_at_;
  bool is_removing_ = false;
};

}  // namespace openp2p::agent
