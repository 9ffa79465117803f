#pragma once

#include <string>

#include "session/session.h"

namespace openp2p::agent {

enum class OtherParty { kPeer, kServer };

/// Why a session with a peer or the server ended, in a sentence for people.
std::string close_text(const session::CloseReason& reason, OtherParty other);

}  // namespace openp2p::agent
