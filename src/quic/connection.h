#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"
#include "base/strong.h"
#include "base/time.h"
#include "quic/packet_protection.h"
#include "quic/quic_error.h"

/// One QUIC connection (RFC 9000, 9001) between two parties that prove their Ed25519 keys to each
/// other inside the TLS 1.3 handshake. Sans-I/O: it is given datagrams and the time, and asked for
/// datagrams. It knows no addresses: paths are chosen below it (ngtcp2 sees one constant address).
///
/// Hot path, per received datagram: decrypt into ngtcp2's buffer, one callback with a view into it;
/// no allocation of ours. Per sent datagram: ngtcp2 reads the stream's ring in place and seals into
/// the caller's burst buffer.
namespace openp2p::quic {

using StreamId = Strong<struct StreamIdTag, std::int64_t>;

enum class Role { kClient, kServer };

/// Application error codes are variable-length integers (RFC 9000 sections 16 and 20.2).
inline constexpr std::uint64_t kErrorCodeMax = (std::uint64_t{1} << 62) - 1;

/// Why a connection ended. `code` is the QUIC application error code where the peer or we gave one.
struct CloseReason {
  enum class Kind {
    kLocal,     ///< close() was called.
    kPeer,      ///< The peer closed with an application code and reason.
    kIdle,      ///< Nothing was heard for the idle time.
    kRefused,   ///< The handshake failed: key, ALPN or protocol (TLS alert in `code`).
    kProtocol,  ///< The peer broke QUIC, or the connection was reset.
    kHandshakeTimeout,
  };
  Kind kind = Kind::kLocal;
  std::uint64_t code = 0;
  std::string text;  ///< For people; already printable().
};

struct ConnectionConfig {
  std::string alpn = "openp2p/1";
  Duration idle_timeout = std::chrono::seconds(60);  ///< The path layer's checks keep NATs open.
  Duration handshake_timeout = std::chrono::seconds(10);
  Duration keep_alive =
      std::chrono::seconds(25);  ///< QUIC repeats what is lost until the timeout above.
  Duration initial_rtt = std::chrono::milliseconds(100);  ///< Signalling gives a better estimate.
  /// How much the peer may have on its way, and again how much may wait here for slow readers
  /// before they slow the whole connection and not only their own streams.
  std::uint64_t connection_window_bytes = 32 << 20;
  std::uint64_t stream_window_bytes = 16 << 20;
  /// What a stream may hold that is not acknowledged; memory is taken as it is used. The larger
  /// figure counts where the congestion window is large because the path is long.
  std::size_t send_ring_bytes = 1 << 20;
  std::size_t send_ring_bytes_max = 16 << 20;
  /// Clients: the connection id that the first Initial is addressed to; random where not given.
  std::optional<std::uint64_t> initial_destination;
  std::uint64_t peer_streams_max = 1024;  ///< Streams that the peer may have open at once.
  /// The largest datagram that any path carries; also the unit of congestion control, which is why
  /// it is no larger than Ethernet's.
  std::size_t datagram_bytes_max = 1472;
  /// Packets sealed with one key before the next (RFC 9001 section 6.6 ends AES-GCM at 2^23).
  std::uint64_t packets_per_key_max = 1 << 22;
};

/// What a connection tells its owner, from inside on_datagram(), on_timeout() and poll_burst().
/// Calls and not a queue, because `data` points into the packet just opened: whoever wants it later
/// copies it. From inside a call the owner may use the stream methods of Connection (they only note
/// what is to be done), and must not destroy the connection.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  /// The handshake is complete on this side and the peer proved `peer`. For the client this says
  /// not yet that the server accepts it: nothing counts before the first byte of a stream.
  virtual void on_authenticated(const NodeId& peer) = 0;
  virtual void on_stream_opened(StreamId id) = 0;  ///< By the peer; bidirectional.
  virtual void on_stream_data(StreamId id, ByteView data, bool is_end) = 0;  ///< In order.
  virtual void on_stream_writable(StreamId id) = 0;  ///< The ring was full and has room again.
  virtual void on_stream_reset(StreamId id, std::uint64_t code) = 0;  ///< The peer gave up sending.
  virtual void on_stream_stopped(StreamId id, std::uint64_t code) = 0;  ///< The peer reads no more.
  /// Last call for this stream. Streams end without it when the connection closes.
  virtual void on_stream_closed(StreamId id) = 0;
  virtual void on_closed(const CloseReason& reason) = 0;  ///< Last call of all; once.
};

/// Decides inside the handshake whether `peer` may be at the other end.
class PeerVerifier {
 public:
  virtual ~PeerVerifier() = default;
  virtual bool is_welcome(const NodeId& peer) = 0;
};

/// What a connection did so far, to be compared with what it says later.
struct Traffic {
  std::uint64_t bytes_acknowledged = 0;  ///< Of streams, in order: what the peer can use.
  std::uint64_t packets_sent = 0;
  std::uint64_t packets_lost = 0;  ///< Of those with stream data, as RFC 9002 section 6.1 declares.
  bool has_unsent = false;  ///< Now: the network, not the peer or the program, holds data back.
  Duration rtt{};           ///< Smoothed, of late.
  Duration rtt_min{};       ///< Ever: what is longer now waits in a queue.
};

/// One burst of datagrams in one buffer: all of segment_bytes but the last, which may be shorter.
/// This is what UDP_SEGMENT sends with one system call.
struct Burst {
  std::size_t bytes = 0;  ///< 0: nothing to send now.
  std::size_t segment_bytes = 0;
};

class ConnectionImpl;

