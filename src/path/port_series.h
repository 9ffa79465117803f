#pragma once

#include <cstdint>

#include "nat/nat_profile.h"

namespace openp2p::path {

/// Which ports of a NAT are asked, one after another. Never a privileged one.
struct PortRule {
  enum class Kind : std::uint8_t {
    kAhead,    ///< The next ones of a sequence: last + step, last + 2 step, ..
    kCatchUp,  ///< .. every second one twice: see PortSeries.
    kRange,    ///< All of a range, none twice, from where the seed says: see PortSeries.
  };
  Kind kind = Kind::kRange;
  std::uint16_t last = 0;
  int step = 0;
  nat::PortRange range;
  friend bool operator==(const PortRule&, const PortRule&) = default;
};

/// The i-th port of a rule.
///
/// Where both NATs count (kPredictBoth), A's i-th datagram leaves from A's port a + i, where a was
/// not foreseen exactly: others in the home made d mappings since it was measured. B's likewise,
/// with e. A's i-th must go to the port from which B's j-th leaves, and the reverse. If B asks
/// a + j and A asks b + i + g, both hold exactly where g = d + e, for j = i + d. So one side asks
/// straight ahead, and the other lets g grow from 0: by one every second datagram (two chances, one
/// for a loss). The drift grows as well, by less than one a datagram, so g meets it whatever it is.
///
/// A range is visited in steps of its golden section, which spread any number of ports evenly:
/// where a NAT takes neighbouring ports, unknown to us, each block of 1,024 gets its share of those
/// asked, while random steps may leave out half of all blocks. For random ports the order does not
/// matter.
class PortSeries {
 public:
  /// The ports that others may have taken meanwhile: see above.
  static constexpr unsigned kSameGuess = 2;

  PortSeries(const PortRule& rule, std::uint64_t seed);
  /// `index` counts from 0 and is below size().
  std::uint16_t at(unsigned index) const;
  unsigned size() const { return size_; }  ///< How many there are without a repetition.

 private:
  PortRule rule_;
  unsigned size_;
  unsigned start_ = 0;
  unsigned stride_ = 1;
};

}  // namespace openp2p::path
