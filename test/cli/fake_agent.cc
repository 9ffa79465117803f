// `openp2p` with everything real but the node: the command line, the state folder, the local API
// and its socket. `up` prints what it starts with as one JSON line, then serves until SIGTERM, or
// ends at once where OPENP2P_TEST_ONCE is set.
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <csignal>
#include <cstdlib>

#include "agent/local_api.h"
#include "agent/local_api_fake_node.h"
#include "agent/local_api_json.h"
#include "agent/state_start.h"
#include "cli/command_line.h"
#include "cli/exit_code.h"
#include "cli/table.h"
#include "net/http_server.h"

namespace openp2p {
namespace {

namespace json = boost::json;

json::array texts(const std::vector<std::string>& from) {
  return json::array(from.begin(), from.end());
}

void tell(const agent::AgentOptions& options, const agent::AgentStart& start) {
  const agent::AgentState& state = start.state;
  json::array forwards;
  for (const auto& spec : state.forwards) forwards.emplace_back(agent::to_json(spec));
  json::object told{{"node_name", state.node_name},
                    {"accept_lan", state.accepts_lan},
                    {"accept", texts(state.accepts)},
                    {"port", state.port},
                    {"server", texts(state.server->addresses)},
                    {"has_secret", state.join_secret.has_value()},
                    {"log_level", static_cast<int>(options.log_level)},
                    {"notices", texts(start.notices)},
                    {"methods", texts(path::method_texts(state.methods))},
                    {"forwards", std::move(forwards)}};
  if (state.share_mbit) told["share_mbit"] = *state.share_mbit;
  cli::print(json::serialize(told) + "\n");
}

int run_fake_agent(const agent::AgentOptions& options) {
  SystemSecrets secrets;
  auto start = agent::start_state(options, secrets);
  if (!start) {
    cli::print_error(start.error().text);
    return cli::kExitFailed;
  }
  agent::FakeNode node;
  for (const auto& spec : start->state.forwards) (void)node.add_forward(spec);
  agent::LocalApi api(node);
  boost::asio::io_context io{1};
  boost::asio::signal_set signals(io, SIGTERM);
  signals.async_wait([&](auto, int) { io.stop(); });
  const auto server = net::HttpServer::listen(
      io, agent::StateFolder::socket_path(start->folder->path()),
      [&](const net::HttpRequest& request, const auto& reply) { api.handle(request, reply); });
  if (!server) {
    cli::print_error(server.error().message());
    return cli::kExitFailed;
  }
  tell(options, *start);
  if (std::getenv("OPENP2P_TEST_ONCE") == nullptr) io.run();
  return cli::kExitDone;
}

}  // namespace
}  // namespace openp2p

int main(int count, char** arguments) {
  return openp2p::cli::run(count, arguments, openp2p::run_fake_agent);
}
