#include "nat/mapping_survey.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

/// Copies go out 150, 450, 1,050 and 2,250 ms after the first: with a tenth of all datagrams lost
/// each way, seven requests in a thousand are still without answer at kPatience.
constexpr RetransmitSchedule kSchedule{.first = 150ms, .sends_max = 5, .last_wait = 750ms};

std::string list_ports(const std::vector<MappingSample>& samples) {
  std::string text;
  for (const MappingSample& sample : samples) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} as {}", sample.internal_port, sample.external.port);
  }
  return text;
}

}  // namespace

MappingSurvey::MappingSurvey(const MappingSurveyConfig& config, SecretSource& secrets,
                             TimePoint now)
    : config_(config), secrets_(secrets), ends_at_(now + kSilence) {
  CHECK(!config_.servers.empty() && !config_.ports.empty());
  CHECK(config_.ports.size() <= kSurveySocketsMax);
  const Address& first = config_.servers.front();
  ask(0, first, now);
  // One of another port, one of another address: what mappings depend on.
  for (const bool is_same_ip : {true, false}) {
    const auto other = std::ranges::find_if(config_.servers, [&](const Address& server) {
      return server != first && (server.ip == first.ip) == is_same_ip &&
             server.ip.is_v4() == first.ip.is_v4();
    });
    if (other != config_.servers.end()) ask(0, *other, now);
  }
  for (std::size_t socket = 1; socket < config_.ports.size(); ++socket) ask(socket, first, now);
}

// --- Events ---

bool MappingSurvey::on_datagram(std::size_t socket, const Address& from, ByteView datagram,
                                TimePoint now) {
  const auto message = decode_stun(datagram);
  if (!message || tag_of(message->transaction) != config_.tag) return false;
  for (std::size_t i = 0; i < questions_.size(); ++i) {
    Question& question = questions_[i];
    if (question.asked.id() != message->transaction) continue;
    // A repeated answer, or one from elsewhere, is ours, but tells nothing.
    if (question.socket != socket || question.asked.to() != from) return true;
    if (!question.asked.on_answer(*message, from, now)) return true;
    if (!has_answer_) ends_at_ = std::min(ends_at_ + kPatience, now + kPatience);
    has_answer_ = true;
    ask_other_address(*message, now);
    advance(now);
    return true;
  }
  return false;
}

/// RFC 5780 section 4.3, test II: the service's other address. One attempt, and only at what can be
/// a second address of this server: it must not aim requests at others.
void MappingSurvey::ask_other_address(const StunMessage& answer, TimePoint now) {
  const Address& first = config_.servers.front();
  const auto is_elsewhere = [&](const Question& q) { return q.asked.to().ip != first.ip; };
  if (!config_.asks_other_address || is_done_ || !answer.other_address ||
      std::ranges::any_of(questions_, is_elsewhere))
    return;
  const Address other{answer.other_address->ip, first.port, 0};
  const bool is_same_kind = other.ip.is_v4() == first.ip.is_v4() && other.ip != first.ip &&
                            other.ip.is_loopback() == first.ip.is_loopback() &&
                            other.ip.is_private() == first.ip.is_private();
  const bool is_own =
      std::ranges::find(config_.local_addresses, other.ip) != config_.local_addresses.end();
  if (!is_same_kind || is_own || other.ip.is_unspecified() || other.ip.is_multicast()) return;
  ask(0, other, now);
}

void MappingSurvey::on_timeout(TimePoint now) {
  if (is_done_) return;
  for (Question& question : questions_) question.asked.on_timeout(now);
  advance(now);
}

std::size_t MappingSurvey::poll_datagram(std::size_t& socket, Address& to, MutableByteView out,
                                         TimePoint now) {
  if (is_done_) return 0;
  for (Question& question : questions_) {
    const std::size_t size = question.asked.poll_datagram(out, now);
    if (size == 0) continue;
    socket = question.socket;
    to = question.asked.to();
    return size;
  }
  return 0;
}

std::optional<TimePoint> MappingSurvey::next_timeout() const {
  if (is_done_) return std::nullopt;
  std::optional<TimePoint> next = ends_at_;
  for (const Question& question : questions_) next = earlier(next, question.asked.next_timeout());
  return next;
}

void MappingSurvey::ask(std::size_t socket, const Address& to, TimePoint now) {
  StunMessage request;
  request.transaction = make_transaction_id(config_.tag, secrets_);
  questions_.push_back({socket, StunTransaction(request, to, kSchedule, now)});
}

void MappingSurvey::advance(TimePoint now) {
  const auto is_over = [](const Question& q) { return q.asked.is_over(); };
  if (is_done_ || (now < ends_at_ && !std::ranges::all_of(questions_, is_over))) return;
  is_done_ = true;
  conclude();
}

