#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "path/goodput_watch.h"
#include "session/endpoint.h"
#include "session/sealed_traffic.h"
#include "session/socket_ledger.h"

/// The inside of a session: a QUIC connection bound to a PathFinder (session_impl.cc), and sealed
/// datagrams beside it (session_sealed.cc). Only Endpoint uses it.
namespace openp2p::session {

class SessionImpl;

/// What a session asks of the Endpoint that owns it.
class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
  virtual void on_work(
      SessionImpl& session) = 0;  ///< It may have something to send, or a new deadline.
  virtual void on_tag(SessionImpl& session, path::FinderTag tag) = 0;  ///< Its PathFinder's name.
  /// The peer's sealed datagrams of one use come by this id.
  virtual void on_sealed_id(SessionImpl& session, SealedId id, SealedUse use) = 0;
  virtual std::optional<SocketId> socket_for(const Address& remote) const = 0;
  virtual std::vector<path::Candidate> socket_candidates() const = 0;
  virtual SocketLedger& ledger() = 0;
  virtual path::ProbeBudget& probes() = 0;     ///< Of the host, for all sessions together.
  virtual path::MethodHistory& history() = 0;  ///< Likewise.
  virtual std::uint16_t tcp_port() const = 0;  ///< 0: nobody listens.
  virtual std::optional<Duration> mapping_lifetime() const = 0;
  virtual Gatekeeper* gatekeeper() = 0;
  virtual const quic::PacketProtection& protection() const = 0;
  virtual SealedShared& sealed() = 0;
  virtual std::unique_ptr<quic::Connection> connect(SessionImpl& session, TimePoint now) = 0;
  virtual Random fork_random() = 0;
  virtual Log log() const = 0;
};

