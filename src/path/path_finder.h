#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "nat/stun_message.h"
#include "path/candidate.h"
#include "path/finder_tag.h"
#include "path/method.h"
#include "path/method_history.h"
#include "path/probe_budget.h"
#include "path/reason_code.h"
#include "path/socket_source.h"
#include "path/timeline.h"

/// Finds, keeps and changes the path of one session: candidates, connectivity checks, nomination,
/// consent.
///
/// Source: ICE, RFC 8445 (candidates, priorities, check list, triggered checks, nomination), RFC
/// 8838 (trickle), RFC 7675 (consent), RFC 8489 (STUN with MESSAGE-INTEGRITY and FINGERPRINT).
/// Differences: no SDP; nomination is repeated whenever a better path comes alive, for the
/// session's whole life; and either side may leave a silent path at once for its next best valid
/// one. The roles come from the session and never collide, so the tie-breaker of ICE-CONTROLLING
/// and ICE-CONTROLLED numbers the checks instead: a copy of an old one neither teaches nor
/// nominates.
///
/// What others can make us send: to an address that never answered 24 checks of about 100 bytes,
/// then one each 5 s; and, only to who sends authentic checks from there, 64 answers, then one a
/// second. New addresses: 32, then one each 10 s. All together one check each `pace`. What all
/// sessions of a host send to one IP address that never answered is bounded by its ProbeBudget.
/// Silence: a path is doubted after max(1 s, 3 rtt), sooner where the peer sends over another one,
/// left as soon as another answers, and lost after 2.5 s. Without data, consent notices within one
/// interval more. Sans-I/O: no socket, clock or randomness of its own. Threading: one owner.
namespace openp2p::path {

enum class IceRole { kControlling, kControlled };

struct PathFinderConfig {
  NodeId peer;  ///< For log lines only; zeros: not known yet.
  IceRole role = IceRole::kControlling;
  FinderTag local_tag;
  FinderTag remote_tag;
  /// Keys MESSAGE-INTEGRITY of all checks in both directions; only the two parties have it.
  std::array<std::byte, 32> check_key{};
  Duration pace = std::chrono::milliseconds(20);  ///< Ta of RFC 8445 section 14.2.
  Duration first_retransmit = std::chrono::milliseconds(100);
  Duration consent_interval = std::chrono::seconds(5);  ///< RFC 7675 section 5.1.
  Duration rtt_hint = std::chrono::milliseconds(100);   ///< Between the two, from signalling.
  Duration gather_patience = std::chrono::seconds(10);  ///< RFC 8863: no failure before this.
  SocketSource* sockets = nullptr;   ///< For what needs more sockets; nullptr: goes without.
  ProbeBudget* probes = nullptr;     ///< The host's; nullptr: no searches, and no common limit.
  MethodHistory* history = nullptr;  ///< The host's, learned from and taught; nullptr: none.
};

/// Where a check goes.
struct CheckTarget {
  Path path;
  /// The IP header's hop limit; 0: the system's own. A small one opens this side's NAT, and the
  /// datagram dies before it reaches the peer's.
  std::uint8_t hop_limit = 0;
};

/// One line of the answer to "why this path and not a better one".
struct PairReport {
  Candidate local;
  Candidate remote;
  std::string_view state;  ///< "waiting", "in progress", "valid", "failed", "selected"
  unsigned checks_sent = 0;
  std::optional<Duration> rtt;
};

class PathFinder {
 public:
  static constexpr std::size_t kRemoteCandidatesMax = 32;
  static constexpr std::size_t kPairsMax = 100;  ///< RFC 8445 section 6.1.2.5.

  PathFinder(const PathFinderConfig& config, Random random, Log log, TimePoint now);
  ~PathFinder();

  // Candidates may come at any time, in any order, repeatedly.
  void add_local(const Candidate& candidate, TimePoint now);
  void remove_socket(SocketId socket, TimePoint now);
  /// Loopback, unspecified, multicast and port 0 are refused: nobody may aim our checks there.
  void add_remote(const Candidate& candidate, TimePoint now);
  /// A path that is known to work because an authentic packet came over it (the address that a QUIC
  /// handshake used). It becomes valid and, if nothing is selected, selected.
  void add_proven(const Path& path, TimePoint now);
  /// What both sides know of their NATs; again when more is known. `round` counts the attempts of
  /// the two since they last had a path: what failed is varied. Both sides begin at `go_at`, which
  /// is the same moment as far as signalling can tell; before it, only what cannot spoil the peer's
  /// NAT is sent to its reflexive addresses.
  void set_profiles(const SideProfile& local, const SideProfile& peer, unsigned round,
                    TimePoint go_at, TimePoint now);