// --- Conclusions ---

/// What a socket behind a NAT can be seen as. On a machine of its own, loopback is all there is.
bool MappingSurvey::is_believable(const Address& seen) const {
  const IpAddress& server = config_.servers.front().ip;
  return seen.port != 0 && seen.ip.is_v4() == server.is_v4() && !seen.ip.is_unspecified() &&
         !seen.ip.is_multicast() && (!seen.ip.is_loopback() || server.is_loopback());
}

std::optional<Address> MappingSurvey::seen_by(const Question& question) const {
  if (!question.asked.is_answered()) return std::nullopt;
  const StunMessage& answer = question.asked.answer();
  if (answer.message_class != StunClass::kSuccess) return std::nullopt;
  const auto seen = answer.xor_mapped_address ? answer.xor_mapped_address : answer.mapped_address;
  return seen && is_believable(*seen) ? seen : std::nullopt;
}

void MappingSurvey::conclude() {
  collect_samples();
  NatProfile& profile = report_.profile;
  if (!report_.samples.empty()) {
    const MappingSample& sample = report_.samples.front();
    report_.reflexive = sample.external;
    profile.external = sample.external.ip;
    const bool is_own = std::ranges::find(config_.local_addresses, sample.external.ip) !=
                        config_.local_addresses.end();
    profile.is_translated = !is_own || sample.external.port != sample.internal_port;
  }
  profile.mapping = conclude_mapping();
  const PortPattern pattern = infer_pattern(report_.samples);
  profile.allocation = pattern.allocation;
  profile.last_port = pattern.last_port;
  profile.step = pattern.step;
  profile.block = pattern.block;
  add_evidence(pattern);
}

void MappingSurvey::collect_samples() {
  for (const Question& question : questions_) {
    if (!report_.rtt) report_.rtt = question.asked.rtt();
    const auto seen = seen_by(question);
    if (!seen) continue;
    const auto is_same = [&](const MappingSample& sample) { return sample.external == *seen; };
    if (std::ranges::any_of(report_.samples, is_same)) continue;
    report_.samples.push_back({config_.ports[question.socket], *seen});
    const auto known = std::ranges::find(report_.externals, seen->ip);
    if (known == report_.externals.end()) report_.externals.push_back(seen->ip);
  }
}

/// From what the first socket is seen as by several. Its questions are of it alone, so that each
/// comparison changes one thing: the port or the address asked.
Dependence MappingSurvey::conclude_mapping() const {
  if (report_.reflexive && !report_.profile.is_translated) return Dependence::kEndpointIndependent;
  const Address& first = config_.servers.front();
  std::optional<Address> main, other_port, other_ip;
  bool is_port_the_same = false;
  for (const Question& question : questions_) {
    if (question.socket != 0) continue;
    const Address& to = question.asked.to();
    auto& place = to == first ? main : to.ip == first.ip ? other_port : other_ip;
    place = seen_by(question);
    if (to.ip != first.ip) is_port_the_same = to.port == first.port;
  }
  if (!main) return Dependence::kUnknown;
  if (other_ip && *other_ip == *main) return Dependence::kEndpointIndependent;
  if (other_port && *other_port != *main) return Dependence::kAddressAndPortDependent;
  if (other_port && other_ip) return Dependence::kAddressDependent;
  if (other_port) return Dependence::kIndependentOrAddressDependent;
  if (!other_ip) return Dependence::kUnknown;
  // Symmetric in either case; where only the port of the other address differs, too, it may be
  // both.
  return is_port_the_same ? Dependence::kAddressDependent : Dependence::kAddressAndPortDependent;
}

void MappingSurvey::add_evidence(const PortPattern& pattern) {
  for (const Question& question : questions_) {
    if (question.socket != 0) continue;
    const auto seen = seen_by(question);
    report_.evidence.push_back(fmt::format(
        "port {} is seen by {} as {}", config_.ports[0], question.asked.to().text(),
        seen ? seen->text()
             : fmt::format("nothing: no answer to {} requests", question.asked.sends())));
  }
  if (report_.is_silent()) return;
  report_.evidence.push_back(fmt::format("{} mappings: {}: ports {}", report_.samples.size(),
                                         list_ports(report_.samples), describe(pattern)));
  if (report_.externals.size() < 2) return;
  std::string addresses;
  for (const IpAddress& ip : report_.externals) {
    addresses += (addresses.empty() ? "" : ", ") + ip.text();
  }
  report_.evidence.push_back("mappings appear at several addresses: " + addresses);
}

}  // namespace openp2p::nat
