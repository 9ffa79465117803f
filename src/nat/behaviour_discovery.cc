#include "nat/behaviour_discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/check.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

/// Once the round trip is known, there is no need to wait half a second for a lost datagram, but
/// never is one sent sooner than twice the round trip: the answer may be on its way.
constexpr Duration kRetransmitMin = 100ms;
/// Six copies: with a tenth of all datagrams lost, five in a hundred thousand requests fail.
constexpr unsigned kProbeSendsMax = 6;
/// Nothing but a detail hangs on hairpinning, and most NATs have none: silence is expected.
constexpr unsigned kHairpinSendsMax = 4;
/// Ports further apart than this are not "the next port": other flows were mapped in between, or
/// they are drawn by lot.
constexpr int kSequentialDeltaMax = 8;

std::string milliseconds(Duration duration) {
  return fmt::format("{:.1f} ms", std::chrono::duration<double, std::milli>(duration).count());
}

}  // namespace

BehaviourDiscovery::BehaviourDiscovery(const BehaviourDiscoveryConfig& config,
                                       SecretSource& secrets, TimePoint now)
    : config_(config), secrets_(secrets) {
  report_.server = config.server;
  probe(kMain, config.server, now);
}

// --- Events ---

bool BehaviourDiscovery::on_datagram(const Address& from, ByteView datagram, TimePoint now) {
  const auto message = decode_stun(datagram);
  if (!message) return false;
  const auto& hairpin = probes_[kHairpinned];
  if (hairpin && message->transaction == hairpin->id()) {
    if (message->message_class == StunClass::kRequest && !hairpinned_at_) hairpinned_at_ = now;
    advance(now);
    return true;
  }
  for (auto& transaction : probes_) {
    if (!transaction || transaction->id() != message->transaction) continue;
    transaction->on_answer(*message, from, now);
    advance(now);
    return true;  // Late and repeated answers are ours, too.
  }
  return false;
}

void BehaviourDiscovery::on_timeout(TimePoint now) {
  for (auto& transaction : probes_) {
    if (transaction) transaction->on_timeout(now);
  }
  advance(now);
}

std::size_t BehaviourDiscovery::poll_datagram(Address& to, MutableByteView out, TimePoint now) {
  if (is_done()) return 0;
  for (auto& transaction : probes_) {
    if (!transaction) continue;
    const std::size_t size = transaction->poll_datagram(out, now);
    if (size == 0) continue;
    to = transaction->to();
    return size;
  }
  return 0;
}

std::optional<TimePoint> BehaviourDiscovery::next_timeout() const {
  if (is_done()) return std::nullopt;
  std::optional<TimePoint> next;
  for (const auto& transaction : probes_) {
    if (transaction) next = earlier(next, transaction->next_timeout());
  }
  return next;
}

// --- The order of tests ---

void BehaviourDiscovery::advance(TimePoint now) {
  while (!is_done() && is_stage_over()) start_next(now);
}

bool BehaviourDiscovery::is_stage_over() const {
  if (stage_ == Stage::kHairpin && hairpinned_at_) return true;
  return std::ranges::all_of(probes_, [](const auto& p) { return !p || p->is_over(); });
}

void BehaviourDiscovery::start_next(TimePoint now) {
  if (stage_ == Stage::kReach && seen_by(kMain)) {
    // Filtering before mapping: a request to the other address would open the filter for it.
    stage_ = Stage::kFilter;
    start_filtering(now);
    return;
  }
  if (stage_ == Stage::kFilter) stage_ = Stage::kMap;
  if (stage_ == Stage::kMap) {
    if (start_mapping(now)) return;
    stage_ = Stage::kHairpin;
    if (start_hairpin(now)) return;
  }
  stage_ = Stage::kDone;
  conclude();
}

void BehaviourDiscovery::start_filtering(TimePoint now) {
  probe(kChangePort, config_.server, now);
  if (other_address()) probe(kChangeBoth, config_.server, now);
}

/// One after the other, so that their order says something about the allocation of ports.
bool BehaviourDiscovery::start_mapping(TimePoint now) {
  const auto other = other_address();
  if (other && !at(kOtherIp)) {
    probe(kOtherIp, {other->ip, config_.server.port, config_.server.scope}, now);
    return true;
  }
  if (other && !at(kOtherBoth)) {
    probe(kOtherBoth, {other->ip, other->port, config_.server.scope}, now);
    return true;
  }
  if (other_port() != 0 && !at(kOtherPort)) {
    probe(kOtherPort, {config_.server.ip, other_port(), config_.server.scope}, now);
    return true;
  }
  return false;
}

bool BehaviourDiscovery::start_hairpin(TimePoint now) {
  const auto seen = seen_by(kMain);
  if (!seen || !is_fit_target(*seen)) return false;  // Also where there is no NAT.
  probe(kHairpinned, *seen, now);
  return true;
}

