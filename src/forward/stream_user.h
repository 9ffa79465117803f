#pragma once

#include "base/bytes.h"

namespace openp2p::forward {

/// Whoever uses one stream of a session: what session::SessionHandler says of it, without the
/// names. The rules are the same: streams may be used from inside a call; nothing is destroyed in
/// one.
class StreamUser {
 public:
  virtual ~StreamUser() = default;
  virtual void on_stream_data(ByteView data, bool is_end) = 0;
  virtual void on_stream_writable() = 0;
  virtual void on_stream_reset() = 0;
  virtual void on_stream_stopped() = 0;
  virtual void on_stream_closed() = 0;
  virtual void on_batch_end() = 0;     ///< After on_stream_data() calls of one receive batch.
  virtual void on_session_lost() = 0;  ///< Last call: the session is gone.
};

}  // namespace openp2p::forward
