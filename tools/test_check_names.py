"""Which names and words check_names.py lets pass."""

import pathlib

import pytest

from check_names import check

GOOD = [
    "int f() { static const int x = 3; static constexpr auto y = g(); return x; }",
    "class A { static int f(int x); static A make() { return {}; } static constexpr int kMax = 3; };",
    "constexpr int kMax = 3;\nconst char* const kName = \"x\";\ninline constexpr std::array<int, 2> kA{1, 2};",
    "namespace a { int f(); struct B; using C = std::vector<int>; enum class D { kE }; }",
    "static int f(int a, int b);\nextern \"C\" int g(const char* s);",
    "class A { int x_ = 0; std::vector<int> y_{}; };",
    "template <class T> struct X { T t; };\ntemplate <>\nstruct std::hash<A> { int x; };",
    "bool operator==(const A& a, const A& b) = default;\nA::~A() = default;",
    "static_assert(sizeof(int) == 4);\nusing namespace std::chrono_literals;",
    "// sleep_for(1) in a comment\nconst auto kText = \"steady_clock::now()\";",
    "const std::error_category& category() noexcept { static const Category instance; return instance; }",
    "namespace fs = std::filesystem;",
    "std::int64_t run_time(TimePoint now); void f() { x.time(now); }",
    "struct A { int x; } const kA{1};",
    "void f() { auto logger = std::make_shared<spdlog::logger>(name, sink); }",
]

BAD = {
    "int f() { static int calls = 0; return ++calls; }": "mutable static",
    "int f() { static std::map<int, int> cache; return 1; }": "mutable static",
    "int f() { static Foo foo{1}; return 1; }": "mutable static",
    "int f() { static Foo foo(3); return 1; }": "mutable static",
    "class A { static int count_; };": "mutable static",
    "class A { static inline int count_ = 0; };": "mutable static",
    "int counter = 0;": "mutable global",
    "namespace a { namespace { std::vector<int> all; } }": "mutable global",
    "namespace a { std::map<int, int> all{{1, 2}}; }": "mutable global",
    "inline int counter = 1;": "mutable global",
    "const char* name = \"x\";": "mutable global",
    "extern int shared;": "mutable global",
    "thread_local int x = 1;": "pass it",
    "void f() { std::this_thread::sleep_for(1s); }": "nothing sleeps",
    "void f() { auto t = std::chrono::steady_clock::now(); }": "time is an argument",
    "void f() { auto t = time(nullptr); }": "time is an argument",
    "void f() { std::uniform_int_distribution<int> d(1, 2); }": "base/random.h",
    "void f() { std::random_device d; }": "handed in",
    "void f() { int x = rand(); }": "handed in",
    "void f() { spdlog::info(1); }": "pass a logger",
    "void f() { auto l = spdlog::get(name); }": "pass a logger",
    "void f() { auto l = spdlog::stdout_color_mt(name); }": "pass a logger",
    "void f() { SPDLOG_INFO(1); }": "pass a logger",
    "// TODO: later": "finish it",
}


@pytest.mark.parametrize("code", GOOD)
def test_good_code_passes(code):
    assert list(check(pathlib.PurePath("src/path/a.cc"), code)) == []


@pytest.mark.parametrize("code, why", BAD.items())
def test_bad_code_is_named(code, why):
    findings = list(check(pathlib.PurePath("src/path/a.cc"), code))
    assert any(why in message for _, message in findings), findings


@pytest.mark.parametrize(
    "name", ["src/utils/a.cc", "src/path/path_helpers.h", "src/manager.h", "src/common/x.h"]
)
def test_banned_names(name):
    assert len(list(check(pathlib.PurePath(name), ""))) == 1


def test_words_inside_words_are_fine():
    assert not list(check(pathlib.PurePath("src/path/commonality.cc"), ""))


def test_only_net_reads_clocks():
    code = "TimePoint now() { return from(std::chrono::steady_clock::now()); }"
    assert not list(check(pathlib.PurePath("src/net/clock.cc"), code))
    assert list(check(pathlib.PurePath("src/path/clock.cc"), code))
