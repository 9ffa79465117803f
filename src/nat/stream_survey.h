#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"
#include "nat/nat_profile.h"
#include "nat/port_pattern.h"
#include "nat/stun_message.h"

namespace openp2p::nat {

/// As whom a server sees the one port that asked it over TCP.
struct StreamSighting {
  Address server;
  Address seen;
};
/// What that says of a NAT: mapping, ports and address; filtering it does not. The first of
/// `sightings` is of the server that the others are compared with.
NatProfile profile_of(std::span<const StreamSighting> sightings, std::uint16_t port,
                      const std::vector<IpAddress>& own);
/// What a socket that asked `server` can be seen as.
bool is_believable(const Address& seen, const Address& server);

struct StreamReport {
  NatProfile profile;
  std::optional<Address> reflexive;  ///< nullopt: no answer over TCP.
  std::optional<Duration> rtt;
  std::vector<std::string> evidence;  ///< A line each, for people.
};

struct StreamSurveyConfig {
  std::uint32_t tag = 0;         ///< Begins all transaction ids.
  std::vector<Address> servers;  ///< Of one family; the first is asked most. Not empty.
  std::vector<IpAddress> local_addresses;
  std::uint16_t port = 0;  ///< Fresh: listened on, and connected from.
};

/// How NAT and firewall treat TCP from one fresh port: what RFC 5780 measures over UDP, as far as
/// TCP allows (RFC 5382 has the words).
///
/// Filtering: over a connection to the first server, it is asked to answer from another port, and
/// if it has one from another address (CHANGE-REQUEST); our server then opens a connection to where
/// the asking one came from (server/call_backs.h). What arrives proves itself by the request's
/// transaction id. A call that failed is told (error 447); a server that cannot call says so, or
/// says nothing: then filtering stays unknown. A server that may not call out looks like a filter
/// here, which the evidence says. Mapping: afterwards, since whom we connect to may call us, the
/// server's other port and address are asked from the same port.
/// Sans-I/O. At most 4 connections, 3 mappings and 12 s. Threading: one owner.
class StreamSurvey {
 public:
  /// A connection and its answer: three SYNs.
  static constexpr Duration kPatience = std::chrono::seconds(4);
  static constexpr Duration kCallPatience = std::chrono::seconds(4);  ///< The server gives up at 2.
  static constexpr std::size_t kConnectionsMax = 8;  ///< Strangers' that come meanwhile included.

  StreamSurvey(const StreamSurveyConfig& config, SecretSource& secrets, TimePoint now);

  /// The owner is to connect there, and to say what came of it; nullopt: nowhere.
  std::optional<Address> poll_connect();
  void on_connecting(const Address& to, std::optional<SocketId> socket, TimePoint now);

  void on_connected(SocketId socket, const Address& remote, bool is_incoming, TimePoint now);
  void on_disconnected(SocketId socket, TimePoint now);
  void on_datagram(SocketId socket, ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  std::size_t poll_datagram(SocketId& over, MutableByteView out);  ///< 0: nothing.
  std::optional<TimePoint> next_timeout() const;

  /// The owner then closes all connections and the port.
  bool is_done() const { return stage_ == Stage::kDone; }
  const StreamReport& report() const { return report_; }  ///< Complete when done.

 private:
  enum class Stage { kReach, kFilter, kMap, kDone };
  enum class Call { kNotAsked, kAsked, kArrived, kFailed, kNotTold };
  struct Connection {
    Address remote;
    std::optional<SocketId> socket;
    bool is_incoming = false;
    bool is_wanted = false;  ///< poll_connect() has not given it yet.
    bool is_over = false;    ///< Answered or failed.
    TransactionId asked;
    TimePoint asked_at{};
    std::optional<Address> mapped;
  };
  struct CallTest {
    Call state = Call::kNotAsked;
    bool changes_ip = false;
    TransactionId id;
  };

  Connection* find(SocketId socket);
  TransactionId ask(SocketId over, bool change_ip, bool change_port);
  void connect_to(const Address& to);
  void on_answer(Connection& connection, const StunMessage& answer, TimePoint now);
  void on_called(const Connection& connection, const StunMessage& answer);
  void on_no_call(const StunMessage& answer);
  void advance(TimePoint now);
  bool is_stage_over() const;
  void start_filtering(TimePoint now);
  bool start_mapping(TimePoint now);
  std::optional<Address> other_address() const;
  void conclude();
  Dependence conclude_filtering() const;
  void add_evidence();

  const StreamSurveyConfig config_;
  SecretSource& secrets_;
  Stage stage_ = Stage::kReach;
  TimePoint stage_ends_at_;
  std::vector<Connection> connections_;  ///< The first one: to the first server.
  std::optional<Address> told_other_;    ///< OTHER-ADDRESS, as the first server told it.
  CallTest port_call_;
  CallTest address_call_{.changes_ip = true, .id = {}};
  struct Request {
    SocketId over;
    StunMessage message;
  };
  std::vector<Request> requests_;
  StreamReport report_;
};

}  // namespace openp2p::nat
