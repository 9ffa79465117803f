#include "agent/stranger_links.h"

#include <algorithm>

namespace openp2p::agent {
namespace {

constexpr std::uint64_t kRefusedCode = 2;

}  // namespace

StrangerLinks::StrangerLinks(NodeContext& context, PeerLinkHandler& node, StrangerHandler& handler)
    : context_(context), node_(node), handler_(handler) {}

StrangerLinks::~StrangerLinks() = default;

PeerLink* StrangerLinks::add(const NodeId& id) {
  if (links_.size() >= kLinksMax) return nullptr;
  NodeRecord record;
  record.id = id;
  record.is_online = true;
  Entry& entry = links_[id];
  entry.link = std::make_unique<PeerLink>(context_, *this, record);
  entry.needed_at = context_.now;
  return entry.link.get();
}

PeerLink* StrangerLinks::find(const NodeId& id) const {
  const auto found = links_.find(id);
  return found == links_.end() ? nullptr : found->second.link.get();
}

PeerLink* StrangerLinks::reach(const NodeId& relay, TimePoint until) {
  PeerLink* link = find(relay);
  if (link == nullptr) link = add(relay);
  if (link == nullptr) return nullptr;
  links_.at(relay).needed_at = context_.now;
  link->want(until);
  return link;
}

void StrangerLinks::on_signal(const NodeId& from, ByteView body, std::optional<Address> seen_at) {
  const auto signal = decode_signal(body, from, context_.identity.id());
  const bool is_offer = signal && signal->kind == PeerSignal::Kind::kOffer;
  PeerLink* link = find(from);
  // This node asks the relays that it borrows; only who relays is asked.
  const bool is_taken = signal && (!is_offer || (is_lending_ && offers_.take(context_.now)));
  if (link == nullptr && is_taken && is_offer) link = add(from);
  if (!is_taken || link == nullptr) {
    ++counters_.offers_refused;
    return;
  }
  if (is_offer) links_.at(from).needed_at = context_.now;
  link->on_signal(*signal, seen_at);
}

void StrangerLinks::on_signal_failed(const NodeId& to, SignalFailure why) {
  if (PeerLink* link = find(to)) link->on_signal_failed(why);
}

void StrangerLinks::on_server_connected() {
  for (auto& [id, entry] : links_) entry.link->on_server_connected();
}

void StrangerLinks::on_network_changed() {
  for (auto& [id, entry] : links_) entry.link->on_network_changed();
}

void StrangerLinks::on_candidates_changed() {
  for (auto& [id, entry] : links_) entry.link->on_candidates_changed();
}

void StrangerLinks::on_profile_fresh() {
  for (auto& [id, entry] : links_) entry.link->on_profile_fresh();
}

void StrangerLinks::on_timeout() {
  for (auto& [id, entry] : links_) {
    entry.link->on_timeout();
    if (handler_.is_stranger_needed(id)) entry.needed_at = context_.now;
    if (context_.now < entry.needed_at + kIdleMax) continue;
    entry.link->close("nobody needs this relay now");
    removed_.push_back(std::move(entry.link));
  }
  std::erase_if(links_, [](const auto& entry) { return entry.second.link == nullptr; });
}

std::optional<TimePoint> StrangerLinks::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [id, entry] : links_) {
    next = earlier(next, earlier(entry.link->next_timeout(), entry.needed_at + kIdleMax));
  }
  return next;
}

void StrangerLinks::close_all(std::string_view why) {
  for (auto& [id, entry] : links_) {
    entry.link->close(why);
    removed_.push_back(std::move(entry.link));
  }
  links_.clear();
}

void StrangerLinks::sweep() { removed_.clear(); }

bool StrangerLinks::send_signal(const NodeId& to, ByteView body, std::uint64_t number) {
  return node_.send_signal(to, body, number);
}

/// The addresses of this site's machines are none of a stranger's business.
std::vector<path::Candidate> StrangerLinks::local_candidates() const {
  std::vector<path::Candidate> candidates = node_.local_candidates();
  std::erase_if(candidates, [](const path::Candidate& candidate) {
    const bool is_own = candidate.type == path::CandidateType::kHost;
    return is_own && (candidate.address.ip.is_private() || candidate.address.ip.is_link_local());
  });
  return candidates;
}

bool StrangerLinks::is_needed(const PeerLink& peer) const {
  return handler_.is_stranger_needed(peer.record().id);
}

void StrangerLinks::on_peer_stream(PeerLink& peer, session::StreamId id) {
  if (is_lending_) return handler_.on_stranger_stream(peer, id);
  ++counters_.streams_refused;
  session::Session* session = peer.session();
  if (session == nullptr) return;
  session->reset(id, kRefusedCode);
  session->stop(id, kRefusedCode);
}

void StrangerLinks::on_session_up(PeerLink& peer) { handler_.on_stranger_up(peer); }

void StrangerLinks::on_session_down(PeerLink& peer, const std::string&) {
  handler_.on_stranger_down(peer);
}

}  // namespace openp2p::agent
