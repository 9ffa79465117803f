#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "path/path_finder.h"
#include "quic/connection.h"
#include "session/sealed.h"

/// A secure session between two parties: one QUIC connection, authenticated on both sides, over
/// whatever path its PathFinder has selected.
namespace openp2p::session {

using quic::CloseReason;
using quic::StreamId;

class Session;

/// What a session tells its owner. The rules of quic::ConnectionHandler hold: streams may be used
/// from inside a call, the session must not be destroyed (the Endpoint owns it, and forgets it
/// after on_closed()).
class SessionHandler {
 public:
  virtual ~SessionHandler() = default;
  virtual void on_established(
      Session& session) = 0;  ///< Keys proven on this side; streams may open.
  virtual void on_stream_opened(Session& session, StreamId id) = 0;
  virtual void on_stream_data(Session& session, StreamId id, ByteView data, bool is_end) = 0;
  virtual void on_stream_writable(Session& session, StreamId id) = 0;
  virtual void on_stream_reset(Session& session, StreamId id, std::uint64_t code) = 0;
  virtual void on_stream_stopped(Session& session, StreamId id, std::uint64_t code) = 0;
  virtual void on_stream_closed(Session& session, StreamId id) = 0;
  /// The selected path came, changed or went (session.paths().selected()).
  virtual void on_path_changed(Session& session) = 0;
  /// All datagrams of one receive batch were delivered: time to write gathered data onwards.
  virtual void on_batch_end(Session& session) = 0;
  virtual void on_closed(Session& session, const CloseReason& reason) = 0;  ///< Last call.
};

/// Threading: the Endpoint's owner. Made and owned by Endpoint.
class Session {
 public:
  virtual ~Session() = default;

  virtual const NodeId& peer() const = 0;
  virtual bool is_established() const = 0;
  virtual bool is_incoming() const = 0;  ///< The other side opened it.
  /// The address in use now, or the one that the handshake goes to.
  virtual std::optional<Path> path() const = 0;
  virtual path::PathFinder* paths() = 0;  ///< nullptr: a session by dial() that is not established.
  virtual Duration rtt() const = 0;       ///< QUIC's smoothed round-trip time.

  virtual Result<StreamId> open_stream() = 0;
  virtual MutableByteView write_room(StreamId id) = 0;
  virtual void commit(StreamId id, std::size_t bytes) = 0;
  virtual std::size_t write(StreamId id, ByteView data) = 0;
  virtual void finish(StreamId id) = 0;
  virtual void reset(StreamId id, std::uint64_t code) = 0;
  virtual void stop(StreamId id, std::uint64_t code) = 0;
  virtual void consume(StreamId id, std::size_t bytes) = 0;
  virtual void close(std::uint64_t code, std::string_view reason, TimePoint now) = 0;

  /// Who takes the sealed datagrams of a use; nullptr: nobody, they are dropped. The handler
  /// outlives the session or is taken off.
  virtual void set_sealed_handler(SealedUse use, SealedHandler* handler) = 0;
  /// The largest payload of one sealed datagram on the path in use: at least kSealedBytesMin -
  /// kSealedOverhead, and kSealedRelayedBytesMin - kSealedOverhead over a relay.
  virtual std::size_t sealed_payload_max() const = 0;
  /// Room for the payload of one sealed datagram, to be written and then committed before any other
  /// call. Consecutive ones of equal size leave in one system call. Empty: dropped and counted,
  /// since there is no established path, the queue is full, or `bytes` is 0 or more than
  /// sealed_payload_max().
  virtual MutableByteView sealed_room(SealedUse use, std::size_t bytes) = 0;
  virtual void commit_sealed() = 0;

  virtual void export_key(std::string_view label, ByteView context, MutableByteView out) const = 0;
  /// What became of what this side sent on streams, so far.
  virtual quic::Traffic traffic() const { return {}; }
  /// What became of the sealed datagrams that the peer sent, of all uses, so far.
  virtual SealedArrivals sealed_arrivals() const { return {}; }
  virtual std::uint64_t bytes_received() const = 0;
  virtual std::uint64_t bytes_sent() const = 0;
};

}  // namespace openp2p::session
