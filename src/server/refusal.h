#pragma once

#include <system_error>

#include "server/messages.h"

namespace openp2p::server {

/// What a node is told when the store turned its Hello down: what happened, and the command that
/// helps.
Refusal refusal_of(std::error_code error);
Refusal name_refusal(std::string_view wished);
Refusal busy_refusal();  ///< Too many others are asking.

}  // namespace openp2p::server
