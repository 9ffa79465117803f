#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "agent/node_context.h"
#include "nat/behaviour_discovery.h"
#include "nat/mapping_survey.h"

namespace openp2p::agent {

/// A MappingSurvey on fresh sockets of the platform, and after it, if wanted, BehaviourDiscovery on
/// another one: through a socket in use, what was sent before has opened filters.
/// Threading: one owner. Callbacks come from the platform, and may not destroy this from inside.
class UdpSurvey {
 public:
  struct Config {
    std::vector<Address> servers;  ///< Of one family; as MappingSurveyConfig::servers.
    std::size_t sockets = 4;
    bool with_behaviour = true;
  };
  /// `on_step` after the survey, and after the behaviour discovery.
  UdpSurvey(NodeContext& context, const Config& config, std::function<void()> on_step);
  ~UdpSurvey();
  UdpSurvey(const UdpSurvey&) = delete;
  UdpSurvey& operator=(const UdpSurvey&) = delete;

  bool start();  ///< False: this machine gives no socket of the family.
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

  /// What is known by now; nullptr: not yet.
  const nat::SurveyReport* survey() const;
  const nat::BehaviourReport* behaviour() const;
  bool is_answered() const { return survey_ && survey_->is_answered(); }  ///< By anybody, so far.
  bool is_done() const { return is_done_; }

 private:
  std::unique_ptr<Platform::DatagramSocket> open(std::size_t index);
  void on_datagram(std::size_t socket, const Address& from, ByteView datagram, TimePoint now);
  void start_behaviour();
  void pump();

  NodeContext& context_;
  const Config config_;
  std::function<void()> on_step_;
  std::vector<std::unique_ptr<Platform::DatagramSocket>> sockets_;
  std::optional<nat::MappingSurvey> survey_;
  std::unique_ptr<Platform::DatagramSocket> behaviour_socket_;
  std::optional<nat::BehaviourDiscovery> behaviour_;
  bool is_told_ = false;  ///< on_step for the survey was called.
  bool is_done_ = false;
};

}  // namespace openp2p::agent
