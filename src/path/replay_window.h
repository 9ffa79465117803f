#pragma once

#include <array>
#include <cstdint>

namespace openp2p::path {

/// Tells fresh sequence numbers from those already seen (the shape of RFC 6479): anything older
/// than the window counts as seen.
class ReplayWindow {
 public:
  /// Checks of a whole burst over all pairs may overtake each other; more than that do not.
  static constexpr std::uint64_t kWindow = 1024;

  bool is_fresh(std::uint64_t number) const;
  void mark(std::uint64_t number);

 private:
  static constexpr std::uint64_t kWordBits = 64;
  // One word more than the window, so that clearing whole words ahead never touches what is inside.
  static constexpr std::uint64_t kWords = kWindow / kWordBits + 1;

  bool bit(std::uint64_t number) const;

  std::uint64_t highest_ = 0;
  std::array<std::uint64_t, kWords> seen_{};
};

}  // namespace openp2p::path
