#include <signal.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "agent/log_sink.h"
#include "cli/exit_code.h"
#include "cli/server_commands.h"
#include "cli/table.h"
#include "net/clock.h"
#include "net/code_pages.h"
#include "net/descriptor_limit.h"
#include "net/http_server.h"
#include "net/light_timer.h"
#include "net/signals.h"
#include "server/admin.h"
#include "server/data_folder.h"
#include "server/server.h"
#include "server/sqlite_records.h"

namespace openp2p::cli {
namespace {

int fail(const std::string& text) {
  print_server_error(text);
  return kExitFailed;
}

/// nullopt: said why.
std::optional<std::vector<Address>> read_addresses(const std::string& option,
                                                   const std::vector<std::string>& texts) {
  std::vector<Address> addresses;
  for (const std::string& text : texts) {
    const auto parsed = server::parse_listen(text);
    if (parsed.empty()) {
      print_server_error(option + " " + text +
                         ": this is not ADDRESS:PORT, [IPV6]:PORT, ADDRESS or :PORT");
      return std::nullopt;
    }
    addresses.insert(addresses.end(), parsed.begin(), parsed.end());
  }
  return addresses;
}

/// nullopt: said why.
std::optional<server::ListenPlan> read_plan(const ServerRunOptions& options) {
  const auto listens = read_addresses("--listen", options.listens);
  if (!listens) return std::nullopt;
  auto plan = server::plan_listening(*listens, options.stun_port);
  if (!plan.problem.empty()) return print_server_error(plan.problem), std::nullopt;
  for (const std::string& address : options.public_addresses) {
    if (JoinToken::is_valid_address(address)) continue;
    print_server_error("--public-address " + address + ": this is not HOST:PORT");
    return std::nullopt;
  }
  if (options.public_addresses.size() > JoinToken::kAddressesMax) {
    return print_server_error("at most 8 public addresses fit a join token"), std::nullopt;
  }
  return plan;
}

/// Told to nodes as the STUN service; they cannot use names there.
std::vector<std::string> numeric_only(const std::vector<std::string>& addresses) {
  std::vector<std::string> numeric;
  for (const std::string& text : addresses) {
    if (Address::parse(text)) numeric.push_back(text);
  }
  return numeric;
}

bool is_for_home_only(const std::vector<std::string>& addresses) {
  return std::ranges::none_of(addresses, [](const std::string& text) {
    const auto address = Address::parse(text);
    return !address || server::is_public(address->ip);
  });
}

void greet(const server::DataFolder& folder, const NodeId& key, const server::Server& running,
           const std::vector<std::string>& addresses, std::uint64_t relay_bits_per_second) {
  std::string text = "openp2p-server " OPENP2P_VERSION "\n";
  text += "data       " + printable(folder.path().string()) + "\n";
  text += "key        " + key.text() + "\n";
  for (const Address& at : running.addresses()) text += "listening  " + at.text() + "/udp\n";
  for (const Address& at : running.tcp_addresses()) text += "listening  " + at.text() + "/tcp\n";
  for (const std::string& address : addresses) text += "address    " + address + "\n";
  if (relay_bits_per_second > 0) {
    text += "relays     up to " + std::to_string(relay_bits_per_second / kBitsPerMbit) +
            " Mbit/s between nodes that find no path\n";
  }
  if (is_for_home_only(addresses)) {
    text +=
        "No address of this machine is public. For nodes elsewhere, forward the UDP and TCP ports "
        "to it and start it with: openp2p-server run --public-address HOST:PORT\n";
  }
  print(text);
}

/// Only once the ports are open: a token is shown by a server that can be joined. On a connection
/// to the database of its own, since the other one is the worker's by now.
std::optional<std::string> offer_token(const std::filesystem::path& database,
                                       const server::TokenRequest& request) {
  const auto failure = [&](std::error_code error) {
    return database.string() + ": " + error.message();
  };
  SystemSecrets secrets;
  auto records = server::SqliteRecords::open({.file = database, .checks_integrity = false});
  if (!records) return failure(records.error());
  const auto token = server::first_token(**records, secrets, request, net::wall_now());
  if (!token) return failure(token.error());
  if (*token) {
    print("There is no node yet. On each of your devices, within 24 hours:\n  openp2p up --token " +
          (*token)->text() + "\n");
  }
  return std::nullopt;
}

/// GET /v1/online: {"version": 1, "online": [ID, ...]}. What only the running server knows; all
/// else commands read from the database.
void answer(const server::Server& running, const net::HttpRequest& request, net::HttpReply& reply) {
  if (request.method != "GET" || request.target != "/v1/online") {
    return reply.send(404, "text/plain", "there is nothing here but GET /v1/online\n");
  }
  boost::json::array online;
  for (const NodeId& node : running.online()) online.emplace_back(node.text());
  const boost::json::object body = {{"version", 1}, {"online", std::move(online)}};
  reply.send(200, "application/json", boost::json::serialize(body));
}

}  // namespace

int run_server(const ServerRunOptions& options) {
  net::raise_descriptor_limit();
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // A full disk is an error of write(2), not the end.
  auto plan = read_plan(options);
  const auto also_tcp = read_addresses("--also-tcp", options.also_tcp);
  if (!plan || !also_tcp) return kExitUsage;
  const auto folder = server::DataFolder::open(options.data);
  if (!folder) return fail(folder.error().text);
  if (const auto locked = (*folder)->lock(); !locked) return fail(locked.error().text);
  SystemSecrets secrets;
  const auto key = (*folder)->key(secrets);
  if (!key) return fail(key.error().text);

  agent::StderrLog log_sink(options.log_level);
  const Log log(&log_sink);
  const auto database = (*folder)->database();
  auto records = server::SqliteRecords::open({.file = database});
  if (!records) return fail(database.string() + ": " + records.error().message());
  const auto udp_addresses =
      options.public_addresses.empty()
          ? server::reachable_addresses(plan->sockets, server::own_addresses())
          : options.public_addresses;
  const auto addresses = server::with_tcp(udp_addresses, *also_tcp);
  if (const auto saved = (*folder)->save_addresses(addresses); !saved) {
    return fail(saved.error().text);
  }
  const Status user = server::ensure_first_user(**records, secrets, net::wall_now());
  if (!user) return fail(database.string() + ": " + user.error().message());

  boost::asio::io_context io(1);
  server::Server running(io, {.identity = *key,
                              .records = std::move(*records),
                              .sockets = std::move(plan->sockets),
                              .also_tcp = *also_tcp,
                              .stun_servers = numeric_only(udp_addresses),
                              .addresses = addresses,
                              .relay_bits_per_second = options.relay_bits_per_second,
                              .relay_allowance_bytes = options.relay_allowance_bytes,
                              .log = log});
  if (const auto problem = running.open()) return fail(*problem);
  const server::TokenRequest first{.email = "admin",
                                   .is_reusable = true,
                                   .lifetime = server::kTokenLifetime,
                                   .addresses = addresses,
                                   .server = key->id()};
  greet(**folder, key->id(), running, addresses, options.relay_bits_per_second);
  if (const auto problem = offer_token(database, first)) return fail(*problem);
  const auto api = net::HttpServer::listen(
      io, (*folder)->socket().string(),
      [&running](const net::HttpRequest& request, const std::shared_ptr<net::HttpReply>& reply) {
        answer(running, request, *reply);
      });
  if (!api) {  // Not worth an end: `node list` then cannot tell who is online.
    log.warning(net::monotonic_now(), "api.failed socket={} reason=\"{}\"",
                (*folder)->socket().string(), api.error().message());
  }
  std::optional<net::EndRequest> end;
  end.emplace(io, [&] {
    log.info(net::monotonic_now(), "server.stopping online={}", running.online().size());
    running.stop();
    io.stop();
  });
  net::LightTimer started(io, [](TimePoint) { net::unmap_idle_code(); });
  started.arm(net::monotonic_now() + net::kStartUp);
  log.info(net::monotonic_now(), "server.started version={}", OPENP2P_VERSION);
  io.run();
  return kExitDone;
}

}  // namespace openp2p::cli
