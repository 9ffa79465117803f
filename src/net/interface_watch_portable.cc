#include <chrono>
#include <utility>

#include "net/interfaces.h"

namespace openp2p::net {

std::unique_ptr<InterfaceWatch> make_interface_watch(IoContext& io,
                                                     InterfaceWatch::Callback on_change) {
  return make_polling_interface_watch(io, std::chrono::seconds(15), std::move(on_change));
}

}  // namespace openp2p::net
