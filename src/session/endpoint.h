#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "path/path_finder.h"
#include "path/socket_source.h"
#include "quic/connection.h"
#include "session/dial_order.h"
#include "session/session.h"

/// All sessions of one party over its UDP sockets. Both programs stand on it: the agent dials the
/// server and meets peers, the server accepts.
///
/// The life of a datagram: driver -> on_datagrams() -> STUN by tag to a PathFinder (else to the
/// StunHandler), QUIC and sealed datagrams by id to a Session -> its handlers. Out: poll_transmit()
/// asks each session that has something for a burst, and sends it over the path that its PathFinder
/// selected.
/// Sans-I/O. Threading: one owner.
namespace openp2p::session {

/// One system call's worth of datagrams in the caller's buffer: to one address, all of
/// segment_bytes but the last.
struct Transmit {
  SocketId socket;
  Address to;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
  std::uint8_t hop_limit = 0;  ///< Of the IP header; 0: the system's own.
};

/// Takes STUN messages that belong to no session: the server's STUN service, the agent's discovery.
class StunHandler {
 public:
  virtual ~StunHandler() = default;
  virtual void on_stun(SocketId socket, const Address& from, ByteView datagram, TimePoint now) = 0;
};

/// Decides about sessions that others open here.
class Gatekeeper {
 public:
  virtual ~Gatekeeper() = default;
  /// Inside the handshake: may this party have a session at all?
  virtual bool is_welcome(const NodeId& peer) = 0;
  /// The session is authenticated. Gives its handler (which outlives it), or nullptr to close it.
  virtual SessionHandler* on_session(Session& session) = 0;
};

/// What both sides of a peer session agree on by signalling before the first datagram.
struct Meeting {
  NodeId peer;
  path::IceRole role = path::IceRole::kControlling;  ///< Controlling dials QUIC.
  path::FinderTag local_tag;
  path::FinderTag remote_tag;
  std::array<std::byte, 32> check_key{};  ///< The first Initial's connection id comes from it, too.
  Duration rtt_hint = std::chrono::milliseconds(100);
};

class Endpoint {
 public:
  struct Options {
    const IdentityKey* identity = nullptr;
    const quic::PacketProtection* protection = nullptr;
    SecretSource* secrets = nullptr;
    StunHandler* stun = nullptr;
    Gatekeeper* gatekeeper = nullptr;  ///< nullptr: nobody may open a session here uninvited.
    std::uint64_t seed = 0;            ///< Timers' jitter.
    /// Called when there is something to poll that was not before, from wherever it came to be (a
    /// local stream had data, say). It must not poll at once, but soon.
    std::function<void()> wake;
    /// For sockets beyond add_socket()'s: fans of them against hard NATs, TCP connections. nullptr:
    /// there are none. Outlives the endpoint.
    path::SocketSource* sockets = nullptr;
    Log log;
    quic::ConnectionConfig connection;
    /// Sessions that others may have open here at once, and of those, how many handshakes before
    /// every further client has to prove its address with a Retry first (RFC 9000 section 8.1).
    std::size_t sessions_max = 20'000;
    std::size_t handshakes_before_retry = 256;
    std::size_t handshakes_max = 2'048;
    std::size_t sessions_per_address_max = 256;
  };
  explicit Endpoint(const Options& options);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  void add_socket(SocketId socket, const Address& local);
  void remove_socket(SocketId socket, TimePoint now);
  /// A TCP connection is there: one that Options::sockets was asked for, or one that came in.
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now);
  /// It ended, or never came to be.
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now);

  /// The port that Options::sockets listens on for TCP: sessions by meet() connect from it, so that
  /// a NAT maps them like the listener. 0: none.
  void set_tcp_port(std::uint16_t port);
  /// What routers may be asked to remember for searches, of all sessions together.
  path::ProbeBudget& search_budget();
  unsigned search_entries_left(TimePoint now);  ///< SideProfile::entries_left of this host.
  /// PathFinder::set_mapping_lifetime() of all sessions, also of those to come.
  void set_mapping_lifetime(std::optional<Duration> lifetime);
  /// Which methods brought paths, of all sessions; and what another life of this party had learned.
  const path::MethodHistory& method_history() const;
  void set_method_history(const path::MethodHistory& history);

  /// Opens a session to a party at a known place, as dial_order.h says. Later the session moves to
  /// TCP when UDP fails, and back.
  Session& dial(const NodeId& peer, const std::vector<Address>& addresses, SessionHandler& handler,
                TimePoint now, const DialHints& hints = {});
  /// Opens a session with a peer that wants one as well: candidates are added to session.paths().
  Session& meet(const Meeting& meeting, SessionHandler& handler, TimePoint now);
  /// To be called after something of session.paths() was changed: it may have checks to send.
  void touch(Session& session);
  /// Fresh tag for a Meeting, not in use here.
  path::FinderTag new_tag();

  void on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                    std::size_t segment_bytes, TimePoint now);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::optional<Transmit> poll_transmit(MutableByteView buffer, TimePoint now);
  /// A datagram of the owner's own (STUN), sent by the next poll_transmit(). Dropped when 256 wait.
  /// A connection that came in and gets one stays open longer than other strangers do.
  void send_datagram(SocketId socket, const Address& to, ByteView datagram);

  void on_network_changed(TimePoint now);
  void close_all(std::uint64_t code, std::string_view reason, TimePoint now);
  std::size_t session_count() const;
  /// Connections that came in and belong to no session yet.
  std::size_t stranger_count() const;

  struct Counters {
    std::uint64_t datagrams_received = 0;
    std::uint64_t datagrams_unknown = 0;  ///< No session, no STUN, no acceptable Initial.
    std::uint64_t handshakes_refused = 0;
    std::uint64_t retries_sent = 0;
    std::uint64_t resets_sent = 0;
    SealedCounters sealed;
  };
  Counters counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace openp2p::session
