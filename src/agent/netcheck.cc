#include "agent/netcheck.h"

#include <algorithm>
#include <utility>

#include "nat/port_pattern.h"

namespace openp2p::agent {
namespace {

std::string dependence_or_empty(nat::Dependence dependence) {
  if (dependence == nat::Dependence::kUnknown) return "";
  return std::string(nat::dependence_text(dependence));
}

void put_ports(const nat::NatProfile& profile, NetcheckFinding& finding) {
  if (profile.allocation == nat::PortAllocation::kUnknown) return;
  finding.ports =
      nat::describe({profile.allocation, profile.last_port, profile.step, profile.block});
  finding.port_step = profile.step;
  finding.block_first = profile.block.first;
  finding.block_last = profile.block.last;
}

NetcheckFinding finding_of(const nat::SurveyReport& survey, bool is_v4) {
  NetcheckFinding finding;
  finding.transport = "udp";
  finding.family = is_v4 ? "ipv4" : "ipv6";
  finding.works = !survey.is_silent();
  finding.reflexive = survey.reflexive;
  finding.mapping = dependence_or_empty(survey.profile.mapping);
  finding.rtt = survey.rtt;
  put_ports(survey.profile, finding);
  for (const auto& sample : survey.samples) finding.sample_ports.push_back(sample.external.port);
  for (const IpAddress& ip : survey.externals) finding.addresses.push_back(ip.text());
  return finding;
}

/// The slow tests, which see the same and more. Where a datagram from a stranger spoils the mapping
/// the classic name is theirs, too: they compare what no such datagram touched.
void add_behaviour(const nat::BehaviourReport& behaviour, NetcheckFinding& finding) {
  if (behaviour.is_udp_blocked()) return;
  finding.filtering = dependence_or_empty(behaviour.filtering);
  // The survey may have met one port of each address only, and then cannot tell these two apart.
  const bool is_exacter = behaviour.mapping == nat::Dependence::kAddressAndPortDependent &&
                          finding.mapping == dependence_text(nat::Dependence::kAddressDependent);
  if (finding.mapping.empty() || is_exacter) {
    finding.mapping = dependence_or_empty(behaviour.mapping);
  }
  finding.nat = nat::classic_name(behaviour);
  finding.hairpin = behaviour.hairpins;
  finding.is_spoilt_by_unsolicited = behaviour.is_spoilt_by_unsolicited;
}

}  // namespace

Netcheck::Netcheck(NodeContext& context, std::vector<std::string> stun_servers,
                   std::optional<Duration> server_rtt, const NetcheckOptions& options, Done done)
    : context_(context),
      options_(options),
      lookup_(context.platform, std::move(stun_servers),
              [this](std::vector<Address> found, TimePoint now) {
                context_.now = now;
                begin(std::move(found));
                context_.wake();
              }),
      done_(std::move(done)) {
  report_.server_rtt = server_rtt;
}

Netcheck::~Netcheck() = default;

void Netcheck::start() { lookup_.start(context_.now); }

void Netcheck::begin(std::vector<Address> servers) {
  begin_family(/*is_v4=*/true, servers);
  begin_family(/*is_v4=*/false, servers);
  if (families_.empty()) {
    report_.error =
        "no STUN service is known: this node was not connected to its server yet, or the server's "
        "names have no addresses now";
    return finish();
  }
}

void Netcheck::begin_family(bool is_v4, const std::vector<Address>& servers) {
  UdpSurvey::Config config;
  for (const Address& server : servers) {
    if (server.ip.is_v4() == is_v4) config.servers.push_back(server);
  }
  if (config.servers.empty()) return;
  if (is_v4) v4_server_ = config.servers.front();
  Family family;
  family.is_v4 = is_v4;
  family.server = config.servers.front();
  family.survey = std::make_unique<UdpSurvey>(context_, config, [this] { advance(); });
  family.tcp = std::make_unique<TcpSurvey>(context_, config.servers, [this] { advance(); });
  if (!family.survey->start()) family.survey.reset();
  if (!family.tcp->start()) family.tcp.reset();
  if (family.survey || family.tcp) families_.push_back(std::move(family));
}

void Netcheck::advance() {
  if (is_done_ || throttle_ || lifetime_ || !std::ranges::all_of(families_, &Family::is_done))
    return;
  for (const Family& family : families_) {
    if (family.survey) report_udp(family);
  }
  for (const Family& family : families_) {
    if (family.tcp) report_tcp(family);
  }
  if (!begin_throttle_check()) finish_or_go_on();
}

/// After all else, since a train would disturb it.
bool Netcheck::begin_throttle_check() {
  for (const Family& family : families_) {
    const bool does_udp = family.survey && !family.survey->survey()->is_silent();
    const bool does_tcp = family.tcp && family.tcp->report().reflexive;
    if (!does_udp || !does_tcp) continue;
    throttle_ =
        std::make_unique<ThrottleCheck>(context_, family.server, [this] { end_throttle_check(); });
    return throttle_->start();
  }
  return false;
}

void Netcheck::end_throttle_check() {
  if (const auto found = throttle_->report()) {
    for (const std::string& line : found->evidence) report_.evidence.push_back("UDP: " + line);
    report_.throttling = nat::throttling_text(found->throttling);
  }
  finish_or_go_on();
}

void Netcheck::finish_or_go_on() {
  if (options_.measures_lifetime && v4_server_ && report_.udp_v4) {
    return begin_lifetime(*v4_server_);
  }
  finish();
}

// --- Lifetime ---

void Netcheck::begin_lifetime(const Address& server) {
  lifetime_ = std::make_unique<LifetimeCheck>(context_, server, [this] { end_lifetime(); });
  if (lifetime_->start()) return;
  report_.evidence.push_back("no sockets are left to measure how long mappings live");
  finish();
}

void Netcheck::end_lifetime() {
  const nat::LifetimeReport& found = lifetime_->report();
  report_.lifetime_alive = found.alive;
  report_.lifetime_dead = found.dead;
  report_.evidence.insert(report_.evidence.end(), found.evidence.begin(), found.evidence.end());
  if (!found.problem.empty()) {
    report_.evidence.push_back("how long mappings live is unknown: " + found.problem);
  }
  finish();
}

// --- Time and end ---

void Netcheck::on_timeout() {
  if (is_done_) return;
  for (Family& family : families_) {
    if (family.survey) family.survey->on_timeout();
    if (family.tcp) family.tcp->on_timeout();
  }
  if (throttle_) throttle_->on_timeout();
  if (lifetime_) lifetime_->on_timeout();
}

std::optional<TimePoint> Netcheck::next_timeout() const {
  std::optional<TimePoint> next;
  if (is_done_) return next;
  for (const Family& family : families_) {
    if (family.survey) next = earlier(next, family.survey->next_timeout());
    if (family.tcp) next = earlier(next, family.tcp->next_timeout());
  }
  if (throttle_) next = earlier(next, throttle_->next_timeout());
  return lifetime_ ? earlier(next, lifetime_->next_timeout()) : next;
}

void Netcheck::report_udp(const Family& family) {
  const nat::SurveyReport& survey = *family.survey->survey();
  const nat::BehaviourReport* const behaviour = family.survey->behaviour();
  NetcheckFinding finding = finding_of(survey, family.is_v4);
  if (behaviour != nullptr) add_behaviour(*behaviour, finding);

  const std::string label = family.is_v4 ? "UDP over IPv4: " : "UDP over IPv6: ";
  for (const std::string& line : survey.evidence) report_.evidence.push_back(label + line);
  if (behaviour != nullptr) {
    for (const std::string& line : behaviour->evidence) report_.evidence.push_back(label + line);
  }
  (family.is_v4 ? report_.udp_v4 : report_.udp_v6) = finding.works;
  (family.is_v4 ? report_.reflexive_v4 : report_.reflexive_v6) = finding.reflexive;
  const bool is_better = family.is_v4 || report_.nat.empty();  // IPv4 is where the NATs are.
  if (finding.works && is_better) {
    report_.mapping = finding.mapping;
    report_.filtering = finding.filtering;
    report_.nat = finding.nat;
    report_.hairpin = finding.hairpin;
    if (survey.profile.allocation != nat::PortAllocation::kUnknown) {
      report_.preserves_port = survey.profile.allocation == nat::PortAllocation::kPreserved;
    }
  }
  report_.findings.push_back(std::move(finding));
}

void Netcheck::report_tcp(const Family& family) {
  const nat::StreamReport& survey = family.tcp->report();
  NetcheckFinding finding;
  finding.transport = "tcp";
  finding.family = family.is_v4 ? "ipv4" : "ipv6";
  finding.works = survey.reflexive.has_value();
  finding.reflexive = survey.reflexive;
  finding.rtt = survey.rtt;
  if (finding.works) {
    const nat::NatProfile& profile = survey.profile;
    finding.mapping = dependence_or_empty(profile.mapping);
    finding.filtering = dependence_or_empty(profile.filtering);
    finding.addresses = {profile.external.text()};
    put_ports(profile, finding);
    nat::BehaviourReport words;
    words.reflexive = survey.reflexive;
    words.is_translated = profile.is_translated;
    words.mapping = profile.mapping;
    words.filtering = profile.filtering;
    finding.nat = nat::classic_name(words);
  }
  const std::string label = family.is_v4 ? "TCP over IPv4: " : "TCP over IPv6: ";
  for (const std::string& line : survey.evidence) report_.evidence.push_back(label + line);
  for (NetcheckFinding& other : report_.findings) {
    if (other.family == finding.family) other.is_blocked = !other.works && finding.works;
  }
  report_.findings.push_back(std::move(finding));
}

void Netcheck::finish() {
  is_done_ = true;
  done_(report_);
}

}  // namespace openp2p::agent
