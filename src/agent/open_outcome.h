#pragma once

#include <system_error>

#include "forward/open_message.h"

namespace openp2p::agent {

/// Why a destination cannot be had, as the peer that asked for it is told. `error` is a DialError,
/// or what a socket met later.
forward::OpenAnswer to_answer(const forward::OpenRequest& request, const std::error_code& error);

}  // namespace openp2p::agent
