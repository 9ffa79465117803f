"""The shapes that check_await.py lets pass, and those it must not."""

import pytest

from check_await import check

GOOD = [
    "co_await f(a, b);",
    "auto x = co_await f(a);",
    "const auto x = co_await f(a);",
    "auto [error, size] = co_await socket.async_read_some(buffer, asio::as_tuple(asio::deferred));",
    "x = co_await f();",
    "this->x_ = co_await f();",
    "values[i + 1] = co_await f();",
    "co_return co_await f();",
    "co_await asio::this_coro::executor;",
    "auto executor = co_await asio::this_coro::executor;",
    "if (ready) co_await f();",
    "if (a) { b(); } else co_await f();",
    "while (!running_.empty()) {\n  co_await emptied_.async_wait(asio::as_tuple(asio::use_awaitable));\n}",
    "switch (k) { case Kind::kA: co_await f(); break; default: co_await g(); }",
    "again: co_await f();",
    "co_await std::move(task);",
    "auto x = co_await pool.run<Answer>(question, limits[2]);",
    "auto x = co_await store->find(name);",
    '// if (co_await f()) {}\nlog("co_await {}", 1\'000);',
    'auto s = R"(if (co_await f()) { asio::detached })";',
    "spawn(scope, [](Relay& relay) -> asio::awaitable<void> { co_await relay.run(); }(relay));",
    "auto done = [this, entry](std::exception_ptr failure) { emptied_.cancel(); };",
    "auto make = [this] { return [](int x) -> Task { co_await f(x); }; };",
    "values[index] = 1;\nco_await f();",
]

BAD = {
    "if (co_await validate(path)) co_return;": "inside brackets",
    "if (auto x = co_await f(); x) g();": "inside brackets",
    "while (co_await f()) {}": "inside brackets",
    "for (auto x : co_await f()) {}": "inside brackets",
    "switch (co_await f()) {}": "inside brackets",
    "g(co_await f());": "inside brackets",
    "EXPECT_TRUE(co_await f());": "inside brackets",
    "auto x = v[co_await f()];": "inside brackets",
    "co_return (co_await f());": "inside brackets",
    "auto x = co_await relay.open(OpenRequest{.peer = peer});": "braces",
    "co_await pool.run([token] { return verify(token); });": "braces",
    "auto x = co_await f({1, 2});": "braces",
    "co_await (a ? f() : g());": "?:",
    "auto x = a ? co_await f() : 0;": "four shapes",
    "auto x = co_await f(co_await g());": "two awaits",
    "auto x = co_await f() + 1;": "more than a call",
    "auto x = 1 + co_await f();": "four shapes",
    "auto x = Foo{1} + co_await f();": "four shapes",
    "auto x = co_await f() && co_await g();": "two awaits",
    "co_return Reply{co_await f()};": "four shapes",
    "co_return !co_await f();": "four shapes",
    "Result<int> x = co_await f();": "four shapes",
    "a = b = co_await f();": "four shapes",
    "a += co_await f();": "four shapes",
    "auto x = ({ co_await f(); });": "statement expression",
    "(void)co_await f();": "four shapes",
    "static_cast<void>(co_await f());": "inside brackets",
    "auto x = co_await (co_await f());": "two awaits",
    "co_spawn(executor, task(), asio::detached);": "TaskScope",
    "using asio::detached;": "TaskScope",
    "auto self = shared_from_this();": "owns their scope",
    "class A : std::enable_shared_from_this<A> {};": "owns their scope",
    "spawn([this]() -> asio::awaitable<void> { co_await f(); });": "captures",
    "auto task = [&, x]() mutable -> asio::awaitable<int> { co_return x; };": "captures",
    "auto task = [x] { co_return; };": "captures",
    "co_yield 1;": "generators",
}


@pytest.mark.parametrize("code", GOOD)
def test_good_shapes_pass(code):
    assert list(check("a.cc", "Task t() {\n" + code + "\n}\n")) == []


@pytest.mark.parametrize("code, why", BAD.items())
def test_bad_shapes_are_named(code, why):
    findings = list(check("a.cc", "Task t() {\n" + code + "\n}\n"))
    assert any(why in message for _, message in findings), findings


def test_line_number_is_that_of_the_await():
    assert list(check("a.cc", "/* two\nlines */\ng(co_await f());\n"))[0][0] == 3
