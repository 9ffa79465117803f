// A canary for the compiler. g++ 12.2 miscompiles some statements that await (GCC PR 98401, 99576,
// 106188, 107288): it destroys temporaries twice or never, traps, or does not compile. So our code
// awaits only in the four shapes below. This test runs each with everything that may cross it, and
// follows every object from birth to death. If a new compiler breaks a shape, this fails first.
//
// Forbidden, because they were seen to fail with the reference toolchain; not compiled here, since
// some end the compiler itself:
//
//   co_await f(Options{Probe(), text});          // an aggregate temporary: destroyed twice
//   co_await f({.peer = peer});                  // the same with braces only
//   co_await f(std::vector<Probe>{a, b});        // an initializer list: leaks or does not compile
//   co_await f();   with  f(Options o = {})      // the same, hidden in a default argument
//   co_await run([probe] { use(probe); });       // by-value capture: destroyed twice
//   co_await f(flag ? Probe("a") : Probe("b"));  // a class temporary chosen by ?:
//   flag ? co_await f() : co_await g();          // likewise
//   Two both{co_await f(), text};                // an aggregate that is made across the await
//   if (co_await f()) ...; switch (co_await f()) ...; for (auto& x : co_await f()) ...
//   ({ auto r = co_await f(); r; })              // a statement expression: ends the compiler

#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace openp2p::net {
namespace {

namespace asio = boost::asio;
template <class T>
using Task = asio::awaitable<T>;

/// Knows every Probe alive, by address.
struct Registry {
  std::set<const void*> living;
  int born = 0;
  int wrong = 0;  // Deaths of what did not live, births on top of the living.
};

/// Heavy enough to be destroyed wrongly in plain sight: it also owns memory.
class Probe {
 public:
  Probe(Registry* registry, std::string text) : registry_(registry), text_(std::move(text)) {
    enter();
  }
  Probe(const Probe& other) : registry_(other.registry_), text_(other.text_) { enter(); }
  Probe(Probe&& other) noexcept : registry_(other.registry_), text_(std::move(other.text_)) {
    enter();
  }
  Probe& operator=(const Probe&) = default;
  Probe& operator=(Probe&&) = default;
  ~Probe() { registry_->wrong += registry_->living.erase(this) == 1 ? 0 : 1; }
  const std::string& text() const { return text_; }

 private:
  void enter() {
    ++registry_->born;
    registry_->wrong += registry_->living.insert(this).second ? 0 : 1;
  }
  Registry* registry_;
  std::string text_;
};

const std::string kLong(100, 'x');  // Too long for the string's own room.

struct Aggregate {
  Probe probe;
  std::string text;
};

Task<void> turn() {
  auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);
}

Task<Probe> make_probe(Registry* in, std::string text) {
  co_await turn();
  Probe probe(in, std::move(text));
  co_return probe;
}

Task<Result<Probe>> make_result(Registry* in, bool works) {
  co_await turn();
  if (!works) co_return std::make_error_code(std::errc::timed_out);
  Probe probe(in, kLong);
  co_return probe;
}

Task<std::size_t> take_probe(Probe probe) {
  co_await turn();
  co_return probe.text().size();
}

Task<std::size_t> take_aggregate(Aggregate aggregate) {
  co_await turn();
  co_return aggregate.probe.text().size() + aggregate.text.size();
}

Task<std::size_t> take_vector(std::vector<Probe> probes) {
  co_await turn();
  co_return probes.size();
}

Task<std::size_t> take_function(std::function<std::size_t()> function) {
  co_await turn();
  co_return function();
}

Task<std::size_t> take_owner(std::unique_ptr<Probe> owner) {
  co_await turn();
  co_return owner->text().size();
}

Task<void> fail(Probe probe) {
  co_await turn();
  throw std::runtime_error(probe.text());
}

// co_await f(..);
Task<std::size_t> statement(Registry* in) {
  Probe before(in, kLong);
  co_await make_probe(in, kLong);
  co_await take_probe(before);
  co_return before.text().size();
}

// auto x = co_await f(..);
Task<std::size_t> declaration(Registry* in) {
  auto probe = co_await make_probe(in, kLong);
  const auto size = co_await take_probe(std::move(probe));
  auto result = co_await make_result(in, /*works=*/true);
  auto failure = co_await make_result(in, /*works=*/false);
  if (!result || failure) co_return 0;
  co_return size + result->text().size();
}

