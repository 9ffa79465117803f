#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "agent/node_context.h"
#include "nat/lifetime_probe.h"

namespace openp2p::agent {

/// A nat::LifetimeProbe on fresh sockets of the platform. Threading: one owner. `on_done` comes
/// from inside on_timeout() or from the platform, and may not destroy this.
class LifetimeCheck {
 public:
  LifetimeCheck(NodeContext& context, const Address& server, std::function<void()> on_done);
  ~LifetimeCheck();
  LifetimeCheck(const LifetimeCheck&) = delete;
  LifetimeCheck& operator=(const LifetimeCheck&) = delete;

  bool start();  ///< False: this machine gives no sockets.
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

  bool is_done() const { return is_done_; }
  /// Requires start(); complete when done.
  const nat::LifetimeReport& report() const { return probe_->report(); }

 private:
  bool open_socket(std::size_t number);
  void pump();

  NodeContext& context_;
  const Address server_;
  std::function<void()> on_done_;
  std::vector<std::unique_ptr<Platform::DatagramSocket>> sockets_;
  std::optional<nat::LifetimeProbe> probe_;
  bool is_done_ = false;
};

}  // namespace openp2p::agent
