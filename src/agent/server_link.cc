#include "agent/server_link.h"

#include <algorithm>
#include <utility>

#include "agent/close_text.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRetryFirst = 500ms;
constexpr Duration kRetryMax = 60s;     // "Up to minutes" helps nobody whose server is back.
constexpr Duration kRetryFinal = 300s;  // Refused for good: a person must act, but may do so there.
constexpr Duration kStableAfter = 30s;  // A connection this old was no failure.
constexpr Duration kPathPatience = 3s;  // Without a path for this long: dial anew.
constexpr std::size_t kOutboxBytesMax = 256 << 10;  // More waiting means the server does not read.
constexpr Duration kAddressGap = 500ms;  // When all paths fail at once, one question will do.

/// Hello is answered once, and nothing comes before that. Kinds of a newer server are no matter.
bool is_in_turn(const ServerMessage& message, bool is_welcome) {
  if (std::holds_alternative<UnknownServerMessage>(message)) return true;
  if (std::holds_alternative<Refusal>(message)) return true;
  return std::holds_alternative<Welcome>(message) != is_welcome;
}

}  // namespace

ServerLink::ServerLink(NodeContext& context, ServerLinkHandler& handler, Options options)
    : context_(context), handler_(handler), options_(std::move(options)) {}

ServerLink::~ServerLink() = default;

void ServerLink::start() {
  retry_at_.reset();
  addresses_.clear();
  names_ = names();
  resolving_ = 0;
  state_ = State::kResolving;
  resolve_next();
}

std::vector<std::string> ServerLink::names() const {
  std::vector<std::string> names = options_.addresses;
  for (const std::string& told : options_.told_addresses) {
    if (std::ranges::find(names, told) == names.end()) names.push_back(told);
  }
  return names;
}

/// Names are looked up anew at each try: the server may have moved.
void ServerLink::resolve_next() {
  lookup_.reset();
  if (resolving_ == names_.size()) return connect();
  const std::string& name = names_[resolving_++];
  if (const auto address = Address::parse(name)) {
    addresses_.push_back(*address);
    return resolve_next();
  }
  lookup_ = context_.platform.resolve(name, [this](std::vector<Address> found, TimePoint now) {
    context_.now = now;
    addresses_.insert(addresses_.end(), found.begin(), found.end());
    resolve_next();
    context_.wake();
  });
}

void ServerLink::connect() {
  if (addresses_.empty()) {
    return lose("the name of the server (" + printable(options_.addresses.front()) +
                ") is not found; is this machine online?");
  }
  state_ = State::kConnecting;
  session_ = &context_.endpoint->dial(options_.server, addresses_, *this, context_.now, hints());
}

/// Where only TCP came through the last time, UDP is hardly waited for; but it is tried.
session::DialHints ServerLink::hints() const {
  const auto leads_out = [](const IpAddress& ip) {
    return !ip.is_v4() && !ip.is_link_local() && !ip.is_private();
  };
  session::DialHints hints;
  hints.has_v6 = std::ranges::any_of(context_.platform.local_addresses(), leads_out);
  hints.last = won_;
  if (won_by_tcp_) hints.stream_delay = Duration::zero();
  return hints;
}

void ServerLink::on_timeout() {
  const TimePoint now = context_.now;
  if (retry_at_ && now >= *retry_at_) return start();
  if (lost_path_at_ && now >= *lost_path_at_) {
    lost_path_at_.reset();
    drop_session("the path to the server went silent");
  }
}

std::optional<TimePoint> ServerLink::next_timeout() const {
  return earlier(retry_at_, lost_path_at_);
}

void ServerLink::on_network_changed() {
  ask_address();
  won_.reset();
  won_by_tcp_ = false;
  if (state_ != State::kWaiting || !retry_at_) return;
  failures_ = 0;
  retry_at_ = context_.now;
}

bool ServerLink::send_if_connected(ByteView message) {
  if (state_ != State::kConnected || outbox_.size() > kOutboxBytesMax) return false;
  send_frame(message);
  return true;
}

bool ServerLink::send_signal(const NodeId& to, ByteView body, std::uint64_t number) {
  return send_if_connected(encode_signal_request(to, body, number));
}

bool ServerLink::send_relay_wish(const RelayWish& wish) {
  return send_if_connected(encode_relay_wish(wish));
}

bool ServerLink::send_share_offer(const ShareOffer& offer) {
  return send_if_connected(encode_share_offer(offer));
}

bool ServerLink::send_receipt(ByteView body, ByteView signature) {
  return send_if_connected(encode_receipt(body, signature));
}

