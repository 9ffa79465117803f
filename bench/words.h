#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace openp2p::bench {

/// A word of the command line that is a number greater than zero; nullopt: it is none.
template <class Number>
std::optional<Number> positive(std::string_view word) {
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value <= 0) return std::nullopt;
  return value;
}

}  // namespace openp2p::bench
