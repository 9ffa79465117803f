#include "agent/gateway_mapper.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;
using net::MappingProtocol;

constexpr Duration kAnnouncedDelayMax = 5s;  // RFC 6887 section 14.1.3.
constexpr Duration kEpochSlack = 3s;         // Whole seconds, and a router's idea of them.

nat::PcpProtocol to_pcp(path::Transport transport) {
  return transport == path::Transport::kUdp ? nat::PcpProtocol::kUdp : nat::PcpProtocol::kTcp;
}

path::Transport from_pcp(nat::PcpProtocol protocol) {
  return protocol == nat::PcpProtocol::kUdp ? path::Transport::kUdp : path::Transport::kTcp;
}

std::string_view upper_text(path::Transport transport) {
  return transport == path::Transport::kUdp ? "UDP" : "TCP";
}

std::string lease_text(Duration lease) {
  if (lease == Duration::zero()) return "until the router restarts";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(lease).count();
  return seconds < 120 ? fmt::format("for {} s", seconds) : fmt::format("for {} min", seconds / 60);
}

std::string describe(const Mapped& mapped) {
  return fmt::format("{}: mapped {} {} {}{}", net::mapping_protocol_text(mapped.how),
                     upper_text(mapped.transport), mapped.external.text(), lease_text(mapped.lease),
                     mapped.is_public() ? "" : ", but behind another NAT");
}

// The seconds since the gateway lost its state, in what it announces by PCP or by NAT-PMP.
std::optional<std::uint32_t> announced_epoch(ByteView datagram) {
  if (const auto pcp = nat::decode_pcp(datagram)) {
    const bool is_announcement = pcp->is_response && pcp->opcode == nat::PcpOpcode::kAnnounce;
    return is_announcement ? std::optional(pcp->epoch_s) : std::nullopt;
  }
  // RFC 6886 section 3.2: version 0, opcode 128, result 0, epoch, external address.
  constexpr std::size_t kNatPmpAnnouncementBytes = 12;
  Reader in(datagram);
  const auto head = in.u32();
  const auto epoch = in.u32();
  if (!head || !epoch || datagram.size() != kNatPmpAnnouncementBytes) return std::nullopt;
  return *head == 0x00'80'00'00 ? std::optional(*epoch) : std::nullopt;
}

}  // namespace

GatewayMapper::GatewayMapper(NodeContext& context, const net::Gateway& gateway,
                             std::vector<MappedPort> ports, Duration lease,
                             std::function<void()> on_changed)
    : context_(context),
      gateway_(gateway),
      ports_(std::move(ports)),
      lease_(lease),
      on_changed_(std::move(on_changed)),
      asked_{Asked{MappingProtocol::kNatPmp}, Asked{MappingProtocol::kUpnp}} {}

GatewayMapper::~GatewayMapper() = default;

void GatewayMapper::start() {
  announcements_ = context_.platform.hear_announcements(
      gateway_, [this](const Address& from, ByteView datagram, TimePoint now) {
        on_announcement(from, datagram, now);
      });
  start_race();
}

void GatewayMapper::start_race() {
  winner_.reset();
  retry_at_.reset();
  refreshed_at_ = context_.now;
  start_pcp();
  Duration head_start = pcp_ ? kHeadStart : Duration::zero();
  for (Asked& asked : asked_) {
    if (asked.pending) continue;  // From the race before; its answer serves this one.
    asked.answer = {};
    asked.expires_at.reset();
    // RFC 6886 is about IPv4 only.
    asked.is_waiting = asked.protocol != MappingProtocol::kNatPmp || gateway_.local.is_v4();
    asked.due_at.reset();
    if (!asked.is_waiting) continue;
    asked.due_at = context_.now + head_start;
    head_start += kHeadStart;
  }
  pump();
}

void GatewayMapper::start_pcp() {
  if (pcp_) return pcp_->refresh(context_.now);
  if (!socket_) {
    auto socket = context_.platform.open_gateway_datagrams(
        gateway_, [this](const Address& from, ByteView datagram, TimePoint now) {
          on_pcp(from, datagram, now);
        });
    if (socket) socket_ = std::move(*socket);
  }
  if (!socket_) return;
  pcp_.emplace(nat::PcpClientConfig{gateway_.at(nat::kPcpServerPort), gateway_.local, lease_},
               context_.random.fork());
  for (const MappedPort& port : ports_) {
    pcp_->add(to_pcp(port.transport), port.port, nonce_of(port), context_.now);
  }
}

