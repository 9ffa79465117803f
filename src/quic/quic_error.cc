#include "quic/quic_error.h"

#include "base/result.h"

namespace openp2p::quic {

std::error_code make_error_code(QuicError error) {
  static const ErrorCategory<QuicError> kCategory("quic", [](QuicError value) {
    switch (value) {
      case QuicError::kNotConnected:
        return "the connection is not established";
      case QuicError::kStreamLimit:
        return "the peer allows no more streams";
    }
    return "unknown";
  });
  return {static_cast<int>(error), kCategory};
}

}  // namespace openp2p::quic