bool ServerLink::send_relay_report(const RelayReport& report) {
  return send_if_connected(encode_relay_report(report));
}

bool ServerLink::ask_credit(std::uint64_t number) {
  return send_if_connected(encode_credit_query(number));
}

void ServerLink::ask_address() {
  if (state_ != State::kConnected) return;
  if (asked_address_at_ && context_.now - *asked_address_at_ < kAddressGap) return;
  asked_address_at_ = context_.now;
  send_frame(encode_ping(1));
}

void ServerLink::forget_join_secret() {
  wipe(options_.join_secret);
  options_.join_secret.clear();
}

std::optional<Duration> ServerLink::retry_in() const {
  if (!retry_at_) return std::nullopt;
  return std::max(*retry_at_ - context_.now, Duration::zero());
}

std::string ServerLink::server_address() const {
  if (session_ != nullptr) {
    if (const auto path = session_->path()) return path->remote.text();
  }
  return options_.addresses.empty() ? "" : options_.addresses.front();
}

std::optional<Path> ServerLink::path() const {
  return session_ == nullptr ? std::nullopt : session_->path();
}

std::optional<Address> ServerLink::reflexive_v4() const {
  const path::PathFinder* paths = session_ == nullptr ? nullptr : session_->paths();
  return paths == nullptr ? std::nullopt : paths->reflexive_v4();
}

std::optional<Duration> ServerLink::rtt() const {
  if (state_ != State::kConnected) return std::nullopt;
  return session_->rtt();
}

std::optional<WallTime> ServerLink::server_time() const {
  if (!told_time_) return std::nullopt;
  const auto since =
      std::chrono::duration_cast<std::chrono::microseconds>(context_.now - told_time_->at);
  return WallTime{told_time_->wall.us + since.count()};
}

/// The connection is gone or cannot be made: wait, longer each time, with jitter so that a
/// restarted server is not met by all of its nodes at once.
void ServerLink::lose(std::string reason) {
  const bool was_welcome = std::exchange(is_welcome_, false);
  if (was_welcome && context_.now - connected_at_ > kStableAfter) failures_ = 0;
  const Duration whole =
      std::min<Duration>(kRetryMax, kRetryFirst * (1 << std::min(failures_, 10U)));
  ++failures_;
  retry_at_ =
      context_.now + Duration(static_cast<std::int64_t>(static_cast<double>(whole.count()) *
                                                        (0.5 + context_.random.fraction())));
  state_ = State::kWaiting;
  reason_ = std::move(reason);
  session_ = nullptr;
  stream_.reset();
  lost_path_at_.reset();
  decoder_ = ControlFrameDecoder();
  outbox_.clear();
  context_.log.info(context_.now, "server.lost reason=\"{}\" retry_ms={}", reason_,
                    std::chrono::duration_cast<std::chrono::milliseconds>(*retry_in()).count());
  users_.on_session_lost();
  if (was_welcome) handler_.on_server_lost();
}

void ServerLink::drop_session(std::string_view reason) {
  if (session_ == nullptr) return;
  session::Session* session = session_;
  session->close(0, reason, context_.now);
  if (session_ == session) lose(std::string(reason));  // on_closed() comes later, and is not ours.
}

void ServerLink::send_frame(ByteView message) {
  append_control_frame(message, outbox_);
  flush();
}

void ServerLink::flush() {
  if (session_ == nullptr || !stream_ || outbox_.empty()) return;
  const std::size_t written = session_->write(*stream_, outbox_);
  outbox_.erase(outbox_.begin(), outbox_.begin() + static_cast<std::ptrdiff_t>(written));
}

void ServerLink::on_established(session::Session& session) {
  const auto stream = session.open_stream();
  if (!stream) return drop_session("no stream could be opened");
  stream_ = *stream;
  send_frame(encode_hello({options_.join_secret, options_.name, options_.version, options_.platform,
                           context_.incarnation}));
}

void ServerLink::on_stream_opened(session::Session& session, session::StreamId id) {
  session.reset(id, 0);  // The server opens none in this version.
  session.stop(id, 0);
}

void ServerLink::on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                                bool is_end) {
  if (!stream_ || id != *stream_) {
    const bool is_used = &session == session_ && users_.on_data(id, data, is_end);
    if (!is_used) session.consume(id, data.size());
    return;
  }
  session.consume(id, data.size());
  for (;;) {
    const auto message = decoder_.take(data);
    if (!message) return drop_session("the server sent an oversized message");
    if (!*message) break;
    on_message(**message);
    if (session_ == nullptr) return;
  }
  if (is_end) drop_session("the server ended the control stream");
}

