#include "agent/signal_ways.h"

#include <algorithm>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookAfter = 5s;  ///< A server that restarts is back by then.
constexpr Duration kLookEvery = 30s;
constexpr Duration kWantFor = 45s;  ///< Over the next look.
/// After a start or a move: until the NATs are known and ports are mapped.
constexpr Duration kTellAfter = 15s;
constexpr Duration kTellGap = 500ms;  ///< A tenth of what the server lets through.
/// Each costs a signature to verify.
constexpr int kLettersBurst = 100;
constexpr Duration kLetterEvery = 50ms;

}  // namespace

SignalWays::SignalWays(NodeContext& context, ServerLink& server, PeerCache& cache,
                       SignalWaysHost& host)
    : context_(context),
      server_(server),
      cache_(cache),
      host_(host),
      direct_(context, *this, context.incarnation),
      guard_(context),
      letters_in_(kLettersBurst, kLetterEvery) {}

void SignalWays::start() {
  if (!look_at_) look_at_ = context_.now + kLookAfter;
}

void SignalWays::use_lan() {
  uses_lan_ = true;
  direct_.set_lan(true);
  lan_ear_.reset();
  lan_ear_ = context_.platform.hear_lan(
      lan_group(), [this](const Address& from, ByteView datagram, TimePoint now) {
        context_.now = now;
        (void)direct_.on_lan(from, datagram);
        context_.wake();
      });
}

/// Groups are joined by interface.
void SignalWays::on_network_changed() {
  direct_.on_network_changed();
  if (uses_lan_) use_lan();
  on_candidates_changed();
}

void SignalWays::on_server_connected() {
  look_at_.reset();
  on_candidates_changed();
}

void SignalWays::on_candidates_changed() {
  const std::vector<KnownPeer> peers = cache_.peers();
  if (!is_server_there() || peers.size() > kMeetingNetworkMax) return;
  for (const KnownPeer& peer : peers) untold_.insert(peer.id);
  tell_soon(kTellAfter);
}

void SignalWays::on_peer_online(const NodeId& id) {
  if (!is_server_there() || untold_.size() >= kMeetingNetworkMax) return;
  untold_.insert(id);
  tell_soon(kTellAfter);
}

void SignalWays::tell_soon(Duration wait) {
  if (!tell_at_ && !untold_.empty()) tell_at_ = context_.now + wait;
}

/// One after the other: nobody is in a hurry.
void SignalWays::tell_one() {
  tell_at_.reset();
  if (!is_server_there()) return untold_.clear();
  while (!untold_.empty()) {
    const NodeId to = *untold_.begin();
    untold_.erase(untold_.begin());
    const PeerLink* link = host_.own_node(to);
    if (link == nullptr || !link->record().is_online) continue;
    PeerSignal news;
    news.from = context_.identity.id();
    news.to = to;
    news.kind = PeerSignal::Kind::kNews;
    news.candidates = host_.local_candidates();
    news.incarnation = context_.incarnation;
    (void)server_.send_signal(to, encode_signal(news, context_.identity), /*number=*/0);
    return tell_soon(kTellGap);
  }
}

/// What came another way is answered that way as well: the peer may see no server.
bool SignalWays::send(const NodeId& to, ByteView body, std::uint64_t number) {
  Ways ways{.server = server_.send_signal(to, body, number)};
  if (!ways.server || has_letter_from(to)) ways.letters = send_letters(to, body);
  if (!ways.server || direct_.has_heard(to)) ways.direct = direct_.send(to, body, number);
  last_ways_ = ways;
  return ways.server || ways.letters || ways.direct;
}

std::string_view SignalWays::last_way() const {
  const Ways& ways = last_ways_;
  if (ways.server) return "through the server";
  if (ways.letters && ways.direct) {
    return "at its last addresses and through nodes of this network: the server is away";
  }
  return ways.letters ? "through nodes of this network: the server is away"
                      : "at its last addresses: the server is away";
}

bool SignalWays::has_letter_from(const NodeId& peer) const {
  const auto found = letters_from_.find(peer);
  return found != letters_from_.end() && context_.now < found->second + DirectSignals::kHeardFor;
}

