#include "net/udp_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/readiness.h"
#include "net/socket_address.h"
#include "net/udp_receiver.h"
#include "net/udp_sender.h"

namespace openp2p::net {
namespace {

// Then the other sockets have their turn: 32 trains of at most 64 KiB.
constexpr int kReceivesPerWakeupMax = 4;

std::error_code last_error() { return {errno, std::system_category()}; }

Result<Descriptor> make_socket(const Address& local) {
  const int family = local.ip.is_v4() ? AF_INET : AF_INET6;
  Descriptor socket(::socket(family, SOCK_DGRAM, IPPROTO_UDP));
  if (!socket) return last_error();
  ::fcntl(socket.number(), F_SETFD, FD_CLOEXEC);
  if (::fcntl(socket.number(), F_SETFL, O_NONBLOCK) != 0) return last_error();
  return socket;
}

}  // namespace

struct UdpSocket::State {
  State(IoContext& loop, Descriptor fd, std::unique_ptr<UdpSyscalls> calls, UdpBuffers& buffers,
        UdpHandler& owner, bool has_offload, bool takes_empty)
      : io(loop),
        descriptor(std::move(fd)),
        syscalls(std::move(calls)),
        handler(owner),
        sender({descriptor.number(), syscalls.get(), &owner, &counters, has_offload}),
        receiver({descriptor.number(), syscalls.get(), &buffers, &counters, takes_empty}),
        readable(io, descriptor.number(), {[this] { on_readable(); }, {}, {}}) {
    readable.want_read(true);
  }

  void on_readable() {
    const TimePoint now = monotonic_now();
    for (int i = 0; i < kReceivesPerWakeupMax; ++i) {
      const auto batch = receiver.receive();
      if (batch.error != 0) handler.on_refused({batch.error, std::system_category()});
      if (!batch.received.empty()) handler.on_datagrams(batch.received, now);
      if (!batch.may_have_more) return;
    }
  }

  // False: the program has no descriptor left to watch with.
  bool wait_writable() {
    if (writable) return true;
    if (!duplicate) duplicate = Descriptor(::fcntl(descriptor.number(), F_DUPFD_CLOEXEC, 0));
    if (!duplicate) return false;
    writable.emplace(io, duplicate.number(),
                     Readiness::Callbacks{{}, [this] { on_writable(); }, {}});
    writable->want_write(true);
    return true;
  }

  void on_writable() {
    writable.reset();
    handler.on_writable(monotonic_now());
  }

  IoContext& io;
  Descriptor descriptor;
  // Watched for room, and only while there is none: were the socket itself ever watched for it,
  // each datagram that leaves the kernel would wake the loop from then on. Most sockets of a fan
  // never need it.
  Descriptor duplicate;
  std::unique_ptr<UdpSyscalls> syscalls;
  UdpHandler& handler;
  UdpCounters counters;
  UdpSender sender;
  UdpReceiver receiver;
  Readiness readable;
  std::optional<Readiness> writable;
};

Result<std::unique_ptr<UdpSocket>> UdpSocket::open(IoContext& io, const Address& local,
                                                   UdpBuffers& buffers, UdpHandler& handler,
                                                   UdpOptions options) {
  auto socket = make_socket(local);
  if (!socket) return socket.error();
  const bool has_offload = configure_udp_socket(socket->number(), local.ip.is_v4(), options);
  SocketAddress address;
  const socklen_t size = to_socket_address(local, address);
  if (::bind(socket->number(), &address.base, size) != 0) return last_error();
  if (options.peer) {
    const socklen_t peer_size = to_socket_address(*options.peer, address);
    if (::connect(socket->number(), &address.base, peer_size) != 0) return last_error();
  }
  auto syscalls = options.syscalls ? std::move(options.syscalls) : make_udp_syscalls();
  return std::unique_ptr<UdpSocket>(
      new UdpSocket(std::make_unique<State>(io, std::move(*socket), std::move(syscalls), buffers,
                                            handler, has_offload, options.takes_empty)));
}

UdpSocket::UdpSocket(std::unique_ptr<State> state) : state_(std::move(state)) {}

UdpSocket::~UdpSocket() = default;

SendProgress UdpSocket::send(std::span<const Outgoing> batches, TimePoint now) {
  const SendProgress progress = state_->sender.send(batches, now);
  if (progress.batches == batches.size() || state_->wait_writable()) return progress;
  ++state_->counters.no_buffers;  // Nobody would ever say that there is room: dropped, all of it.
  return {batches.size(), 0};
}

bool UdpSocket::send_empty(const Address& to, const IpAddress& source) {
  return state_->sender.send_empty(to, source);
}

Address UdpSocket::local_address() const { return local_address_of(state_->descriptor.number()); }

const UdpCounters& UdpSocket::counters() const { return state_->counters; }

bool UdpSocket::is_offloading() const { return state_->sender.is_offloading(); }

}  // namespace openp2p::net
