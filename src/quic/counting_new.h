#pragma once

#include <cstdint>

namespace openp2p::quic {

/// How often this program called operator new. Only the test program links it.
std::uint64_t allocations_so_far();

}  // namespace openp2p::quic
