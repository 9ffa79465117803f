#include "net/framed_stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "net/clock.h"
#include "net/light_timer.h"
#include "net/readiness.h"
#include "net/socket_address.h"
#include "net/tcp_queue.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

/// Then other sockets have their turn: 4 times 64 KiB.
constexpr int kReceivesPerWakeupMax = 4;
/// Long enough for several round trips' acknowledgements, short enough to notice a stall.
constexpr Duration kRateEvery = std::chrono::milliseconds(100);
/// What one send() takes: a whole burst of the machines above (65,000 bytes) with its lengths.
constexpr std::size_t kWriteBytesMax = 68 << 10;

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE does it there.
#endif

std::error_code system_error(int error) { return {error, std::system_category()}; }
bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

void switch_on(int socket, int level, int name) {
  const int on = 1;
  ::setsockopt(socket, level, name, &on, sizeof on);
}

void prepare(int socket) {
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  switch_on(socket, IPPROTO_TCP, TCP_NODELAY);
#ifdef SO_NOSIGPIPE
  switch_on(socket, SOL_SOCKET, SO_NOSIGPIPE);
#endif
  limit_tcp_queue(socket, FramedStream::kQueueBytesMin);
  watch_for_death(socket);
}

Status bind_shared(int socket, const Address& local) {
  switch_on(socket, SOL_SOCKET, SO_REUSEADDR);
#ifdef SO_REUSEPORT
  switch_on(socket, SOL_SOCKET, SO_REUSEPORT);
#endif
  if (local.ip.is_v6()) switch_on(socket, IPPROTO_IPV6, IPV6_V6ONLY);
  SocketAddress address;
  const socklen_t size = to_socket_address(local, address);
  if (::bind(socket, &address.base, size) != 0) return system_error(errno);
  return {};
}

}  // namespace

struct FramedStream::State {
  State(const Config& given, Descriptor fd, const Address& to)
      : config(given),
        socket(std::move(fd)),
        remote(to),
        deframer(given.datagram_bytes_max),
        readiness(std::in_place, given.io, socket.number(),
                  Readiness::Callbacks{[this] { on_readable(); }, [this] { on_writable(); }, {}}) {}

  void wait_connected(Duration timeout, std::error_code failure);
  void become_connected();
  void on_writable();
  void on_connect_done();
  void on_readable();
  bool take_datagrams(MutableByteView data, TimePoint now);
  void send(DatagramTrain train, TimePoint now);
  bool flush_rest(TimePoint now);
  std::size_t queue_room(TimePoint now);
  void measure_rate(TimePoint now);
  bool write(ByteView frames, std::size_t segment_bytes, TimePoint now);
  void close();
  void fail(std::error_code why, TimePoint now);

  const Config config;
  Descriptor socket;
  Address local;
  Address remote;
  DatagramDeframer deframer;
  std::optional<Readiness> readiness;  // Empty: closed.
  std::optional<LightTimer> patience;  // While connecting.
  bool is_connected = false;
  Bytes rest;  // The end of a frame whose beginning the kernel took.
  std::size_t queue_bytes_max = kQueueBytesMin;
  std::optional<TimePoint> busy_since;  // The queue was never found empty since then...
  std::uint64_t delivered_before = 0;   // ...when so many bytes had been acknowledged.
  Counters counters;
};

// `failure`: connecting failed at once, which is told on the next turn, never from inside
// connect().
void FramedStream::State::wait_connected(Duration timeout, std::error_code failure) {
  const auto why = failure ? failure : std::make_error_code(std::errc::timed_out);
  patience.emplace(config.io, [this, why](TimePoint now) { fail(why, now); });
  patience->arm(failure ? monotonic_now() : monotonic_now() + timeout);
  if (!failure) readiness->want_write(true);
}

void FramedStream::State::become_connected() {
  is_connected = true;
  local = local_address_of(socket.number());
  readiness->want_read(true);
}

void FramedStream::State::on_writable() {
  if (!is_connected) return on_connect_done();
  if (flush_rest(monotonic_now()) && readiness) readiness->want_write(false);
}

void FramedStream::State::on_connect_done() {
  const TimePoint now = monotonic_now();
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fail(system_error(error), now);
  patience.reset();
  readiness->want_write(false);
  become_connected();
  config.handler.on_connected(now);
}

void FramedStream::State::on_readable() {
  const TimePoint now = monotonic_now();
  for (int i = 0; i < kReceivesPerWakeupMax && readiness; ++i) {
    const MutableByteView buffer = config.buffers[0];
    const ssize_t count = ::recv(socket.number(), buffer.data(), buffer.size(), 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (!would_block(errno)) fail(system_error(errno), now);
      return;
    }
    if (count == 0) return fail(std::make_error_code(std::errc::broken_pipe), now);
    const auto bytes = static_cast<std::size_t>(count);
    counters.bytes_received += bytes;
    if (!take_datagrams(buffer.first(bytes), now) || bytes < buffer.size()) return;
  }
}

// False: the stream is closed.
bool FramedStream::State::take_datagrams(MutableByteView data, TimePoint now) {
  for (;;) {
    const auto train = deframer.take(data);
    if (!train) {
      fail(train.error(), now);
      return false;
    }
    if (!*train) return true;
    config.handler.on_train(**train, now);
    if (!readiness) return false;  // The handler closed it.
  }
}

