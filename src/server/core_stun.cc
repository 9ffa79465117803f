#include <array>

#include "server/core.h"

/// What comes over the server's sockets, and its STUN service over both protocols.
namespace openp2p::server {

void Core::on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                        std::size_t segment_bytes, Moment now) {
  set_now(now);
  if (calls_.owns(socket)) return;  // Called to be told something, not to be heard.
  endpoint_->on_datagrams(socket, from, datagrams, segment_bytes, now.mono);
  settle();
}

void Core::on_connected(SocketId socket, const Address& local, const Address& remote,
                        bool is_incoming, Moment now) {
  set_now(now);
  if (calls_.owns(socket)) return say(calls_.on_connected(socket, now.mono));
  streams_.add(socket, local);
  endpoint_->on_connected(socket, local, remote, is_incoming, now.mono);
}

void Core::on_disconnected(SocketId socket, std::error_code why, Moment now) {
  set_now(now);
  if (calls_.owns(socket)) {
    if (const auto failure = calls_.on_disconnected(socket)) say(*failure);
    return;
  }
  streams_.remove(socket);
  endpoint_->on_disconnected(socket, why, now.mono);
  settle();
}

void Core::on_stun(SocketId socket, const Address& from, ByteView datagram, TimePoint now) {
  std::array<std::byte, nat::StunService::kAnswerBytesMax> memory;
  const auto beside = streams_.find(socket);
  if (!beside) {
    const auto answer = stun_.on_datagram(socket, from, datagram, memory, now);
    if (!answer) return;
    const ByteView bytes = ByteView(memory).first(answer->size);
    return endpoint_->send_datagram(answer->socket, answer->to, bytes);
  }
  const auto answer = stun_.on_stream_datagram(*beside, from, datagram, memory, now);
  if (!answer) return;
  const ByteView bytes = ByteView(memory).first(answer->size);
  if (!answer->call_from) return endpoint_->send_datagram(socket, from, bytes);
  call_back({socket, from, *answer->call_from, to_bytes(bytes), {}}, datagram, now);
}

void Core::call_back(CallBacks::Request request, ByteView asked, TimePoint now) {
  using nat::StunService;
  const auto no_call = [asked](StunService::NoCall why) {
    Bytes text(StunService::kAnswerBytesMax);
    text.resize(StunService::encode_no_call(asked, why, text));
    return text;
  };
  const SocketId asked_over = request.asked_over;
  const Address to = request.to;
  request.failure = no_call(StunService::NoCall::kFailed);
  if (!calls_.can_call()) {
    return say({asked_over, to, no_call(StunService::NoCall::kCannot)});
  }
  if (calls_.call(std::move(request), now)) return;
  say({asked_over, to, no_call(StunService::NoCall::kTooMany)});
}

void Core::say(const CallBacks::Say& say) { endpoint_->send_datagram(say.over, say.to, say.bytes); }

}  // namespace openp2p::server