// The same after each start of the program, so that its mappings stay its own.
nat::PcpNonce GatewayMapper::nonce_of(const MappedPort& port) const {
  const std::string about =
      fmt::format("openp2p PCP nonce {} {} {} {}", gateway_.ip.text(), gateway_.local.text(),
                  upper_text(port.transport), port.port);
  const Digest digest = hmac_sha256(context_.identity.seed(), as_bytes(about));
  nat::PcpNonce nonce;
  std::copy_n(digest.begin(), nonce.size(), nonce.begin());
  return nonce;
}

void GatewayMapper::pump() {
  if (!pcp_) return;
  std::array<std::byte, nat::kPcpBytesMax> out;
  while (const std::size_t size = pcp_->poll_datagram(out, context_.now)) {
    socket_->send(pcp_->server(), ByteView(out).first(size));
  }
}

void GatewayMapper::on_pcp(const Address& from, ByteView datagram, TimePoint now) {
  context_.now = now;
  if (!pcp_ || !pcp_->on_datagram(from, datagram, now)) return;
  if (!is_removing_) settle();
  context_.wake();
}

void GatewayMapper::on_announcement(const Address& from, ByteView datagram, TimePoint now) {
  if (from.ip != gateway_.ip || is_removing_) return;
  const auto epoch_s = announced_epoch(datagram);
  if (!epoch_s) return;
  context_.now = now;
  if (pcp_) pcp_->on_datagram(from, datagram, now);
  if (!winner_ && (!refreshed_at_ || now - *refreshed_at_ >= kPaceMin)) {
    refreshed_at_ = now;
    retry_at_ = now + jittered(kAnnouncedDelayMax);
  }
  for (Asked& asked : asked_) {
    const bool is_lost = asked.confirmed_at + kEpochSlack < now - std::chrono::seconds(*epoch_s);
    if (asked.protocol != winner_ || !is_lost || now - asked.confirmed_at < kPaceMin) continue;
    asked.due_at =
        std::min(asked.due_at.value_or(TimePoint::max()), now + jittered(kAnnouncedDelayMax));
  }
  context_.wake();
}

void GatewayMapper::refresh() {
  if (is_removing_) return;
  if (refreshed_at_ && context_.now - *refreshed_at_ < kPaceMin) {
    retry_at_ = earlier(retry_at_, *refreshed_at_ + kPaceMin);
    return;
  }
  if (!winner_) return start_race();
  refreshed_at_ = context_.now;
  if (winner_ == MappingProtocol::kPcp) return pcp_->refresh(context_.now);
  Asked* asked = find(*winner_);
  if (!asked->pending) asked->due_at = context_.now;
}

void GatewayMapper::on_timeout() {
  const TimePoint now = context_.now;
  if (is_removing_) {
    if (pcp_) pcp_->on_timeout(now);
    return pump();
  }
  if (retry_at_ && now >= *retry_at_) {
    retry_at_.reset();
    refresh();
  }
  if (pcp_) pcp_->on_timeout(now);
  for (Asked& asked : asked_) {
    expire(asked);
    if (!asked.due_at || now < *asked.due_at || asked.pending) continue;
    asked.due_at.reset();
    asked.is_waiting = false;
    ask(asked, /*is_release=*/false);
  }
  settle();
}

std::optional<TimePoint> GatewayMapper::next_timeout() const {
  if (is_removing_) return pcp_ ? pcp_->next_timeout() : std::nullopt;
  std::optional<TimePoint> next = retry_at_;
  if (pcp_) next = earlier(next, pcp_->next_timeout());
  for (const Asked& asked : asked_) {
    if (!asked.pending) next = earlier(next, asked.due_at);
    next = earlier(next, asked.expires_at);
  }
  return next;
}

net::GatewayRequest GatewayMapper::request_for(const Asked& asked, bool is_release) const {
  net::GatewayRequest request;
  request.protocol = asked.protocol;
  request.gateway = gateway_;
  request.lease = is_release ? Duration::zero() : lease_;
  request.description = asked.answer.description;
  for (const MappedPort& port : ports_) {
    request.ports.push_back({port.transport, port.port, port.port, std::nullopt});
  }
  for (const net::PortGrant& grant : asked.answer.ports) {
    if (!grant.is_granted) continue;
    for (net::PortAsk& ask : request.ports) {
      const bool is_same =
          ask.transport == grant.ask.transport && ask.internal_port == grant.ask.internal_port;
      if (is_same) ask = grant.ask;
    }
  }
  return request;
}

