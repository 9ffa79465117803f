#pragma once

#include <cstddef>

/// What the kernel knows of a TCP connection's sending side: tcp_queue_linux.cc, or
/// tcp_queue_portable.cc where it does not tell.
namespace openp2p::net {

/// Whether this system tells what the rest of this header asks for.
bool is_tcp_queue_known();
/// Keeps the bytes that wait to be sent near `bytes_max` where unsent_bytes() cannot tell them.
void limit_tcp_queue(int socket, std::size_t bytes_max);
/// Bytes that were written and not sent yet; what is on the way does not count. 0: not known.
std::size_t unsent_bytes(int socket);
/// Bytes that were written and not acknowledged yet, sent or not. 0: not known.
std::size_t undelivered_bytes(int socket);
/// To be called before closing: if the peer has everything, the connection ends by RST, so that the
/// system does not keep its pair of addresses in TIME-WAIT (RFC 9293 section 3.6.1) and it can be
/// opened anew at once, as NAT traversal from one port needs. Else what was written is delivered.
void skip_time_wait(int socket);
/// Ends a connection whose other side is gone, though nothing is being sent.
void watch_for_death(int socket);

}  // namespace openp2p::net
