#include "base/random.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace openp2p {

std::uint64_t Random::next() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::uint64_t Random::below(std::uint64_t limit) {
  CHECK(limit > 0);
  const std::uint64_t biased =
      (0 - limit) % limit;  // Values below this would favour small results.
  for (;;) {
    const std::uint64_t value = next();
    if (value >= biased) return value % limit;
  }
}

double Random::fraction() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

void Random::fill(MutableByteView out) {
  while (!out.empty()) {
    const std::uint64_t value = next();
    const std::size_t size = std::min(out.size(), sizeof value);
    std::memcpy(out.data(), &value, size);
    out = out.subspan(size);
  }
}

}  // namespace openp2p
