#include "net/task_scope.h"

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>

#include "net/test_loop.h"

namespace openp2p::net {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// Counts what is alive, so that frames destroyed twice or never are seen.
using Life = std::shared_ptr<int>;

asio::awaitable<void> wait_for(Duration time, [[maybe_unused]] Life life, int* finished) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  timer.expires_after(time);
  const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  if (error) co_return;
  ++*finished;
}

asio::awaitable<void> throw_failure([[maybe_unused]] Life life) {
  throw std::runtime_error("broken");
  co_return;
}

asio::awaitable<void> wait_and_throw_on_cancel([[maybe_unused]] Life life) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  timer.expires_after(1h);
  co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<void> stop_scope(TaskScope* scope, int* stopped) {
  co_await scope->stop();
  ++*stopped;
}

struct Scoped {
  void stop() {
    asio::co_spawn(io, stop_scope(&scope, &stopped), [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
    });
  }
  IoContext io;
  TaskScope scope{io};
  Life life = std::make_shared<int>(0);
  int finished = 0;
  int stopped = 0;
};

TEST(TaskScope, RunsTasksToTheirEnd) {
  Scoped scoped;
  for (int i = 0; i < 3; ++i) scoped.scope.spawn(wait_for(1ms, scoped.life, &scoped.finished));

  EXPECT_TRUE(run_until(scoped.io, [&] { return scoped.scope.is_idle(); }));

  EXPECT_EQ(scoped.finished, 3);
  EXPECT_EQ(scoped.life.use_count(), 1);
}

TEST(TaskScope, StopEndsEveryTaskBeforeItReturns) {
  Scoped scoped;
  for (int i = 0; i < 3; ++i) scoped.scope.spawn(wait_for(1h, scoped.life, &scoped.finished));
  scoped.scope.spawn(wait_and_throw_on_cancel(scoped.life));
  EXPECT_FALSE(run_until(
      scoped.io, [&] { return scoped.scope.is_idle(); }, 5ms));

  scoped.stop();

  EXPECT_TRUE(run_until(scoped.io, [&] { return scoped.stopped == 1; }));
  EXPECT_TRUE(scoped.scope.is_idle());
  EXPECT_EQ(scoped.finished, 0);
  EXPECT_EQ(scoped.life.use_count(), 1);
  EXPECT_FALSE(scoped.scope.first_failure()) << "being cancelled is no failure";
}

TEST(TaskScope, StopIsIdempotentAndForMany) {
  Scoped scoped;
  scoped.scope.spawn(wait_for(1h, scoped.life, &scoped.finished));

  scoped.stop();
  scoped.stop();
  EXPECT_TRUE(run_until(scoped.io, [&] { return scoped.stopped == 2; }));
  scoped.stop();

  EXPECT_TRUE(run_until(scoped.io, [&] { return scoped.stopped == 3; }));
}

TEST(TaskScope, StopReachesTasksThatHaveNotStarted) {
  Scoped scoped;
  scoped.stop();
  scoped.scope.spawn(wait_for(1h, scoped.life, &scoped.finished));

  EXPECT_TRUE(run_until(scoped.io, [&] { return scoped.stopped == 1; }));

  scoped.scope.spawn(wait_for(1h, scoped.life, &scoped.finished));
  EXPECT_TRUE(scoped.scope.is_idle()) << "nothing starts in a stopped scope";
  EXPECT_EQ(scoped.life.use_count(), 1);
}

TEST(TaskScope, KeepsTheFirstFailureAndGoesOn) {
  Scoped scoped;
  scoped.scope.spawn(throw_failure(scoped.life));
  scoped.scope.spawn(wait_for(1ms, scoped.life, &scoped.finished));

  EXPECT_TRUE(run_until(scoped.io, [&] { return scoped.scope.is_idle(); }));

  EXPECT_EQ(scoped.finished, 1);
  ASSERT_TRUE(scoped.scope.first_failure());
  EXPECT_THROW(std::rethrow_exception(scoped.scope.first_failure()), std::runtime_error);
}

TEST(TaskScopeDeathTest, GoingWithRunningTasksIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        Scoped scoped;
        scoped.scope.spawn(wait_for(1h, scoped.life, &scoped.finished));
      },
      "running_.empty");
}

}  // namespace
}  // namespace openp2p::net
