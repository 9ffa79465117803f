#include "net/interfaces.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstring>
#include <functional>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/suspend_watch.h"
#include "net/test_loop.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

constexpr int kSkipped = 77;

bool switch_loopback(bool on) {
  const Descriptor socket(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (::ioctl(socket.number(), SIOCGIFFLAGS, &request) != 0) return false;
  request.ifr_flags =
      static_cast<short>(on ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
  return ::ioctl(socket.number(), SIOCSIFFLAGS, &request) == 0;
}

/// Runs a body in a process with a network of its own, which it may change. Its result is the
/// process's exit code; kSkipped where the machine allows no namespaces.
int in_own_network(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_alone =
        ::unshare(CLONE_NEWNET) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
    ::_exit(is_alone ? body() : kSkipped);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

using MakeWatch =
    std::function<std::unique_ptr<InterfaceWatch>(IoContext&, InterfaceWatch::Callback)>;

int change_and_watch(const MakeWatch& make) {
  IoContext io;
  int changes = 0;
  const auto watch = make(io, [&](TimePoint) { ++changes; });
  if (run_until(
          io, [&] { return changes > 0; }, 30ms))
    return 1;  // Nothing changed yet.
  if (!switch_loopback(true)) return kSkipped;
  if (!run_until(io, [&] { return changes == 1; })) return 2;
  if (run_until(
          io, [&] { return changes > 1; }, 150ms))
    return 3;  // One change, told once.
  if (!switch_loopback(false)) return 4;
  return run_until(io, [&] { return changes == 2; }) ? 0 : 5;
}

/// A route of this network, over loopback.
bool change_route(unsigned long request, const char* to, const char* mask) {
  const Descriptor socket(::socket(AF_INET, SOCK_DGRAM, 0));
  const auto fill = [](sockaddr& out, const char* text) {
    auto& address = reinterpret_cast<sockaddr_in&>(out);
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, text, &address.sin_addr);
  };
  rtentry route{};
  fill(route.rt_dst, to);
  fill(route.rt_genmask, mask);
  char device[] = "lo";
  route.rt_dev = device;
  route.rt_flags = RTF_UP;
  return ::ioctl(socket.number(), request, &route) == 0;
}

int change_routes_and_watch() {
  if (!switch_loopback(true)) return kSkipped;
  IoContext io;
  int changes = 0;
  const auto watch = make_interface_watch(io, [&](TimePoint) { ++changes; });
  if (!change_route(SIOCADDRT, "10.9.0.0", "255.255.0.0")) return 1;
  if (run_until(
          io, [&] { return changes > 0; }, 150ms))
    return 2;  // A route to one network says nothing about the way out.
  if (!change_route(SIOCADDRT, "0.0.0.0", "0.0.0.0")) return 3;
  const TimePoint before = monotonic_now();
  if (!run_until(io, [&] { return changes == 1; })) return 4;
  if (monotonic_now() - before > 1s) return 5;
  if (!change_route(SIOCDELRT, "0.0.0.0", "0.0.0.0")) return 6;
  return run_until(io, [&] { return changes == 2; }) ? 0 : 7;
}

TEST(InterfaceWatch, TellsAChangedDefaultRouteOnly) {
  const int result = in_own_network(change_routes_and_watch);

  if (result == kSkipped) GTEST_SKIP() << "no network namespaces here";
  EXPECT_EQ(result, 0);
}

TEST(SuspendGauge, TellsEachSleepOnce) {
  SuspendGauge gauge(5s);

  EXPECT_FALSE(gauge.has_slept(5s));
  EXPECT_FALSE(gauge.has_slept(5s + 20us)) << "the clock was set for another reason";
  EXPECT_TRUE(gauge.has_slept(65s));
  EXPECT_FALSE(gauge.has_slept(65s));
  EXPECT_TRUE(gauge.has_slept(66s));
}

TEST(SuspendGauge, TheClocksAgreeWhileAwake) {
  SuspendGauge gauge(suspended_so_far());
  for (int i = 0; i < 1'000; ++i) EXPECT_FALSE(gauge.has_slept(suspended_so_far()));
}

TEST(SuspendWatch, CausesNoWakeupWhileAwake) {
  IoContext io;
  const auto watch = make_suspend_watch(io, [] { FAIL(); });
  ASSERT_TRUE(watch);

  EXPECT_EQ(io.run_one_for(50ms), 0u);
}

TEST(InterfaceWatch, TellsAChangeOnce) {
  const int result = in_own_network([] {
    return change_and_watch([](IoContext& io, InterfaceWatch::Callback on_change) {
      return make_interface_watch(io, std::move(on_change));
    });
  });

  if (result == kSkipped) GTEST_SKIP() << "no network namespaces here";
  EXPECT_EQ(result, 0);
}

TEST(InterfaceWatch, TellsAChangeByPolling) {
  const int result = in_own_network([] {
    return change_and_watch([](IoContext& io, InterfaceWatch::Callback on_change) {
      return make_polling_interface_watch(io, 20ms, std::move(on_change));
    });
  });

  if (result == kSkipped) GTEST_SKIP() << "no network namespaces here";
  EXPECT_EQ(result, 0);
}

TEST(InterfaceWatch, CausesNoWakeupWhileNothingChanges) {
  // In a network of its own: other programs may change this one at any moment.
  const int result = in_own_network([] {
    IoContext io;
    const auto watch = make_interface_watch(io, [](TimePoint) {});
    return io.run_one_for(50ms) == 0 ? 0 : 1;
  });

  if (result == kSkipped) GTEST_SKIP() << "no network namespaces here";
  EXPECT_EQ(result, 0);
}

}  // namespace
}  // namespace openp2p::net
