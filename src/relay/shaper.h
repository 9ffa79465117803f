#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "relay/ticket.h"

/// Divides a cap among users, then among each user's flows, datagram by datagram.
///
/// A token bucket (what was not used is lost beyond a small burst, so idle time earns nothing) over
/// deficit round robin (Shreedhar and Varghese, 1995), once over accounts and once over the flows
/// of each: who asks for less than the fair share gets it all, who asks for more gets the share,
/// whatever the sizes of datagrams. A flow's queue is short, since what waits long is of no use;
/// what finds it full is dropped, which slows who sent it and nobody else.
///
/// While nothing waits and the bucket has tokens, a datagram passes at once, without a copy here.
/// One that waits is copied once, into memory that is used again: in steady state nothing is
/// allocated. What counts is what the network carries, headers included: a cap is a promise to who
/// pays for a line. Sans-I/O. Threading: one owner.
namespace openp2p::relay {

class Shaper {
 public:
  /// The owner's numbers, small: memory is held for the largest.
  using FlowId = std::uint32_t;

  /// What may go at once after a pause: 10 ms of the cap, but 16 KiB, a train of 13 datagrams.
  static constexpr Duration kBurst = std::chrono::milliseconds(10);
  static constexpr double kBurstBytesMin = 16 << 10;
  /// Of the cap, so much is given out: burst and rounding never make it more.
  static constexpr double kGiven = 0.99;
  /// A flow's queue: 50 ms of its share, but 16 datagrams, which congestion control needs to live
  /// at low rates.
  static constexpr Duration kQueueTime = std::chrono::milliseconds(50);
  static constexpr std::size_t kQueueDatagramsMin = 16;
  /// All queues: 50 ms at 5 Gbit/s, or 16 datagrams of 1,600 flows. With more flows, each has less.
  static constexpr std::size_t kQueuedBytesMax = 32 << 20;
  /// Each turn gives a flow 1 ms of its share, at least a datagram, at most a train.
  static constexpr double kQuantumBytesMin = 1'500;
  static constexpr double kQuantumBytesMax = 16 << 10;
  /// Timers are not finer: where the rate is high, several datagrams leave together.
  static constexpr Duration kTick = std::chrono::milliseconds(1);

  Shaper() = default;
  Shaper(const Shaper&) = delete;
  Shaper& operator=(const Shaper&) = delete;

  /// Bits per second, more than 0. What waits stays.
  void set_rate(std::uint64_t bits_per_second, TimePoint now);
  /// A flow, on whose account. Requires that it is not there.
  void add(FlowId flow, const Account& account);
  void remove(FlowId flow);  ///< With what waits.

  /// True: nothing waits and there are tokens for this much, headers included. They are taken: send
  /// it now. Else queue() it.
  bool pass(std::size_t bytes, TimePoint now);
  /// With headers of so many bytes, at most 65,535. False: the flow's queue is full; the datagram
  /// is dropped.
  bool queue(FlowId flow, ByteView datagram, std::size_t header_bytes);

  struct Item {
    FlowId flow;
    MutableByteView datagram;  ///< Valid until the next call.
  };
  /// Takes off the next one that may leave; nullopt: come again at next_timeout().
  std::optional<Item> poll(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  /// Gives memory back that was needed for a burst of long ago, if nothing waits.
  void trim();

  std::size_t queued_bytes() const { return queued_bytes_; }
  std::size_t queued_bytes(FlowId flow) const { return flows_[flow].bytes; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  /// A datagram that waits, or spare memory for one.
  struct Slot {
    Bytes bytes;
    std::uint32_t next = kNone;
    std::uint16_t header_bytes = 0;
  };
  /// A ring of what has something waiting: flows of a user, users of the shaper.
  struct Ring {
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
    std::uint32_t size = 0;
  };
  struct Flow {
    std::uint32_t user = kNone;  ///< kNone: no flow has this number.
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
    std::uint32_t count = 0;
    std::size_t bytes = 0;
    double deficit = 0;
    std::uint32_t next = kNone;  ///< In its user's ring.
  };
  struct User {
    Account account{};
    std::uint32_t flows = 0;  ///< 0: the place is free.
    double deficit = 0;
    Ring active;
    std::uint32_t next = kNone;
  };

  template <class Member>
  static void push(Ring& ring, std::vector<Member>& members, std::uint32_t index);
  template <class Member>
  static void pop(Ring& ring, std::vector<Member>& members);
  template <class Member>
  static void cut_out(Ring& ring, std::vector<Member>& members, std::uint32_t index);
  void refill(TimePoint now);
  double quantum() const;
  bool has_room(const Flow& flow, std::size_t bytes) const;
  std::uint32_t take_slot();
  std::uint32_t user_of(const Account& account);
  FlowId next_flow();
  void clear(Flow& flow);

  double rate_ = 1;  ///< Bytes per second that are given out.
  double burst_ = kBurstBytesMin;
  double tokens_ = kBurstBytesMin;  ///< Below zero after the last datagram that went.
  std::optional<TimePoint> filled_at_;
  std::vector<Flow> flows_;
  std::vector<User> users_;
  std::map<Account, std::uint32_t> user_index_;
  std::vector<std::uint32_t> free_users_;
  Ring active_;  ///< Of users.
  std::uint32_t active_flows_ = 0;
  std::vector<Slot> slots_;
  std::uint32_t free_slot_ = kNone;
  std::size_t queued_bytes_ = 0;
};

}  // namespace openp2p::relay
