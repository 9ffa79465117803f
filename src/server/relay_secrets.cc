#include "server/relay_secrets.h"

#include <algorithm>

namespace openp2p::server {

RelaySecrets::RelaySecrets(const IdentityKey& identity) {
  hkdf_sha256(identity.seed(), as_bytes("openp2p-server"), as_bytes("relay master 1"), master_);
}

RelaySecrets::~RelaySecrets() { wipe(master_); }

relay::TicketSecret RelaySecrets::of(const NodeId& relay) const {
  return relay::derive_ticket_secret(master_, relay);
}

relay::Account RelaySecrets::account(const NodeId& relay, const NetworkId& network) const {
  Bytes info = to_bytes(as_bytes("relay account 1"));
  info.insert(info.end(), network.begin(), network.end());
  relay::Account account;
  hkdf_sha256(master_, relay.key, info, account);
  return account;
}

}  // namespace openp2p::server
