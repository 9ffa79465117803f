#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "base/random.h"
#include "base/time.h"
#include "sim/counters.h"
#include "sim/world.h"

namespace openp2p::sim {

struct LinkOptions {
  Duration delay{};
  Duration jitter{};       ///< Adds 0..jitter, evenly; order is kept, as in a queue.
  double loss = 0;         ///< Probability for each datagram, as are the next two.
  double duplication = 0;  ///< Arrives twice.
  double reordering = 0;   ///< Is held back by `reordering_delay`, so that later ones overtake it.
  Duration reordering_delay = std::chrono::milliseconds(10);
  std::uint64_t bits_per_second = 0;     ///< 0: no limit.
  std::size_t queue_bytes = 256 * 1024;  ///< What may wait for the rate; more is dropped.
  std::size_t mtu = 1500;                ///< Bytes of the largest IP packet.
  bool is_mtu_silent = false;  ///< Too big ones vanish without an error: a path MTU black hole.
};

/// What becomes of one datagram on a link.
struct Passage {
  std::optional<DropReason> dropped;
  std::array<TimePoint, 2> arrivals;  ///< The second one is a duplicate.
  std::size_t copies = 0;
  std::uint32_t era = 0;  ///< See Link::is_intact().
};

/// One direction of a wire. Draws from its own generator, so that traffic elsewhere changes nothing
/// here.
///
///     sim::Link out(world, {.delay = 40ms, .loss = 0.05});
///     out.send(datagram, [&](ByteView bytes, TimePoint now) { peer.on_datagram(bytes, now); });
///
/// The link outlives the datagrams that are on it.
class Link {
 public:
  explicit Link(World& world, const LinkOptions& options = {});

  /// Calls `deliver(ByteView, TimePoint now)` once for each copy that arrives. Returns why it was
  /// dropped, nullopt when it is on its way.
  template <class Deliver>
  std::optional<DropReason> send(ByteView datagram, Deliver deliver) {
    const Passage passage = admit(datagram.size());
    for (const TimePoint at : std::span(passage.arrivals).first(passage.copies)) {
      world_.at(at, [this, era = passage.era, deliver, bytes = world_.buffers().copy(datagram)] {
        if (is_intact(era)) deliver(bytes.view(), world_.now());
      });
    }
    return passage.dropped;
  }

  /// Decides about a datagram that enters now; the caller makes it arrive. Drops are counted.
  Passage admit(std::size_t bytes);
  /// Whether a datagram with this era may still arrive: it does not if the link went down
  /// meanwhile. Counts the drop.
  bool is_intact(std::uint32_t era);

  const LinkOptions& options() const { return options_; }
  void set_options(const LinkOptions& options) { options_ = options; }
  /// A link that is down refuses what is sent, visibly, and loses what is on it.
  void set_up(bool is_up);
  bool is_up() const { return is_up_; }
  /// Swallows everything that is sent from now on; nobody is told.
  void set_blackhole(bool is_blackhole) { is_blackhole_ = is_blackhole; }
  std::size_t queued_bytes() const;  ///< What waits for the rate limit now.

  std::uint64_t datagrams() const { return datagrams_; }  ///< Offered, dropped ones included.
  std::uint64_t drops() const { return drops_; }

 private:
  Passage drop(DropReason reason);
  TimePoint depart(std::size_t bytes);
  TimePoint arrive(TimePoint departure);

  World& world_;
  LinkOptions options_;
  Random random_;
  TimePoint busy_until_{};
  TimePoint last_arrival_{};
  std::uint64_t datagrams_ = 0;
  std::uint64_t drops_ = 0;
  std::uint32_t era_ = 0;
  bool is_up_ = true;
  bool is_blackhole_ = false;
};

}  // namespace openp2p::sim
