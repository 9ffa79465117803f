#include "sim/link.h"

#include <algorithm>

namespace openp2p::sim {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

Duration time_to_send(std::size_t bytes, std::uint64_t bits_per_second) {
  const std::uint64_t bits = bytes * 8;  // At most 2^19: the product below stays under 2^50.
  return Duration(static_cast<std::int64_t>(bits * kNanosecondsPerSecond / bits_per_second));
}

}  // namespace

Link::Link(World& world, const LinkOptions& options)
    : world_(world), options_(options), random_(world.random().fork()) {}

Passage Link::drop(DropReason reason) {
  ++drops_;
  ++world_.counters().drops(reason);
  world_.trace(/*kind=*/0xd0, static_cast<std::uint64_t>(reason));
  return {.dropped = reason, .arrivals = {}};
}

Passage Link::admit(std::size_t bytes) {
  ++datagrams_;
  if (!is_up_) return drop(DropReason::kDown);
  if (bytes > options_.mtu) return drop(DropReason::kTooBig);
  if (is_blackhole_) return drop(DropReason::kBlackhole);
  if (options_.bits_per_second != 0 && queued_bytes() + bytes > options_.queue_bytes) {
    return drop(DropReason::kQueueFull);
  }
  const TimePoint departure = depart(bytes);
  if (random_.chance(options_.loss)) return drop(DropReason::kLoss);  // On the wire: it took time.

  const TimePoint arrival = arrive(departure);
  const std::size_t copies = random_.chance(options_.duplication) ? 2 : 1;
  return {.dropped = {}, .arrivals = {arrival, arrival}, .copies = copies, .era = era_};
}

bool Link::is_intact(std::uint32_t era) {
  if (era == era_) return true;
  ++drops_;
  ++world_.counters().drops(DropReason::kDown);
  return false;
}

TimePoint Link::depart(std::size_t bytes) {
  if (options_.bits_per_second == 0) return world_.now();
  busy_until_ = std::max(busy_until_, world_.now()) + time_to_send(bytes, options_.bits_per_second);
  return busy_until_;
}

TimePoint Link::arrive(TimePoint departure) {
  TimePoint arrival = departure + options_.delay;
  if (options_.jitter > Duration::zero()) {
    const auto span = static_cast<std::uint64_t>(options_.jitter.count()) + 1;
    arrival += Duration(static_cast<std::int64_t>(random_.below(span)));
  }
  if (random_.chance(options_.reordering)) return arrival + options_.reordering_delay;
  last_arrival_ = std::max(last_arrival_, arrival);
  return last_arrival_;
}

std::size_t Link::queued_bytes() const {
  if (options_.bits_per_second == 0 || busy_until_ <= world_.now()) return 0;
  // The wait is at most that of a full queue, so the product is about 2^33 times queue_bytes.
  const auto wait = static_cast<std::uint64_t>((busy_until_ - world_.now()).count());
  return static_cast<std::size_t>(wait * options_.bits_per_second / (8 * kNanosecondsPerSecond));
}

void Link::set_up(bool is_up) {
  if (is_up_ && !is_up) ++era_;
  is_up_ = is_up;
  if (!is_up) busy_until_ = world_.now();
}

}  // namespace openp2p::sim
