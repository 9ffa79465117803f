#include "net/tcp_listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/light_timer.h"
#include "net/readiness.h"
#include "net/socket_address.h"
#include "net/tcp_stream.h"

namespace openp2p::net {
namespace {

constexpr int kAcceptsPerWakeupMax = 16;  // Then other sockets have their turn.
constexpr int kBacklogMax = 1024;         // A burst of short connections; the kernel may cap it.
constexpr Duration kStarvedRetryAfter = std::chrono::milliseconds(100);

std::error_code last_error() { return {errno, std::system_category()}; }

bool is_starvation(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

void set_option(int socket, int level, int name) {
  const int on = 1;
  ::setsockopt(socket, level, name, &on, sizeof on);
}

// Only when it listens: a program that had listened there before would have been shared with, too.
void share_port(int socket) {
#ifdef SO_REUSEPORT
  set_option(socket, SOL_SOCKET, SO_REUSEPORT);
#endif
}

Result<Descriptor> make_listening_socket(const Address& local) {
  Descriptor socket(::socket(local.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM, IPPROTO_TCP));
  if (!socket) return last_error();
  const int number = socket.number();
  ::fcntl(number, F_SETFD, FD_CLOEXEC);
  ::fcntl(number, F_SETFL, O_NONBLOCK);
  set_option(number, SOL_SOCKET, SO_REUSEADDR);  // Else a restart waits for TIME-WAIT to pass.
  if (local.ip.is_v6()) set_option(number, IPPROTO_IPV6, IPV6_V6ONLY);
  SocketAddress address;
  const socklen_t size = to_socket_address(local, address);
  if (::bind(number, &address.base, size) != 0) return last_error();
  if (::listen(number, kBacklogMax) != 0) return last_error();
  return socket;
}

}  // namespace

struct TcpListener::State {
  State(IoContext& loop, Descriptor fd, OnSocket callback)
      : io(loop), socket(std::move(fd)), on_socket(std::move(callback)) {}

  static void start(const std::shared_ptr<State>& state);
  void accept_some();
  void apply() { readiness->want_read(!is_paused && !is_starved); }
  void starve() {
    is_starved = true;
    apply();
    retry->arm(monotonic_now() + kStarvedRetryAfter);
  }

  IoContext& io;
  Descriptor socket;
  OnSocket on_socket;
  std::optional<Readiness> readiness;
  std::optional<LightTimer> retry;
  bool is_paused = false;
  bool is_starved = false;
  bool is_closed = false;
};

void TcpListener::State::start(const std::shared_ptr<State>& state) {
  // Weak: the state owns what holds these. Locked: the callback may destroy the listener.
  const std::weak_ptr<State> weak = state;
  auto readable = [weak] {
    if (const auto held = weak.lock()) held->accept_some();
  };
  state->readiness.emplace(state->io, state->socket.number(),
                           Readiness::Callbacks{std::move(readable), {}, {}});
  state->retry.emplace(state->io, [weak](TimePoint) {
    const auto held = weak.lock();
    if (!held) return;
    held->is_starved = false;
    held->apply();
  });
  state->apply();
}

void TcpListener::State::accept_some() {
  for (int i = 0; i < kAcceptsPerWakeupMax && !is_closed && !is_paused; ++i) {
    Descriptor accepted(::accept(socket.number(), nullptr, nullptr));
    if (!accepted) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (is_starvation(errno)) return starve();
      continue;  // This connection died in the queue (accept(2)): the next may be well.
    }
    ::fcntl(accepted.number(), F_SETFD, FD_CLOEXEC);
    on_socket(std::move(accepted));
  }
}

Result<std::unique_ptr<TcpListener>> TcpListener::listen(IoContext& io, const Address& local,
                                                         OnAccept on_accept) {
  return listen_bare(io, local, /*shares_port=*/false,
                     [&io, on_accept = std::move(on_accept)](Descriptor socket) {
                       on_accept(make_tcp_stream(io, std::move(socket)));
                     });
}

Result<std::unique_ptr<TcpListener>> TcpListener::listen_bare(IoContext& io, const Address& local,
                                                              bool shares_port,
                                                              OnSocket on_socket) {
  auto socket = make_listening_socket(local);
  if (!socket) return socket.error();
  if (shares_port) share_port(socket->number());
  auto state = std::make_shared<State>(io, std::move(*socket), std::move(on_socket));
  State::start(state);
  return std::unique_ptr<TcpListener>(new TcpListener(std::move(state)));
}

TcpListener::TcpListener(std::shared_ptr<State> state) : state_(std::move(state)) {}

TcpListener::~TcpListener() {
  state_->is_closed = true;
  state_->readiness.reset();
  state_->retry.reset();
  state_->socket.close();
}

Address TcpListener::local_address() const { return local_address_of(state_->socket.number()); }

void TcpListener::pause() {
  state_->is_paused = true;
  state_->apply();
}

void TcpListener::resume() {
  state_->is_paused = false;
  state_->apply();
}

bool TcpListener::is_starved() const { return state_->is_starved; }

}  // namespace openp2p::net
