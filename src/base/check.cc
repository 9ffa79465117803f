#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace openp2p {

void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: this cannot be: %s\n", file, line, condition);
  std::abort();
}

}  // namespace openp2p
