#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "forward/early_datagrams.h"
#include "forward/open_message.h"
#include "forward/sealed_flows.h"
#include "forward/stream_user.h"
#include "session/session.h"

namespace openp2p::forward {

class UdpFlow;

class UdpFlowOwner {
 public:
  virtual ~UdpFlowOwner() = default;
  /// From the peer; `datagram` is gone when the call returns.
  virtual void on_datagram(UdpFlow& flow, ByteView datagram) = 0;
  /// After on_datagram() calls of one receive batch.
  virtual void on_datagrams_end(UdpFlow& flow) = 0;
  /// Opener only. The first one answers the request: where it is not kOpened, on_finished()
  /// follows. Later ones say what the destination's network answers; the flow goes on.
  virtual void on_answer(UdpFlow& flow, const OpenAnswer& answer) = 0;
  /// The flow may be destroyed, but not inside this call.
  virtual void on_finished(UdpFlow& flow) = 0;
};

/// One local program's datagrams to one destination: a stream, which lives as long as the flow, and
/// sealed datagrams.
///
/// On the stream go the request and, behind it, the datagrams that come before its answer, each
/// with its length in front. So the first ones are not lost with a packet, and nobody keeps sealed
/// datagrams of flows that do not exist yet. From the answer on, or from a sealed datagram that
/// overtook it, datagrams are sealed. On the way back the stream has answers only.
///
/// Either side ends the flow, by ending the stream. Sans-I/O. Threading: one owner, who also
/// forwards the session's calls for this stream.
class UdpFlow final : public StreamUser, public DatagramUser {
 public:
  struct Counters {
    std::uint64_t sent = 0, bytes_sent = 0;          ///< To the peer.
    std::uint64_t received = 0, bytes_received = 0;  ///< From the peer.
    std::uint64_t dropped = 0;  ///< Not sent: no path, no room, or too many before the answer.
  };

  UdpFlow(session::Session& session, session::StreamId stream, SealedFlows& flows,
          UdpFlowOwner& owner);
  ~UdpFlow() override;
  UdpFlow(const UdpFlow&) = delete;
  UdpFlow& operator=(const UdpFlow&) = delete;

  /// The opener's side: sends the request, and what waited for it.
  void open(const OpenRequest& request, const EarlyDatagrams& early);
  /// The other side, whose request was decoded by the owner: what came with it.
  void accept(ByteView early_data, bool is_end);
  /// The destination can be reached: answers kOpened, and delivers what waited.
  void set_opened();
  /// The destination cannot be had: answers why, and finishes.
  void refuse(const OpenAnswer& answer);
  /// Of an opened flow: what the destination's network answered. The flow goes on.
  void tell(const OpenAnswer& answer);

  void send(ByteView datagram);
  void end();

  // StreamUser
  void on_stream_data(ByteView data, bool is_end) override;
  void on_stream_writable() override { write_outgoing(); }
  void on_stream_reset() override { end(); }
  void on_stream_stopped() override;
  void on_stream_closed() override;
  void on_batch_end() override {}
  void on_session_lost() override;

  // DatagramUser
  void on_datagram(ByteView datagram) override;
  void on_datagrams_end() override;

  session::StreamId stream() const { return stream_; }
  bool is_opened() const { return is_opened_; }
  bool is_finished() const { return is_finished_; }
  const Counters& counters() const { return counters_; }

 private:
  void join();
  void write_outgoing();
  void take_answers(ByteView data);
  void take_early(ByteView data);
  void deliver_early();
  void finish();

  session::Session* session_;  ///< nullptr once it is lost.
  const session::StreamId stream_;
  SealedFlows& flows_;
  UdpFlowOwner& owner_;
  std::optional<OpenDecoder<OpenAnswer>> answer_;  ///< Of the opener.
  Bytes outgoing_;  ///< Request and early datagrams that the stream has not taken yet.
  std::size_t outgoing_start_ = 0;
  std::size_t early_bytes_ = 0;  ///< Sent on the stream, or about to be.
  Bytes incoming_;               ///< Early datagrams of the peer.
  bool is_joined_ = false;       ///< In flows_.
  bool is_opened_ = false;
  bool is_stream_closed_ = false;
  bool is_finished_ = false;
  Counters counters_;
};

}  // namespace openp2p::forward
