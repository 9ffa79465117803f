#include "server/server_relay.h"

#include <utility>

namespace openp2p::server {
namespace {

relay::RelayService::Options service_options(const ServerRelay::Options& options,
                                             relay::RelayHost& host) {
  relay::RelayService::Options out;
  out.self = options.server;
  out.host = &host;
  out.log = options.log;
  return out;
}

}  // namespace

ServerRelay::ServerRelay(const Options& options) : service_(service_options(options, *this)) {
  relay::TicketSecret secret = options.secrets->of(options.server);
  service_.set_secret(secret);
  wipe(secret);
  service_.set_cap(options.bits_per_second, now_);
}

ServerRelay::~ServerRelay() {
  for (auto& [client, hop] : hops_) service_.forget(*hop);
  service_.sweep();
}

/// Once is enough: both run by the same clock from here on.
void ServerRelay::set_now(TimePoint now, WallTime server_time) {
  now_ = now;
  if (!std::exchange(has_time_, true)) service_.set_server_time(server_time, now);
}

forward::StreamUser* ServerRelay::on_stream(ConnectionId client, session::Session& session,
                                            session::StreamId id) {
  std::unique_ptr<relay::Hop>& hop = hops_[client];
  if (!hop) hop = std::make_unique<relay::Hop>(session);
  return service_.on_stream(*hop, id);
}

void ServerRelay::on_session_lost(ConnectionId client) {
  const auto found = hops_.find(client);
  if (found == hops_.end()) return;
  found->second->on_session_lost();
  lost_.push_back(client);
}

void ServerRelay::sweep() {
  for (const ConnectionId client : std::exchange(lost_, {})) {
    const auto found = hops_.find(client);
    service_.forget(*found->second);
    hops_.erase(found);
  }
  service_.sweep();
}

void ServerRelay::on_timeout(TimePoint now) { service_.on_timeout(now); }

void ServerRelay::stop(TimePoint now) { service_.stop("the server stops", now); }

}  // namespace openp2p::server
