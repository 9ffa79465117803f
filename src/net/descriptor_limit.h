#pragma once

namespace openp2p::net {

/// Lets this process open as many descriptors as the system allows it at all. The usual limit of
/// 1,024 is for programs with select(2); a server has a descriptor for each TCP connection, and an
/// agent hundreds of sockets for a moment. At the start of a program.
void raise_descriptor_limit();

}  // namespace openp2p::net
