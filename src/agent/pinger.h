#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "agent/node_context.h"
#include "agent/node_control.h"
#include "agent/peer_link.h"

/// `openp2p ping`: echoes over streams of the session, so what answers is the way that data takes.
namespace openp2p::agent {

class Pinger {
 public:
  static constexpr std::size_t kRunsMax = 16;  ///< Persons who ping at the same time.
  static constexpr Duration kInterval = std::chrono::seconds(1);
  static constexpr Duration kTimeout = std::chrono::seconds(5);
  /// The first one may have to make the session.
  static constexpr Duration kFirstTimeout = std::chrono::seconds(15);

  using Reply = std::function<bool(const PingReply&)>;
  using Describe = std::function<void(const PeerLink&, PingReply&)>;  ///< Adds path and reason.
  /// Nothing that is under way can still bring an answer: it is said at once that there is none.
  using IsHopeless = std::function<bool(const PeerLink&)>;

  Pinger(NodeContext& context, Describe describe, IsHopeless is_hopeless);
  ~Pinger();

  /// False where too many run already.
  bool start(PeerLink& peer, unsigned count, Reply reply);
  bool needs(const PeerLink& peer) const;  ///< Somebody pings it.
  void on_session_up(PeerLink& peer);
  void on_peer_gone(PeerLink& peer);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();

 private:
  class Run;
  NodeContext& context_;
  Describe describe_;
  IsHopeless is_hopeless_;
  std::list<std::unique_ptr<Run>> runs_;
};

}  // namespace openp2p::agent
