#pragma once

#include <memory>

#include "quic/packet_protection.h"

/// The back ends, each in its own file. Only packet_protection.cc and the back ends include this.
namespace openp2p::quic {

std::unique_ptr<PacketProtection> make_gnutls_protection();

/// nullptr where the build lacks the library, or the processor the instructions.
std::unique_ptr<PacketProtection> make_ipsec_mb_protection();

}  // namespace openp2p::quic
