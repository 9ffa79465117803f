#include "net/gateway_call.h"

#include <fcntl.h>
#include <unistd.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <array>
#include <system_error>
#include <thread>
#include <utility>

#include "base/descriptor.h"
#include "net/bounded_wait.h"
#include "net/clock.h"
#include "net/nat_pmp_call.h"
#include "net/upnp_call.h"

namespace openp2p::net {
namespace asio = boost::asio;

namespace {

class ThreadedCall final : public GatewayCall {
 public:
  ThreadedCall(IoContext& io, std::function<void(const GatewayAnswer&)> done)
      : state_(std::make_shared<State>(State{std::move(done), {}})), io_(io) {}
  ~ThreadedCall() override {
    state_->done = {};
    withdrawn_.close();  // The other end of the pipe becomes readable: all waiting ends.
    if (thread_.joinable()) thread_.join();
  }

  void start(GatewayRequest request) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return fail();
    is_withdrawn_ = Descriptor(ends[0]);
    withdrawn_ = Descriptor(ends[1]);
    try {
      thread_ = std::thread([this, request = std::move(request)] { run(request); });
    } catch (const std::system_error&) {
      fail();
    }
  }

 private:
  struct State {
    std::function<void(const GatewayAnswer&)> done;  // Touched on the loop's thread only.
    GatewayAnswer answer;                            // By the thread, before it posts.
  };

  void run(const GatewayRequest& request) {
    const BoundedWait wait(is_withdrawn_.number(), monotonic_now() + kGatewayCallMax);
    state_->answer = request.protocol == MappingProtocol::kNatPmp ? call_nat_pmp(request, wait)
                                                                  : call_upnp(request, wait);
    post();
  }

  void fail() {
    state_->answer.failure = "this machine has no thread or descriptor left to ask with";
    post();
  }

  void post() {
    asio::post(io_, [state = state_] {
      if (const auto done = std::exchange(state->done, {})) done(state->answer);
    });
  }

  std::shared_ptr<State> state_;  // Owned by this object and by the posted answer.
  IoContext& io_;
  Descriptor is_withdrawn_;
  Descriptor withdrawn_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<GatewayCall> call_gateway(IoContext& io, GatewayRequest request,
                                          std::function<void(const GatewayAnswer&)> done) {
  auto call = std::make_unique<ThreadedCall>(io, std::move(done));
  call->start(std::move(request));
  return call;
}

}  // namespace openp2p::net