void GatewayMapper::ask(Asked& asked, bool is_release) {
  if (is_release) {
    asked.release = context_.platform.ask_gateway(
        request_for(asked, is_release), [this, &asked](const net::GatewayAnswer&, TimePoint now) {
          context_.now = now;
          asked.release.reset();
          context_.wake();
        });
    return;
  }
  asked.pending = context_.platform.ask_gateway(
      request_for(asked, is_release),
      [this, &asked](const net::GatewayAnswer& answer, TimePoint now) {
        context_.now = now;
        on_answer(asked, answer, now);
        context_.wake();
      });
}

void GatewayMapper::on_answer(Asked& asked, const net::GatewayAnswer& answer, TimePoint now) {
  asked.pending.reset();
  const bool is_granted = std::ranges::any_of(answer.ports, &net::PortGrant::is_granted);
  const bool is_silent_renewal = !is_granted && is_holding(asked.protocol);
  if (is_silent_renewal) {
    // The mapping may still be there: it is kept until its lease ends.
    const Duration left = asked.expires_at ? *asked.expires_at - now : kUpnpRenewalMax;
    asked.answer.description.clear();  // A restarted router may have another port.
    asked.due_at = now + std::max<Duration>(left / 2, kPaceMin);
    if (!asked.expires_at) asked.expires_at = now + kUpnpRenewalMax;
  } else {
    asked.answer = answer;
    asked.confirmed_at = now;
    asked.expires_at.reset();
    if (is_granted) schedule_renewal(asked);
  }
  settle();
}

void GatewayMapper::schedule_renewal(Asked& asked) {
  std::optional<Duration> shortest;
  for (const net::PortGrant& grant : asked.answer.ports) {
    if (!grant.is_granted || grant.lease == Duration::zero()) continue;
    shortest = std::min(shortest.value_or(grant.lease), grant.lease);
  }
  Duration renewal = shortest ? *shortest / 2 : kUpnpRenewalMax;
  if (asked.protocol == MappingProtocol::kUpnp) renewal = std::min(renewal, kUpnpRenewalMax);
  asked.due_at = context_.now + std::max<Duration>(renewal, kPaceMin);
  if (shortest) asked.expires_at = context_.now + std::max<Duration>(*shortest, kPaceMin);
}

void GatewayMapper::expire(Asked& asked) {
  if (!asked.expires_at || context_.now < *asked.expires_at) return;
  asked.expires_at.reset();
  asked.answer.ports.clear();
  asked.answer.failure = "it does not renew the mapping";
}

// After any input: who has won, what was lost, what is to be told.
void GatewayMapper::settle() {
  if (is_removing_) return;
  choose_winner();
  pump();
  hurry();
  const bool is_over = is_settled();
  if (!winner_ && is_over && !retry_at_) retry_at_ = context_.now + kRetryAfter + jittered(5min);
  std::vector<Mapped> now_mapped = mapped();
  if (now_mapped == told_) return;
  told_ = std::move(now_mapped);
  for (const Mapped& mapping : told_) {
    context_.log.debug(context_.now, "gateway.mapped gateway={} internal={} {}", gateway_.ip.text(),
                       mapping.internal.text(), describe(mapping));
  }
  on_changed_();
}

void GatewayMapper::choose_winner() {
  if (winner_ && is_holding(*winner_)) return;
  const bool had_winner = winner_.has_value();
  winner_.reset();
  for (const auto protocol :
       {MappingProtocol::kPcp, MappingProtocol::kNatPmp, MappingProtocol::kUpnp}) {
    if (!winner_ && is_holding(protocol)) winner_ = protocol;
  }
  if (!winner_) {
    // Lost what it had: everything is tried again, at the pace of refresh().
    if (had_winner) retry_at_ = earlier(retry_at_, context_.now + kPaceMin);
    return;
  }
  for (Asked& asked : asked_) {
    if (asked.protocol == *winner_) continue;
    asked.due_at.reset();  // Whoever did not start yet need not.
    asked.is_waiting = false;
  }
}

