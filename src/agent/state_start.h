#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/state_folder.h"

namespace openp2p::agent {

/// The state folder with the options of one start worked in and stored: what an agent begins with.
struct AgentStart {
  std::unique_ptr<StateFolder> folder;
  AgentState state;
  IdentityKey key;
  /// Of a token for the server that this node has joined already: of use only if that server no
  /// longer knows the node. Never stored, so that a service whose command line holds a token can be
  /// restarted for ever.
  std::optional<Bytes> spare_secret;
  std::vector<std::string> notices;  ///< For the person: what was changed or ignored, and why.
};

/// Opens and locks the folder, reads or makes key and state, applies the options, and saves.
/// Fails, changing nothing, where the folder is another agent's, something in it is damaged, or
/// neither a token is given nor one was before.
StateResult<AgentStart> start_state(const AgentOptions& options, SecretSource& secrets);

}  // namespace openp2p::agent
