#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "forward/local_stream.h"
#include "forward/open_message.h"
#include "forward/stream_user.h"
#include "session/session.h"

namespace openp2p::forward {

/// Buffers for data that waits to be written to local streams. A flow holds one only while it has
/// something to write, so that idle connections cost no memory and busy ones do not allocate.
/// Threading: one owner.
class BufferPool {
 public:
  static constexpr std::size_t kKeptMax = 8;  ///< Busy flows at one time, in practice.
  static constexpr std::size_t kKeptBytesMax = 2
                                               << 20;  ///< Larger ones are given back to the heap.

  Bytes take();
  void give(Bytes buffer);

 private:
  std::vector<Bytes> free_;
};

class Flow;

class FlowOwner {
 public:
  virtual ~FlowOwner() = default;
  /// The peer answered the request (opener only). Not kOpened: the local stream is reset next, and
  /// on_finished() follows. Without an answer comes on_finished() alone.
  virtual void on_answer(Flow& flow, const OpenAnswer& answer) = 0;
  /// Both directions are done or dead. The flow may be destroyed, but not inside this call.
  virtual void on_finished(Flow& flow) = 0;
};

/// One forwarded TCP connection: pumps between a stream of a session and a local stream, in both
/// directions, each ending on its own (half-close).
///
/// Hot path: local -> stream reads straight into the stream's send ring (one copy, by the kernel);
/// stream -> local gathers what one receive batch brought and does one write (one copy to gather,
/// one by the kernel). Flow-control credit goes back as the local stream takes data, so a slow
/// reader slows only its own sender.
///
/// Errors: a local stream that dies resets the QUIC stream, and the other way round. Threading: one
/// owner, who also forwards the session's calls for this stream.
class Flow final : public StreamUser, public LocalStreamHandler {
 public:
  static constexpr std::size_t kReadBytesMax =
      128 << 10;  ///< One read(): more gains nothing, less costs calls.
  static constexpr std::size_t kTurnBytesMax = 512 << 10;  ///< Then others get their turn.

  /// `local` may come later (set_local()), when the destination is still being dialed.
  Flow(session::Session& session, session::StreamId stream, FlowOwner& owner, BufferPool& buffers);
  ~Flow() override;

  /// The opener's side: sends the request; data follows at once, the peer's answer is awaited.
  void open(const OpenRequest& request, std::unique_ptr<LocalStream> local);
  /// The other side, whose request was decoded by the owner: data that came with it.
  void accept(ByteView early_data, bool is_end);
  /// The destination is connected: answers kOpened and starts to pump.
  void set_local(std::unique_ptr<LocalStream> local);
  /// The destination cannot be had: answers why, and finishes.
  void refuse(const OpenAnswer& answer);
  /// Resets both sides.
  void abort();

  // StreamUser
  void on_stream_data(ByteView data, bool is_end) override;
  void on_stream_writable() override;
  void on_stream_reset() override;
  void on_stream_stopped() override;
  void on_stream_closed() override;
  void on_session_lost() override;
  void on_batch_end() override;

  // LocalStreamHandler
  void on_readable(TimePoint now) override;
  void on_writable(TimePoint now) override;
  void on_failed(std::error_code error, TimePoint now) override;

  session::Session* session() const { return session_; }
  session::StreamId stream() const { return stream_; }
  bool is_finished() const { return is_finished_; }
  std::uint64_t bytes_sent() const { return bytes_sent_; }          ///< Local -> peer.
  std::uint64_t bytes_received() const { return bytes_received_; }  ///< Peer -> local.

 private:
  ByteView take_answer(ByteView data);
  void hold(ByteView data);
  void write_pending();
  void read_local();
  void check_finished();
  void fail();

  session::Session* session_;  ///< nullptr once it is lost.
  const session::StreamId stream_;
  FlowOwner& owner_;
  BufferPool& buffers_;
  std::unique_ptr<LocalStream> local_;
  std::optional<OpenDecoder<OpenAnswer>> answer_;  ///< While the opener waits for it.

  Bytes pending_;  ///< From the peer, not yet taken by the local stream.
  std::size_t pending_start_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t bytes_received_ = 0;
  bool has_end_from_peer_ = false;
  bool is_local_write_done_ = false;   ///< shutdown_write() was called.
  bool is_stream_write_done_ = false;  ///< finish() or reset() was called.
  bool is_stream_closed_ = false;
  bool is_stopped_ = false;  ///< The peer reads no more.
  bool is_finished_ = false;
};

}  // namespace openp2p::forward
