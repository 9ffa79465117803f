#pragma once

#include <boost/json/object.hpp>

#include "agent/node_control.h"

/// What the local API answers, as JSON (docs/json.md). Fields are only ever added; what is unknown
/// is null. Every text is safe to show in a terminal.
namespace openp2p::agent {

inline constexpr int kApiVersion = 1;

boost::json::object to_json(const ForwardSpec& spec);
boost::json::object to_json(const ForwardStatus& forward);
boost::json::object to_json(const PeerStatus& peer);
boost::json::object to_json(const NodeStatus& status);
boost::json::object to_json(const PingReply& reply);
boost::json::object to_json(const NetcheckReport& report);
boost::json::object to_json(const ShareStatus& share);

/// What was sent and what came back, for the last line of a ping.
struct PingSummary {
  unsigned sent = 0;
  unsigned received = 0;
  Duration rtt_min{}, rtt_max{}, rtt_sum{};

  void add(const PingReply& reply);
};
boost::json::object to_json(const PingSummary& summary);

}  // namespace openp2p::agent
