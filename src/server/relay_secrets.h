#pragma once

#include "base/crypto.h"
#include "relay/ticket.h"
#include "server/store.h"

namespace openp2p::server {

/// The secrets by which relays know tickets of this server. All follow from the server's identity
/// key, so that they are the same after a restart, and there is no further file to lose.
/// Threading: one owner.
class RelaySecrets {
 public:
  explicit RelaySecrets(const IdentityKey& identity);
  ~RelaySecrets();
  RelaySecrets(const RelaySecrets&) = delete;
  RelaySecrets& operator=(const RelaySecrets&) = delete;

  relay::TicketSecret of(const NodeId& relay) const;
  /// The name of a network's account towards one relay. Two relays cannot tell from it that they
  /// serve the same network.
  relay::Account account(const NodeId& relay, const NetworkId& network) const;

 private:
  SharedSecret master_{};
};

}  // namespace openp2p::server
