#pragma once

#include <array>
#include <cstddef>

#include "base/check.h"

/// For the .cc files of this folder that hold Asio operations.
namespace openp2p::net {

/// Room for one pending Asio operation inside the object that starts it, so that waiting again and
/// again allocates nothing.
class HandlerMemory {
 public:
  HandlerMemory() = default;
  HandlerMemory(const HandlerMemory&) = delete;
  HandlerMemory& operator=(const HandlerMemory&) = delete;

  void* take(std::size_t bytes) {
    CHECK(!is_taken_ && bytes <= room_.size());
    is_taken_ = true;
    return room_.data();
  }
  void give_back() { is_taken_ = false; }

 private:
  static constexpr std::size_t kOperationBytesMax = 256;  // Asio 1.81 needs 80 to 136 on x86-64.
  alignas(std::max_align_t) std::array<std::byte, kOperationBytesMax> room_;
  bool is_taken_ = false;
};

/// The allocator through which Asio is given a HandlerMemory.
template <class T>
class HandlerAllocator {
 public:
  using value_type = T;

  explicit HandlerAllocator(HandlerMemory& memory) : memory_(&memory) {}
  template <class Other>
  // NOLINTNEXTLINE(google-explicit-constructor): Asio relies on allocators that convert.
  HandlerAllocator(const HandlerAllocator<Other>& other) noexcept : memory_(other.memory()) {}

  T* allocate(std::size_t count) { return static_cast<T*>(memory_->take(count * sizeof(T))); }
  void deallocate(T*, std::size_t) { memory_->give_back(); }
  HandlerMemory* memory() const { return memory_; }

  template <class Other>
  bool operator==(const HandlerAllocator<Other>& other) const noexcept {
    return memory_ == other.memory();
  }

 private:
  HandlerMemory* memory_;
};

}  // namespace openp2p::net
