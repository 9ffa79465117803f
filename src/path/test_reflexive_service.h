#pragma once

#include <array>
#include <span>

#include "nat/stun_message.h"
#include "sim/host.h"

namespace openp2p::path {

/// The least that a STUN service is: tells who asks where it is seen from. For simulations of this
/// folder; nat/stun_service.h is the real one.
inline void serve_reflexive(sim::UdpSocket& socket) {
  socket.on_receive([&socket](const Address& from, ByteView bytes, TimePoint) {
    const auto question = nat::decode_stun(bytes);
    if (!question) return;
    nat::StunMessage answer;
    answer.message_class = nat::StunClass::kSuccess;
    answer.transaction = question->transaction;
    answer.xor_mapped_address = from;
    std::array<std::byte, 256> out;
    socket.send(from, std::span(out).first(nat::encode_stun(answer, {}, out)));
  });
}

}  // namespace openp2p::path
