#pragma once

namespace openp2p {

/// Prints the claim and its place, then aborts: only a bug in this program can get here.
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace openp2p

/// What only a bug can break. On in every build; never used on input.
#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::openp2p::check_failed(#condition, __FILE__, __LINE__))
