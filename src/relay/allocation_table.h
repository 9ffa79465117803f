#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "relay/hop.h"
#include "relay/rate_meter.h"
#include "relay/receipt_watch.h"
#include "relay/ticket.h"

/// All allocations of a relay, found by channel (an index), by ticket or by pair.
namespace openp2p::relay {

class RelayEnd;

/// One pair's permission. Side 0 is who came first.
struct Allocation {
  struct Side {
    NodeId node;
    RelayEnd* end = nullptr;  ///< nullptr: not there yet.
    ReceiptWatch receipts;    ///< Of what was handed on to this side.
  };
  std::array<Side, 2> sides;
  std::optional<Ticket> ticket;
  Channel channel = 0;
  TimePoint made_at;
  TimePoint used_at;
  RateMeter rate;
  std::uint64_t dropped = 0;

  bool is_joined() const { return sides[1].end != nullptr; }
  /// For strangers: under the cap, and metered.
  bool is_lent() const { return ticket && ticket->kind != TicketKind::kOwn; }
};

class AllocationTable {
 public:
  /// A channel is a place and its use: 2^16 places, each with another channel 128 times in a row,
  /// so that what is late does not reach who came next.
  static constexpr unsigned kPlaceBits = 16;
  static constexpr std::size_t kPlacesMax = 1U << kPlaceBits;

  /// Requires size() < kPlacesMax.
  Allocation& add(const NodeId& first, const NodeId& other, const std::optional<Ticket>& ticket,
                  TimePoint now);
  std::unique_ptr<Allocation> take_out(const Allocation& allocation);

  Allocation* find(Channel channel) const {
    Allocation* found = at_place(place_of(channel));
    return found != nullptr && found->channel == channel ? found : nullptr;
  }
  Allocation* at_place(std::uint32_t place) const {
    return place < places_.size() ? places_[place].allocation.get() : nullptr;
  }
  static std::uint32_t place_of(Channel channel) { return channel & (kPlacesMax - 1); }
  /// The one that waits for its second end: by ticket, or, without one, by pair. `second` names who
  /// comes now.
  Allocation* find_waiting(const std::optional<Ticket>& ticket, const NodeId& second,
                           const NodeId& first) const;
  void on_joined(const Allocation& allocation);

  std::size_t size() const { return size_; }
  /// In the order of places. `visit` may remove the allocation that it is given.
  void for_each(const std::function<void(Allocation&)>& visit) const;

 private:
  struct Place {
    std::unique_ptr<Allocation> allocation;
    std::uint32_t uses = 0;
  };
  /// What both ends name alike: the ticket's allocation (else zeros), and the pair, who is there
  /// first.
  struct WaitingKey {
    AllocationId allocation{};
    NodeId first;
    NodeId second;
    friend auto operator<=>(const WaitingKey&, const WaitingKey&) = default;
  };
  static WaitingKey waiting_key(const std::optional<Ticket>& ticket, const NodeId& first,
                                const NodeId& second);

  std::vector<Place> places_;
  std::vector<std::uint32_t> free_places_;
  std::map<WaitingKey, Allocation*> waiting_;
  std::size_t size_ = 0;
};

}  // namespace openp2p::relay
