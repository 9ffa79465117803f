#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "agent/node_context.h"
#include "forward/accept_policy.h"
#include "forward/local_datagrams.h"
#include "forward/udp_flow.h"

namespace openp2p::agent {

/// A UDP flow that a peer opened here: from its request to its end. The policy judges the
/// destination as it does for TCP; then a socket with that one remote address carries the
/// datagrams.
class IncomingUdp final : public forward::UdpFlowOwner, public forward::LocalDatagramsHandler {
 public:
  static constexpr Duration kDialTimeout = std::chrono::seconds(10);
  /// The opener ends idle flows earlier; this is for those whose opener does not.
  static constexpr Duration kIdleMax = std::chrono::minutes(10);
  /// Of what the destination's network answers, the peer is told so often.
  static constexpr Duration kTroublePause = std::chrono::seconds(10);

  struct Ends {
    session::Session& session;
    session::StreamId stream;
    forward::SealedFlows& flows;
    std::function<void()> on_finished;
  };
  IncomingUdp(NodeContext& context, const forward::AcceptPolicy& policy, Ends ends,
              const forward::OpenRequest& request);
  ~IncomingUdp() override;

  void start(ByteView early_data, bool is_end);
  forward::UdpFlow& flow() { return flow_; }
  void end_if_idle();

  // forward::UdpFlowOwner
  void on_datagram(forward::UdpFlow& flow, ByteView datagram) override;
  void on_datagrams_end(forward::UdpFlow& flow) override;
  void on_answer(forward::UdpFlow&, const forward::OpenAnswer&) override {}  // Only openers are.
  void on_finished(forward::UdpFlow& flow) override;

  // forward::LocalDatagramsHandler
  void on_datagrams(const forward::LocalEnds& from, const DatagramTrain& train,
                    TimePoint now) override;
  void on_failed(std::error_code error, TimePoint now) override;

 private:
  void on_dialled(Result<Platform::Datagrams> datagrams, TimePoint now);

  NodeContext& context_;
  const forward::AcceptPolicy& policy_;
  const forward::OpenRequest request_;
  const std::function<void()> on_finished_;
  std::unique_ptr<Platform::Pending> dial_;
  Platform::Datagrams datagrams_;
  TimePoint used_at_;
  std::optional<TimePoint> told_at_;  ///< Of trouble.
  forward::UdpFlow flow_;
};

}  // namespace openp2p::agent
