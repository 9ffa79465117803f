// What goes through an allocation, and the receipts for it.

#include "relay/relay_service_impl.h"

namespace openp2p::relay {

void RelayService::Impl::on_end_datagram(RelayEnd& end, Channel channel, MutableByteView datagram,
                                         TimePoint now) {
  Allocation* allocation = allocations_.find(channel);
  const bool is_first = allocation != nullptr && allocation->sides[0].end == &end;
  if (allocation == nullptr || (!is_first && allocation->sides[1].end != &end)) {
    ++counters_.wrong_channel;
    return;
  }
  const unsigned to = is_first ? 1 : 0;
  allocation->used_at = now;
  if (allocation->sides[to].end == nullptr) {
    ++counters_.dropped_alone;
    return;
  }
  if (!is_shaped(*allocation)) return carry(*allocation, to, datagram, now);
  const std::size_t header_bytes = allocation->sides[to].end->hop().header_bytes(now);
  if (shaper_.pass(datagram.size() + header_bytes, now)) {
    return carry(*allocation, to, datagram, now);
  }
  const std::uint32_t flow = AllocationTable::place_of(channel) * 2 + to;
  if (shaper_.queue(flow, datagram, header_bytes)) return;
  ++counters_.dropped_cap;
  ++allocation->dropped;
}

void RelayService::Impl::carry(Allocation& allocation, unsigned to, ByteView datagram,
                               TimePoint now) {
  Allocation::Side& side = allocation.sides[to];
  if (!side.end->hop().send(Hop::Way::kFromRelay, allocation.channel, datagram)) {
    ++counters_.dropped_path;
    ++allocation.dropped;
    return;
  }
  ++counters_.datagrams;
  counters_.bytes += datagram.size();
  const std::size_t wire_bytes = datagram.size() + side.end->hop().header_bytes(now);
  counters_.wire_bytes += wire_bytes;
  allocation.rate.add(datagram.size(), now);
  const bool is_receipt_due = side.receipts.on_delivered(datagram.size(), now);
  if (!allocation.is_lent()) return own_meter_.add(wire_bytes, now);
  counters_.lent_bytes += datagram.size();
  counters_.lent_wire_bytes += wire_bytes;
  lent_meter_.add(wire_bytes, now);
  if (is_receipt_due) ask_for_receipt(allocation, to, now);
}

void RelayService::Impl::let_out(TimePoint now) {
  while (const auto item = shaper_.poll(now)) {
    Allocation* allocation = allocations_.at_place(item->flow / 2);
    const unsigned to = item->flow % 2;
    if (allocation == nullptr || allocation->sides[to].end == nullptr) continue;
    carry(*allocation, to, item->datagram, now);
  }
}

void RelayService::Impl::ask_for_receipt(Allocation& allocation, unsigned side, TimePoint now) {
  allocation.sides[side].receipts.asked(now);
  allocation.sides[side].end->send(ReceiptWantedMessage{allocation.channel});
}

bool RelayService::Impl::is_expected(const Allocation& allocation, unsigned side,
                                     const Receipt& said) const {
  return allocation.is_lent() && said.ticket == *allocation.ticket && said.relay == options_.self &&
         said.end == allocation.sides[side].node && said.peer == allocation.sides[1 - side].node;
}

Allocation* RelayService::Impl::find_ended(Channel channel, const NodeId& end) const {
  for (const Ended& ended : ended_) {
    Allocation& allocation = *ended.allocation;
    const bool is_of_end = allocation.sides[0].node == end || allocation.sides[1].node == end;
    if (allocation.channel == channel && is_of_end) return &allocation;
  }
  return nullptr;
}

/// What costs nothing is checked first, the signature last.
void RelayService::Impl::on_message(RelayEnd& end, const ReceiptMessage& message) {
  Allocation* allocation = allocations_.find(message.channel);
  if (allocation == nullptr) allocation = find_ended(message.channel, end.node());
  if (allocation == nullptr) return;  // It ended here a while ago.
  const unsigned side = allocation->sides[0].node == end.node() ? 0 : 1;
  const auto said = decode_receipt(message.receipt.body);
  if (allocation->sides[side].node != end.node() || !said ||
      !is_expected(*allocation, side, *said) ||
      !check_receipt(message.receipt.body, message.receipt.signature)) {
    ++counters_.receipts_bad;
    return;
  }
  take_receipt(*allocation, side, message.receipt, *said);
}

void RelayService::Impl::take_receipt(Allocation& allocation, unsigned side,
                                      const SignedReceipt& receipt, const Receipt& said) {
  switch (allocation.sides[side].receipts.on_receipt(said.bytes)) {
    case ReceiptWatch::Verdict::kTaken:
      ++counters_.receipts;
      return options_.host->on_receipt(receipt, said);
    case ReceiptWatch::Verdict::kRepeated:
    case ReceiptWatch::Verdict::kFallen:
      ++counters_.receipts_repeated;
      return;
    case ReceiptWatch::Verdict::kTooHigh:
      ++counters_.receipts_too_high;
      return;
    case ReceiptWatch::Verdict::kTooLow:
      ++counters_.cut_unreceipted;
      if (allocations_.find(allocation.channel) != &allocation) return;  // It ended already.
      return end_allocation(allocation, "an end says that it got far less than was carried");
  }
}

}  // namespace openp2p::relay
