#include "net/code_pages.h"

namespace openp2p::net {

void unmap_idle_code() {}

}  // namespace openp2p::net
