#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "agent/node_control.h"
#include "agent/stun_lookup.h"
#include "agent/udp_survey.h"
#include "nat/lifetime_probe.h"

namespace openp2p::agent {

/// `openp2p netcheck`: for each address family a survey of mappings and ports, then behaviour
/// discovery (RFC 5780), each on fresh sockets; and where asked for, how long a mapping lives.
class Netcheck {
 public:
  using Done = std::function<void(NetcheckReport)>;

  Netcheck(NodeContext& context, std::vector<std::string> stun_servers,
           std::optional<Duration> server_rtt, const NetcheckOptions& options, Done done);
  ~Netcheck();

  void start();
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  bool is_done() const { return is_done_; }

 private:
  struct Family {
    bool is_v4 = true;
    std::unique_ptr<UdpSurvey> survey;
  };
  void begin(std::vector<Address> servers);
  void begin_family(bool is_v4, const std::vector<Address>& servers);
  void begin_lifetime(const Address& server);
  void pump_lifetime();
  void advance();
  void report_family(const Family& family);
  void finish();

  NodeContext& context_;
  const NetcheckOptions options_;
  StunLookup lookup_;
  std::vector<Family> families_;
  std::vector<std::unique_ptr<Platform::DatagramSocket>> lifetime_sockets_;
  std::optional<nat::LifetimeProbe> lifetime_;
  std::optional<Address> v4_server_;
  NetcheckReport report_;
  Done done_;
  bool is_done_ = false;
};

/// Adds what is known of the node's TCP port.
void add_tcp(const nat::NatProfile& tcp, std::uint16_t port, NetcheckReport& report);

}  // namespace openp2p::agent
