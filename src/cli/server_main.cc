#include <CLI/CLI.hpp>
#include <exception>
#include <functional>

#include "cli/exit_code.h"
#include "cli/server_commands.h"
#include "server/admin.h"
#include "server/data_folder.h"
#include "server/listen.h"

/// The program `openp2p-server`: its command line. The only file that knows CLI11 for it.
namespace openp2p::cli {
namespace {

constexpr const char* kAbout =
    "The rendezvous server of OpenP2P: it knows who is in which network, tells nodes of each other "
    "and carries their first words. It carries their data only with --relay, and cannot read it.";

constexpr const char* kExamples = R"(Examples:
  openp2p-server run
      Start. The first start makes a key and a database, and shows the command that joins a device.
  openp2p-server run --public-address vpn.example.org:27183
      The same behind a NAT that forwards UDP 27183 and 27182 to this machine.
  openp2p-server run --listen 203.0.113.1:27183 --listen 203.0.113.2:27183
      With two addresses, so that nodes can find out all about their NAT (RFC 5780).
  openp2p-server run --relay 100
      Carry up to 100 Mbit/s between nodes that find neither a path nor another relay.
  openp2p-server token new --user admin --reusable --expires 7d
  openp2p-server node list
  openp2p-server node remove old-laptop
)";

constexpr std::uint64_t kRelayMbitMax = 100'000;  // Of one machine; more is a slip of the finger.

/// Words of one run of the program. CLI11 fills them, then calls what was chosen.
struct CommandLine {
  std::string data = server::default_data_path().string();
  bool is_json = false;
  ServerRunOptions run;
  std::uint64_t relay_mbit = 0;
  std::string relay_allowance = "1GiB";
  std::string log_level = "info";
  std::string email;
  bool reads_password = false;
  NewTokenOptions token;
  std::string expires = "24h";
  std::string node;
  std::string shell;
  std::function<int()> chosen;

  ServerCommand command() const { return {.data = data, .is_json = is_json}; }
  std::optional<std::string> user() const {
    return email.empty() ? std::nullopt : std::optional(email);
  }
};

void add_data(CLI::App& app, CommandLine& line) {
  app.add_option("--data", line.data, "Folder of the key and the database")
      ->type_name("DIR")
      ->capture_default_str();
}

void add_common(CLI::App& app, CommandLine& line) {
  add_data(app, line);
  app.add_flag("--json", line.is_json, "Print JSON, for programs");
}

int run(CommandLine& line) {
  line.run.data = line.data;
  const std::map<std::string, LogLevel> levels = {{"debug", LogLevel::kDebug},
                                                  {"info", LogLevel::kInfo},
                                                  {"warning", LogLevel::kWarning},
                                                  {"error", LogLevel::kError}};
  line.run.log_level = levels.at(line.log_level);
  line.run.relay_bits_per_second = line.relay_mbit * kBitsPerMbit;
  const auto allowance = server::parse_size(line.relay_allowance);
  if (!allowance) {
    print_server_error("--relay-allowance " + line.relay_allowance +
                       ": this is not like 500MiB, 1GiB or 0");
    return kExitUsage;
  }
  line.run.relay_allowance_bytes = *allowance;
  return run_server(line.run);
}

void add_run(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("run", "Run the server until it is told to end (SIGTERM)");
  add_data(*command, line);
  command
      ->add_option("--listen", line.run.listens,
                   "UDP address for sessions and STUN; twice for RFC 5780. ADDR:PORT, [V6]:PORT, "
                   "ADDR or :PORT. Default: every address, port 27183")
      ->type_name("ADDR:PORT")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--also-tcp", line.run.also_tcp,
                   "A further TCP address for nodes behind firewalls, such as :443. ADDR:PORT, "
                   "[V6]:PORT or :PORT")
      ->type_name("ADDR:PORT")
      ->expected(1)
      ->take_all();
  command->add_option("--stun-port", line.run.stun_port, "Second UDP port, for STUN; 0: none")
      ->type_name("PORT")
      ->default_val(server::kStunPort);
  command
      ->add_option("--public-address", line.run.public_addresses,
                   "Where nodes reach this server, for join tokens. Default: its own addresses")
      ->type_name("HOST:PORT")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--relay", line.relay_mbit,
                   "Relay between nodes, up to so much in all (Mbit/s); 0: do not")
      ->type_name("MBIT")
      ->check(CLI::Range(std::uint64_t{0}, kRelayMbitMax))
      ->capture_default_str();
  command
      ->add_option("--relay-allowance", line.relay_allowance,
                   "What each user may borrow of others' relays a month without lending")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_option("--log-level", line.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  command->callback([&line] { line.chosen = [&line] { return run(line); }; });
}

