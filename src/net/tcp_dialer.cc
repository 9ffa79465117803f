#include "net/tcp_dialer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <optional>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/light_timer.h"
#include "net/readiness.h"
#include "net/socket_address.h"
#include "net/tcp_stream.h"

namespace openp2p::net {
namespace {

constexpr Duration kAttemptDelay = std::chrono::milliseconds(250);  // RFC 8305 section 5.

DialError to_dial_error(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
      return DialError::kRefused;
    case ETIMEDOUT:
      return DialError::kTimedOut;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return DialError::kNoResources;
    default:
      return DialError::kUnreachable;
  }
}

// What tells most about the host goes first.
int rank(DialError error) {
  switch (error) {
    case DialError::kRefused:
      return 0;
    case DialError::kTimedOut:
      return 1;
    case DialError::kNoResources:
      return 2;
    case DialError::kUnreachable:
      return 3;
    case DialError::kVetoed:
    case DialError::kNameNotFound:
    case DialError::kNameLookupFailed:
      return 4;
  }
  return 4;
}

// RFC 8305 section 4: families by turns, IPv6 first, each in the resolver's order (RFC 6724).
std::vector<IpAddress> by_turns(const std::vector<IpAddress>& addresses) {
  std::vector<IpAddress> v6, v4, mixed;
  for (const IpAddress& ip : addresses) (ip.is_v4() ? v4 : v6).push_back(ip);
  for (std::size_t i = 0; i < std::max(v6.size(), v4.size()); ++i) {
    if (i < v6.size()) mixed.push_back(v6[i]);
    if (i < v4.size()) mixed.push_back(v4[i]);
  }
  return mixed;
}

class DialUnderWay final : public Dial {
 public:
  DialUnderWay(IoContext& io, DialRequest request, TcpDialer::Callback callback)
      : io_(io),
        request_(std::move(request)),
        callback_(std::move(callback)),
        give_up_at_(monotonic_now() + request_.timeout),
        timer_(io, [this](TimePoint now) { on_timeout(now); }) {}

  void start(NameResolver& resolver) {
    if (const auto ip = IpAddress::parse(request_.host)) {
      addresses_ = {*ip};
      next_attempt_at_ = monotonic_now();  // By the timer: never inside dial().
    } else {
      lookup_ = resolver.look_up(request_.host,
                                 [this](auto addresses) { on_addresses(std::move(addresses)); });
    }
    arm();
  }

 private:
  struct Attempt {
    Descriptor socket;
    std::optional<Readiness> readiness;  // After the socket: it lets go first.
  };
  using Attempts = std::list<Attempt>;

  void on_addresses(Result<std::vector<IpAddress>> addresses) {
    lookup_.reset();
    if (!addresses) return finish(addresses.error());
    addresses_ = by_turns(*addresses);
    if (addresses_.empty()) return finish(make_error_code(DialError::kNameNotFound));
    next_attempt_at_ = monotonic_now();
    arm();
  }

  void on_timeout(TimePoint now) {
    if (now >= give_up_at_) {
      note(DialError::kTimedOut);
      return finish(make_error_code(*failure_));
    }
    if (next_attempt_at_ && now >= *next_attempt_at_) return attempt_next(now);
    arm();
  }

  void attempt_next(TimePoint now);
  int connect(const IpAddress& ip);  // 0 when under way, or errno.
  void on_connected(Attempts::iterator attempt);

  void note(DialError error) {
    if (!failure_ || rank(error) < rank(*failure_)) failure_ = error;
  }

  void arm() { timer_.arm(earlier(next_attempt_at_, give_up_at_)); }

  // The last thing to do: the callback may destroy this.
  void finish(Result<std::unique_ptr<forward::LocalStream>> result) {
    attempts_.clear();
    next_attempt_at_.reset();
    timer_.arm(std::nullopt);
    const auto callback = std::move(callback_);
    callback(std::move(result));
  }

  IoContext& io_;
  DialRequest request_;
  TcpDialer::Callback callback_;
  const TimePoint give_up_at_;
  LightTimer timer_;
  std::unique_ptr<NameResolver::Lookup> lookup_;
  std::vector<IpAddress> addresses_;
  std::size_t next_address_ = 0;
  std::optional<TimePoint> next_attempt_at_;
  Attempts attempts_;
  std::optional<DialError> failure_;
};

void DialUnderWay::attempt_next(TimePoint now) {
  next_attempt_at_.reset();
  while (next_address_ < addresses_.size()) {
    const IpAddress ip = addresses_[next_address_++];
    if (request_.allows && !request_.allows(ip)) {
      note(DialError::kVetoed);
      continue;
    }
    if (const int error = connect(ip)) {
      note(to_dial_error(error));
      continue;
    }
    if (next_address_ < addresses_.size()) next_attempt_at_ = now + kAttemptDelay;
    break;
  }
  if (attempts_.empty()) return finish(make_error_code(*failure_));
  arm();
}

// Connecting always goes on in the background here, even where the kernel is done at once: its
// socket is then writable on the next turn.
int DialUnderWay::connect(const IpAddress& ip) {
  Descriptor socket(::socket(ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM, IPPROTO_TCP));
  if (!socket) return errno;
  ::fcntl(socket.number(), F_SETFD, FD_CLOEXEC);
  ::fcntl(socket.number(), F_SETFL, O_NONBLOCK);
  SocketAddress address;
  const socklen_t size = to_socket_address({ip, request_.port, 0}, address);
  if (::connect(socket.number(), &address.base, size) != 0 && errno != EINPROGRESS) {
    return errno;
  }
  const auto attempt = attempts_.emplace(attempts_.end());
  attempt->socket = std::move(socket);
  attempt->readiness.emplace(
      io_, attempt->socket.number(),
      Readiness::Callbacks{{}, [this, attempt] { on_connected(attempt); }, {}});
  attempt->readiness->want_write(true);
  return 0;
}

void DialUnderWay::on_connected(Attempts::iterator attempt) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(attempt->socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
  attempt->readiness.reset();
  Descriptor socket = std::move(attempt->socket);
  attempts_.erase(attempt);
  if (error == 0) return finish(make_tcp_stream(io_, std::move(socket)));
  note(to_dial_error(error));
  if (next_address_ < addresses_.size() || attempts_.empty()) attempt_next(monotonic_now());
}

}  // namespace

std::unique_ptr<Dial> TcpDialer::dial(DialRequest request, Callback callback) {
  auto dial = std::make_unique<DialUnderWay>(io_, std::move(request), std::move(callback));
  dial->start(resolver_);
  return dial;
}

}  // namespace openp2p::net
