#pragma once

#include <system_error>

namespace openp2p::quic {

enum class QuicError {
  kNotConnected = 1,  ///< The handshake is not complete, or the connection is closed.
  kStreamLimit,       ///< The peer allows no more streams now.
};
std::error_code make_error_code(QuicError error);

}  // namespace openp2p::quic

template <>
struct std::is_error_code_enum<openp2p::quic::QuicError> : std::true_type {};
