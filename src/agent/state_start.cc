#include "agent/state_start.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/config_text.h"

namespace openp2p::agent {
namespace {

using Kind = StateFailure::Kind;

/// The host name up to its first dot, or "node" where it cannot be a node's name.
std::string name_of_host() {
  std::array<char, 256> text{};
  if (::gethostname(text.data(), text.size() - 1) != 0) return "node";
  const std::string host(text.data());
  const std::string name = host.substr(0, host.find('.'));
  return is_valid_name(name) ? name : "node";
}

void apply_token(const JoinToken& token, AgentStart& start) {
  AgentState& state = start.state;
  const ServerIdentity server{token.addresses, token.server};
  if (state.is_joined() && state.server->key == token.server) {
    start.notices.push_back("this node has joined that server before; the join token is not spent");
    start.spare_secret = token.secret;
    if (!token.addresses.empty()) state.server = server;
    return;
  }
  if (state.server && state.server->key != token.server) {
    start.notices.push_back("leaving the server " + state.server->key.brief() + " for " +
                            token.server.brief() + ", which the join token names");
  }
  state.server = server;
  state.join_secret = token.secret;
}

std::optional<StateFailure> apply_forward(const ForwardSpec& spec, AgentState& state) {
  if (const auto problem = problem_of(spec)) {
    return StateFailure{Kind::kCorrupt, "forward " + printable(spec.name) + ": " + *problem};
  }
  const auto same = std::find_if(state.forwards.begin(), state.forwards.end(),
                                 [&](const ForwardSpec& other) { return other.name == spec.name; });
  if (same != state.forwards.end()) {
    *same = spec;
  } else if (state.forwards.size() < kForwardsMax) {
    state.forwards.push_back(spec);
  } else {
    return StateFailure{Kind::kCorrupt,
                        "no more than " + std::to_string(kForwardsMax) + " forwards"};
  }
  return std::nullopt;
}

std::optional<StateFailure> apply(const AgentOptions& options, AgentStart& start) {
  AgentState& state = start.state;
  if (options.join_token) apply_token(*options.join_token, start);
  if (!state.server) {
    return StateFailure{
        Kind::kCorrupt,
        "this node has not joined a network yet. Get a join token on the server with "
        "`openp2p-server token new --user EMAIL`, then: openp2p up --token TOKEN"};
  }
  if (options.name) state.node_name = *options.name;
  if (state.node_name.empty()) state.node_name = name_of_host();
  if (options.accepts_lan) state.accepts_lan = *options.accepts_lan;
  if (options.accepts) state.accepts = *options.accepts;
  if (options.port) state.port = *options.port;
  if (options.share_mbit) state.share_mbit = *options.share_mbit;
  if (!state.share_mbit) {
    state.share_mbit = 0;
    start.notices.push_back(
        "this node lends no bandwidth to other people's connections, and borrows none; to do both: "
        "openp2p share 10");
  }
  if (options.discovers_lan) state.discovers_lan = *options.discovers_lan;
  if (options.avoids_strangers) state.avoids_strangers = *options.avoids_strangers;
  if (options.relays_own_nodes) state.relays_own_nodes = *options.relays_own_nodes;
  if (options.methods) state.methods = *options.methods;
  for (const ForwardSpec& spec : options.forwards) {
    if (auto failure = apply_forward(spec, state)) return failure;
  }
  return std::nullopt;
}

/// A joined node whose key is gone would silently become another node: refused.
StateFailure key_lost(const StateFolder& folder) {
  return {Kind::kCorrupt, folder.file("key") +
                              " is missing, though this node has joined a network "
                              "with it. Restore it from a backup, or join as a new "
                              "node with: openp2p up --token TOKEN"};
}

}  // namespace

StateResult<AgentStart> start_state(const AgentOptions& options, SecretSource& secrets) {
  auto folder = StateFolder::open(options.state_path);
  if (!folder) return folder.error();
  auto state = (*folder)->load_state();
  if (!state) return state.error();
  auto key = (*folder)->load_key();
  if (!key) return key.error();

  AgentState stored = std::move(*state).value_or(AgentState());
  const bool is_key_lost = stored.is_joined() && !*key;
  if (is_key_lost && !options.join_token) return key_lost(**folder);
  // A new key is a new node to every server: the token must be spent, whichever server it names.
  if (is_key_lost) stored.server.reset();
  AgentStart start{std::move(*folder),
                   std::move(stored),
                   *key ? **key : IdentityKey::generate(secrets),
                   std::nullopt,
                   {}};
  if (auto failure = apply(options, start)) return std::move(*failure);
  if (!*key) {
    if (const auto stored_key = start.folder->store_key(start.key); !stored_key) {
      return stored_key.error();
    }
  }
  if (const auto saved = start.folder->save_state(start.state); !saved) return saved.error();
  return start;
}

}  // namespace openp2p::agent
