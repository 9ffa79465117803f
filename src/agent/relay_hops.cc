#include "agent/relay_hops.h"

#include <algorithm>

namespace openp2p::agent {

RelayHops::~RelayHops() {
  for (Entry& entry : entries_) {
    entry.client.reset();  // Sessions and their owners go as well.
    if (service_ != nullptr) service_->forget(entry.hop);
  }
}

RelayHops::Entry& RelayHops::entry_of(session::Session& session) {
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.hop.session() == &session; });
  return found == entries_.end() ? entries_.emplace_back(session) : *found;
}

relay::Hop& RelayHops::hop_of(session::Session& session) { return entry_of(session).hop; }

relay::RelayClient* RelayHops::client_of(session::Session& session, const Use& use) {
  Entry& entry = entry_of(session);
  if (entry.is_client_over) return nullptr;  // Swept first: it may be inside a call.
  if (entry.client) return entry.client->is_open() ? entry.client.get() : nullptr;
  entry.client = std::make_unique<relay::RelayClient>(entry.hop, context_.identity, handler_);
  const auto stream = entry.client->open();
  if (!stream) {
    entry.is_client_over = true;
    return nullptr;
  }
  entry.use = use;
  entry.stream = *stream;
  use(*stream, entry.client.get());
  return entry.client.get();
}

/// Its stream may be told of once more while the session lives.
void RelayHops::end_client(Entry& entry) {
  if (entry.client && entry.use && entry.hop.session() != nullptr) entry.use(entry.stream, nullptr);
  entry.use = {};
  entry.client.reset();
  entry.is_client_over = false;
}

void RelayHops::on_client_lost(relay::RelayClient& client) {
  for (Entry& entry : entries_) entry.is_client_over |= entry.client.get() == &client;
}

void RelayHops::on_path_changed(const NodeId& party) {
  for (Entry& entry : entries_) {
    if (entry.party == party && service_ != nullptr) service_->on_hop_moved(entry.hop);
  }
}

void RelayHops::on_session_lost(const NodeId& party) {
  for (Entry& entry : entries_) {
    session::Session* session = entry.hop.session();
    if (session == nullptr || entry.party != party) continue;
    // A session that is closed from here lives on for a moment, and must not find the hop gone.
    session->set_sealed_handler(session::SealedUse::kRelay, nullptr);
    entry.hop.on_session_lost();
  }
}

void RelayHops::sweep() {
  for (Entry& entry : entries_) {
    const bool is_gone = entry.hop.session() == nullptr;
    if (entry.is_client_over || is_gone) end_client(entry);
    if (is_gone && service_ != nullptr) service_->forget(entry.hop);
  }
  std::erase_if(entries_, [](const Entry& entry) { return entry.hop.session() == nullptr; });
}

}  // namespace openp2p::agent