void add_user_commands(CLI::App& app, CommandLine& line) {
  CLI::App* user = app.add_subcommand("user", "Users; each has one network");
  user->require_subcommand(1);
  CLI::App* add = user->add_subcommand("add", "Add a user");
  add_common(*add, line);
  add->add_option("EMAIL", line.email, "Email address")->required();
  add->add_flag("--password-stdin", line.reads_password,
                "Read a password from standard input (8 bytes or more)");
  add->callback([&line] {
    line.chosen = [&line] { return add_user(line.command(), line.email, line.reads_password); };
  });
  CLI::App* list = user->add_subcommand("list", "Show the users");
  add_common(*list, line);
  list->callback([&line] { line.chosen = [&line] { return list_users(line.command()); }; });
}

int make_token(CommandLine& line) {
  line.token.email = line.email;
  if (line.expires != "never") {
    line.token.lifetime = server::parse_lifetime(line.expires);
    if (!line.token.lifetime) {
      print_server_error("--expires " + line.expires +
                         ": this is not like 90s, 30m, 24h or 7d (366d at most), nor never");
      return kExitUsage;
    }
  }
  if (line.token.addresses.size() > JoinToken::kAddressesMax) {
    print_server_error("at most 8 addresses fit a join token");
    return kExitUsage;
  }
  for (const std::string& address : line.token.addresses) {
    if (JoinToken::is_valid_address(address)) continue;
    print_server_error("--address " + address + ": this is not HOST:PORT");
    return kExitUsage;
  }
  return new_token(line.command(), line.token);
}

void add_token_commands(CLI::App& app, CommandLine& line) {
  CLI::App* token = app.add_subcommand("token", "Join tokens, with which devices join a network");
  token->require_subcommand(1);
  CLI::App* add = token->add_subcommand("new", "Make a join token");
  add_common(*add, line);
  add->add_option("--user", line.email, "Whose network")->type_name("EMAIL")->required();
  add->add_flag("--reusable", line.token.is_reusable, "For any number of devices, not for one");
  add->add_option("--expires", line.expires, "How long it is good: 90s, 30m, 24h, 7d or never")
      ->type_name("TIME")
      ->capture_default_str();
  add->add_option("--address", line.token.addresses,
                  "Where the device reaches this server. Default: as the last run was told")
      ->type_name("HOST:PORT")
      ->expected(1)
      ->take_all();
  add->callback([&line] { line.chosen = [&line] { return make_token(line); }; });
}

void add_node_commands(CLI::App& app, CommandLine& line) {
  CLI::App* node = app.add_subcommand("node", "Nodes: the devices that joined");
  node->require_subcommand(1);
  CLI::App* list = node->add_subcommand("list", "Show the nodes");
  add_common(*list, line);
  list->add_option("--user", line.email, "Of this user only")->type_name("EMAIL");
  list->callback(
      [&line] { line.chosen = [&line] { return list_nodes(line.command(), line.user()); }; });
  CLI::App* remove = node->add_subcommand("remove", "Remove a node; its session ends at once");
  add_common(*remove, line);
  remove->add_option("NODE", line.node, "Its name, or its ID (8 digits or more)")->required();
  remove->add_option("--user", line.email, "Of this user only")->type_name("EMAIL");
  remove->callback([&line] {
    line.chosen = [&line] { return remove_node(line.command(), line.node, line.user()); };
  });
}

void add_completion(CLI::App& app, CommandLine& line) {
  CLI::App* completion = app.add_subcommand("completion", "Print a shell's completion script");
  completion->add_option("SHELL", line.shell, "bash, zsh or fish")->required();
  completion->callback(
      [&line] { line.chosen = [&line] { return print_server_completion(line.shell); }; });
}

int main_of(int count, char** arguments) {
  CommandLine line;
  CLI::App app(kAbout, "openp2p-server");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("openp2p-server " OPENP2P_VERSION));
  add_run(app, line);
  add_user_commands(app, line);
  add_token_commands(app, line);
  add_node_commands(app, line);
  add_completion(app, line);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return line.chosen();
}

}  // namespace
}  // namespace openp2p::cli

int main(int count, char** arguments) {
  try {
    return openp2p::cli::main_of(count, arguments);
  } catch (const std::exception& error) {  // Only start-up may throw.
    openp2p::cli::print_server_error(error.what());
    return openp2p::cli::kExitFailed;
  }
}
