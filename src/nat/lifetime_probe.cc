#include "nat/lifetime_probe.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

constexpr RetransmitSchedule kOpen{.first = 250ms, .sends_max = 6, .last_wait = 2s};
/// Five copies: with a tenth of all datagrams lost each way, one mapping in 4,000 is taken for
/// dead. Then keep-alives are sent more often than needed, no worse.
constexpr RetransmitSchedule kAskForOther{.first = 200ms, .sends_max = 5, .last_wait = 1s};

std::string seconds(Duration duration) {
  return fmt::format("{} s", std::chrono::duration_cast<std::chrono::seconds>(duration).count());
}

}  // namespace

LifetimeProbe::LifetimeProbe(const Config& config, SecretSource& secrets, TimePoint now)
    : config_(config), secrets_(secrets), mappings_(config.silences) {
  CHECK(config.silences > 0 && config.silences <= kLifetimeSilences.size());
  for (Mapping& mapping : mappings_) ask(mapping, Stage::kOpening, std::nullopt, now);
}

// --- Events ---

bool LifetimeProbe::on_datagram(std::size_t socket, const Address& from, ByteView datagram,
                                TimePoint now) {
  const auto message = decode_stun(datagram);
  if (!message || tag_of(message->transaction) != config_.tag) return false;
  for (std::size_t i = 0; i < mappings_.size(); ++i) {
    Mapping& mapping = mappings_[i];
    if (!mapping.asked || mapping.asked->id() != message->transaction) continue;
    // What was asked for by another socket counts where it arrives: at the silent one. A refusal
    // comes back to the asker.
    const bool is_for_other = mapping.stage == Stage::kAsking;
    const bool is_refusal = message->message_class == StunClass::kError;
    const std::size_t expected = is_for_other && is_refusal ? kAsker : i;
    if (is_done_ || socket != expected || from != config_.server) return true;
    if (mapping.asked->on_answer(*message, from, now)) on_answer(mapping, *message, now);
    advance(now);
    return true;
  }
  return false;
}

void LifetimeProbe::on_answer(Mapping& mapping, const StunMessage& answer, TimePoint now) {
  if (answer.message_class == StunClass::kError) {
    is_refused_ = is_refused_ || mapping.stage == Stage::kAsking;
    mapping.stage = Stage::kFailed;
    return;
  }
  const std::size_t number = static_cast<std::size_t>(&mapping - mappings_.data());
  switch (mapping.stage) {
    case Stage::kOpening:
      mapping.stage = Stage::kSettling;
      mapping.until = now + kSettle;
      return;
    case Stage::kConfirming:
      mapping.external = answer.xor_mapped_address;
      mapping.stage = mapping.external ? Stage::kSilent : Stage::kFailed;
      mapping.until = now + kLifetimeSilences[number];
      return;
    case Stage::kAsking:
      mapping.stage = Stage::kAlive;
      return;
    case Stage::kSettling:
    case Stage::kSilent:
    case Stage::kAlive:
    case Stage::kDead:
    case Stage::kFailed:
      return;
  }
}

void LifetimeProbe::on_timeout(TimePoint now) {
  if (is_done_) return;
  for (Mapping& mapping : mappings_) step(mapping, now);
  advance(now);
}

void LifetimeProbe::step(Mapping& mapping, TimePoint now) {
  if (is_over(mapping)) return;
  if (mapping.stage == Stage::kSettling) {
    if (now >= mapping.until) ask(mapping, Stage::kConfirming, std::nullopt, now);
    return;
  }
  if (mapping.stage == Stage::kSilent) {
    if (now >= mapping.until) ask(mapping, Stage::kAsking, mapping.external->port, now);
    return;
  }
  mapping.asked->on_timeout(now);
  if (!mapping.asked->is_given_up()) return;
  mapping.stage = mapping.stage == Stage::kAsking ? Stage::kDead : Stage::kFailed;
}

void LifetimeProbe::ask(Mapping& mapping, Stage stage, std::optional<std::uint16_t> response_port,
                        TimePoint now) {
  StunMessage request;
  request.transaction = make_transaction_id(config_.tag, secrets_);
  request.response_port = response_port;
  mapping.stage = stage;
  mapping.asked.emplace(request, config_.server, response_port ? kAskForOther : kOpen, now);
}

std::size_t LifetimeProbe::poll_datagram(std::size_t& socket, Address& to, MutableByteView out,
                                         TimePoint now) {
  if (is_done_) return 0;
  for (std::size_t i = 0; i < mappings_.size(); ++i) {
    Mapping& mapping = mappings_[i];
    if (is_over(mapping)) continue;
    const std::size_t size = mapping.asked->poll_datagram(out, now);
    if (size == 0) continue;
    socket = mapping.stage == Stage::kAsking ? kAsker : i;
    to = config_.server;
    return size;
  }
  return 0;
}

std::optional<TimePoint> LifetimeProbe::next_timeout() const {
  std::optional<TimePoint> next;
  if (is_done_) return next;
  for (const Mapping& mapping : mappings_) {
    if (is_over(mapping)) continue;
    const bool waits = mapping.stage == Stage::kSettling || mapping.stage == Stage::kSilent;
    next = earlier(next, waits ? mapping.until : mapping.asked->next_timeout());
  }
  return next;
}

// --- Conclusions ---

bool LifetimeProbe::is_over(const Mapping& mapping) const {
  return mapping.stage == Stage::kAlive || mapping.stage == Stage::kDead ||
         mapping.stage == Stage::kFailed;
}

void LifetimeProbe::advance(TimePoint) {
  // What did not outlive a silence will not outlive a longer one.
  const bool has_dead = std::ranges::any_of(
      mappings_, [](const Mapping& mapping) { return mapping.stage == Stage::kDead; });
  const bool are_all_over =
      std::ranges::all_of(mappings_, [&](const Mapping& mapping) { return is_over(mapping); });
  if (is_done_ || (!has_dead && !are_all_over && !is_refused_)) return;
  is_done_ = true;
  conclude();
}

void LifetimeProbe::conclude() {
  for (std::size_t i = 0; i < mappings_.size(); ++i) {
    const Duration silence = kLifetimeSilences[i];
    const Mapping& mapping = mappings_[i];
    if (mapping.stage == Stage::kAlive) report_.alive = silence;
    if (mapping.stage == Stage::kDead && !report_.dead) report_.dead = silence;
    if (mapping.stage != Stage::kAlive && mapping.stage != Stage::kDead) continue;
    report_.evidence.push_back(fmt::format(
        "a mapping at {} {} {} of silence", mapping.external->text(),
        mapping.stage == Stage::kAlive ? "lives after" : "is gone after", seconds(silence)));
  }
  // Who lost all five copies is taken for dead; one that lived longer shows that it was not.
  if (report_.alive && report_.dead && *report_.dead <= *report_.alive) report_.dead.reset();
  if (report_.alive || report_.dead) return;
  report_.problem = is_refused_ ? "the STUN service does not answer to another port"
                                : "the STUN service does not answer";
}

}  // namespace openp2p::nat
