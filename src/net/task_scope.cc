#include "net/task_scope.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "base/check.h"

namespace openp2p::net {
namespace asio = boost::asio;

namespace {

// A cancelled coroutine ends by this exception: that is no failure.
bool is_cancellation(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

}  // namespace

TaskScope::TaskScope(asio::io_context& io) : io_(io), emptied_(io) {
  emptied_.expires_at(asio::steady_timer::time_point::max());
}

TaskScope::~TaskScope() { CHECK(running_.empty()); }

void TaskScope::spawn(asio::awaitable<void> task) {
  if (is_stopping_) return;
  const auto entry = running_.emplace(running_.end());
  auto done = [this, entry](std::exception_ptr failure) { on_done(entry, std::move(failure)); };
  asio::co_spawn(io_, run(entry, std::move(task)),
                 asio::bind_cancellation_slot(entry->signal.slot(), done));
}

asio::awaitable<void> TaskScope::run(Tasks::iterator entry, asio::awaitable<void> task) {
  entry->is_started = true;
  if (is_stopping_) co_return;
  co_await std::move(task);
}

void TaskScope::on_done(Tasks::iterator entry, std::exception_ptr failure) {
  const bool was_cancelled = failure && is_stopping_ && is_cancellation(failure);
  if (failure && !was_cancelled && !first_failure_) first_failure_ = std::move(failure);
  running_.erase(entry);
  if (running_.empty()) emptied_.cancel();
}

asio::awaitable<void> TaskScope::stop() {
  is_stopping_ = true;
  // A task that ends inside emit() leaves the list: step on first. One that has not started sees
  // for itself that it need not; to cancel it would throw out of the loop (Asio 1.81).
  for (auto entry = running_.begin(); entry != running_.end();) {
    Task& task = *entry++;
    if (task.is_started) task.signal.emit(asio::cancellation_type::terminal);
  }
  while (!running_.empty()) {
    co_await emptied_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

}  // namespace openp2p::net
