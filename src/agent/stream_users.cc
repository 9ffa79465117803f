#include "agent/stream_users.h"

#include <utility>

namespace openp2p::agent {

void StreamUsers::use(session::StreamId id, forward::StreamUser* user) {
  if (user == nullptr) {
    users_.erase(id);
  } else {
    users_[id].user = user;
  }
}

forward::StreamUser* StreamUsers::find(session::StreamId id) {
  const auto found = users_.find(id);
  return found == users_.end() ? nullptr : found->second.user;
}

bool StreamUsers::on_data(session::StreamId id, ByteView data, bool is_end) {
  const auto found = users_.find(id);
  if (found == users_.end()) return false;
  if (!std::exchange(found->second.is_in_batch, true)) batch_.push_back(id);
  found->second.user->on_stream_data(data, is_end);
  return true;
}

void StreamUsers::on_writable(session::StreamId id) {
  if (auto* user = find(id)) user->on_stream_writable();
}

void StreamUsers::on_reset(session::StreamId id) {
  if (auto* user = find(id)) user->on_stream_reset();
}

void StreamUsers::on_stopped(session::StreamId id) {
  if (auto* user = find(id)) user->on_stream_stopped();
}

void StreamUsers::on_closed(session::StreamId id) {
  if (auto* user = find(id)) user->on_stream_closed();
}

void StreamUsers::on_batch_end() {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    const auto found = users_.find(batch_[i]);
    if (found == users_.end()) continue;
    found->second.is_in_batch = false;
    found->second.user->on_batch_end();
  }
  batch_.clear();
}

void StreamUsers::on_session_lost() {
  auto users = std::exchange(users_, {});
  batch_.clear();
  for (auto& [id, use] : users) use.user->on_session_lost();
}

}  // namespace openp2p::agent
