#include "agent/close_text.h"

namespace openp2p::agent {

std::string close_text(const session::CloseReason& reason, OtherParty other) {
  using Kind = session::CloseReason::Kind;
  const bool is_server = other == OtherParty::kServer;
  const std::string who = is_server ? "the server" : "the peer";
  switch (reason.kind) {
    case Kind::kLocal:
      return reason.text;
    case Kind::kPeer:
      return who + " closed the " + (is_server ? "connection: " : "session: ") + reason.text;
    case Kind::kIdle:
      return who + " went silent";
    case Kind::kRefused:
      if (!is_server) return "the peer did not prove its key: " + reason.text;
      return "the server did not prove the key of the join token, or speaks another protocol (" +
             reason.text + ")";
    case Kind::kProtocol:
      if (!is_server) return "the session was reset (the peer restarted?)";
      return "the connection was reset: " + reason.text;
    case Kind::kHandshakeTimeout:
      if (!is_server) return "the peer did not finish the handshake";
      return "the server does not answer: it is down, or a firewall blocks UDP to it";
  }
  return reason.text;
}

}  // namespace openp2p::agent
