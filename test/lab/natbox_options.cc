#include "test/lab/natbox_options.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <chrono>
#include <cmath>
#include <map>
#include <optional>

#include "sim/nat_kind.h"

namespace openp2p::lab {
namespace {

constexpr const char* kAbout =
    "Joins two network namespaces by TUN devices, as the NAT and the line of a home. Prints "
    "`ready` "
    "once both devices are there; whoever started it gives them addresses and routes.";
constexpr const char* kCarrier = "carrier";
constexpr double kMillisecondsMax = 60'000;  // Longer than any link, and no Duration overflows.
constexpr double kSecondsMax = 1'000'000;

/// One behaviour on the command line by its name.
template <class Value>
using Names = std::map<std::string, Value>;

const Names<sim::NatMapping> kMappings = {
    {"endpoint-independent", sim::NatMapping::kEndpointIndependent},
    {"address-dependent", sim::NatMapping::kAddressDependent},
    {"address-and-port-dependent", sim::NatMapping::kAddressAndPortDependent}};
const Names<sim::NatFiltering> kFilterings = {
    {"none", sim::NatFiltering::kNone},
    {"endpoint-independent", sim::NatFiltering::kEndpointIndependent},
    {"address-dependent", sim::NatFiltering::kAddressDependent},
    {"address-and-port-dependent", sim::NatFiltering::kAddressAndPortDependent}};
const Names<sim::PortAllocation> kAllocations = {{"preserving", sim::PortAllocation::kPreserving},
                                                 {"sequential", sim::PortAllocation::kSequential},
                                                 {"random", sim::PortAllocation::kRandom},
                                                 {"blocks", sim::PortAllocation::kBlocks}};
const Names<sim::PortCollision> kCollisions = {{"another", sim::PortCollision::kAnother},
                                               {"overload", sim::PortCollision::kOverload}};
const Names<sim::AddressPooling> kPoolings = {{"paired", sim::AddressPooling::kPaired},
                                              {"arbitrary", sim::AddressPooling::kArbitrary}};
const Names<sim::Hairpinning> kHairpinnings = {
    {"none", sim::Hairpinning::kNone},
    {"internal-source", sim::Hairpinning::kInternalSource},
    {"external-source", sim::Hairpinning::kExternalSource}};
const Names<sim::Unsolicited> kUnsoliciteds = {{"drop", sim::Unsolicited::kDrop},
                                               {"reject", sim::Unsolicited::kReject},
                                               {"remap", sim::Unsolicited::kRemap}};
const Names<sim::UdpPolicy> kUdpPolicies = {{"pass", sim::UdpPolicy::kPass},
                                            {"drop", sim::UdpPolicy::kDrop},
                                            {"reject", sim::UdpPolicy::kReject}};

/// What single options change in what the kind says.
struct Behaviour {
  std::optional<std::string> mapping, filtering, allocation, collision, pooling, hairpinning,
      unsolicited, udp;
  std::optional<double> timeout_s, udp_rate_mbit;
  std::optional<std::size_t> udp_burst_bytes;
  std::optional<bool> is_refreshed_by_inbound;
  std::optional<std::size_t> flows_max;
};

Duration from_ms(double ms) { return Duration(std::llround(ms * 1e6)); }

std::vector<std::string> kind_names() {
  std::vector<std::string> names{kCarrier};
  for (const sim::NatKind kind : sim::kNatKinds) names.emplace_back(sim::nat_kind_text(kind));
  return names;
}

sim::RouterOptions router_of(const std::string& name) {
  sim::RouterOptions options;
  if (name == kCarrier) options.v4 = sim::carrier_nat_options();
  for (const sim::NatKind kind : sim::kNatKinds) {
    if (name != sim::nat_kind_text(kind)) continue;
    options.v4 = sim::nat_options(kind);
    if (kind == sim::NatKind::kUdpBlocked) options.udp = sim::UdpPolicy::kDrop;
    if (kind == sim::NatKind::kSymmetricPreserving) {
      options.tcp_timeouts = sim::kNetfilterTcpTimeouts;
    }
    if (kind != sim::NatKind::kNone) options.v6 = sim::ipv6_firewall_options();
  }
  return options;
}

template <class Value>
void choose(Value& target, const Names<Value>& names, const std::optional<std::string>& name) {
  if (name) target = names.at(*name);
}

void apply(const Behaviour& behaviour, sim::RouterOptions& router) {
  choose(router.udp, kUdpPolicies, behaviour.udp);
  if (behaviour.udp_rate_mbit) {
    sim::PolicerOptions& policer = router.udp_policer.emplace();
    policer.bits_per_second = static_cast<std::uint64_t>(*behaviour.udp_rate_mbit * 1e6);
    if (behaviour.udp_burst_bytes) policer.burst_bytes = *behaviour.udp_burst_bytes;
  }
  if (!router.v4) return;
  sim::NatOptions& nat = *router.v4;
  choose(nat.mapping, kMappings, behaviour.mapping);
  choose(nat.filtering, kFilterings, behaviour.filtering);
  choose(nat.allocation, kAllocations, behaviour.allocation);
  choose(nat.collision, kCollisions, behaviour.collision);
  choose(nat.pooling, kPoolings, behaviour.pooling);
  choose(nat.hairpinning, kHairpinnings, behaviour.hairpinning);
  choose(nat.unsolicited, kUnsoliciteds, behaviour.unsolicited);
  if (behaviour.timeout_s) nat.timeout = from_ms(*behaviour.timeout_s * 1000);
  if (behaviour.is_refreshed_by_inbound) {
    nat.is_refreshed_by_inbound = *behaviour.is_refreshed_by_inbound;
  }
  if (behaviour.flows_max) nat.flows_max = *behaviour.flows_max;
}

template <class Value>
void add_choice(CLI::App& app, const char* name, std::optional<std::string>& target,
                const Names<Value>& names, const char* about) {
  std::vector<std::string> words;
  for (const auto& [word, value] : names) words.push_back(word);
  app.add_option(name, target, about)->check(CLI::IsMember(words));
}

void add_behaviours(CLI::App& app, Behaviour& behaviour) {
  add_choice(app, "--mapping", behaviour.mapping, kMappings, "What a mapping depends on");
  add_choice(app, "--filtering", behaviour.filtering, kFilterings, "Whose packets come in");
  add_choice(app, "--allocation", behaviour.allocation, kAllocations, "How ports are chosen");
  add_choice(app, "--collision", behaviour.collision, kCollisions, "Two mappings want one port");
  add_choice(app, "--pooling", behaviour.pooling, kPoolings, "Which external address");
  add_choice(app, "--hairpinning", behaviour.hairpinning, kHairpinnings, "From inside to inside");
  add_choice(app, "--unsolicited", behaviour.unsolicited, kUnsoliciteds, "Packets not asked for");
  add_choice(app, "--udp", behaviour.udp, kUdpPolicies, "Whether UDP passes at all");
  auto* const rate = app.add_option("--udp-rate-mbit", behaviour.udp_rate_mbit,
                                    "Drops UDP above it, each way by itself");
  rate->check(CLI::Range(0.001, 100'000.0));
  app.add_option("--udp-burst-bytes", behaviour.udp_burst_bytes, "UDP that may pass at once")
      ->needs(rate);
  app.add_option("--timeout-s", behaviour.timeout_s, "Of idle mappings of UDP")
      ->check(CLI::Range(0.001, kSecondsMax));
  app.add_option("--refreshed-by-inbound", behaviour.is_refreshed_by_inbound, "true or false");
  app.add_option("--flows-max", behaviour.flows_max, "Entries of each table");
}

/// The link in the units people use.
struct Line {
  double delay_ms = 0, jitter_ms = 0, reordering_delay_ms = 10, rate_mbit = 0;
};

void add_link(CLI::App& app, sim::LinkOptions& link, Line& line) {
  const auto milliseconds = CLI::Range(0.0, kMillisecondsMax);
  const auto probability = CLI::Range(0.0, 1.0);
  app.add_option("--delay-ms", line.delay_ms, "One way")->check(milliseconds);
  app.add_option("--jitter-ms", line.jitter_ms, "Adds 0 to this, evenly")->check(milliseconds);
  app.add_option("--loss", link.loss, "Probability, as the next two")->check(probability);
  app.add_option("--duplication", link.duplication, "Arrives twice")->check(probability);
  app.add_option("--reordering", link.reordering, "Is held back")->check(probability);
  app.add_option("--reordering-delay-ms", line.reordering_delay_ms, "For how long")
      ->check(milliseconds);
  app.add_option("--rate-mbit", line.rate_mbit, "Mbit/s; 0: no limit")
      ->check(CLI::Range(0.0, 100'000.0));
  app.add_option("--queue-bytes", link.queue_bytes, "What may wait for the rate");
  app.add_option("--mtu", link.mtu, "Of IP packets")->check(CLI::Range(68, 65'535));
  app.add_flag("--mtu-silent", link.is_mtu_silent, "Too big packets vanish without an error");
}

std::vector<IpAddress> addresses(const std::vector<std::string>& texts) {
  std::vector<IpAddress> result;
  for (const std::string& text : texts) {
    const auto ip = IpAddress::parse(text);
    if (!ip) throw CLI::ValidationError(text, "is no IP address");
    result.push_back(*ip);
  }
  return result;
}

void check_addresses(const NatboxOptions& options) {
  const auto& external = options.translator.external_addresses;
  for (const IpAddress& ip : external) {
    if (!ip.is_v4()) throw CLI::ValidationError("--external", "only IPv4 is translated");
  }
  if (options.translator.router.v4 && external.empty()) {
    throw CLI::ValidationError("--external", "this kind translates, so it needs an address");
  }
}

void parse(CLI::App& app, int argc, char** argv, NatboxOptions& options) {
  std::string kind = "port-restricted";
  std::vector<std::string> external, reporters, pcp;
  Behaviour behaviour;
  Line line;
  app.add_option("--kind", kind, "The NAT")
      ->check(CLI::IsMember(kind_names()))
      ->capture_default_str();
  app.add_option("--inside", options.inside_device, "TUN device to make here")->required();
  app.add_option("--outside", options.outside_device, "The one at the other end")->required();
  app.add_option("--outside-namespace", options.outside_namespace, "Path; here when not given");
  app.add_option("--external", external, "The NAT's IPv4 addresses");
  app.add_option("--router", reporters, "Sources of ICMP errors to the inside");
  app.add_option("--pcp", pcp, "Addresses inside at which ports can be mapped (RFC 6887)");
  app.add_option("--counters", options.counters_file, "JSON, on SIGUSR1 and at the end");
  app.add_option("--control", options.control_file, "Socket that takes changes of the line");
  app.add_option("--seed", options.seed, "Of all random choices");
  app.add_flag("!--no-hop", options.translator.counts_as_hop, "Leave the hop limit to the router");
  add_behaviours(app, behaviour);
  add_link(app, options.link, line);
  app.parse(argc, argv);

  options.translator.router = router_of(kind);
  apply(behaviour, options.translator.router);
  options.translator.external_addresses = addresses(external);
  options.reporters = addresses(reporters);
  options.pcp = addresses(pcp);
  check_addresses(options);
  options.link.delay = from_ms(line.delay_ms);
  options.link.jitter = from_ms(line.jitter_ms);
  options.link.reordering_delay = from_ms(line.reordering_delay_ms);
  options.link.bits_per_second = static_cast<std::uint64_t>(line.rate_mbit * 1e6);
}

}  // namespace

NatboxOptions parse_natbox_options(int argc, char** argv) {
  CLI::App app{kAbout, "natbox"};
  NatboxOptions options;
  try {
    parse(app, argc, argv, options);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

}  // namespace openp2p::lab
