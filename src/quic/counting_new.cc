#include "quic/counting_new.h"

#include <cstdlib>
#include <new>

/// In a file of its own: inlined, g++ takes the pair of malloc() and operator delete for a mistake.
namespace {

std::uint64_t allocations = 0;  // NOLINT(check_names): operator new takes no argument of ours

}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  std::abort();
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto align = static_cast<std::size_t>(alignment);
  if (void* const memory = std::aligned_alloc(align, (size + align - 1) / align * align)) {
    return memory;
  }
  std::abort();
}

/// The library's sorting asks with this one: sanitizers' own would not fit our operator delete.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace openp2p::quic {

std::uint64_t allocations_so_far() { return allocations; }

}  // namespace openp2p::quic
