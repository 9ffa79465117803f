#include <utility>

#include "agent/forward_impl.h"

namespace openp2p::agent {

bool Forwards::Connection::start(PeerLink& peer) {
  session::Session* session = peer.session();
  const auto stream = session->open_stream();
  if (!stream) return false;
  peer_ = &peer;
  flow_.emplace(*session, *stream, *this, forward_.owner_.buffers_);
  peer.use(*stream, &router_);
  forward::OpenRequest request;
  request.host = forward_.spec_.host;
  request.port = static_cast<std::uint16_t>(forward_.spec_.port + offset_);
  flow_->open(request, std::move(local_));
  return true;
}

void Forwards::Connection::on_answer(forward::Flow&, const forward::OpenAnswer& answer) {
  is_answered_ = true;
  if (answer.status != forward::OpenStatus::kOpened) ++forward_.failed_;
  forward_.note(answer, offset_);
}

/// The peer's doing has just ended a connection that it never answered for.
void Forwards::Connection::note_end(const char* why) {
  if (!is_finished || std::exchange(is_answered_, true)) return;
  ++forward_.failed_;
  forward_.reason_ = why;
  forward_.hint_.clear();
}

void Forwards::Connection::finish() {
  if (std::exchange(is_finished, true)) return;
  forward_.owner_.has_finished_ = true;
  if (peer_ != nullptr && flow_) peer_->use(flow_->stream(), nullptr);
}

}  // namespace openp2p::agent
