"""What counts as a function, and how long it is."""

from check_functions import FUNCTION_LINES_MAX, check
from cpp_scopes import functions


def names(source):
    return [function.name for function in functions(source)]


def body(lines):
    return "\n".join(["  x();"] * lines)


def test_finds_functions_of_every_kind():
    source = """
    namespace a::b {
    namespace {
    int plain(int x) { return x; }
    }
    class A final : public B {
     public:
      explicit A(int x) : B(x), a_{1}, b_(2) { init({1, 2}); }
      ~A() override { stop(); }
      int get() const noexcept { return a_; }
      friend bool operator==(const A& x, const A& y) { return true; }
      bool operator()(int x) const { return x; }
     private:
      int a_{0};
      std::vector<int> c_ = {1, 2};
    };
    template <class T> requires std::integral<T>
    auto A::f(T t) -> std::vector<T> { auto l = [t](int x) { return x; }; return {l(1)}; }
    TEST(Thing, DoesIt) { EXPECT_TRUE(f({1})); }
    extern "C" int entry(const char* data) { return 0; }
    extern "C" { int other(int) { return 1; } }
    enum class Kind { kA, kB };
    constexpr std::array<int, 2> kTable{1, 2};
    const auto kMade = make({1});
    #define M(x) do { f(x); } while (0)
    }
    """
    assert names(source) == [
        "plain", "A", "~A", "get", "operator==", "operator()", "A::f", "TEST", "entry", "other",
    ]


def test_longest_allowed_passes_and_one_more_fails():
    assert not list(check("a.cc", f"int f() {{\n{body(FUNCTION_LINES_MAX - 2)}\n}}\n"))

    findings = list(check("a.cc", f"\n\nint f() {{\n{body(FUNCTION_LINES_MAX - 1)}\n}}\n"))

    assert findings == [(3, "f has 71 lines, 70 at most")]


def test_constructor_with_braced_members_counts_from_its_head():
    source = f"A::A(int x)\n    : a_{{x}},\n      b_{{2}} {{\n{body(70)}\n}}\n"
    assert list(check("a.cc", source)) == [(1, "A::A has 74 lines, 70 at most")]


def test_methods_inside_classes_count():
    source = f"class A {{\n  void f() {{\n{body(80)}\n  }}\n}};\n"
    assert list(check("a.h", source)) == [(2, "f has 82 lines, 70 at most")]


def test_lambdas_count_for_their_function():
    source = f"void f() {{\n  auto g = [] {{\n{body(75)}\n  }};\n}}\n"
    assert [message for _, message in check("a.cc", source)] == ["f has 79 lines, 70 at most"]


def test_braces_in_strings_and_comments_do_not_count():
    source = 'void f() { g("{{{"); /* { */ }\nvoid h() {\n' + body(80) + "\n}\n"
    assert [line for line, _ in check("a.cc", source)] == [2]