void BehaviourDiscovery::probe(ProbeKind kind, const Address& to, TimePoint now) {
  StunMessage request;
  request.transaction = make_transaction_id(config_.tag, secrets_);
  request.change_port = kind == kChangePort || kind == kChangeBoth;
  request.change_ip = kind == kChangeBoth;
  probes_[kind].emplace(request, to, schedule_of(kind), now);
}

RetransmitSchedule BehaviourDiscovery::schedule_of(ProbeKind kind) const {
  RetransmitSchedule schedule = config_.schedule;
  if (kind == kMain) return schedule;
  const auto rtt = at(kMain)->rtt();
  if (rtt) {
    const Duration patient = std::max(kRetransmitMin, 2 * *rtt);
    schedule.first = std::min(schedule.first, patient);
  }
  const unsigned sends_max = kind == kHairpinned ? kHairpinSendsMax : kProbeSendsMax;
  schedule.sends_max = std::min(schedule.sends_max, sends_max);
  schedule.last_wait = std::min(schedule.last_wait, 8 * schedule.first);
  return schedule;
}

// --- What is known ---

std::optional<Address> BehaviourDiscovery::seen_by(ProbeKind kind) const {
  const auto& transaction = at(kind);
  if (!transaction || !transaction->is_answered()) return std::nullopt;
  const StunMessage& answer = transaction->answer();
  if (answer.message_class != StunClass::kSuccess) return std::nullopt;
  const auto seen = answer.xor_mapped_address ? answer.xor_mapped_address : answer.mapped_address;
  if (!seen || seen->ip.is_v4() != config_.server.ip.is_v4()) return std::nullopt;
  return seen;
}

/// Only an address that a second one of this server can be: a server must not aim our requests.
std::optional<Address> BehaviourDiscovery::other_address() const {
  if (!seen_by(kMain)) return std::nullopt;
  const auto& other = at(kMain)->answer().other_address;
  if (!other || other->ip == config_.server.ip || other->port == config_.server.port) {
    return std::nullopt;
  }
  if (other->ip.is_loopback() != config_.server.ip.is_loopback()) return std::nullopt;
  return is_fit_target(*other) ? other : std::nullopt;
}

bool BehaviourDiscovery::is_fit_target(const Address& address) const {
  const bool is_own = std::ranges::any_of(
      config_.local_addresses, [&](const Address& local) { return local.ip == address.ip; });
  return !is_own && address.port != 0 && address.ip.is_v4() == config_.server.ip.is_v4() &&
         !address.ip.is_unspecified() && !address.ip.is_multicast();
}

std::uint16_t BehaviourDiscovery::other_port() const {
  if (const auto other = other_address()) return other->port;
  if (arrival(kChangePort) == Arrival::kArrived) return at(kChangePort)->answered_from().port;
  return config_.alternate_port == config_.server.port ? 0 : config_.alternate_port;
}

BehaviourDiscovery::Arrival BehaviourDiscovery::arrival(ProbeKind kind) const {
  const auto& transaction = at(kind);
  if (!transaction || was_opened(kind)) return Arrival::kNotTold;
  if (!transaction->is_answered()) return Arrival::kSilence;
  if (!seen_by(kind)) return Arrival::kNotTold;  // An error: the server cannot.
  const Address& from = transaction->answered_from();
  const bool is_other_ip = from.ip != config_.server.ip;
  const bool is_other_port = from.port != config_.server.port;
  // A server that ignores what it does not know answers from where it was asked: that tells
  // nothing.
  return is_other_port && is_other_ip == (kind == kChangeBoth) ? Arrival::kArrived
                                                               : Arrival::kNotTold;
}

/// Whether the socket itself has opened the filter for the answer to come: for the other address
/// any port counts, since filters may look at addresses alone.
bool BehaviourDiscovery::was_opened(ProbeKind kind) const {
  const auto other = other_address();
  const std::uint16_t told_port = other ? other->port : config_.alternate_port;
  return std::ranges::any_of(config_.opened, [&](const Address& opened) {
    if (kind == kChangeBoth) return other && opened.ip == other->ip;
    const bool is_answering = at(kind)->is_answered() && opened == at(kind)->answered_from();
    return is_answering || (opened.ip == config_.server.ip && opened.port == told_port);
  });
}

// --- Conclusions ---

void BehaviourDiscovery::conclude() {
  for (std::size_t kind = 0; kind < kProbeCount; ++kind) {
    if (probes_[kind]) add_evidence(static_cast<ProbeKind>(kind));
  }
  report_.reflexive = seen_by(kMain);
  if (!report_.reflexive) return;
  const auto& locals = config_.local_addresses;
  report_.is_translated = std::ranges::none_of(locals, [&](const Address& local) {
    return local.ip == report_.reflexive->ip && local.port == report_.reflexive->port;
  });
  report_.rtt = at(kMain)->rtt();
  report_.mapping = conclude_mapping();
  report_.filtering = conclude_filtering();
  if (at(kHairpinned)) report_.hairpins = hairpinned_at_.has_value();
  const auto& plain = at(kMain)->answer().mapped_address;
  report_.is_payload_rewritten = plain && *plain != *report_.reflexive;
  conclude_ports();
}

