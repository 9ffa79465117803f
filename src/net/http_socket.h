#pragma once

#include <string>

#include "base/descriptor.h"
#include "base/result.h"

/// Unix sockets for the local API. Both ends check the other's user: the server whom it serves, the
/// client whom it gives its requests to.
namespace openp2p::net {

/// A non-blocking listening socket of mode 0600. Its folder must belong to this user and be closed
/// to others. What a dead process left is replaced; a live one is HttpError::kAlreadyRunning.
Result<Descriptor> listen_unix(const std::string& path);

/// A blocking connected socket. HttpError::kNotRunning where there is no socket or nobody behind
/// it.
Result<Descriptor> connect_unix(const std::string& path);

/// The other end's process runs as this user or as root (SO_PEERCRED).
bool is_peer_permitted(int socket);

void remove_unix(const std::string& path);

}  // namespace openp2p::net
