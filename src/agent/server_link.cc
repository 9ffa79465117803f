#include "agent/server_link.h"

#include <algorithm>
#include <utility>

#include "agent/close_text.h"
#include "control.pb.h"

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
constexpr std::size_t kNodesMax = 10'000;
constexpr int kWelcomeNodesMax =
    256;  // What fits; a larger network's others follow (control_frame.h).

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

std::optional<NodeRecord> to_record(const control::Node& node) {
  const auto id = NodeId::from_bytes(as_bytes(node.id()));
  if (!id || !is_valid_name(node.name())) return std::nullopt;
  return NodeRecord{*id,
                    node.name(),
                    node.online(),
                    node.incarnation(),
                    printable(node.version(), 40),
                    printable(node.platform(), 40),
                    node.seen_at_us()};
}

Welcome to_welcome(const control::Welcome& message) {
  Welcome welcome;
  welcome.network_name = printable(message.network_name());
  welcome.name = is_valid_name(message.name()) ? message.name() : "";
  welcome.name_changed = message.name_changed();
  welcome.observed = Address::parse(message.observed_address());
  welcome.has_all_nodes = message.nodes_size() < kWelcomeNodesMax;
  for (const control::Node& node : message.nodes()) {
    if (welcome.nodes.size() == kNodesMax) break;
    if (auto record = to_record(node)) welcome.nodes.push_back(std::move(*record));
  }
  for (const std::string& server : message.stun_servers()) {
    if (welcome.stun_servers.size() < 8) welcome.stun_servers.push_back(printable(server));
  }
  return welcome;
}

/// Nothing but a person can change these.
bool is_final(control::Refused::Code code) {
  switch (code) {
    case control::Refused::TOKEN_INVALID:
    case control::Refused::TOKEN_EXPIRED:
    case control::Refused::TOKEN_USED:
    case control::Refused::NOT_A_MEMBER:
    case control::Refused::NAME_INVALID:
    case control::Refused::PROTOCOL:
      return true;
    default:
      return false;
  }
}

/// Hello is answered once, and nothing comes before that. Kinds of a newer server are no matter.
bool is_in_turn(const control::ServerMessage& message, bool is_welcome) {
  if (message.kind_case() == control::ServerMessage::KIND_NOT_SET || message.has_refused()) {
    return true;
  }
  return message.has_welcome() != is_welcome;
}

SignalFailure to_failure(control::SignalFailed::Code code) {
  if (code == control::SignalFailed::OFFLINE) return SignalFailure::kOffline;
  if (code == control::SignalFailed::NO_SUCH_NODE) return SignalFailure::kNoSuchNode;
  return SignalFailure::kTooMany;  // Or unknown to this version: it passes, or the attempt ends.
}

}  // namespace

ServerLink::ServerLink(NodeContext& context, ServerLinkHandler& handler, Options options)
    : context_(context), handler_(handler), options_(std::move(options)) {}

ServerLink::~ServerLink() = default;

void ServerLink::start() {
  retry_at_.reset();
  addresses_.clear();
  resolving_ = 0;
  state_ = State::kResolving;
  resolve_next();
}

/// Names are looked up anew at each try: the server may have moved.
void ServerLink::resolve_next() {
  lookup_.reset();
  if (resolving_ == options_.addresses.size()) return connect();
  const std::string& name = options_.addresses[resolving_++];
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
  session_ = &context_.endpoint->dial(options_.server, addresses_, *this, context_.now);
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
  if (state_ != State::kWaiting || !retry_at_) return;
  failures_ = 0;
  retry_at_ = context_.now;
}

bool ServerLink::send_signal(const NodeId& to, ByteView body, std::uint64_t number) {
  if (state_ != State::kConnected || outbox_.size() > kOutboxBytesMax) return false;
  control::ClientMessage message;
  control::Signal& signal = *message.mutable_signal();
  signal.set_node(to_string(to.key));
  signal.set_body(to_string(body));
  signal.set_number(number);
  send_frame(as_bytes(message.SerializeAsString()));
  return true;
}

