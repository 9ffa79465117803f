#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"
#include "forward/datagram_message.h"

namespace openp2p::forward {

/// Puts the fragments of one session's datagrams together again.
///
/// Memory: kMessagesMax datagrams at once, 1 MiB in all; a further one takes the place of the
/// oldest. Kept while fragments come, so that none is allocated per datagram, and given back
/// kMemoryKept after the last. What was not whole after kPatience is forgotten: fragments leave
/// together, and no path is so slow.
///
/// Hostile fragments: places that make no sense do not decode; of one message all fragments must
/// agree on its size and number, else the later one is dropped; a fragment counts once.
/// Sans-I/O. Threading: one owner.
class Fragments {
 public:
  static constexpr std::size_t kMessagesMax = 16;
  static constexpr Duration kPatience = std::chrono::seconds(2);
  static constexpr Duration kMemoryKept = std::chrono::seconds(10);

  struct Counters {
    std::uint64_t completed = 0;
    std::uint64_t given_up = 0;  ///< Datagrams of which fragments were missing.
    std::uint64_t refused = 0;   ///< Fragments that came twice or contradicted others.
  };

  /// Takes a fragment; gives the datagram when it is whole, until the next call.
  std::optional<ByteView> add(const DatagramMessage& fragment, TimePoint now);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  const Counters& counters() const { return counters_; }
  std::size_t held_bytes() const;

 private:
  struct Message {
    bool is_used = false;
    FlowId flow;
    FragmentPlace place;  ///< Of the first fragment that came; its index means nothing.
    std::uint64_t arrived = 0;
    TimePoint since;
    Bytes bytes;  ///< At least place.total_bytes, kept for the next one.
  };
  Message* find(const DatagramMessage& fragment);
  Message& begin(const DatagramMessage& fragment, TimePoint now);

  std::array<Message, kMessagesMax> messages_;
  std::size_t last_ = 0;  ///< Where the last fragment went: the next is likely of the same message.
  std::optional<TimePoint> used_at_;  ///< nullopt: no memory is held.
  Counters counters_;
};

}  // namespace openp2p::forward
