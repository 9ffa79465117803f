#pragma once

#include <compare>
#include <cstddef>
#include <functional>

namespace openp2p {

/// A number that mixes with no other kind of number. `Tag` makes each use its own type.
template <class Tag, class Number>
class Strong {
 public:
  constexpr Strong() = default;
  constexpr explicit Strong(Number value) : value_(value) {}
  constexpr Number value() const { return value_; }
  friend constexpr auto operator<=>(Strong, Strong) = default;

 private:
  Number value_{};
};

}  // namespace openp2p

template <class Tag, class Number>
struct std::hash<openp2p::Strong<Tag, Number>> {
  std::size_t operator()(openp2p::Strong<Tag, Number> id) const noexcept {
    return std::hash<Number>{}(id.value());
  }
};
