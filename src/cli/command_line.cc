#include "cli/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <functional>

#include "agent/config_text.h"
#include "agent/state_folder.h"
#include "base/ids.h"
#include "cli/completion.h"
#include "cli/exit_code.h"
#include "cli/original_flags.h"
#include "cli/queries.h"
#include "cli/secret_arguments.h"
#include "cli/table.h"

namespace openp2p::cli {
namespace {

constexpr const char* kAbout =
    "OpenP2P joins your devices into one private network: a local port here leads to a service on\n"
    "another device, wherever it is, without a public IP address.";
constexpr const char* kStart =
    "Examples:\n"
    "  openp2p up --token-stdin < token                  join a network and run\n"
    "  openp2p up                                        run again later\n"
    "  openp2p forward add ssh --peer nas --to localhost:22 --listen 2222\n"
    "  ssh -p 2222 localhost                             now leads to nas\n"
    "  openp2p status\n\n"
    "The state folder may also be given in OPENP2P_STATE, the join token in OPENP2P_TOKEN.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 no agent is running.\n"
    "The original's flags (-node, -token, -peernode, ...) and config.json are understood too.";

/// Everything that can be given, and what is to be done with it once the line is read.
class CommandLine {
 public:
  explicit CommandLine(RunAgent run_agent);
  int run(const std::vector<std::string>& arguments);

 private:
  CLI::App& command(CLI::App& parent, const char* name, const char* about, const char* examples,
                    std::function<int()> action);
  CLI::App& query(CLI::App& parent, const char* name, const char* about, const char* examples,
                  std::function<int()> action);
  void add_state(CLI::App& app, std::string& path);
  void add_up();
  void add_up_relays(CLI::App& app);
  void add_queries();
  void add_share();
  void add_forwards();
  int start_forward();

