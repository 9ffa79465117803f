#include "nat/stun_service.h"

#include <algorithm>

#include "base/check.h"
#include "nat/stun_attributes.h"

namespace openp2p::nat {
namespace {

constexpr std::uint16_t kErrorUnknownAttribute = 420;

/// What this service does not do for this request, in the words of UNKNOWN-ATTRIBUTES.
AttributeTypes unsupported(const StunMessage& request) {
  AttributeTypes types = request.not_understood;
  if (request.padding_bytes != 0) types.add(static_cast<std::uint16_t>(AttributeType::kPadding));
  if (request.response_port && *request.response_port < StunService::kResponsePortMin) {
    types.add(static_cast<std::uint16_t>(AttributeType::kResponsePort));
  }
  return types;
}

StunMessage reply_to(const StunMessage& request, StunClass message_class) {
  StunMessage reply;
  reply.message_class = message_class;
  reply.transaction = request.transaction;
  reply.is_rfc3489 = request.is_rfc3489;
  reply.cookie = request.cookie;
  reply.has_fingerprint = request.has_fingerprint;
  return reply;
}

}  // namespace

StunService::StunService(const std::vector<StunSocket>& sockets, const SourceLimitConfig& limit,
                         std::uint64_t seed)
    : sockets_(sockets), limit_(limit, seed) {
  CHECK(sockets.size() <= kSocketsMax);
}

std::optional<StunService::Answer> StunService::on_datagram(SocketId socket, const Address& from,
                                                            ByteView datagram, MutableByteView out,
                                                            TimePoint now) {
  CHECK(out.size() >= kAnswerBytesMax);
  const StunSocket* const received_on = by_id(socket);
  if (received_on == nullptr || !is_plausible_source(from)) return ignore();
  const auto request = decode_stun(datagram);
  if (!request || request->message_class != StunClass::kRequest) return ignore();
  if (request->method != kBindingMethod) return ignore();
  if (!limit_.take(from.ip, now)) {
    ++counters_.limited;
    return std::nullopt;
  }

  const AttributeTypes refused = unsupported(*request);
  if (refused.count != 0) return refuse(*request, refused, *received_on, from, out);
  const StunSocket* const answers = changed(*received_on, request->change_ip, request->change_port);
  if (answers == nullptr) {
    if (request->is_rfc3489) return ignore();
    AttributeTypes change;
    change.add(static_cast<std::uint16_t>(AttributeType::kChangeRequest));
    return refuse(*request, change, *received_on, from, out);
  }
  ++counters_.answered;
  Address to = from;
  to.port = request->response_port.value_or(from.port);
  return send(answer_to(*request, *received_on, *answers, from), *answers, to, out);
}

std::optional<StunService::StreamAnswer> StunService::on_stream_datagram(
    SocketId beside, const Address& from, ByteView datagram, MutableByteView out, TimePoint now) {
  const auto answer = on_datagram(beside, from, datagram, out, now);
  if (!answer || answer->to != from) return std::nullopt;  // RESPONSE-PORT has no meaning here.
  if (answer->socket == beside) return StreamAnswer{answer->size, std::nullopt};
  StunMessage called = reply_to(*decode_stun(datagram), StunClass::kSuccess);
  called.xor_mapped_address = from;
  const IpAddress call_from = by_id(answer->socket)->address.ip;
  return StreamAnswer{encode_stun(called, {}, out.first(kAnswerBytesMax)), call_from};
}

std::size_t StunService::encode_no_call(ByteView request, NoCall why, MutableByteView out) {
  const auto asked = decode_stun(request);
  if (!asked) return 0;
  StunMessage error = reply_to(*asked, StunClass::kError);
  error.error_code = static_cast<std::uint16_t>(why);
  if (why == NoCall::kCannot) {
    error.unknown_attributes.add(static_cast<std::uint16_t>(AttributeType::kChangeRequest));
  }
  return encode_stun(error, {}, out.first(kAnswerBytesMax));
}

const StunSocket* StunService::by_id(SocketId id) const {
  const auto found =
      std::ranges::find_if(sockets_, [id](const StunSocket& s) { return s.id == id; });
  return found == sockets_.end() ? nullptr : &*found;
}

const StunSocket* StunService::changed(const StunSocket& socket, bool ip, bool port) const {
  if (!ip && !port) return &socket;  // Two sockets of one kind may exist; stay with the one asked.
  const auto found = std::ranges::find_if(sockets_, [&](const StunSocket& s) {
    return s.address.ip.is_v4() == socket.address.ip.is_v4() &&
           s.is_alternate_ip == (socket.is_alternate_ip != ip) &&
           s.is_alternate_port == (socket.is_alternate_port != port);
  });
  return found == sockets_.end() ? nullptr : &*found;
}

bool StunService::is_plausible_source(const Address& from) const {
  if (from.port == 0 || from.ip.is_multicast() || from.ip.is_unspecified()) return false;
  // Our own address as source is forged, and the answer would come back to us.
  return std::ranges::none_of(sockets_, [&](const StunSocket& s) { return s.address == from; });
}

StunMessage StunService::answer_to(const StunMessage& request, const StunSocket& received_on,
                                   const StunSocket& answers, const Address& from) const {
  StunMessage answer = reply_to(request, StunClass::kSuccess);
  // Beside the protected form also the plain one: clients compare them to find NATs that rewrite
  // payloads, and RFC 3489 knows no other.
  answer.mapped_address = from;
  if (!request.is_rfc3489) answer.xor_mapped_address = from;
  add_origin(received_on, answers, answer, request.is_rfc3489);
  return answer;
}

void StunService::add_origin(const StunSocket& received_on, const StunSocket& answers,
                             StunMessage& answer, bool is_rfc3489) const {
  if (answers.address.ip.is_unspecified()) return;
  const StunSocket* other = changed(received_on, /*ip=*/true, /*port=*/true);
  if (!is_rfc3489) {
    answer.response_origin = answers.address;
    if (other != nullptr) answer.other_address = other->address;
    return;
  }
  answer.source_address = answers.address;
  if (other == nullptr) other = changed(received_on, /*ip=*/false, /*port=*/true);
  // The attribute is mandatory; where nothing can change, it says so by being the same.
  answer.changed_address = other != nullptr ? other->address : received_on.address;
}

std::optional<StunService::Answer> StunService::refuse(const StunMessage& request,
                                                       const AttributeTypes& not_understood,
                                                       const StunSocket& socket,
                                                       const Address& from, MutableByteView out) {
  ++counters_.refused;
  StunMessage error = reply_to(request, StunClass::kError);
  error.error_code = kErrorUnknownAttribute;
  error.unknown_attributes = not_understood;
  return send(error, socket, from, out);
}

std::optional<StunService::Answer> StunService::send(const StunMessage& answer,
                                                     const StunSocket& socket, const Address& to,
                                                     MutableByteView out) {
  const std::size_t size = encode_stun(answer, {}, out.first(kAnswerBytesMax));
  CHECK(size != 0);
  return Answer{socket.id, to, size};
}

std::optional<StunService::Answer> StunService::ignore() {
  ++counters_.ignored;
  return std::nullopt;
}

}  // namespace openp2p::nat
