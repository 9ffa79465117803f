#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "agent/node_control.h"
#include "nat/behaviour_discovery.h"

namespace openp2p::agent {

/// `openp2p netcheck`: behaviour discovery (RFC 5780), once per address family, each on a socket of
/// its own: through one in use, what was sent before has opened filters.
class Netcheck {
 public:
  using Done = std::function<void(const NetcheckReport&)>;

  Netcheck(NodeContext& context, std::vector<std::string> stun_servers,
           std::optional<Duration> server_rtt, Done done);
  ~Netcheck();

  void start();
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  bool is_done() const { return is_done_; }

 private:
  struct Probe {
    bool is_v4 = true;
    std::unique_ptr<Platform::DatagramSocket> socket;
    std::optional<nat::BehaviourDiscovery> discovery;
  };
  void resolve_next();
  void begin();
  void begin_family(bool is_v4);
  void pump();
  void finish();

  NodeContext& context_;
  std::vector<std::string> stun_servers_;
  std::size_t resolving_ = 0;
  std::vector<Address> servers_;
  std::unique_ptr<Platform::Pending> lookup_;
  std::vector<std::unique_ptr<Probe>> probes_;
  NetcheckReport report_;
  Done done_;
  bool is_done_ = false;
};

}  // namespace openp2p::agent
