#include "server/client.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::server {
namespace {

IpAddress address_of(const session::Session& session) {
  const auto path = session.path();
  return path ? path->remote.ip : IpAddress();
}

}  // namespace

IpAddress prefix_of(const IpAddress& address) {
  if (address.is_v4()) return address;
  std::array<std::uint8_t, 16> bytes = address.bytes();
  std::fill(bytes.begin() + 8, bytes.end(), std::uint8_t{0});
  return IpAddress::v6(bytes);
}

Client::Client(ConnectionId id, session::Session& session, ClientHandler& handler)
    : id_(id),
      session_(&session),
      handler_(handler),
      node_(session.peer()),
      prefix_(prefix_of(address_of(session))),
      messages_(kMessagesBurstMax, kMessageInterval),
      signals_(kSignalsBurstMax, kSignalInterval) {}

std::string Client::observed_address() const {
  if (session_ == nullptr) return {};
  const auto path = session_->path();
  return path ? path->remote.text() : std::string();
}

std::string Client::reflexive_address() const {
  const path::PathFinder* paths = session_ == nullptr ? nullptr : session_->paths();
  const auto path = session_ == nullptr ? std::nullopt : session_->path();
  const bool is_v6 = path && path->remote.ip.is_v6();
  const auto answered = is_v6 && paths != nullptr ? paths->answered_v4() : std::nullopt;
  return answered ? answered->text() : observed_address();
}

Duration Client::rtt() const { return session_ == nullptr ? Duration::zero() : session_->rtt(); }

void Client::send(ByteView message) {
  if (!is_open() || !stream_) return;
  append_control_frame(message, out_);
  flush();
  if (out_.size() > kQueuedBytesMax) {
    doom(ControlEnd::kTooSlow, "this node does not read what the server sends it");
  }
}

void Client::flush() {
  if (session_ == nullptr || !stream_ || out_.empty()) return;
  const std::size_t written = session_->write(*stream_, out_);
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(written));
  if (out_.empty()) Bytes().swap(out_);  // An idle client holds no memory.
}

void Client::refuse(const Refusal& refusal) {
  send(encode_refused(refusal));
  if (!is_open()) return;
  state_ = State::kRefused;
  end_ = ControlEnd::kRefused;
  end_text_ = refusal.text;
}

void Client::doom(ControlEnd why, std::string text) {
  if (!is_open()) return;
  const bool was_refused = state_ == State::kRefused;  // Then the reason is known already.
  state_ = State::kDoomed;
  if (!was_refused) {
    end_ = why;
    end_text_ = std::move(text);
  }
  handler_.on_doomed(*this);
}

void Client::close(TimePoint now) {
  if (session_ == nullptr) return;
  session_->close(static_cast<std::uint64_t>(end_), end_text_, now);
}

void Client::on_established(session::Session&) {}

/// The first stream is the control stream; a second one is for the relay, if there is one.
void Client::on_stream_opened(session::Session& session, session::StreamId id) {
  if (!stream_) {
    stream_ = id;
    return;
  }
  if (state_ == State::kMember && relay_user_ == nullptr) {
    relay_stream_ = id;
    relay_user_ = handler_.on_relay_stream(*this, session, id);
    if (relay_user_ != nullptr) return;
  }
  session.stop(id, static_cast<std::uint64_t>(ControlEnd::kProtocol));
  session.reset(id, static_cast<std::uint64_t>(ControlEnd::kProtocol));
  doom(ControlEnd::kProtocol, "this server has no use for a second stream: it does not relay");
}

void Client::on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                            bool is_end) {
  if (is_relay(id)) return relay_user_->on_stream_data(data, is_end);
  session.consume(id, data.size());
  if (id == stream_) on_control_data(data, is_end);
}

void Client::on_control_data(ByteView data, bool is_end) {
  while (is_open() && state_ != State::kRefused) {
    const auto message = decoder_.take(data);
    if (!message) return doom(ControlEnd::kProtocol, "a message is longer than 65,536 bytes");
    if (!*message) break;
    on_frame(**message);
  }
  if (is_end) doom(ControlEnd::kProtocol, "the node ended its control stream");
}

void Client::on_frame(ByteView bytes) {
  if (!messages_.take(handler_.now())) {
    return doom(ControlEnd::kTooMuch, "this node sends more messages than it may: 200 a second");
  }
  auto message = decode_client_message(bytes);
  if (!message) return doom(ControlEnd::kProtocol, message.error().message());
  handler_.on_message(*this, std::move(*message));
}

void Client::on_stream_writable(session::Session&, session::StreamId id) {
  if (is_relay(id)) return relay_user_->on_stream_writable();
  if (id == stream_) flush();
}

void Client::on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) {
  if (is_relay(id)) return relay_user_->on_stream_reset();
  if (id == stream_) doom(ControlEnd::kProtocol, "the node reset its control stream");
}

void Client::on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) {
  if (is_relay(id)) return relay_user_->on_stream_stopped();
  if (id == stream_) doom(ControlEnd::kProtocol, "the node reads its control stream no more");
}

void Client::on_stream_closed(session::Session&, session::StreamId id) {
  if (!is_relay(id)) return;
  std::exchange(relay_user_, nullptr)->on_stream_closed();
  relay_stream_.reset();
}

void Client::on_path_changed(session::Session&) { handler_.on_moved(*this); }

void Client::on_batch_end(session::Session&) {
  if (relay_user_ != nullptr) relay_user_->on_batch_end();
}

void Client::on_closed(session::Session&, const session::CloseReason& reason) {
  using Kind = session::CloseReason::Kind;
  was_planned_ = reason.kind == Kind::kLocal || reason.kind == Kind::kPeer;
  if (relay_user_ != nullptr) std::exchange(relay_user_, nullptr)->on_session_lost();
  session_ = nullptr;
  state_ = State::kClosed;
  Bytes().swap(out_);
  handler_.on_gone(*this);
}

}  // namespace openp2p::server