Dependence BehaviourDiscovery::conclude_mapping() const {
  if (!report_.is_translated) return Dependence::kEndpointIndependent;
  const auto main = seen_by(kMain);
  const auto other_ip = seen_by(kOtherIp);
  const auto other_both = seen_by(kOtherBoth);
  const auto other_port = seen_by(kOtherPort);

  // First what RFC 5780 section 4.3 asks first, and what no test of filtering has touched.
  if (other_ip == main) return Dependence::kEndpointIndependent;
  const bool depends_on_port =
      (other_port && other_port != main) || (other_ip && other_both && other_ip != other_both);
  if (depends_on_port) return Dependence::kAddressAndPortDependent;
  if (!other_ip && other_both == main) return Dependence::kEndpointIndependent;
  if (other_ip || other_both) {
    const bool are_ports_compared = other_port || (other_ip && other_both);
    return are_ports_compared ? Dependence::kAddressDependent : Dependence::kUnknown;
  }
  return other_port ? Dependence::kIndependentOrAddressDependent : Dependence::kUnknown;
}

/// Silence counts only from addresses that were reached directly later: else the server or the way
/// there may be broken, and not the NAT closed.
Dependence BehaviourDiscovery::conclude_filtering() const {
  const Arrival both = arrival(kChangeBoth);
  const Arrival port = arrival(kChangePort);
  if (both == Arrival::kArrived) return Dependence::kEndpointIndependent;
  const bool is_address_filtered = both == Arrival::kSilence && seen_by(kOtherBoth);
  if (port == Arrival::kArrived) {
    return is_address_filtered ? Dependence::kAddressDependent
                               : Dependence::kIndependentOrAddressDependent;
  }
  const bool is_port_filtered = port == Arrival::kSilence && seen_by(kOtherPort);
  return is_port_filtered ? Dependence::kAddressAndPortDependent : Dependence::kUnknown;
}

void BehaviourDiscovery::conclude_ports() {
  std::vector<Address> mappings;  // Distinct ones, in the order they were made.
  for (const ProbeKind kind : {kMain, kOtherIp, kOtherBoth, kOtherPort}) {
    const auto seen = seen_by(kind);
    if (seen && std::ranges::find(mappings, *seen) == mappings.end()) mappings.push_back(*seen);
  }
  report_.is_address_changing = std::ranges::any_of(
      mappings, [&](const Address& mapping) { return mapping.ip != mappings.front().ip; });
  const bool is_independent =
      report_.is_translated && report_.mapping == Dependence::kEndpointIndependent;
  report_.is_spoilt_by_unsolicited = is_independent && mappings.size() > 1;
  if (is_independent) mappings.resize(1);
  const bool is_preserved = std::ranges::all_of(mappings, [&](const Address& mapping) {
    return std::ranges::any_of(config_.local_addresses,
                               [&](const Address& local) { return local.port == mapping.port; });
  });
  if (is_preserved) {
    report_.ports = PortAllocation::kPreserved;
    return;
  }
  if (mappings.size() < 2) return;
  const int delta = mappings[1].port - mappings[0].port;
  report_.ports = PortAllocation::kNoPattern;
  if (delta == 0 || std::abs(delta) > kSequentialDeltaMax) return;
  for (std::size_t i = 2; i < mappings.size(); ++i) {
    if (mappings[i].port - mappings[i - 1].port != delta) return;
  }
  report_.ports = PortAllocation::kSequential;
  report_.port_delta = delta;
}

void BehaviourDiscovery::add_evidence(ProbeKind kind) {
  const StunTransaction& asked = *probes_[kind];
  if (kind == kHairpinned) {
    report_.evidence.push_back(fmt::format("asked ourselves at {}: {}", asked.to().text(),
                                           hairpinned_at_ ? "it came back" : "nothing came back"));
    return;
  }
  std::string line = "asked " + asked.to().text();
  if (kind == kChangePort) line += " to answer from its other port";
  if (kind == kChangeBoth) line += " to answer from its other address and port";
  if (!asked.is_answered()) {
    line += fmt::format(": silence after {} requests", asked.sends());
  } else if (const auto seen = seen_by(kind)) {
    line +=
        fmt::format(": answer from {}, which sees {}", asked.answered_from().text(), seen->text());
    if (asked.rtt()) line += ", after " + milliseconds(*asked.rtt());
  } else {
    line += fmt::format(": refused with error {}", asked.answer().error_code);
  }
  const bool is_about_filtering = kind == kChangePort || kind == kChangeBoth;
  if (is_about_filtering && was_opened(kind)) {
    line += " (proves nothing: this socket sent there before)";
  }
  report_.evidence.push_back(std::move(line));
}

}  // namespace openp2p::nat
