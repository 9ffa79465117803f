#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "agent/node_context.h"
#include "nat/stream_survey.h"
#include "path/connection_handler.h"

namespace openp2p::agent {

/// A nat::StreamSurvey on a fresh TCP port of the platform.
/// Threading: one owner. `on_done` comes from the platform, and may not destroy this from inside.
class TcpSurvey final : private path::ConnectionHandler {
 public:
  /// `servers`: of one family, not empty.
  TcpSurvey(NodeContext& context, std::vector<Address> servers, std::function<void()> on_done);
  ~TcpSurvey() override;
  TcpSurvey(const TcpSurvey&) = delete;
  TcpSurvey& operator=(const TcpSurvey&) = delete;

  bool start();  ///< False: this machine gives no TCP port of the family.
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

  bool is_done() const { return is_done_; }
  const nat::StreamReport& report() const { return survey_->report(); }  ///< Requires is_done().

 private:
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) override;
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) override;
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override;
  void pump();

  NodeContext& context_;
  const std::vector<Address> servers_;
  std::function<void()> on_done_;
  std::unique_ptr<Platform::ConnectionPort> port_;
  std::optional<nat::StreamSurvey> survey_;
  bool is_done_ = false;
};

}  // namespace openp2p::agent
