#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "path/method.h"
#include "path/nat_class.h"

namespace openp2p::path {

/// What brought paths between this kind of NAT and that one, counted. A value of kBytes bytes that
/// the owner keeps for all sessions, and beyond a restart. It only lets a method begin sooner: the
/// rest of a plan must be the same on both sides, and the peer's history is another.
class MethodHistory {
 public:
  static constexpr std::size_t kBytes = std::size_t{kNatClasses} * kNatClasses * kMethods;

  void note(NatClass own, NatClass peer, Method method);
  /// The method most seen between the two, if it was seen more than once.
  bool favours(NatClass own, NatClass peer, Method method) const;

  Bytes encode() const;
  /// False: the bytes are of a version with other kinds or methods; nothing was taken.
  bool decode(ByteView bytes);
  friend bool operator==(const MethodHistory&, const MethodHistory&) = default;

 private:
  static constexpr std::uint8_t kCountMax = 255;  ///< Then all are halved: the old fades.
  using Counts = std::array<std::uint8_t, kMethods>;
  Counts& at(NatClass own, NatClass peer) { return counts_[place(own, peer)]; }
  static std::size_t place(NatClass own, NatClass peer) {
    return static_cast<std::size_t>(own) * kNatClasses + static_cast<std::size_t>(peer);
  }

  std::array<Counts, static_cast<std::size_t>(kNatClasses* kNatClasses)> counts_{};
};

}  // namespace openp2p::path
