#include "forward/fragments.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::forward {
namespace {

std::uint64_t all_of(std::size_t count) {
  return count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

}  // namespace

std::optional<ByteView> Fragments::add(const DatagramMessage& fragment, TimePoint now) {
  CHECK(fragment.fragment);
  const FragmentPlace& place = *fragment.fragment;
  used_at_ = now;
  Message* found = find(fragment);
  Message& message = found != nullptr ? *found : begin(fragment, now);
  const std::uint64_t bit = std::uint64_t{1} << place.index;
  const bool agrees =
      message.place.total_bytes == place.total_bytes && message.place.count == place.count;
  if (!agrees || (message.arrived & bit) != 0) {
    ++counters_.refused;
    return std::nullopt;
  }
  std::ranges::copy(fragment.data,
                    message.bytes.begin() + static_cast<std::ptrdiff_t>(place.offset()));
  message.arrived |= bit;
  if (message.arrived != all_of(place.count)) return std::nullopt;
  message.is_used = false;
  ++counters_.completed;
  return ByteView(message.bytes).first(place.total_bytes);
}

Fragments::Message* Fragments::find(const DatagramMessage& fragment) {
  for (std::size_t i = 0; i < kMessagesMax; ++i) {
    const std::size_t at = (last_ + i) % kMessagesMax;
    Message& message = messages_[at];
    if (!message.is_used || message.flow != fragment.flow ||
        message.place.message != fragment.fragment->message) {
      continue;
    }
    last_ = at;
    return &message;
  }
  return nullptr;
}

/// In a free place, or that of the oldest.
Fragments::Message& Fragments::begin(const DatagramMessage& fragment, TimePoint now) {
  const auto place = std::ranges::min_element(messages_, [](const Message& a, const Message& b) {
    return a.is_used != b.is_used ? !a.is_used : a.is_used && a.since < b.since;
  });
  if (place->is_used) ++counters_.given_up;
  place->is_used = true;
  place->flow = fragment.flow;
  place->place = *fragment.fragment;
  place->arrived = 0;
  place->since = now;
  if (place->bytes.size() < place->place.total_bytes)
    place->bytes = Bytes(place->place.total_bytes);
  last_ = static_cast<std::size_t>(place - messages_.begin());
  return *place;
}

void Fragments::on_timeout(TimePoint now) {
  for (Message& message : messages_) {
    if (!message.is_used || now - message.since < kPatience) continue;
    message.is_used = false;
    ++counters_.given_up;
  }
  if (!used_at_ || now - *used_at_ < kMemoryKept) return;
  for (Message& message : messages_) Bytes().swap(message.bytes);
  used_at_.reset();
}

std::optional<TimePoint> Fragments::next_timeout() const {
  if (!used_at_) return std::nullopt;
  TimePoint next = *used_at_ + kMemoryKept;
  for (const Message& message : messages_) {
    if (message.is_used) next = std::min(next, message.since + kPatience);
  }
  return next;
}

std::size_t Fragments::held_bytes() const {
  std::size_t bytes = 0;
  for (const Message& message : messages_) bytes += message.bytes.capacity();
  return bytes;
}

}  // namespace openp2p::forward
