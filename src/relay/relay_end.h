#pragma once

#include <vector>

#include "base/ids.h"
#include "forward/stream_user.h"
#include "path/token_bucket.h"
#include "relay/hop.h"
#include "relay/message_stream.h"
#include "relay/relay_message.h"

/// One end as its relay sees it: a hop, a relay stream, and the limits that hold for everybody.
namespace openp2p::relay {

struct Allocation;
class RelayEnd;

/// What an end brings. None of these may destroy the end.
class RelayEndHandler {
 public:
  virtual ~RelayEndHandler() = default;
  virtual TimePoint now() const = 0;
  virtual void on_end_message(RelayEnd& end, EndMessage message) = 0;
  virtual void on_end_datagram(RelayEnd& end, Channel channel, MutableByteView datagram,
                               TimePoint now) = 0;
  /// It broke the protocol, or sends or leaves unread more than it may. on_end_gone() follows.
  virtual void on_end_malformed(RelayEnd& end) = 0;
  /// Its stream or its session ended. Told once.
  virtual void on_end_gone(RelayEnd& end) = 0;
};

class RelayEnd final : public forward::StreamUser, public HopReceiver {
 public:
  /// Messages: an end asks for 1,024 allocations at once at most, then says a receipt every few
  /// seconds for each. A signature that is checked costs 0.1 ms.
  static constexpr int kMessagesBurstMax = 2'048;
  static constexpr Duration kMessageInterval = std::chrono::milliseconds(5);
  /// Letters: as the server grants signals.
  static constexpr int kLettersBurstMax = 200;
  static constexpr Duration kLetterInterval = std::chrono::milliseconds(20);

  RelayEnd(Hop& hop, session::StreamId id, RelayEndHandler& handler);
  ~RelayEnd() override;

  const NodeId& node() const { return node_; }
  Hop& hop() { return hop_; }
  bool is_gone() const { return is_gone_; }
  bool is_stream_closed() const { return is_stream_closed_; }
  bool may_send_letter(TimePoint now) { return letters_.take(now); }
  /// An end that does not read what it is told is cut off.
  void send(const RelayMessage& message);
  /// Resets the stream; on_end_gone() follows.
  void cut(std::uint64_t code);

  std::vector<Allocation*> allocations;  ///< The service's; in no order.

  // forward::StreamUser
  void on_stream_data(ByteView data, bool is_end) override;
  void on_stream_writable() override { stream_.flush(); }
  void on_stream_reset() override { leave(); }
  void on_stream_stopped() override { leave(); }
  void on_stream_closed() override;
  void on_batch_end() override {}
  void on_session_lost() override;

  // HopReceiver
  void on_hop_datagram(Channel channel, MutableByteView datagram, TimePoint now) override {
    handler_.on_end_datagram(*this, channel, datagram, now);
  }

 private:
  void read(ByteView data);
  void leave();

  Hop& hop_;
  const NodeId node_;
  RelayEndHandler& handler_;
  MessageStream stream_;
  path::TokenBucket messages_;
  path::TokenBucket letters_;
  bool is_gone_ = false;
  bool is_stream_closed_ = false;
};

}  // namespace openp2p::relay
