#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "agent/node_control.h"
#include "nat/behaviour_discovery.h"

/// `openp2p netcheck`: behaviour discovery (RFC 5780) on the sockets in use, once per address
/// family.
namespace openp2p::agent {

class Netcheck {
 public:
  struct Socket {
    SocketId id;
    Address local;
  };
  using Done = std::function<void(const NetcheckReport&)>;

  Netcheck(NodeContext& context, std::vector<Socket> sockets, std::vector<std::string> stun_servers,
           std::optional<Duration> server_rtt, Done done);
  ~Netcheck();

  void start();
  bool on_stun(SocketId socket, const Address& from, ByteView datagram);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  bool is_done() const { return is_done_; }

 private:
  struct Probe {
    SocketId socket;
    bool is_v4;
    nat::BehaviourDiscovery discovery;
  };
  void resolve_next();
  void begin();
  void pump();
  void finish();

  NodeContext& context_;
  std::vector<Socket> sockets_;
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
