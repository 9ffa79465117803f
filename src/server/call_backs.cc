#include "server/call_backs.h"

#include <utility>

#include "base/check.h"
#include "server/client.h"

namespace openp2p::server {

bool CallBacks::call(Request request, TimePoint) {
  CHECK(can_call());
  const IpAddress prefix = prefix_of(request.to.ip);
  const auto of_prefix = per_prefix_.find(prefix);
  const bool is_busy = of_prefix != per_prefix_.end() && of_prefix->second >= kCallsPerAddressMax;
  if (is_busy || calls_.size() >= kCallsMax) return false;
  const auto socket = open_(request.to, request.from, kPatience);
  if (!socket) return false;
  ++per_prefix_[prefix];
  calls_.emplace(*socket, Call{std::move(request), std::nullopt});
  return true;
}

CallBacks::Say CallBacks::on_connected(SocketId socket, TimePoint now) {
  Call& call = calls_.at(socket);
  call.closes_at = now + kLinger;
  return {socket, call.request.to, call.request.answer};
}

std::optional<CallBacks::Say> CallBacks::on_disconnected(SocketId socket) {
  const auto found = calls_.find(socket);
  CHECK(found != calls_.end());
  std::optional<Say> say;
  Request& request = found->second.request;
  if (!found->second.closes_at) {
    say = Say{request.asked_over, request.to, std::move(request.failure)};
  }
  forget(found);
  return say;
}

void CallBacks::on_timeout(TimePoint now) {
  for (auto call = calls_.begin(); call != calls_.end();) {
    const auto next = std::next(call);
    if (call->second.closes_at && now >= *call->second.closes_at) {
      close_(call->first);
      forget(call);
    }
    call = next;
  }
}

std::optional<TimePoint> CallBacks::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [socket, call] : calls_) next = earlier(next, call.closes_at);
  return next;
}

void CallBacks::forget(std::unordered_map<SocketId, Call>::iterator call) {
  const auto of_prefix = per_prefix_.find(prefix_of(call->second.request.to.ip));
  if (--of_prefix->second == 0) per_prefix_.erase(of_prefix);
  calls_.erase(call);
}

}  // namespace openp2p::server