class SessionImpl final : public Session,
                          public quic::ConnectionHandler,
                          public quic::PeerVerifier {
 public:
  using Serial = std::uint64_t;

  /// How the session came to be.
  enum class Origin { kDialed, kMet, kAccepted };

  SessionImpl(SessionOwner& owner, Serial serial, Origin origin, TimePoint now);
  ~SessionImpl() override;

  void start_dial(const NodeId& peer, std::vector<Address> addresses, SessionHandler& handler,
                  Duration stream_delay);
  void start_meeting(const Meeting& meeting, SessionHandler& handler);
  void start_accepted(const Path& from);
  /// The QUIC connection that an Initial made, for sessions that others open or the controlled
  /// side.
  void set_connection(std::unique_ptr<quic::Connection> connection);

  void on_datagram(const Path& from, ByteView datagram, TimePoint now);
  /// What came from the peer's address is addressed to nobody here.
  void on_unknown_datagram(TimePoint now);
  /// Sealed datagrams of one use, all of segment_bytes but the last.
  void on_sealed(const Path& from, SealedUse use, ByteView datagrams, std::size_t segment_bytes,
                 TimePoint now);
  void on_stun(const Path& from, const nat::StunMessage& message, ByteView raw, TimePoint now);
  void on_batch_end();
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::optional<Transmit> poll_transmit(MutableByteView buffer, TimePoint now);
  void on_network_changed(TimePoint now);
  void on_socket_removed(SocketId socket, TimePoint now);
  /// A connection that this session asked for is up.
  void on_connected(const Connection& connection, TimePoint now);

  Serial serial() const { return serial_; }
  Origin origin() const { return origin_; }
  const Meeting& meeting() const { return meeting_; }
  quic::Connection* connection() { return connection_.get(); }
  bool is_over() const {
    return is_closed_;
  }  ///< on_closed() was given; may still have a last datagram.

  /// For the Endpoint's own books.
  bool is_queued = false;          ///< In the list of sessions to be polled.
  bool is_in_batch = false;        ///< Wants on_batch_end().
  std::optional<TimePoint> armed;  ///< Its place in the Endpoint's timer list.
  std::vector<quic::Connection::ConnectionId> ids;
  std::vector<path::FinderTag> tags;
  std::optional<Address> listed_remote;  ///< Its place in the list by remote address.

  // Session
  const NodeId& peer() const override { return peer_; }
  bool is_established() const override { return is_established_; }
  bool is_incoming() const override { return origin_ == Origin::kAccepted; }
  std::optional<Path> path() const override;
  path::PathFinder* paths() override { return finder_ ? &*finder_ : nullptr; }
  Duration rtt() const override;
  Result<StreamId> open_stream() override;
  MutableByteView write_room(StreamId id) override;
  void commit(StreamId id, std::size_t bytes) override;
  std::size_t write(StreamId id, ByteView data) override;
  void finish(StreamId id) override;
  void reset(StreamId id, std::uint64_t code) override;
  void stop(StreamId id, std::uint64_t code) override;
  void consume(StreamId id, std::size_t bytes) override;
  void close(std::uint64_t code, std::string_view reason, TimePoint now) override;
  void set_sealed_handler(SealedUse use, SealedHandler* handler) override;
  std::size_t sealed_payload_max() const override;
  MutableByteView sealed_room(SealedUse use, std::size_t bytes) override;
  void commit_sealed() override;
  void export_key(std::string_view label, ByteView context, MutableByteView out) const override;
  quic::Traffic traffic() const override {
    return connection_ ? connection_->traffic() : quic::Traffic();
  }
  SealedArrivals sealed_arrivals() const override { return sealed_.arrivals(); }
  std::uint64_t bytes_received() const override { return bytes_received_; }
  std::uint64_t bytes_sent() const override { return bytes_sent_; }

  // quic::PeerVerifier
  bool is_welcome(const NodeId& peer) override;

  // quic::ConnectionHandler
  void on_authenticated(const NodeId& peer) override;
  void on_stream_opened(StreamId id) override;
  void on_stream_data(StreamId id, ByteView data, bool is_end) override;
  void on_stream_writable(StreamId id) override;
  void on_stream_reset(StreamId id, std::uint64_t code) override;
  void on_stream_stopped(StreamId id, std::uint64_t code) override;
  void on_stream_closed(StreamId id) override;
  void on_closed(const CloseReason& reason) override;

 private:
  /// A datagram burst that goes out a second time, over another path.
  struct Copy {
    Path path;
    Bytes bytes;
    std::size_t segment_bytes;
  };

  void after_finder(TimePoint now);
  void make_finder(const path::PathFinderConfig& config, TimePoint now);
  void make_exported_finder(TimePoint now);
  void adopt(const Path& from, TimePoint now);
  bool is_dialing() const {
    return origin_ == Origin::kDialed && !provisional_ && !is_established_ && !is_closed_;
  }
  std::optional<TimePoint> dial_deadline() const;
  void widen_dial(TimePoint now);
  void dial_streams(TimePoint now);
  void begin_resending(TimePoint now);
  void resend(TimePoint now);
  std::optional<TimePoint> silent_until(TimePoint now) const;
  void watch_silence(TimePoint now);
  std::optional<Transmit> poll_connection(MutableByteView buffer, TimePoint now);
  void watch_goodput(TimePoint now);
  void watch_arrivals(TimePoint now);
  void choose_transport(TimePoint now);
  std::optional<TimePoint> goodput_deadline() const;
  void start_sealed();
  std::optional<Transmit> poll_sealed(MutableByteView buffer, TimePoint now);
  std::size_t sealed_bytes_max() const;
  std::optional<Transmit> poll_copy(MutableByteView buffer);
  std::optional<Path> dial_path(std::size_t index) const;
  void add_copy(const Path& path, ByteView bytes, std::size_t segment_bytes);
  Transmit sent(const Path& path, std::size_t bytes, std::size_t segment_bytes);

  SessionOwner& owner_;
  const Serial serial_;
  const Origin origin_;
  SessionHandler* handler_ = nullptr;
  NodeId peer_{};
  Meeting meeting_;
  std::unique_ptr<quic::Connection> connection_;
  std::unique_ptr<path::SocketSource> sockets_;  ///< What the finder asks; outlives it.
  std::optional<path::PathFinder> finder_;
  std::optional<Path> selected_;     ///< As last told to the handler.
  std::optional<Path> provisional_;  ///< Where the last authentic, or first, datagram came from.
  TimePoint now_;                    ///< Of the call that is going on, for callbacks.
  int resends_left_ = 0;             ///< Since the path was selected.
  TimePoint resend_at_;
  bool was_silent_ = false;
  std::uint64_t acknowledged_before_ = 0;  ///< Bytes, when it was.

  std::vector<Address> dial_addresses_;
  std::size_t dialed_count_ = 1;  ///< So many of dial_addresses_ get what is sent.
  TimePoint widen_at_;
  TimePoint stream_at_;
  std::size_t streams_dialed_ = 0;  ///< So many of dial_addresses_ were connected to over TCP.
  Bytes first_flight_;
  std::size_t first_flight_segment_ = 0;

  path::GoodputWatch goodput_;
  quic::Traffic measured_;  ///< At that time; the next interval counts from there.
  TimePoint measured_at_;
  /// Of sealed datagrams, which nobody acknowledges: who gets them sees what is missing.
  path::GoodputWatch sealed_goodput_{path::GoodputWatch::View::kReceiver};
  SealedArrivals counted_;
  TimePoint counted_at_;

  SealedTraffic sealed_;
  std::optional<TimePoint> sealed_sent_at_;
  TimePoint ask_again_at_;
  bool is_sealed_turn_ = false;  ///< Sealed bursts and the connection's take turns.
  std::deque<Copy> copies_;
  std::uint64_t packets_opened_ = 0;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
  bool is_established_ = false;
  bool is_closed_ = false;
};

}  // namespace openp2p::session
