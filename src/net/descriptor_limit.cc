#include "net/descriptor_limit.h"

#include <sys/resource.h>

namespace openp2p::net {

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // Where that fails, the old limit is still one.
}

}  // namespace openp2p::net