void ServerLink::on_message(ByteView bytes) {
  const auto message = decode_server_message(bytes);
  if (!message) return drop_session("the server sent a malformed message");
  if (!is_in_turn(*message, is_welcome_)) {
    return drop_session("the server broke the protocol: a message out of turn");
  }
  if (const auto* welcome = std::get_if<Welcome>(&*message)) return on_welcome(*welcome);
  if (const auto* refusal = std::get_if<Refusal>(&*message)) return on_refused(*refusal);
  if (const auto* signal = std::get_if<CarriedSignal>(&*message)) return on_signal(*signal);
  if (const auto* failed = std::get_if<FailedSignal>(&*message)) {
    return handler_.on_signal_failed(failed->to, failed->number, failed->why);
  }
  if (const auto* record = std::get_if<NodeRecord>(&*message)) {
    return handler_.on_node_changed(*record);
  }
  if (const auto* gone = std::get_if<NodeGone>(&*message)) {
    return handler_.on_node_removed(gone->id);
  }
  if (const auto* pong = std::get_if<Pong>(&*message)) {
    told_time_ = {pong->server_time, context_.now};
    if (pong->observed) handler_.on_observed(*pong->observed);
    return;
  }
  if (relay_handler_ != nullptr) on_relay_news(*message);
}

void ServerLink::on_relay_news(const ServerMessage& message) {
  if (const auto* secret = std::get_if<RelaySecretKey>(&message)) {
    return relay_handler_->on_relay_secret(*secret);
  }
  if (const auto* grant = std::get_if<RelayGrant>(&message)) {
    return relay_handler_->on_relay_grant(*grant);
  }
  if (const auto* credit = std::get_if<Credit>(&message)) relay_handler_->on_credit(*credit);
  if (const auto* spent = std::get_if<AccountSpent>(&message)) {
    relay_handler_->on_account_spent(*spent);
  }
}

void ServerLink::on_welcome(const Welcome& welcome) {
  state_ = State::kConnected;
  reason_.clear();
  is_welcome_ = true;
  connected_at_ = context_.now;
  told_time_ = {welcome.server_time, context_.now};
  if (!welcome.server_addresses.empty()) options_.told_addresses = welcome.server_addresses;
  handler_.on_welcome(welcome);
}

void ServerLink::on_refused(const Refusal& refusal) {
  drop_session(refusal.text);
  if (refusal.is_final) {
    retry_at_ = context_.now + kRetryFinal;
  } else if (retry_at_) {
    retry_at_ = std::max(*retry_at_, context_.now + refusal.retry_after);
  }
  handler_.on_refused(refusal);
}

void ServerLink::on_signal(const CarriedSignal& signal) {
  if (!signal.is_stranger) return handler_.on_signal(signal.from, signal.body, signal.seen_at);
  if (relay_handler_ == nullptr) return;
  relay_handler_->on_stranger_signal(signal.from, signal.body, signal.seen_at);
}

void ServerLink::on_stream_writable(session::Session&, session::StreamId id) {
  if (id == stream_) return flush();
  users_.on_writable(id);
}

void ServerLink::on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) {
  if (id == stream_) return drop_session("the server reset the control stream");
  users_.on_reset(id);
}

void ServerLink::on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) {
  if (id == stream_) return drop_session("the server stopped the control stream");
  users_.on_stopped(id);
}

void ServerLink::on_stream_closed(session::Session&, session::StreamId id) { users_.on_closed(id); }

void ServerLink::on_path_changed(session::Session& session) {
  const bool has_path = session.path() && session.paths() && session.paths()->selected();
  if (!has_path) {
    if (lost_path_at_) return;
    lost_path_at_ = context_.now + kPathPatience;
    // A server that restarted answers what it does not know with a reset: that ends the wait.
    return ask_address();
  }
  lost_path_at_.reset();
  won_ = session.paths()->selected()->remote;
  won_by_tcp_ = session.paths()->direct_transport() == path::Transport::kTcp;
  handler_.on_server_path(won_by_tcp_ ? path::Transport::kTcp : path::Transport::kUdp);
  ask_address();  // Another path may mean another address of ours.
}

void ServerLink::on_batch_end(session::Session&) { users_.on_batch_end(); }

void ServerLink::on_closed(session::Session& session, const session::CloseReason& reason) {
  if (&session == session_) lose(close_text(reason, OtherParty::kServer));
}

}  // namespace openp2p::agent