void ServerLink::ask_address() {
  if (state_ != State::kConnected) return;
  if (asked_address_at_ && context_.now - *asked_address_at_ < kAddressGap) return;
  asked_address_at_ = context_.now;
  control::ClientMessage message;
  message.mutable_ping()->set_number(1);
  send_frame(as_bytes(message.SerializeAsString()));
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
  control::ClientMessage message;
  control::Hello& hello = *message.mutable_hello();
  hello.set_join_secret(to_string(options_.join_secret));
  hello.set_name(options_.name);
  hello.set_version(options_.version);
  hello.set_platform(options_.platform);
  hello.set_incarnation(context_.incarnation);
  send_frame(as_bytes(message.SerializeAsString()));
}

void ServerLink::on_stream_opened(session::Session& session, session::StreamId id) {
  session.reset(id, 0);  // The server opens none in this version.
  session.stop(id, 0);
}

void ServerLink::on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                                bool is_end) {
  session.consume(id, data.size());
  if (!stream_ || id != *stream_) return;
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
  control::ServerMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return drop_session("the server sent a malformed message");
  }
  using Kind = control::ServerMessage;
  if (!is_in_turn(message, is_welcome_)) {
    return drop_session("the server broke the protocol: a message out of turn");
  }
  switch (message.kind_case()) {
    case Kind::kWelcome: {
      const Welcome welcome = to_welcome(message.welcome());
      state_ = State::kConnected;
      reason_.clear();
      is_welcome_ = true;
      connected_at_ = context_.now;
      return handler_.on_welcome(welcome);
    }
    case Kind::kRefused: {
      const Refusal refusal{printable(message.refused().text(), 400),
                            is_final(message.refused().code())};
      drop_session(refusal.text);
      const auto wait = std::chrono::seconds(message.refused().retry_after_s());
      if (refusal.is_final) {
        retry_at_ = context_.now + kRetryFinal;
      } else if (retry_at_) {
        retry_at_ = std::max(*retry_at_, context_.now + std::min<Duration>(wait, kRetryFinal));
      }
      return handler_.on_refused(refusal);
    }
    case Kind::kSignal: {
      const auto from = NodeId::from_bytes(as_bytes(message.signal().node()));
      if (!from) return;
      handler_.on_signal(*from, as_bytes(message.signal().body()),
                         Address::parse(message.signal().sender_address()));
      return;
    }
    case Kind::kSignalFailed: {
      const auto to = NodeId::from_bytes(as_bytes(message.signal_failed().node()));
      const control::SignalFailed& failed = message.signal_failed();
      if (to) handler_.on_signal_failed(*to, failed.number(), to_failure(failed.code()));
      return;
    }
    case Kind::kNodeChanged:
      if (const auto record = to_record(message.node_changed().node())) {
        handler_.on_node_changed(*record);
      }
      return;
    case Kind::kNodeRemoved:
      if (const auto id = NodeId::from_bytes(as_bytes(message.node_removed().id()))) {
        handler_.on_node_removed(*id);
      }
      return;
    case Kind::kPong:
      if (const auto observed = Address::parse(message.pong().observed_address())) {
        handler_.on_observed(*observed);
      }
      return;
    case Kind::KIND_NOT_SET:
      return;  // From a newer server: nothing this version needs.
  }
}

void ServerLink::on_stream_writable(session::Session&, session::StreamId) { flush(); }

void ServerLink::on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) {
  if (id == stream_) drop_session("the server reset the control stream");
}

void ServerLink::on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) {
  if (id == stream_) drop_session("the server stopped the control stream");
}

void ServerLink::on_stream_closed(session::Session&, session::StreamId) {}

void ServerLink::on_path_changed(session::Session& session) {
  const bool has_path = session.path() && session.paths() && session.paths()->selected();
  if (!has_path) {
    if (lost_path_at_) return;
    lost_path_at_ = context_.now + kPathPatience;
    // A server that restarted answers what it does not know with a reset: that ends the wait.
    return ask_address();
  }
  lost_path_at_.reset();
  ask_address();  // Another path may mean another address of ours.
}

void ServerLink::on_batch_end(session::Session&) {}

void ServerLink::on_closed(session::Session& session, const session::CloseReason& reason) {
  if (&session == session_) lose(close_text(reason, OtherParty::kServer));
}

}  // namespace openp2p::agent
