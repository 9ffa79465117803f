#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/time.h"
#include "forward/stream_user.h"
#include "relay/hop.h"
#include "relay/receipt.h"
#include "relay/ticket.h"
#include "session/session.h"

/// The relay's side: carries datagrams between pairs of ends. In the agent over sessions with
/// peers, in the server over control sessions.
///
/// The life of a datagram: Hop opens nothing (the session did), on_hop_datagram() finds the
/// allocation by its channel (one index), then either hands it straight to the other end's Hop (one
/// copy, into that session's queue), or, where a cap holds, to the Shaper. It reaches the other end
/// of its allocation and nothing else. No allocation a datagram, no log line.
///
/// Order of calls:
///   1. A session is established: the owner makes a Hop.
///   2. The end opens a stream whose first byte is forward::StreamKind::kRelay. The owner calls
///      on_stream(hop, id), and gives all that arrives on the stream, from that byte on, to the
///      StreamUser it got. (The service calls consume(), writes, resets.)
///   3. The session closes: StreamUser::on_session_lost(), Hop::on_session_lost(), then, between
///      inputs, forget(hop), then the Hop may be destroyed.
///   After any input: next_timeout() is the deadline; sessions may have something to send.
///
/// Sans-I/O. Threading: one owner.
namespace openp2p::relay {

/// What a service asks of and tells its owner. None of these may destroy the service, a Hop or a
/// session.
class RelayHost {
 public:
  virtual ~RelayHost() = default;
  virtual TimePoint now() const = 0;  ///< Of the input that is being handled.
  /// Of this relay's own network: may relay here without a ticket, without a cap.
  virtual bool is_own_node(const NodeId& node) const = 0;
  /// Genuine, and more than the last one of this end: the server wants it.
  virtual void on_receipt(const SignedReceipt& receipt, const Receipt& said) = 0;
  /// An allocation came, was joined or ended.
  virtual void on_allocations_changed() = 0;
};

class RelayService final {
 public:
  static constexpr std::uint64_t kLendNothing = 0;
  static constexpr std::uint64_t kNoCap = std::numeric_limits<std::uint64_t>::max();

  struct Options {
    NodeId self;
    RelayHost* host = nullptr;  ///< Outlives the service.
    Log log;
    /// All allocations, and those of strangers among them. An idle one costs less than 1 KiB.
    std::size_t allocations_max = 20'000;
    std::size_t lent_max = 20'000;
    /// Of one end, whoever the others are: the nodes of a large network.
    std::size_t per_end_max = 1'024;
  };
  explicit RelayService(const Options& options);
  ~RelayService();
  RelayService(const RelayService&) = delete;
  RelayService& operator=(const RelayService&) = delete;

  /// What the server told; without both, only nodes of this network are let in.
  void set_secret(const TicketSecret& secret);
  void set_server_time(WallTime server_time, TimePoint now);
  /// What is lent to strangers, in all: bits per second that this node sends for them, IP headers
  /// included. kLendNothing ends their allocations. At any time.
  void set_cap(std::uint64_t bits_per_second, TimePoint now);
  std::uint64_t cap() const;
  /// This node's own traffic, bits per second: goes first, what is lent is the cap less this, but
  /// never less than 1/20 of the cap. (Allocations of own nodes count as own by themselves.)
  void set_own_rate(std::uint64_t bits_per_second, TimePoint now);
  /// The server says that who pays for it owes too much: what is carried on it ends.
  void on_account_spent(const Account& account);
  /// To be called when is_own_node() may answer otherwise: ends the allocations of nodes that left.
  void on_network_changed(TimePoint now);

  /// A relay stream was opened by the other side of this hop. nullptr: refused, and reset already
  /// (a second one in the same session). The user lives until forget(hop), or sweep() after its
  /// on_stream_closed().
  forward::StreamUser* on_stream(Hop& hop, session::StreamId id);
  /// The hop's session uses another path. While that goes over a relay nothing is carried over it:
  /// its allocations end, and none is made.
  void on_hop_moved(Hop& hop);
  /// Ends what the hop has here, if anything. Not from inside a call of the session.
  void forget(Hop& hop);
  /// Destroys what finished: between inputs.
  void sweep();
  /// Ends all allocations, telling the ends why.
  void stop(std::string_view why, TimePoint now);

  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;

  struct AllocationReport {
    NodeId one;  ///< Who came first.
    NodeId other;
    std::optional<TicketKind> kind;  ///< nullopt: without a ticket, all of one network.
    Account account{};
    bool is_joined = false;    ///< Both ends are there.
    std::uint64_t to_one = 0;  ///< Bytes of datagrams handed on.
    std::uint64_t to_other = 0;
    std::uint64_t receipted = 0;        ///< Of both, what receipts prove.
    std::uint64_t dropped = 0;          ///< Datagrams: over the cap, or no path to the other end.
    std::uint64_t bits_per_second = 0;  ///< Lately.
    Duration age = Duration::zero();
    Duration idle = Duration::zero();
  };
  std::vector<AllocationReport> report(TimePoint now) const;  ///< Oldest first.
  std::size_t allocation_count() const;
  std::size_t lent_count() const;                           ///< Of strangers.
  std::uint64_t lent_bits_per_second(TimePoint now) const;  ///< In use by strangers, lately.

  struct Counters {
    std::uint64_t datagrams = 0;   ///< Handed on.
    std::uint64_t bytes = 0;       ///< Of these, without what relaying adds.
    std::uint64_t lent_bytes = 0;  ///< Of these, for strangers.
    std::uint64_t wire_bytes = 0;  ///< As the network carries them, IP headers included.
    std::uint64_t lent_wire_bytes = 0;
    std::uint64_t dropped_cap = 0;     ///< Datagrams over the cap.
    std::uint64_t dropped_path = 0;    ///< The other end's session could not take them.
    std::uint64_t dropped_alone = 0;   ///< The other end is not there yet.
    std::uint64_t wrong_channel = 0;   ///< No such channel, or not this end's.
    std::uint64_t allocations = 0;     ///< Ever made.
    std::uint64_t tickets_forged = 0;  ///< Guessed, of another pair, of another relay.
    std::uint64_t tickets_old = 0;
    std::uint64_t tickets_spent = 0;
    std::uint64_t refused = 0;            ///< For any reason.
    std::uint64_t guessers_cut = 0;       ///< Streams reset after too many forged tickets.
    std::uint64_t receipts = 0;           ///< Passed on.
    std::uint64_t receipts_repeated = 0;  ///< Not more than the last.
    std::uint64_t receipts_bad = 0;       ///< Forged, malformed, of another allocation.
    std::uint64_t receipts_too_high = 0;  ///< More than was handed on to that end.
    std::uint64_t cut_unreceipted = 0;    ///< Allocations ended since receipts lack or are low.
    std::uint64_t letters = 0;
    std::uint64_t letters_failed = 0;
    std::uint64_t malformed = 0;  ///< Streams reset for breaking the protocol.
  };
  const Counters& counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace openp2p::relay
