#include "agent/lending.h"

#include <algorithm>
#include <utility>

#include "relay/network_headers.h"

namespace openp2p::agent {
namespace {

constexpr std::uint64_t kBitsPerMbit = 1'000'000;
constexpr std::uint64_t kRefusedCode = 2;
/// Offers that say something new leave no closer together than this.
constexpr Duration kOfferGap = std::chrono::milliseconds(250);

}  // namespace

Lending::Lending(NodeContext& context, ServerLink& server, const Options& options,
                 IsOwnNode is_own_node, IsReachable is_reachable)
    : context_(context),
      server_(server),
      options_(options),
      is_own_node_(std::move(is_own_node)),
      is_reachable_(std::move(is_reachable)),
      share_mbit_(options.share_mbit),
      service_({.self = context.identity.id(),
                .host = this,
                .log = context.log,
                .allocations_max = kAllocationsMax,
                .lent_max = kLentMax}),
      told_at_(context.now),
      measured_at_(context.now) {
  service_.set_cap(cap(), context.now);
}

std::uint64_t Lending::cap() const { return share_mbit_ * kBitsPerMbit; }

void Lending::set_share(unsigned mbit) {
  share_mbit_ = mbit;
  service_.set_cap(cap(), context_.now);
  is_offer_due_ = true;
  tell_offer();
}

forward::StreamUser* Lending::on_stream(relay::Hop& hop, session::StreamId id) {
  const bool is_welcome = options_.relays_own_nodes || is_lending();
  if (is_welcome) return service_.on_stream(hop, id);
  hop.session()->reset(id, kRefusedCode);
  hop.session()->stop(id, kRefusedCode);
  return nullptr;
}

void Lending::on_secret(const RelaySecretKey& secret) { service_.set_secret(secret); }

void Lending::on_server_connected() {
  if (const auto time = server_.server_time()) service_.set_server_time(*time, context_.now);
  told_.reset();
  is_offer_due_ = true;
  tell_offer();
  send_receipts();
}

bool Lending::has_end(const NodeId& id) {
  if (std::exchange(are_ends_stale_, false)) {
    ends_.clear();
    for (const auto& allocation : service_.report(context_.now)) {
      ends_.insert(allocation.one);
      ends_.insert(allocation.other);
    }
  }
  return ends_.contains(id);
}

bool Lending::is_own_node(const NodeId& node) const {
  return options_.relays_own_nodes && is_own_node_(node);
}

/// What the server cannot be told now waits; of each end only the newest counts.
void Lending::on_receipt(const relay::SignedReceipt& receipt, const relay::Receipt& said) {
  if (server_.send_receipt(receipt.body, receipt.signature)) return;
  std::erase_if(receipts_, [&](const WaitingReceipt& waiting) {
    return waiting.allocation == said.ticket.allocation && waiting.end == said.end;
  });
  if (receipts_.size() == kReceiptsMax) receipts_.pop_front();
  receipts_.push_back({said.ticket.allocation, said.end, receipt});
}

void Lending::send_receipts() {
  while (!receipts_.empty()) {
    const relay::SignedReceipt& receipt = receipts_.front().receipt;
    if (!server_.send_receipt(receipt.body, receipt.signature)) return;
    receipts_.pop_front();
  }
}

void Lending::on_allocations_changed() {
  are_ends_stale_ = true;
  is_offer_due_ = true;
}

ShareOffer Lending::offer() const {
  ShareOffer offer;
  offer.bits_per_second = cap();
  offer.used_bits_per_second = service_.lent_bits_per_second(context_.now);
  offer.allocations = static_cast<std::uint32_t>(service_.allocation_count());
  offer.own_bits_per_second = own_bits_per_second_;
  offer.is_reachable = is_reachable_();
  return offer;
}

void Lending::tell_offer() {
  const bool is_repeated =
      service_.allocation_count() > 0 && context_.now >= told_at_ + kOfferEvery;
  if (!is_offer_due_ && !is_repeated) return;
  if (told_ && context_.now < told_at_ + kOfferGap) return;
  is_offer_due_ = false;
  told_at_ = context_.now;
  if (const auto time = server_.server_time()) service_.set_server_time(*time, context_.now);
  const ShareOffer now = offer();
  if (told_ != now && server_.send_share_offer(now)) told_ = now;
}

void Lending::on_sent(const session::Transmit& transmit) {
  const std::size_t segment = std::max<std::size_t>(transmit.segment_bytes, 1);
  const std::size_t datagrams = (transmit.bytes + segment - 1) / segment;
  const std::size_t headers = relay::ip_header_bytes(transmit.to.ip) + relay::kUdpHeaderBytes;
  sent_bytes_ += transmit.bytes + datagrams * headers;
}

/// What the node sends beyond what it relays is its own, and goes first. (What it relays for own
/// nodes does so too: the service knows of that.)
void Lending::measure_own_rate() {
  const Duration passed = context_.now - measured_at_;
  if (passed < kRateEvery) return;
  const std::uint64_t relayed = std::min(service_.counters().wire_bytes, sent_bytes_);
  const std::uint64_t own = sent_bytes_ - relayed;
  const double seconds = std::chrono::duration<double>(passed).count();
  const std::uint64_t bytes = own - std::min(measured_bytes_, own);
  own_bits_per_second_ = static_cast<std::uint64_t>(static_cast<double>(bytes) * 8 / seconds);
  measured_bytes_ = own;
  measured_at_ = context_.now;
  service_.set_own_rate(own_bits_per_second_, context_.now);
}

void Lending::on_timeout() {
  service_.on_timeout(context_.now);
  if (service_.lent_count() > 0) measure_own_rate();
  tell_offer();
}

std::optional<TimePoint> Lending::next_timeout() const {
  std::optional<TimePoint> next = service_.next_timeout();
  if (service_.lent_count() > 0) next = earlier(next, measured_at_ + kRateEvery);
  if (server_.state() != ServerLink::State::kConnected) return next;
  if (is_offer_due_) return earlier(next, told_ ? told_at_ + kOfferGap : context_.now);
  return service_.allocation_count() > 0 ? earlier(next, told_at_ + kOfferEvery) : next;
}

void Lending::stop(std::string_view why) { service_.stop(why, context_.now); }

}  // namespace openp2p::agent
