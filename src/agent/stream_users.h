#pragma once

#include <unordered_map>
#include <vector>

#include "forward/stream_user.h"
#include "session/session.h"

/// Who uses which stream of one session: what PeerLink and ServerLink hand their sessions' calls
/// to. Users may be put and taken off from inside their own calls.
namespace openp2p::agent {

class StreamUsers {
 public:
  /// nullptr takes the user off.
  void use(session::StreamId id, forward::StreamUser* user);
  forward::StreamUser* find(session::StreamId id);
  /// False: nobody uses the stream.
  bool on_data(session::StreamId id, ByteView data, bool is_end);
  void on_writable(session::StreamId id);
  void on_reset(session::StreamId id);
  void on_stopped(session::StreamId id);
  void on_closed(session::StreamId id);
  void on_batch_end();
  void on_session_lost();  ///< Told to all, who are forgotten.

 private:
  struct Use {
    forward::StreamUser* user = nullptr;
    bool is_in_batch = false;
  };
  std::unordered_map<session::StreamId, Use> users_;
  std::vector<session::StreamId> batch_;  ///< Got data since the last end of a batch.
};

}  // namespace openp2p::agent
