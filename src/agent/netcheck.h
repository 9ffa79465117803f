#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/lifetime_check.h"
#include "agent/node_context.h"
#include "agent/node_control.h"
#include "agent/stun_lookup.h"
#include "agent/tcp_survey.h"
#include "agent/throttle_check.h"
#include "agent/udp_survey.h"

namespace openp2p::agent {

/// `openp2p netcheck`: for each address family a survey of mappings and ports, then behaviour
/// discovery (RFC 5780), each on fresh sockets, and the same over TCP beside it; and where asked
/// for, how long a mapping lives. Where both transports work, it then looks whether UDP is held
/// back.
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
    Address server;
    std::unique_ptr<UdpSurvey> survey;  ///< nullptr: there is no such socket; likewise `tcp`.
    std::unique_ptr<TcpSurvey> tcp;
    bool is_done() const { return (!survey || survey->is_done()) && (!tcp || tcp->is_done()); }
  };
  void begin(std::vector<Address> servers);
  void begin_family(bool is_v4, const std::vector<Address>& servers);
  bool begin_throttle_check();
  void end_throttle_check();
  void finish_or_go_on();
  void begin_lifetime(const Address& server);
  void end_lifetime();
  void advance();
  void report_udp(const Family& family);
  void report_tcp(const Family& family);
  void finish();

  NodeContext& context_;
  const NetcheckOptions options_;
  StunLookup lookup_;
  std::vector<Family> families_;
  std::unique_ptr<ThrottleCheck> throttle_;
  std::unique_ptr<LifetimeCheck> lifetime_;
  std::optional<Address> v4_server_;
  NetcheckReport report_;
  Done done_;
  bool is_done_ = false;
};

}  // namespace openp2p::agent
