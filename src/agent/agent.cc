#include "agent/agent.h"

#include <google/protobuf/stubs/logging.h>
#include <sys/utsname.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <memory>
#include <utility>

#include "agent/asio_platform.h"
#include "agent/local_api.h"
#include "agent/log_sink.h"
#include "agent/node_driver.h"
#include "agent/state_start.h"
#include "forward/destination.h"
#include "net/clock.h"
#include "net/code_pages.h"
#include "net/descriptor_limit.h"
#include "net/http_server.h"
#include "net/interfaces.h"
#include "net/light_timer.h"
#include "net/signals.h"

namespace openp2p::agent {
namespace {

int fail(const std::string& text) {
  std::fprintf(stderr, "openp2p: %s\n", text.c_str());
  return 1;
}

/// "linux/x86_64"
std::string platform_name() {
  utsname system{};
  if (::uname(&system) != 0) return "unknown";
  std::string name = std::string(system.sysname) + "/" + system.machine;
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return printable(name, 40);
}

std::uint64_t random_seed(SecretSource& secrets) {
  std::uint64_t seed = 0;
  secrets.fill(std::as_writable_bytes(std::span(&seed, 1)));
  return seed;
}

/// The running agent: the node on its sockets, its state folder, the local API.
class Agent final : public NodeMemory {
 public:
  Agent(AgentStart start, const AgentOptions& options)
      : start_(std::move(start)),
        log_(options.log_level),
        protection_(quic::make_packet_protection()),
        platform_(io_),
        driver_(io_, node_options()),
        api_(driver_.node()),
        started_(io_, [](TimePoint) { net::unmap_idle_code(); }) {}

  int run() {
    if (const auto error = driver_.open(start_.state.port, driver_.node().last_ports()))
      return fail(*error);
    auto api = net::HttpServer::listen(
        io_, StateFolder::socket_path(start_.folder->path()),
        [this](net::HttpRequest request, std::shared_ptr<net::HttpReply> reply) {
          driver_.node().advance(net::monotonic_now());
          api_.handle(request, reply);
          driver_.request_flush();
        });
    if (!api) {
      return fail("cannot offer the local API in " + start_.folder->path() + ": " +
                  api.error().message());
    }
    end_.emplace(io_, [this] { stop("stopped"); });
    watch_ = net::make_interface_watch(io_, [this](TimePoint now) {
      driver_.node().on_network_changed(now);
      driver_.request_flush();
    });
    log_line().info(net::monotonic_now(), "agent.started node={} state={} protection={}",
                    start_.key.id().brief(), start_.folder->path(), protection_->name());
    started_.arm(net::monotonic_now() + net::kStartUp);
    driver_.start();
    io_.run();
    driver_.stop();
    take_mappings_back();
    return exit_code_;
  }

  // NodeMemory
  std::optional<std::string> store_forwards(const std::vector<ForwardSpec>& forwards) override {
    AgentState next = start_.state;
    next.forwards = forwards;
    return save(std::move(next));
  }
  std::optional<std::string> store_share(unsigned mbit) override {
    AgentState next = start_.state;
    next.share_mbit = mbit;
    return save(std::move(next));
  }
  void on_joined(const std::string& name) override {
    AgentState next = start_.state;
    next.join_secret.reset();
    next.node_name = name;
    const bool was_joined = start_.state.is_joined();
    if (was_joined && start_.state.node_name == name) return;
    if (const auto error = save(std::move(next))) {
      log_line().warning(net::monotonic_now(), "state.not_saved why=\"{}\"", *error);
    }
    if (!was_joined) std::fprintf(stderr, "openp2p: joined as %s\n", name.c_str());
  }
  void store_server_addresses(const std::vector<std::string>& told) override {
    if (start_.state.server->told == told) return;
    AgentState next = start_.state;
    next.server->told = told;
    if (const auto error = save(std::move(next))) {
      log_line().warning(net::monotonic_now(), "state.not_saved why=\"{}\"", *error);
    }
  }
  void store_peers(ByteView peers) override {
    const auto saved = start_.folder->save_peers(peers);
    if (saved) return;
    log_line().warning(net::monotonic_now(), "peers.not_saved why=\"{}\"", saved.error().text);
  }
  void on_refused(const Refusal& refusal) override {
    if (!refusal.is_final || start_.state.is_joined()) return;  // Later it may be let in again.
    exit_code_ = fail(refusal.text);
    stop("refused");
  }

 private:
  Log log_line() { return Log(&log_); }

  Node::Options node_options() {
    const AgentState& state = start_.state;
    Node::Options node;
    node.identity = &start_.key;
    node.protection = protection_.get();
    node.secrets = &secrets_;
    node.platform = &platform_;
    node.memory = this;
    node.log = log_line();
    node.seed = random_seed(secrets_);
    node.server = state.server->key;
    node.server_addresses = state.server->addresses;
    node.told_addresses = state.server->told;
    if (state.join_secret) {
      node.join_secret = *state.join_secret;
    } else if (start_.spare_secret) {
      node.join_secret = *start_.spare_secret;
    }
    node.name = state.node_name;
    node.version = OPENP2P_VERSION;
    node.platform_name = platform_name();
    node.methods = state.methods;
    node.policy.accept_lan = state.accepts_lan;
    for (const std::string& text : state.accepts) {
      if (auto destination = forward::parse_destination(text)) {
        node.policy.destinations.push_back(std::move(*destination));
      }
    }
    node.forwards = state.forwards;
    node.lending = {state.share_mbit.value_or(0), state.relays_own_nodes};
    node.avoids_strangers = state.avoids_strangers;
    node.discovers_lan = state.discovers_lan;
    node.known_peers = known_peers();
    return node;
  }

  /// They are learnt again: a file that cannot be read keeps no agent from starting.
  Bytes known_peers() {
    auto stored = start_.folder->load_peers();
    if (stored) return stored->value_or(Bytes());
    log_line().warning(net::monotonic_now(), "peers.not_read why=\"{}\"", stored.error().text);
    return {};
  }

  /// Routers are asked to forget what they mapped; the node says when it has waited long enough.
  void take_mappings_back() {
    io_.restart();
    while (!driver_.node().is_stopped() && io_.run_one_for(PortMapper::kStopMax) != 0) continue;
  }

  /// nullopt: it is on the disk.
  std::optional<std::string> save(AgentState next) {
    const auto saved = start_.folder->save_state(next);
    if (!saved) return saved.error().text;
    start_.state = std::move(next);
    return std::nullopt;
  }

  void stop(std::string_view why) {
    log_line().info(net::monotonic_now(), "agent.stopping why={}", why);
    io_.stop();
  }

  boost::asio::io_context io_{1};
  AgentStart start_;
  StderrLog log_;
  SystemSecrets secrets_;
  std::unique_ptr<quic::PacketProtection> protection_;
  AsioPlatform platform_;
  NodeDriver driver_;
  LocalApi api_;
  net::LightTimer started_;
  std::optional<net::EndRequest> end_;
  std::unique_ptr<net::InterfaceWatch> watch_;
  int exit_code_ = 0;
};

}  // namespace

int run_agent(const AgentOptions& options) {
  google::protobuf::SetLogHandler(nullptr);  // It would print what others send, for each message.
  net::raise_descriptor_limit();
  SystemSecrets secrets;
  auto start = start_state(options, secrets);
  if (!start) return fail(start.error().text);
  for (const std::string& notice : start->notices) {
    std::fprintf(stderr, "openp2p: %s\n", notice.c_str());
  }
  return Agent(std::move(*start), options).run();
}

}  // namespace openp2p::agent
