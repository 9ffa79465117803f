#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <list>

namespace openp2p::net {

/// Owns the background coroutines of one object: nothing it spawned outlives a finished stop().
/// The object that runs member coroutines owns their scope, and awaits stop() before it goes.
///
/// A coroutine that ends by an exception (other than the cancellation itself) does not end the
/// others; the first such exception is kept for the owner.
///
/// Threading: the loop's thread.
class TaskScope {
 public:
  explicit TaskScope(boost::asio::io_context& io);
  ~TaskScope();  ///< CHECKs that nothing runs any more.
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  /// Starts it on the next turn of the loop. After stop() began, the task is dropped unstarted.
  void spawn(boost::asio::awaitable<void> task);

  /// Cancels every task and waits for their ends. Idempotent; may be awaited by several at once,
  /// but not by a task of this scope. Cancellation is terminal: in a cancelled task the next await
  /// throws, so what must still be awaited belongs to the owner, after this.
  boost::asio::awaitable<void> stop();

  bool is_idle() const { return running_.empty(); }
  std::exception_ptr first_failure() const { return first_failure_; }

 private:
  struct Task {
    boost::asio::cancellation_signal signal;
    bool is_started = false;
  };
  using Tasks = std::list<Task>;

  boost::asio::awaitable<void> run(Tasks::iterator entry, boost::asio::awaitable<void> task);
  void on_done(Tasks::iterator entry, std::exception_ptr failure);

  boost::asio::io_context& io_;
  boost::asio::steady_timer emptied_;  // Never expires: cancelling it wakes stop().
  Tasks running_;
  std::exception_ptr first_failure_;
  bool is_stopping_ = false;
};

}  // namespace openp2p::net