void FramedStream::State::send(DatagramTrain train, TimePoint now) {
  std::array<std::byte, kWriteBytesMax> room;  // Left uninitialised.
  if (is_connected && flush_rest(now)) {
    std::size_t room_bytes = queue_room(now);
    while (readiness && rest.empty() && !train.datagrams.empty()) {
      const MutableByteView out(room.data(), std::min(room.size(), room_bytes));
      const std::size_t bytes = write_datagram_frames(train, out);
      if (bytes == 0) break;
      room_bytes -= bytes;
      if (!write(ByteView(room).first(bytes), train.segment_bytes, now)) break;
    }
  }
  counters.bytes_dropped += train.datagrams.size();
}

// False: there is still a rest, or the stream is closed.
bool FramedStream::State::flush_rest(TimePoint now) {
  if (rest.empty()) return true;
  const ssize_t count = ::send(socket.number(), rest.data(), rest.size(), kSendFlags);
  if (count < 0) {
    if (!would_block(errno) && errno != EINTR) fail(system_error(errno), now);
    return false;
  }
  counters.bytes_sent += static_cast<std::size_t>(count);
  rest.erase(rest.begin(), rest.begin() + count);
  return rest.empty();
}

// How much more may wait in the kernel.
std::size_t FramedStream::State::queue_room(TimePoint now) {
  const std::size_t waiting = unsent_bytes(socket.number());
  if (waiting == 0) {
    busy_since.reset();  // What leaves says nothing about what could.
  } else {
    measure_rate(now);
  }
  return queue_bytes_max - std::min(queue_bytes_max, waiting);
}

// By what is acknowledged while there is always more to send. The kernel's own estimate would not
// fall when the other side stops reading.
void FramedStream::State::measure_rate(TimePoint now) {
  if (busy_since && now < *busy_since + kRateEvery) return;
  const std::uint64_t delivered = counters.bytes_sent - undelivered_bytes(socket.number());
  if (busy_since) {
    const std::uint64_t bytes = (delivered - delivered_before) *
                                static_cast<std::uint64_t>(kQueueDelayMax / 1us) /
                                static_cast<std::uint64_t>((now - *busy_since) / 1us);
    queue_bytes_max = std::clamp<std::size_t>(bytes, kQueueBytesMin, kQueueBytesMax);
  }
  busy_since = now;
  delivered_before = delivered;
}

// False: the kernel did not take all of it, and what followed is dropped.
bool FramedStream::State::write(ByteView frames, std::size_t segment_bytes, TimePoint now) {
  const ssize_t count = ::send(socket.number(), frames.data(), frames.size(), kSendFlags);
  if (count < 0 && !would_block(errno) && errno != EINTR) {
    fail(system_error(errno), now);
    return false;
  }
  const auto sent = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
  counters.bytes_sent += sent;
  if (sent == frames.size()) return true;
  const std::size_t frame_bytes = kDatagramFrameHeaderBytes + segment_bytes;
  const std::size_t begun = (sent + frame_bytes - 1) / frame_bytes * frame_bytes;
  const std::size_t end = std::min(begun, frames.size());
  rest.assign(frames.begin() + static_cast<std::ptrdiff_t>(sent),
              frames.begin() + static_cast<std::ptrdiff_t>(end));
  const std::size_t lost = frames.size() - end;
  counters.bytes_dropped +=
      lost - (lost + frame_bytes - 1) / frame_bytes * kDatagramFrameHeaderBytes;
  if (!rest.empty()) readiness->want_write(true);
  return false;
}

void FramedStream::State::close() {
  if (is_connected) skip_time_wait(socket.number());
  is_connected = false;
  patience.reset();
  readiness.reset();
  socket.close();
}

void FramedStream::State::fail(std::error_code why, TimePoint now) {
  if (!readiness) return;
  close();
  config.handler.on_closed(why, now);
}

Result<std::unique_ptr<FramedStream>> FramedStream::connect(const Config& config,
                                                            const Address& remote,
                                                            std::uint16_t local_port,
                                                            Duration timeout,
                                                            std::optional<IpAddress> source) {
  const bool is_v4 = remote.ip.is_v4();
  Descriptor socket(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM, IPPROTO_TCP));
  if (!socket) return system_error(errno);
  prepare(socket.number());
  const IpAddress from = source.value_or(is_v4 ? IpAddress::any_v4() : IpAddress::any_v6());
  if (local_port != 0 || !from.is_unspecified()) {
    const Status bound = bind_shared(socket.number(), {from, local_port});
    if (!bound) return bound.error();
  }
  SocketAddress address;
  const socklen_t size = to_socket_address(remote, address);
  std::error_code failure;
  if (::connect(socket.number(), &address.base, size) != 0 && errno != EINPROGRESS) {
    failure = system_error(errno);
  }
  auto state = std::make_unique<State>(config, std::move(socket), remote);
  state->wait_connected(timeout, failure);
  return std::unique_ptr<FramedStream>(new FramedStream(std::move(state)));
}

std::unique_ptr<FramedStream> FramedStream::adopt(const Config& config, Descriptor socket) {
  CHECK(socket);
  prepare(socket.number());
  const Address remote = remote_address_of(socket.number());
  auto state = std::make_unique<State>(config, std::move(socket), remote);
  state->become_connected();
  return std::unique_ptr<FramedStream>(new FramedStream(std::move(state)));
}

FramedStream::FramedStream(std::unique_ptr<State> state) : state_(std::move(state)) {}

FramedStream::~FramedStream() { state_->close(); }

void FramedStream::send(DatagramTrain train, TimePoint now) { state_->send(train, now); }

void FramedStream::close() { state_->close(); }

bool FramedStream::is_connected() const { return state_->is_connected; }

const Address& FramedStream::local_address() const { return state_->local; }

const Address& FramedStream::remote_address() const { return state_->remote; }

const FramedStream::Counters& FramedStream::counters() const { return state_->counters; }

}  // namespace openp2p::net
