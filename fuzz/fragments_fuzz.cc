// Law: whatever fragments come, in whatever order and at whatever times, memory stays within its
// limit, and a datagram comes out only if each byte of it came in a fragment of that very datagram.
// Each byte of a fragment's data says which datagram it is of and where it stands.
#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "base/check.h"
#include "forward/fragments.h"

using namespace openp2p;
using namespace openp2p::forward;

namespace {

struct Input {
  std::span<const std::uint8_t> rest;
  std::uint8_t next() {
    if (rest.empty()) return 0;
    const std::uint8_t value = rest.front();
    rest = rest.subspan(1);
    return value;
  }
};

std::byte byte_of(std::uint32_t message, std::size_t total, std::size_t at) {
  return static_cast<std::byte>(message * 31 + total * 7 + at);
}

Bytes data_of(const FragmentPlace& place) {
  Bytes data(place.bytes());
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = byte_of(place.message, place.total_bytes, place.offset() + i);
  }
  return data;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Fragments fragments;
  TimePoint now{};
  for (Input in{{data, size}}; !in.rest.empty();) {
    const std::uint8_t choice = in.next();
    if (choice % 16 == 0) {
      now += std::chrono::milliseconds(in.next() * 20);
      fragments.on_timeout(now);
      if (const auto next = fragments.next_timeout()) CHECK(*next > now);
      continue;
    }
    FragmentPlace place;
    place.message = in.next() % 24;
    place.total_bytes = static_cast<std::uint16_t>(std::min<std::size_t>(
        kDatagramBytesMax, static_cast<std::size_t>(in.next() % 8) * 9'361 + in.next() % 4 + 2));
    place.count = static_cast<std::uint8_t>(2 + in.next() % (FragmentPlace::kCountMax - 1));
    place.index = in.next() % place.count;
    if ((place.count - 1U) * place.piece_bytes() >= place.total_bytes) continue;  // Not decoded.
    const Bytes piece = data_of(place);
    const auto whole = fragments.add({FlowId(choice % 3), place, piece}, now);
    CHECK(fragments.held_bytes() <= Fragments::kMessagesMax * kDatagramBytesMax);
    if (!whole) continue;
    CHECK(whole->size() == place.total_bytes);
    for (std::size_t i = 0; i < whole->size(); ++i) {
      CHECK((*whole)[i] == byte_of(place.message, place.total_bytes, i));
    }
  }
  return 0;
}