  /// This side's datagrams come from elsewhere now, and the peer does not know from where. What
  /// reaches a NAT unasked may spoil it: until `until`, or the moment of the set_profiles() after
  /// on_peer_told(), nothing is sent to where that may happen, unless the peer comes first.
  void be_quiet(TimePoint until);
  /// The peer is being told where this side is now.
  void on_peer_told();
  /// Nothing may be sent there before this, for the same reason; nullopt: nothing forbids it.
  std::optional<TimePoint> closed_until(const Path& path, TimePoint now) const;

  /// A TCP connection of this session is up; `path.socket` is it. It is closed by remove_socket().
  void add_connection(const Path& path, const Address& local, TimePoint now);
  /// A relay carries this session's datagrams: `path.socket` is a path::is_relayed() one, and
  /// reaches nothing but the peer. It is usable at once, since the relay has admitted both ends; it
  /// is the last choice, is used while there is no other, and kept warm. Meanwhile everything that
  /// finds direct paths goes on as if there were none. Of several the one of the lowest rank is
  /// used, unless it is much slower. It ends by remove_socket().
  void add_relayed(const Path& path, TimePoint now, unsigned rank = 0);
  /// True for an authentic check of the peer's that was not seen before: whoever sent it is the
  /// peer, by whatever way it came.
  bool is_proof(const nat::StunMessage& message, ByteView raw) const;

  /// A STUN message addressed to this finder (by username or transaction id). `raw` is the datagram
  /// that it was parsed from, for MESSAGE-INTEGRITY. Foreign or forged ones are ignored and
  /// counted.
  void on_stun(const Path& from, const nat::StunMessage& message, ByteView raw, TimePoint now);
  /// An authentic QUIC packet arrived over `from`: liveness of the path. Call once a batch.
  void on_authentic(const Path& from, TimePoint now);
  /// Data that wants an answer was sent over the selected path: silence now counts.
  void on_sent(TimePoint now);
  /// Data that wants no answer was sent over it: silence is asked about twice a second, and counts
  /// from there.
  void on_sent_one_way(TimePoint now);
  /// For how long the own NAT keeps a silent mapping, as measured: standby paths are kept warm just
  /// under that. nullopt: not known.
  void set_mapping_lifetime(std::optional<Duration> lifetime);
  /// Whether what this side sends over UDP comes through so badly that direct TCP goes before it.
  /// The peer is told; either side's wish counts.
  void prefer_streams(bool is_preferred, TimePoint now);
  /// Of the selected path; nullopt: there is none, or it is relayed.
  std::optional<Transport> direct_transport() const;
  /// Addresses or routes changed: check everything again at once.
  void on_network_changed(TimePoint now);

  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  /// 0: nothing to send. `out` has room for any datagram: 1,472 bytes and more.
  std::size_t poll_datagram(CheckTarget& to, MutableByteView out, TimePoint now);

  const Path* selected() const;  ///< nullptr: none.
  bool is_doubted() const;       ///< The selected path is silent, and all others are asked.
  /// Around a change of path: also send there until the given time.
  const Path* duplicate_to(TimePoint now) const;
  std::optional<Duration> selected_rtt() const;
  /// The largest UDP payload that the selected path is known to carry (RFC 8899's PLPMTU): 1,200
  /// until padded checks of larger sizes were answered.
  std::size_t datagram_bytes() const;
  bool is_failed() const;     ///< All checks failed and patience is over; new candidates revive it.
  ReasonCode reason() const;  ///< While a relay carries: why there is no direct path.
  std::vector<PairReport> report() const;
  /// This party's IPv4 address and UDP port as the peer sees them, by its last answer over IPv4: on
  /// whatever path, so it is known although IPv6 is in use.
  std::optional<Address> reflexive_v4() const;
  /// Where that answer came from: the peer's.
  std::optional<Address> answered_v4() const;
  /// What the search that goes on has reserved in the own router, and another one for the same peer
  /// could use: for SideProfile::entries_left.
  unsigned search_entries_held(TimePoint now) const;
  std::optional<Method> method() const;         ///< What brought the selected path.
  std::vector<TimelineEntry> timeline() const;  ///< Oldest first.

  struct Counters {
    std::uint64_t checks_sent = 0;
    std::uint64_t probes_sent = 0;  ///< Checks of searches for ports; not in checks_sent.
    std::uint64_t checks_received = 0;
    std::uint64_t forged = 0;    ///< Not addressed to us, wrong integrity, or from another address.
    std::uint64_t replayed = 0;  ///< Authentic requests that were seen before.
    std::uint64_t ignored = 0;   ///< Of no use: unknown transactions, errors, a wrong role.
    std::uint64_t switches = 0;
  };
  const Counters& counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace openp2p::path