// Starts the next protocol as soon as those before it have nothing more to say; takes back what a
// slower one made in vain.
void GatewayMapper::hurry() {
  if (winner_) {
    for (Asked& asked : asked_) {
      if (asked.protocol == *winner_ || asked.pending || asked.answer.ports.empty()) continue;
      const auto ours = mapped_by(*winner_);
      const auto theirs = mapped_by(asked.protocol);
      // NAT-PMP names internal ports only: removing would take the winner's mapping, too.
      const bool is_apart = std::ranges::none_of(theirs, [&](const Mapped& m) {
        return std::ranges::any_of(ours, [&](const Mapped& o) { return o.external == m.external; });
      });
      if (asked.protocol == MappingProtocol::kUpnp && is_apart) ask(asked, /*is_release=*/true);
      asked.answer.ports.clear();
      asked.answer.failure = "not needed";
      asked.expires_at.reset();
      asked.due_at.reset();
    }
    return;
  }
  const bool is_pcp_over = !pcp_ || pcp_->is_settled();
  if (asked_[0].is_waiting && is_pcp_over) asked_[0].due_at = context_.now;
  const bool is_nat_pmp_over = !asked_[0].is_waiting && !asked_[0].pending && !asked_[0].due_at;
  if (asked_[1].is_waiting && is_pcp_over && is_nat_pmp_over) asked_[1].due_at = context_.now;
}

bool GatewayMapper::is_settled() const {
  if (pcp_ && !pcp_->is_settled()) return false;
  return std::ranges::none_of(asked_, [](const Asked& a) { return a.pending || a.is_waiting; });
}

bool GatewayMapper::is_holding(MappingProtocol protocol) const {
  if (protocol == MappingProtocol::kPcp) return pcp_ && pcp_->is_any_mapped();
  const auto asked = std::ranges::find(asked_, protocol, &Asked::protocol);
  return std::ranges::any_of(asked->answer.ports, &net::PortGrant::is_granted);
}

GatewayMapper::Asked* GatewayMapper::find(MappingProtocol protocol) {
  const auto asked = std::ranges::find(asked_, protocol, &Asked::protocol);
  return asked == asked_.end() ? nullptr : &*asked;
}

void GatewayMapper::remove() {
  if (is_removing_) return;
  is_removing_ = true;
  announcements_.reset();
  if (pcp_) {
    pcp_->remove_all();
    pump();
  }
  for (Asked& asked : asked_) {
    asked.pending.reset();
    if (asked.protocol == winner_) ask(asked, /*is_release=*/true);
  }
  told_.clear();
}

bool GatewayMapper::is_removed() const {
  const bool is_pcp_removed = !pcp_ || pcp_->is_removed();
  return is_removing_ && is_pcp_removed &&
         std::ranges::none_of(asked_, [](const Asked& a) { return !!a.release; });
}

std::vector<Mapped> GatewayMapper::mapped() const {
  if (is_removing_ || !winner_) return {};
  return mapped_by(*winner_);
}

std::vector<Mapped> GatewayMapper::mapped_by(MappingProtocol protocol) const {
  std::vector<Mapped> all;
  if (protocol == MappingProtocol::kPcp) {
    if (!pcp_) return all;
    for (const auto& m : pcp_->mappings()) {
      if (m.state != nat::PcpClient::State::kMapped) continue;
      all.push_back({m.external, internal_address(m.internal_port), from_pcp(m.protocol), protocol,
                     m.lifetime});
    }
    return all;
  }
  const Asked& asked = *std::ranges::find(asked_, protocol, &Asked::protocol);
  const bool is_v6 = gateway_.local.is_v6();
  for (const net::PortGrant& grant : asked.answer.ports) {
    if (!grant.is_granted || (!is_v6 && !asked.answer.external)) continue;
    const IpAddress external = is_v6 ? gateway_.local : *asked.answer.external;
    all.push_back({{external, grant.ask.external_port},
                   internal_address(grant.ask.internal_port),
                   grant.ask.transport,
                   protocol,
                   grant.lease});
  }
  return all;
}

std::vector<std::string> GatewayMapper::evidence() const {
  std::vector<std::string> lines;
  for (const Mapped& mapping : mapped()) lines.push_back(describe(mapping));
  if (pcp_ && winner_ != MappingProtocol::kPcp) {
    for (const auto& m : pcp_->mappings()) {
      if (m.state == nat::PcpClient::State::kRefused) {
        lines.push_back(fmt::format("PCP: {} {}: {}", upper_text(from_pcp(m.protocol)),
                                    m.internal_port, nat::pcp_result_text(m.result)));
      } else if (!pcp_->is_answered()) {
        lines.push_back(fmt::format("PCP: the gateway {} does not answer", gateway_.ip.text()));
        break;
      }
    }
  }
  for (const Asked& asked : asked_) {
    if (asked.protocol == winner_ || asked.answer.failure.empty()) continue;
    lines.push_back(
        fmt::format("{}: {}", net::mapping_protocol_text(asked.protocol), asked.answer.failure));
  }
  return lines;
}

Duration GatewayMapper::jittered(Duration base) {
  return std::chrono::duration_cast<Duration>(base * context_.random.fraction());
}

}  // namespace openp2p::agent