/// Threading: one owner. Order of calls is free; all are legal in every state and do nothing once
/// the connection is closed. A closed connection still tells the peer so, when datagrams come,
/// until next_timeout() is nullopt (RFC 9000 section 10.2); dropping it earlier is harmless.
class Connection {
 public:
  static constexpr std::size_t kDatagramBytesMin = 1200;  ///< RFC 9000 section 14.
  static constexpr std::size_t kConnectionIdSize = 8;
  using ConnectionId = std::uint64_t;  ///< Ours are always of 8 bytes, read as a big-endian number.

  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void on_datagram(ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  /// Fills `out` with at most out.size() bytes of datagrams, each of at most `datagram_bytes` (the
  /// size that the current path carries, at least kDatagramBytesMin). Call until it gives 0 bytes
  /// or the caller's batch is full.
  Burst poll_burst(MutableByteView out, std::size_t datagram_bytes, TimePoint now);

  Result<StreamId> open_stream();  ///< QuicError.
  /// Contiguous free room in the stream's send ring; empty when it is full. Write there, then
  /// commit. It stays good until commit(), reset(), finish(), on_stream_stopped() or
  /// on_stream_closed().
  MutableByteView write_room(StreamId id);
  void commit(StreamId id, std::size_t bytes);
  std::size_t write(StreamId id, ByteView data);  ///< write_room + commit; gives what fitted.
  void finish(StreamId id);                       ///< FIN after what is committed.
  void reset(StreamId id, std::uint64_t code);    ///< RESET_STREAM: what is queued is dropped.
  void stop(StreamId id, std::uint64_t code);     ///< STOP_SENDING. Codes: at most kErrorCodeMax.
  /// Gives the peer flow-control credit for bytes of on_stream_data that went on. A slow reader
  /// simply does not call it. Bytes that wait when the stream closes are still to be consumed
  /// afterwards, by the same id; stop() gives them all back at once, and so does a reset by the
  /// peer.
  void consume(StreamId id, std::size_t bytes);

  void close(std::uint64_t code, std::string_view reason, TimePoint now);
  bool is_closed() const;
  bool is_authenticated() const;
  std::optional<NodeId> peer() const;

  /// RFC 5705 / RFC 8446 section 7.5. Only after on_authenticated(). Equal on both sides.
  void export_key(std::string_view label, ByteView context, MutableByteView out) const;
  AeadAlgorithm aead() const;  ///< The suite that the handshake chose. Likewise.
  /// Packets opened so far: it grows exactly when on_datagram() was given something authentic.
  std::uint64_t packets_opened() const;
  Duration smoothed_rtt() const;
  std::uint64_t bytes_in_flight() const;
  Traffic traffic() const;  ///< Costs a look at each stream: not for every packet.
  void initiate_key_update(TimePoint now);
  /// Soon sends something that the peer answers: to learn whether it still knows this connection.
  void ask();
  /// Sends what is unacknowledged again as at the next probe timeout (RFC 9002 section 6.2), where
  /// one has passed in vain: the path was gone, and another one is there. Where none has, it asks,
  /// and the answer shows what is lost. False: nothing waits.
  bool probe_now(TimePoint now);

  /// Connection ids by which datagrams reach this connection: changes since the last call, for the
  /// owner's table.
  struct IdChange {
    ConnectionId id;
    bool is_added;
  };
  std::optional<IdChange> poll_id_change();

 private:
  friend class ConnectionFactory;
  explicit Connection(std::unique_ptr<ConnectionImpl> impl);
  std::unique_ptr<ConnectionImpl> impl_;
};

/// Makes connections for one identity. Holds the TLS credentials and the packet-protection back
/// end; outlives its connections.
class ConnectionFactory {
 public:
  struct Options {
    const IdentityKey* identity;  ///< Read in the constructor only.
    const PacketProtection* protection;
    SecretSource* secrets;  ///< Connection ids, tokens.
  };
  explicit ConnectionFactory(const Options& options);
  ~ConnectionFactory();

  std::unique_ptr<Connection> connect(const ConnectionConfig& config, ConnectionHandler& handler,
                                      PeerVerifier& verifier, TimePoint now);

  /// What the first datagram of a possible new connection says, without any state being made.
  enum class InitialKind { kAccept, kVersionNegotiation, kIgnore };
  struct Initial {
    InitialKind kind = InitialKind::kIgnore;
    bool has_token = false;
  };
  static Initial inspect(ByteView datagram);
  /// A Retry (RFC 9000 section 8.1.2) whose token is bound to `client` (any bytes that name its
  /// address) and the time; gives the datagram's size, 0 if none can be made.
  std::size_t write_retry(ByteView datagram, ByteView client, MutableByteView out, TimePoint now);
  std::size_t write_version_negotiation(ByteView datagram, MutableByteView out);
  /// A Stateless Reset (RFC 9000 section 10.3) for a short-header datagram of no known connection,
  /// shorter than that datagram; 0 for other datagrams. Its token depends only on the identity key
  /// and the connection id, so that it is valid for connections from before a restart.
  std::size_t write_stateless_reset(ByteView datagram, MutableByteView out);
  /// nullptr where the datagram is no acceptable Initial, or `token_required` and the token is
  /// missing, old or another client's. The datagram must then also be given to on_datagram().
  std::unique_ptr<Connection> accept(ByteView datagram, ByteView client, bool token_required,
                                     const ConnectionConfig& config, ConnectionHandler& handler,
                                     PeerVerifier& verifier, TimePoint now);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The connection id that a datagram is addressed to, or nullopt where there is none of our size:
/// for long headers of any destination id length, a client's first Initials carry an id of its own
/// choice (reported too, by poll_id_change(), as the first 8 bytes; they have at least 8).
std::optional<Connection::ConnectionId> destination_id(ByteView datagram);

}  // namespace openp2p::quic