bool SignalWays::send_letters(const NodeId& to, ByteView body) {
  bool is_sent = false;
  std::size_t count = 0;
  for (PeerLink* node : host_.connected_nodes()) {
    if (node->record().id == to || count == kLettersMax) continue;
    relay::RelayClient* client = host_.relay_client(*node);
    if (client == nullptr || !client->send_letter(to, body)) continue;
    ++count;
    ++counters_.letters_sent;
    is_sent = true;
  }
  return is_sent;
}

/// Who carried it may have kept it: offers have to be new, all else belongs to an attempt of now.
/// Relays of others, which bring letters unasked, must not use up what is verified at all.
void SignalWays::on_letter(const NodeId& relay, const NodeId& from, ByteView body) {
  const bool is_due = is_member(relay) && is_member(from) && letters_in_.take(context_.now);
  const auto signal = is_due ? decode_signal(body, from, context_.identity.id())
                             : Result<PeerSignal>(SignalError::kNotForUs);
  const bool is_offer = signal && signal->kind == PeerSignal::Kind::kOffer;
  if (!signal || (!is_offer && !is_attempt(from, signal->attempt))) {
    ++counters_.letters_refused;
    return;
  }
  if (is_offer && !guard_.is_fresh(*signal, relay.key)) {
    ++counters_.letters_challenged;
    PeerLink* carrier = host_.own_node(relay);
    relay::RelayClient* client = carrier == nullptr ? nullptr : host_.relay_client(*carrier);
    if (client != nullptr) client->send_letter(from, guard_.challenge(*signal, relay.key));
    return;
  }
  ++counters_.letters_taken;
  letters_from_[from] = context_.now;  // Of members only: bounded as they are.
  host_.on_peer_signal(*signal, body, std::nullopt);
}

bool SignalWays::is_attempt(const NodeId& peer, const AttemptId& attempt) const {
  const PeerLink* link = host_.own_node(peer);
  return link != nullptr && link->is_attempt(attempt);
}

void SignalWays::on_direct_signal(const PeerSignal& signal, ByteView bytes, const Address& source) {
  host_.on_peer_signal(signal, bytes, source);
}

void SignalWays::on_session_up(PeerLink& peer) {
  if (!is_server_there() && peer.has_direct()) (void)host_.relay_client(peer);
}

void SignalWays::on_timeout() {
  if (tell_at_ && context_.now >= *tell_at_) tell_one();
  if (!look_at_ || context_.now < *look_at_) return;
  look_at_ = context_.now + kLookEvery;
  std::erase_if(letters_from_, [&](const auto& entry) { return !has_letter_from(entry.first); });
  be_reachable();
  look_for_meetings();
}

/// A relay delivers letters to who has a stream with it.
void SignalWays::be_reachable() {
  std::size_t count = 0;
  for (PeerLink* node : host_.connected_nodes()) {
    if (count++ == kLettersMax) return;
    (void)host_.relay_client(*node);
  }
}

/// The first in the order of their ids that can be reached: everybody finds the same.
void SignalWays::look_for_meetings() {
  const std::vector<KnownPeer> peers = cache_.peers();
  if (peers.size() > kMeetingNetworkMax) return;
  std::vector<PeerLink*> open;
  for (const KnownPeer& peer : peers) {
    PeerLink* link = host_.own_node(peer.id);
    if (link != nullptr && cache_.is_open(peer.id)) open.push_back(link);
  }
  const auto there = std::ranges::count_if(open, [](PeerLink* link) { return link->has_direct(); });
  if (static_cast<std::size_t>(there) >= std::min(kMeetingsMin, open.size())) {
    meetings_wanted_ = kMeetingsMin;
    return;
  }
  const std::size_t count = std::min(open.size(), meetings_wanted_);
  for (std::size_t i = 0; i < count; ++i) open[i]->want(context_.now + kWantFor);
  meetings_wanted_ = std::min(meetings_wanted_ + kMeetingsMin, kMeetingsMax);
}

}  // namespace openp2p::agent
