#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

/// What the local API, and through it the command line, can ask of a running agent. Plain values in
/// and out, so that neither side knows the other's insides.
/// Threading: the agent's thread.
namespace openp2p::agent {

/// Ports of one forward: each costs a descriptor for each protocol. More is what a VPN is for.
inline constexpr std::size_t kForwardPortsMax = 1'000;

/// A forward as the user asked for it, and as it is stored.
struct ForwardSpec {
  std::string name;  ///< is_valid_name(); unique on this node.
  std::string peer;  ///< The peer's name, or its id in 64 hex digits.
  std::string host;  ///< Destination as the peer sees it: name, IPv4 or IPv6.
  std::uint16_t port = 0;
  Address listen;  ///< Loopback unless the user named another address. Port 0: any free one.
  bool is_enabled = true;
  std::uint16_t ports = 1;  ///< From `listen` and from `port` on, as many of each.
  bool has_tcp = true;
  bool has_udp = false;
  std::string relay{};       ///< The only relay that may carry it: a node's name or id. Empty: any.
  bool allows_relay = true;  ///< False: only over a direct path.
  std::size_t listening_sockets() const { return std::size_t{ports} * (has_tcp + has_udp); }
  friend bool operator==(const ForwardSpec&, const ForwardSpec&) = default;
};

struct ForwardStatus {
  ForwardSpec spec;
  /// "listening", "connected" (a session with the peer is there), "disabled", "failed" (not
  /// listening).
  std::string state;
  std::string reason;  ///< Why not listening, or why the last connection failed; may be empty.
  std::string hint;    ///< The exact command or step that would help; may be empty.
  std::optional<Address> bound;  ///< The first port.
  std::uint64_t connections_now = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t connections_failed = 0;
  std::uint64_t flows_now = 0;  ///< Of UDP: one for each address of a local program.
  std::uint64_t flows_total = 0;
  std::uint64_t flows_failed = 0;
  std::uint64_t datagrams_sent = 0;
  std::uint64_t datagrams_received = 0;
  std::uint64_t datagrams_dropped = 0;
  std::uint64_t bytes_sent = 0;  ///< Of both protocols.
  std::uint64_t bytes_received = 0;
};

struct PathCandidateStatus {
  std::string local;   ///< "host 0.0.0.0:43210"
  std::string remote;  ///< "srflx 198.51.100.7:4500"
  std::string state;
  unsigned checks_sent = 0;
  std::optional<Duration> rtt;
};

/// A step on the way to a path. Texts are the stable names of path/timeline.h, method.h and
/// reason_code.h.
struct PathEventStatus {
  Duration ago{};
  std::string event;
  std::string method;  ///< Empty where none is meant.
  std::string reason;  ///< Likewise.
  std::optional<Address> address;
  unsigned count = 0;
};

struct PeerStatus {
  NodeId id;
  std::string name;
  bool is_online = false;  ///< As the server says.
  std::string session;     ///< "none", "connecting", "connected"
  /// "direct IPv4", "direct IPv6", "LAN", "relayed by nas (own node)"; empty without one.
  std::string path;
  std::string relay;               ///< Name of the relay in use; empty: none.
  std::string relay_kind;          ///< "own node", "shared node", "server"; empty: none.
  std::optional<Address> address;  ///< The peer's end of the path in use.
  std::optional<Duration> rtt;
  std::string method;  ///< What brought the path: "direct", "punch", .. (path/method.h).
  /// Why there is no path, or no better one: of a relayed one, why it is not direct; may be empty.
  std::string reason;
  std::string relay_reason;  ///< Why there is no relay where one was asked for; may be empty.
  std::string reason_code;   ///< As `reason` for machines: "none", "no-answer", ..
  std::optional<Duration> retry_in;       ///< When it is tried again, where there is no session.
  std::vector<PathEventStatus> timeline;  ///< Oldest first, of the attempts so far.
  std::vector<PathCandidateStatus> candidates;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::string version;
  std::string platform;
  std::int64_t seen_at_us = 0;
};

/// Signals that travelled without the server since the agent started (agent/signal_ways.h).
struct SignalCounts {
  std::uint64_t letters_sent = 0, letters_taken = 0, letters_challenged = 0;
  std::uint64_t letters_refused = 0;  ///< Forged, old, of strangers, too many.
  std::uint64_t direct_sent = 0, direct_taken = 0;
  std::uint64_t direct_challenged = 0;  ///< As of letters: offers, asked whether they are new.
  std::uint64_t direct_limited = 0;     ///< Dropped: too many from one place, or in all.
  std::uint64_t direct_stranger = 0;    ///< Dropped: for another node, or of no member.
  std::uint64_t direct_forged = 0;      ///< Dropped: not signed by whom they name.
  std::uint64_t direct_stale = 0;       ///< Dropped: of no attempt that goes on.
};

struct NodeStatus {
  NodeId id;
  std::string name;
  std::string network;
  std::string version;
  std::string server_address;  ///< In use, or tried last.
  NodeId server_key;
  std::string server_state;   ///< "connected", "connecting", "waiting"
  std::string server_reason;  ///< Why not connected.
  std::optional<Duration> server_retry_in;
  std::optional<Address> observed_address;  ///< This node as the server sees it.
  std::vector<Address> local_addresses;
  Duration uptime{};
  std::size_t peers_total = 0, peers_online = 0, sessions = 0, forwards = 0;
  bool accepts_lan = false;
  std::vector<std::string> accepts;  ///< "HOST:PORT" destinations allowed besides the node itself.
  std::vector<std::string> methods;  ///< That may be used to reach peers (path/method.h).
  SignalCounts signals;
};

/// A pair of others' that this node carries. A relay knows who, and how much; nothing else.
struct LentStatus {
  NodeId one, other;
  bool is_lent = false;    ///< To strangers; else to nodes of this network.
  bool is_joined = false;  ///< Both ends are there.
  std::uint64_t bytes = 0;
  std::uint64_t bits_per_second = 0;  ///< Lately.
  Duration age{}, idle{};
};

/// A relay that carries for this node.
struct BorrowedStatus {
  NodeId peer;
  NodeId relay;
  std::string kind;        ///< "own node", "shared node", "server"
  bool is_joined = false;  ///< Both ends are there.
  bool is_in_use = false;  ///< Else it waits for the path in use to fail.
  std::uint64_t bytes_sent = 0, bytes_received = 0;
  Duration age{};
};

/// 1 Tbit/s: more is a mistake.
inline constexpr unsigned kShareMbitMax = 1'000'000;

/// What this node as a relay did not do since the agent started: for strangers and for its own
/// network.
struct RelayRefusals {
  std::uint64_t allocations = 0;  ///< For any reason; those of bad tickets are told apart:
  std::uint64_t tickets_forged = 0, tickets_old = 0, tickets_spent = 0;
  std::uint64_t guessers_cut = 0;   ///< Streams reset after too many forged tickets.
  std::uint64_t streams_reset = 0;  ///< For anything but relaying, or by its rules.
  std::uint64_t offers = 0;         ///< Sessions that strangers asked for: too many, or none lent.
  std::uint64_t receipts = 0;       ///< Forged ones, and claims of more than was carried.
  std::uint64_t cut_unreceipted = 0;  ///< Allocations ended, since no receipts came.
  std::uint64_t letters = 0;
  std::uint64_t datagrams_over_cap = 0;
  std::uint64_t datagrams_astray = 0;  ///< To no allocation of their sender's.
};

struct ShareStatus {
  unsigned share_mbit = 0;
  bool lends = false;
  std::uint64_t cap_bits_per_second = 0;
  std::uint64_t lent_bits_per_second = 0;  ///< In use by strangers, lately.
  std::uint64_t lent_bytes_now = 0;        ///< Since the agent started.
  std::uint64_t borrowed_bytes_now = 0;    ///< Likewise.
  std::vector<LentStatus> lent;
  std::vector<BorrowedStatus> borrowed;
  /// As the server last told, of all nodes of the user; otherwise unknown.
  bool has_credit = false;
  std::uint64_t lent_bytes = 0, borrowed_bytes = 0, allowance_bytes = 0, lent_here_bytes = 0;
  bool may_borrow = false;
  RelayRefusals refusals;
  std::string reason;  ///< Why nothing is lent or borrowed, or why no more, and what to do.
};

struct PingReply {
  unsigned number = 0;
  std::optional<Duration> rtt;  ///< nullopt: no answer in time.
  std::string path;             ///< As PeerStatus::path.
  std::optional<Address> address;
  std::string reason;  ///< Why no answer, or why no better path.
  std::string reason_code;
  std::string method;              ///< As PeerStatus::method.
  std::optional<PeerStatus> peer;  ///< Of the last one, number 0: all that is known by then.
};

/// What was found out about one transport over one address family.
struct NetcheckFinding {
  std::string transport;    ///< "udp", "tcp"
  std::string family;       ///< "ipv4", "ipv6"
  bool works = false;       ///< The STUN service answers over it.
  bool is_blocked = false;  ///< It does not, though it answers over the other transport.
  std::optional<Address> reflexive;
  std::string mapping;  ///< RFC 4787's words; empty if unknown.
  std::string filtering;
  std::string nat;    ///< "no NAT", "full cone", "port-restricted cone", "symmetric", ...
  std::string ports;  ///< How external ports are chosen; empty if unknown.
  std::vector<std::uint16_t> sample_ports;        ///< External ports of mappings, in their order.
  int port_step = 0;                              ///< Of a sequence.
  std::uint16_t block_first = 0, block_last = 0;  ///< Of a block of ports; else 0.
  std::vector<std::string> addresses;             ///< External ones.
  std::optional<bool> hairpin;
  bool is_spoilt_by_unsolicited = false;
  std::optional<Duration> rtt;
};

struct NetcheckReport {
  bool udp_v4 = false, udp_v6 = false;  ///< The STUN service answers over it.
  std::optional<Address> reflexive_v4, reflexive_v6;
  std::string mapping;  ///< RFC 4787's words; empty if unknown.
  std::string filtering;
  std::string nat;  ///< "no NAT", "full cone", "port-restricted cone", "symmetric", ...
  std::optional<bool> hairpin;
  std::optional<bool> preserves_port;
  std::vector<NetcheckFinding> findings;   ///< Transport by transport; the above is of the first.
  std::vector<std::string> port_mappings;  ///< What routers were asked for, a line each.
  /// Of UDP: "none", "throttled", "slow line", "unknown"; empty: not measured.
  std::string throttling;
  std::optional<Duration> lifetime_alive;  ///< A silent UDP mapping lives at least so long ..
  std::optional<Duration> lifetime_dead;   ///< .. and less than this. Only where asked for.
  std::optional<Duration> server_rtt;
  std::vector<std::string> evidence;  ///< One line a finding.
  std::string error;                  ///< Why nothing could be found out.
};

struct NetcheckOptions {
  bool measures_lifetime = false;  ///< Takes up to five minutes.
};

/// A refusal for a person: what happened, why, and what to do.
struct ControlError {
  enum class Kind { kInvalid, kNotFound, kConflict, kUnavailable };
  Kind kind = Kind::kInvalid;
  std::string text;
};

class NodeControl {
 public:
  virtual ~NodeControl() = default;
  virtual NodeStatus status() const = 0;
  virtual std::vector<PeerStatus> peers() const = 0;
  virtual std::vector<ForwardStatus> forwards() const = 0;
  /// nullopt: done, and stored so that it survives a restart.
  virtual std::optional<ControlError> add_forward(const ForwardSpec& spec) = 0;
  virtual std::optional<ControlError> remove_forward(std::string_view name) = 0;
  virtual std::optional<ControlError> set_forward_enabled(std::string_view name, bool enabled) = 0;
  /// Calls `reply` `count` times, one second apart (count at most 1,000); then once with number 0.
  /// Gives an error at once where the peer is unknown. `reply` returning false stops it.
  virtual std::optional<ControlError> ping(std::string_view peer, unsigned count,
                                           std::function<bool(const PingReply&)> reply) = 0;
  virtual void netcheck(const NetcheckOptions& options,
                        std::function<void(const NetcheckReport&)> done) = 0;
  /// What is lent and borrowed. Asks the server for the account, and so calls back later, within
  /// seconds; with what was told before where it does not answer.
  virtual void share(std::function<void(const ShareStatus&)> done) = 0;
  /// nullopt: done, and stored. 0: neither lends nor borrows.
  virtual std::optional<ControlError> set_share(unsigned mbit) = 0;
};

}  // namespace openp2p::agent
