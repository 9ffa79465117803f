#pragma once

#include <cstdint>
#include <span>

/// The input of a fuzz target as choices, one byte after the other; zeros once it is used up, so
/// that a target ends by what zero stands for.
class Choices {
 public:
  explicit Choices(std::span<const std::uint8_t> input) : input_(input) {}

  std::uint8_t byte() {
    if (input_.empty()) return 0;
    const std::uint8_t choice = input_.front();
    input_ = input_.subspan(1);
    return choice;
  }
  std::uint16_t u16() {
    const std::uint8_t high = byte();
    return static_cast<std::uint16_t>(high << 8 | byte());
  }
  bool empty() const { return input_.empty(); }

 private:
  std::span<const std::uint8_t> input_;
};