  RunAgent run_agent_;
  CLI::App app_{kAbout, "openp2p"};
  std::function<int()> action_;
  UpOptions up_;
  QueryOptions query_;
  std::string name_, peer_, to_, listen_, choice_;
  bool carries_tcp_ = false, carries_udp_ = false;
  std::string relay_;
  bool has_no_relay_ = false;
  std::optional<unsigned> mbit_;
  unsigned count_ = 4;
  bool measures_lifetime_ = false;
};

CommandLine::CommandLine(RunAgent run_agent) : run_agent_(run_agent) {
  app_.footer(kStart);
  app_.require_subcommand(0, 1);  // With 1, CLI11 would hide which word it did not know.
  app_.set_help_flag("-h,--help", "Show this help");
  app_.set_version_flag("-v,--version", "openp2p " OPENP2P_VERSION, "Show the version");
  add_up();
  add_queries();
  add_share();
  add_forwards();
  CLI::App& completion = command(app_, "completion", "Print a completion script for a shell",
                                 "Examples:\n"
                                 "  source <(openp2p completion bash)\n"
                                 "  openp2p completion zsh > ~/.zfunc/_openp2p\n"
                                 "  openp2p completion fish > "
                                 "~/.config/fish/completions/openp2p.fish",
                                 [this] { return print_completion(choice_); });
  completion.add_option("SHELL", choice_, "bash, zsh or fish")->required();
  CLI::App& names = query(app_, "names", "", "", [this] { return print_names(query_, choice_); });
  names.group("");  // For the completion scripts; people have `peers` and `forward list`.
  names.add_option("KIND", choice_)->required();
  command(app_, "version", "Show the version", "", [] {
    print("openp2p " OPENP2P_VERSION "\n");
    return kExitDone;
  });
}

CLI::App& CommandLine::command(CLI::App& parent, const char* name, const char* about,
                               const char* examples, std::function<int()> action) {
  CLI::App* app = parent.add_subcommand(name, about);
  app->footer(examples);
  app->callback([this, action = std::move(action)] { action_ = action; });
  return *app;
}

void CommandLine::add_state(CLI::App& app, std::string& path) {
  path = agent::default_state_path();
  app.add_option("--state", path, "State folder of the agent (default: " + path + ")")
      ->type_name("DIR");
}

CLI::App& CommandLine::query(CLI::App& parent, const char* name, const char* about,
                             const char* examples, std::function<int()> action) {
  CLI::App& app = command(parent, name, about, examples, std::move(action));
  app.add_flag("--json", query_.is_json, "Answer as JSON (docs/json.md)");
  add_state(app, query_.state_path);
  return app;
}

void CommandLine::add_up() {
  CLI::App& app =
      command(app_, "up", "Run the agent in the foreground; the first start joins a network",
              "Examples:\n"
              "  openp2p up --token-stdin < token      keeps the token out of the process list\n"
              "  openp2p up --token TOKEN --node nas   join under another name than the host's\n"
              "  openp2p up                            run again; everything was remembered\n"
              "  openp2p up --accept-lan               let peers reach hosts behind this node\n"
              "  openp2p up --accept 192.168.1.5:80,printer:631\n"
              "  openp2p up --import config.json       take over the original's forwards",
              [this] { return up(up_, run_agent_); });
  auto* token = app.add_option("--token", up_.token,
                               "Join token. Other users may see it for a moment in the process "
                               "list; --token-stdin avoids that");
  auto* file = app.add_option("--token-file", up_.token_file, "Read the join token from a file");
  auto* input = app.add_flag("--token-stdin", up_.reads_token, "Read the join token from stdin");
  token->type_name("TOKEN")->excludes(file)->excludes(input);
  file->type_name("FILE")->excludes(input);
  app.add_option("--node", up_.name, "Name of this node (default: the host name)")
      ->type_name("NAME");
  add_state(app, up_.state_path);
  app.add_flag_callback(
      "--accept-lan", [this] { up_.accepts_lan = true; },
      "Let peers reach the hosts of this node's local networks");
  app.add_flag_callback(
         "--no-accept-lan", [this] { up_.accepts_lan = false; },
         "Let peers reach this node only (default)")
      ->excludes("--accept-lan");
  app.add_option("--accept", up_.accepts,
                 "Let peers reach these destinations behind this node; none: no more of them")
      ->delimiter(',')
      ->type_name("HOST:PORT,...");
  app.add_option("--port", up_.port, "UDP port of this node; 0: any (default: any)")
      ->check(CLI::Range(0, 65'535))
      ->type_name("N");
  add_up_relays(app);
  auto* methods =
      app.add_option("--methods", up_.methods,
                     "Reach peers in these ways only, for diagnosis; all: in every way (default). "
                     "direct, mapped, punch, predict-one, birthday, predict-both, tcp-direct, "
                     "tcp-simultaneous, relayed");
  methods->delimiter(',')->type_name("METHOD,...");
  app.add_option("--no-methods", up_.no_methods, "Reach peers in all ways but these")
      ->delimiter(',')
      ->type_name("METHOD,...")
      ->excludes(methods);
  app.add_option("--log-level", up_.log_level, "debug, info, warning or error (default: info)")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->type_name("L");
  app.add_option("--import", up_.import_file, "Take over the original OpenP2P's config.json")
      ->type_name("FILE");
  app.add_flag("--listen-all", up_.listens_on_all,
               "With --import: listen on all addresses where the original did");
}

void CommandLine::add_up_relays(CLI::App& app) {
  app.add_option("--share", up_.share_mbit,
                 "Lend so much bandwidth to other people's connections, and borrow of theirs; 0: "
                 "neither (default: asked for at the first start)")
      ->check(CLI::Range(0U, agent::kShareMbitMax))
      ->type_name("MBIT");
  app.add_flag_callback(
      "--lan-discovery", [this] { up_.discovers_lan = true; },
      "While the server is away, also find peers by multicast on the LAN");
  app.add_flag_callback(
         "--no-lan-discovery", [this] { up_.discovers_lan = false; }, "Do not (default)")
      ->excludes("--lan-discovery");
  app.add_flag_callback(
      "--never-relay-through-strangers", [this] { up_.avoids_strangers = true; },
      "Never let other people's nodes carry this node's traffic");
  app.add_flag_callback(
         "--relay-through-strangers", [this] { up_.avoids_strangers = false; },
         "Let them, where --share is not 0 (default)")
      ->excludes("--never-relay-through-strangers");
  app.add_flag_callback(
      "--no-relay-for-own", [this] { up_.relays_own_nodes = false; },
      "Do not carry the traffic of one's other nodes");
  app.add_flag_callback(
         "--relay-for-own", [this] { up_.relays_own_nodes = true; },
         "Carry it where they need it (default)")
      ->excludes("--no-relay-for-own");
}

void CommandLine::add_queries() {
  query(app_, "status", "Show this node, its server and its network",
        "Examples:\n  openp2p status\n  openp2p status --json | jq .server.state",
        [this] { return show_status(query_); });
  CLI::App& peers = query(
      app_, "peers", "List the other nodes and how they are reached; of one, also why that way",
      "Examples:\n  openp2p peers\n  openp2p peers nas\n"
      "  openp2p peers --json | jq '.peers[] | {name, path}'",
      [this] { return peer_.empty() ? show_peers(query_) : show_peer(query_, peer_); });
  peers.add_option("NODE", peer_, "Name or id of a peer");
  query(app_, "netcheck", "Find out what kind of network and NAT this node is behind",
        "Examples:\n  openp2p netcheck\n"
        "  openp2p netcheck --lifetime --json | jq .lifetime_alive_us",
        [this] { return show_netcheck(query_, measures_lifetime_); })
      .add_flag("--lifetime", measures_lifetime_,
                "Also measure how long mappings live; takes up to five minutes");
  CLI::App& app = query(app_, "ping", "Measure the round trip to a peer, and show the path in use",
                        "Examples:\n  openp2p ping nas\n  openp2p ping nas -c 1 --json",
                        [this] { return ping(query_, peer_, count_); });
  app.add_option("NODE", peer_, "Name or id of the peer")->required();
  app.add_option("-c,--count", count_, "How many times (default: 4)")
      ->check(CLI::Range(1, 1'000))
      ->type_name("N");
}

void CommandLine::add_share() {
  CLI::App& app = query(
      app_, "share", "Show what this node lends and borrows; with a number, change what it lends",
      "Examples:\n  openp2p share\n  openp2p share 20    lend up to 20 Mbit/s\n"
      "  openp2p share 0     neither lend nor borrow\n"
      "  openp2p share --json | jq .credit",
      [this] { return mbit_ ? set_share(query_, *mbit_) : show_share(query_); });
  app.add_option("MBIT", mbit_, "What is lent at most; 0: neither lend nor borrow")
      ->check(CLI::Range(0U, agent::kShareMbitMax));
}

void CommandLine::add_forwards() {
  CLI::App& forward = *app_.add_subcommand("forward", "Local ports that lead to peers' services");
  forward.require_subcommand(1);
  forward.footer(
      "Examples:\n"
      "  openp2p forward add ssh --peer nas --to localhost:22 --listen 2222\n"
      "  openp2p forward list\n"
      "  openp2p forward disable ssh");
  CLI::App& add = query(forward, "add", "Add a forward; it starts at once and survives restarts",
                        "Examples:\n"
                        "  openp2p forward add ssh --peer nas --to localhost:22 --listen 2222\n"
                        "  openp2p forward add web --peer nas --to 192.168.1.5:80 --listen 8080\n"
                        "  openp2p forward add v6 --peer nas --to [::1]:22 --listen [::1]:2222\n"
                        "  openp2p forward add all --peer nas --to nas:80 --listen 0.0.0.0:80   "
                        "for other machines too\n"
                        "  openp2p forward add dns --peer nas --to localhost:53 --listen 5353 "
                        "--udp --tcp\n"
                        "  openp2p forward add game --peer nas --to localhost:27000-27010 "
                        "--listen 27000-27010 --udp",
                        [this] { return start_forward(); });
  add.add_option("NAME", name_, "Name of the forward")->required();
  add.add_option("--peer", peer_, "Name or id of the peer")->required()->type_name("NODE");
  add.add_option("--to", to_,
                 "Destination as the peer sees it; of a range of ports, the first is enough")
      ->required()
      ->type_name("HOST:PORT[-PORT]");
  add.add_option("--listen", listen_,
                 "Local port or ports; on 127.0.0.1 unless an address is given")
      ->required()
      ->type_name("[ADDR:]PORT[-PORT]");
  auto* relay = add.add_option("--relay", relay_,
                               "Where there is no direct path, only this node may carry it");
  relay->type_name("NODE");
  add.add_flag("--no-relay", has_no_relay_, "Never over a relay, only directly")->excludes(relay);
  add.add_flag("--tcp", carries_tcp_, "Carry TCP connections (default without --udp)");
  add.add_flag("--udp", carries_udp_, "Carry UDP datagrams");
  query(forward, "list", "List forwards, what uses them, and what went wrong last",
        "Example:\n  openp2p forward list --json", [this] { return list_forwards(query_); });
  const auto named = [&](const char* name, const char* about, std::function<int()> action) {
    const std::string example = std::string("Example:\n  openp2p forward ") + name + " ssh";
    CLI::App& app = query(forward, name, about, example.c_str(), std::move(action));
    app.add_option("NAME", name_, "Name of the forward")->required();
  };
  named("remove", "Remove a forward", [this] { return remove_forward(query_, name_); });
  named("enable", "Switch a forward on", [this] { return enable_forward(query_, name_, true); });
  named("disable", "Switch a forward off and keep it",
        [this] { return enable_forward(query_, name_, false); });
}

int CommandLine::start_forward() {
  const auto destination = agent::parse_destination_range(to_);
  const auto listen = agent::parse_listen_range(listen_);
  agent::ForwardSpec spec{.name = name_, .peer = peer_, .host = "", .listen = {}};
  if (!destination) {
    print_error("--to " + to_ +
                " is neither HOST:PORT nor HOST:PORT-PORT (an IPv6 host in brackets: [::1]:22)");
    return kExitUsage;
  }
  if (!listen) {
    print_error("--listen " + listen_ + " is neither PORT nor ADDRESS:PORT, nor a range of ports");
    return kExitUsage;
  }
  if (destination->ports != 1 && destination->ports != listen->ports) {
    print_error("--listen has " + std::to_string(listen->ports) + " ports and --to has " +
                std::to_string(destination->ports) +
                ": give as many, or only the first one of --to");
    return kExitUsage;
  }
  spec.host = destination->first.host;
  spec.port = destination->first.port;
  spec.listen = listen->first;
  spec.relay = relay_;
  spec.allows_relay = !has_no_relay_;
  spec.ports = listen->ports;
  spec.has_udp = carries_udp_;
  spec.has_tcp = carries_tcp_ || !carries_udp_;
  if (const auto problem = agent::problem_of(spec)) {
    print_error(*problem);
    return kExitUsage;
  }
  return add_forward(query_, spec);
}

int CommandLine::run(const std::vector<std::string>& arguments) {
  // CLI11 takes them from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend() - 1);
  try {
    app_.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    return app_.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (action_) return action_();
  print_error("a command is missing; see: openp2p --help");
  return kExitUsage;
}

}  // namespace

int run(int count, char** arguments, RunAgent run_agent) {
  const std::vector<std::string> taken = take_arguments(count, arguments);
  if (taken.size() > 1 && is_original_flag(taken[1])) return run_original(taken, run_agent);
  if (taken.size() > 1) return CommandLine(run_agent).run(taken);
  CommandLine(run_agent).run({"openp2p", "--help"});
  return kExitUsage;
}

}  // namespace openp2p::cli
