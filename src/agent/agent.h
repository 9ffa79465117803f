#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_control.h"
#include "base/log.h"
#include "path/method.h"
#include "wire/join_token.h"

namespace openp2p::agent {

/// What the command line says about one start of the agent. What is absent stays as it was stored
/// at an earlier start; what is given is stored.
struct AgentOptions {
  std::string state_path;               ///< The state folder.
  std::optional<JoinToken> join_token;  ///< Needed at the first start only.
  std::optional<std::string> name;  ///< is_valid_name(); at first start the host name stands in.
  std::optional<bool> accepts_lan;
  std::optional<std::vector<std::string>>
      accepts;                           ///< "HOST:PORT", forward::parse_destination() reads them.
  std::optional<std::uint16_t> port;     ///< UDP; 0: any.
  std::optional<unsigned> share_mbit;    ///< 0: neither lends nor borrows.
  std::optional<bool> discovers_lan;     ///< Calls peers on the LAN by multicast, and listens.
  std::optional<bool> avoids_strangers;  ///< Never relayed by strangers' nodes.
  std::optional<bool> relays_own_nodes;  ///< For the nodes of its network.
  std::optional<path::MethodSet> methods;  ///< To reach peers by; for diagnosis.
  std::vector<ForwardSpec> forwards;       ///< To be added, or to replace those of the same name.
  LogLevel log_level = LogLevel::kInfo;
};

/// Runs the agent in the foreground until SIGINT or SIGTERM. Gives the program's exit code: 0 after
/// a stop, 1 after one line on stderr that says what failed and what to do.
int run_agent(const AgentOptions& options);

}  // namespace openp2p::agent
