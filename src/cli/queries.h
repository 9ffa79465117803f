#pragma once

#include <string>

#include "agent/node_control.h"
#include "cli/agent_client.h"

/// The commands that ask the running agent. Each gives the program's exit code.
namespace openp2p::cli {

int show_status(const QueryOptions& options);
int show_peers(const QueryOptions& options);
/// One peer, and all that was done to reach it.
int show_peer(const QueryOptions& options, const std::string& peer);
int show_netcheck(const QueryOptions& options, bool measures_lifetime);
int ping(const QueryOptions& options, const std::string& peer, unsigned count);

/// Names of "peers" or "forwards", one a line: for shells that complete them.
int print_names(const QueryOptions& options, const std::string& kind);

int show_share(const QueryOptions& options);
int set_share(const QueryOptions& options, unsigned mbit);
int list_forwards(const QueryOptions& options);
int add_forward(const QueryOptions& options, const agent::ForwardSpec& spec);
int remove_forward(const QueryOptions& options, const std::string& name);
int enable_forward(const QueryOptions& options, const std::string& name, bool enable);

}  // namespace openp2p::cli
