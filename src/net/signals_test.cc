#include "net/signals.h"

#include <gtest/gtest.h>

#include <csignal>
#include <optional>

#include "net/test_loop.h"

namespace openp2p::net {
namespace {

TEST(EndRequest, CallsOnceForEachKindOfRequest) {
  for (const int signal : {SIGTERM, SIGINT}) {
    IoContext io;
    int calls = 0;
    const EndRequest request(io, [&calls] { ++calls; });

    std::raise(signal);

    EXPECT_TRUE(run_until(io, [&] { return calls == 1; }));
  }
}

TEST(EndRequest, SecondRequestEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        IoContext io;
        bool is_called = false;
        const EndRequest request(io, [&is_called] { is_called = true; });
        std::raise(SIGTERM);
        run_until(io, [&] { return is_called; });
        std::raise(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(EndRequest, LetsTheLoopEndOnceItIsGone) {
  IoContext io;
  std::optional<EndRequest> request;
  request.emplace(io, [] {});

  request.reset();

  io.run();
  SUCCEED();
}

}  // namespace
}  // namespace openp2p::net
