#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "relay/relay_service.h"
#include "server/directory.h"
#include "server/relay_secrets.h"

namespace openp2p::server {

/// The server as a relay, where its operator turned that on: carries between nodes that it has
/// control sessions with, over these sessions' sealed datagrams. A node asks on its second stream.
///
/// Costs nothing for a session until that stream opens. Everybody has a ticket and shares the cap;
/// nobody earns or pays. Sans-I/O. Threading: one owner.
class ServerRelay final : private relay::RelayHost {
 public:
  struct Options {
    NodeId server;
    std::uint64_t bits_per_second = 0;  ///< More than 0.
    const RelaySecrets* secrets = nullptr;
    Log log;
  };
  explicit ServerRelay(const Options& options);
  ~ServerRelay() override;
  ServerRelay(const ServerRelay&) = delete;
  ServerRelay& operator=(const ServerRelay&) = delete;

  /// Of this input: the tickets' time, too.
  void set_now(TimePoint now, WallTime server_time);
  /// nullptr: refused, and reset already.
  forward::StreamUser* on_stream(ConnectionId client, session::Session& session,
                                 session::StreamId id);
  /// After StreamUser::on_session_lost().
  void on_session_lost(ConnectionId client);
  /// Between inputs.
  void sweep();
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const { return service_.next_timeout(); }
  void stop(TimePoint now);

  const relay::RelayService& service() const { return service_; }
  std::size_t hop_count() const { return hops_.size(); }

 private:
  // relay::RelayHost
  TimePoint now() const override { return now_; }
  bool is_own_node(const NodeId&) const override { return false; }
  void on_receipt(const relay::SignedReceipt&, const relay::Receipt&) override {}
  void on_allocations_changed() override {}

  TimePoint now_;
  bool has_time_ = false;
  relay::RelayService service_;
  std::map<ConnectionId, std::unique_ptr<relay::Hop>> hops_;
  std::vector<ConnectionId> lost_;
};

}  // namespace openp2p::server
