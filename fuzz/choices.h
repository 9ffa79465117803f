#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/address.h"

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
  /// One that is easily believed, one that never may be, or any of IPv4's.
  openp2p::IpAddress ip(const openp2p::IpAddress& own, const openp2p::IpAddress& external) {
    using openp2p::IpAddress;
    switch (byte() % 6) {
      case 0:
        return external;
      case 1:
        return own;
      case 2:
        return IpAddress::any_v4();
      case 3:
        return IpAddress::loopback_v4();
      case 4:
        return *IpAddress::parse("2001:db8::7");
      default:
        break;
    }
    const std::uint8_t a = byte(), b = byte(), c = byte();
    return IpAddress::v4(a, b, c, byte());
  }
  bool empty() const { return input_.empty(); }

 private:
  std::span<const std::uint8_t> input_;
};