// x = co_await f(..);
Task<std::size_t> assignment(Registry* in) {
  Aggregate both{Probe(in, "first"), kLong};
  both.probe = co_await make_probe(in, kLong);
  std::optional<Probe> maybe;
  maybe = co_await make_probe(in, kLong);
  co_return both.probe.text().size() + maybe->text().size();
}

// co_return co_await f(..);
Task<std::size_t> tail(Registry* in) {
  Aggregate named{Probe(in, kLong), kLong};
  co_return co_await take_aggregate(std::move(named));
}

Task<Probe> tail_of_class(Registry* in) { co_return co_await make_probe(in, kLong); }

Task<std::size_t> named_arguments(Registry* in) {
  Aggregate aggregate{Probe(in, kLong), kLong};
  std::vector<Probe> probes;
  probes.emplace_back(in, "a");
  probes.emplace_back(in, "b");
  Probe captured(in, kLong);
  std::function<std::size_t()> function = [captured] { return captured.text().size(); };
  auto owner = std::make_unique<Probe>(in, kLong);

  auto sum = co_await take_aggregate(aggregate);
  sum += aggregate.text.size();
  const auto count = co_await take_vector(std::move(probes));
  const auto called = co_await take_function(std::move(function));
  const auto owned = co_await take_owner(std::move(owner));
  co_return sum + count + called + owned;
}

Task<std::size_t> loop_with_await_in_its_body(Registry* in) {
  std::size_t sum = 0;
  for (int i = 0; i < 3; ++i) {
    auto probe = co_await make_probe(in, std::to_string(i));
    sum += probe.text().size();
  }
  co_return sum;
}

Task<std::size_t> failure_unwinds(Registry* in) {
  Probe probe(in, kLong);
  std::size_t caught = 0;
  try {
    co_await fail(probe);
  } catch (const std::runtime_error& error) {
    caught = std::string(error.what()).size();
  }
  co_return caught;
}

Task<std::size_t> captureless_lambda(Registry* in) {
  const auto work = [](Probe probe) -> Task<std::size_t> {
    co_await turn();
    co_return probe.text().size();
  };
  Probe probe(in, kLong);
  co_return co_await work(std::move(probe));
}

Task<std::size_t> probe_size_of_tail(Registry* in) {
  auto probe = co_await tail_of_class(in);
  co_return probe.text().size();
}

/// Runs a shape, and checks that whatever it made died exactly once.
void expect_sound(const char* name, std::function<Task<std::size_t>(Registry*)> shape,
                  std::size_t expected) {
  SCOPED_TRACE(name);
  Registry here;
  std::optional<std::size_t> value;
  {
    asio::io_context io;
    asio::co_spawn(io, shape(&here), [&value](std::exception_ptr failure, std::size_t got) {
      if (!failure) value = got;
    });
    io.run();
  }
  EXPECT_EQ(value, expected);
  EXPECT_GT(here.born, 0);
  EXPECT_EQ(here.wrong, 0) << "destroyed twice, or never made";
  EXPECT_TRUE(here.living.empty()) << here.living.size() << " of " << here.born << " leaked";
}

TEST(CoroutineCanary, AwaitShapesAreSound) {
  expect_sound("co_await f();", statement, 100);
  expect_sound("auto x = co_await f();", declaration, 200);
  expect_sound("x = co_await f();", assignment, 200);
  expect_sound("co_return co_await f();", tail, 200);
  expect_sound("co_return co_await f(); of a class", probe_size_of_tail, 100);
}

TEST(CoroutineCanary, WhatCrossesAnAwaitIsSound) {
  expect_sound("named arguments", named_arguments, 502);
  expect_sound("await in a loop's body", loop_with_await_in_its_body, 3);
  expect_sound("exception", failure_unwinds, 100);
  expect_sound("lambda without captures", captureless_lambda, 100);
}

TEST(CoroutineCanary, AbandonedCoroutinesDieOnce) {
  Registry here;
  {
    asio::io_context io;
    asio::co_spawn(io, named_arguments(&here), [](std::exception_ptr, std::size_t) {});
    for (int i = 0; i < 3; ++i) io.run_one();
    EXPECT_FALSE(here.living.empty()) << "it should be half-way";
  }
  EXPECT_EQ(here.wrong, 0);
  EXPECT_TRUE(here.living.empty());
}

}  // namespace
}  // namespace openp2p::net
