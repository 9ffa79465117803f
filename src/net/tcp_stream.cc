#include "net/tcp_stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "base/check.h"
#include "net/clock.h"
#include "net/readiness.h"
#include "net/socket_address.h"

namespace openp2p::net {
namespace {

using forward::IoResult;
using forward::IoState;

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE does it there.
#endif

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

void prepare(int socket) {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef SO_NOSIGPIPE
  ::setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

class TcpStream final : public forward::LocalStream {
 public:
  TcpStream(IoContext& io, Descriptor socket)
      : socket_(std::move(socket)), remote_(remote_address_of(socket_.number())) {
    prepare(socket_.number());
    readiness_.emplace(io, socket_.number(),
                       Readiness::Callbacks{[this] { handler_->on_readable(monotonic_now()); },
                                            [this] { handler_->on_writable(monotonic_now()); },
                                            [this] { on_error(); }});
  }
  ~TcpStream() override { readiness_.reset(); }

  void set_handler(forward::LocalStreamHandler* handler) override {
    handler_ = handler;
    apply_wishes();
    // Errors without a listener stay with the socket: none is lost before the first handler.
    if (readiness_ && handler_ != nullptr) readiness_->want_error();
  }
  void want_read(bool wanted) override {
    wants_read_ = wanted;
    apply_wishes();
  }
  void want_write(bool wanted) override {
    wants_write_ = wanted;
    apply_wishes();
  }

  IoResult read(MutableByteView out) override;
  IoResult write(ByteView data) override;
  void shutdown_write() override;
  void reset() override;
  Address remote_address() const override { return remote_; }

 private:
  void apply_wishes() {
    if (!readiness_) return;
    readiness_->want_read(wants_read_ && handler_ != nullptr);
    readiness_->want_write(wants_write_ && handler_ != nullptr);
  }
  void on_error();
  IoResult fail(std::error_code error);

  Descriptor socket_;
  Address remote_;
  std::optional<Readiness> readiness_;  // Empty: the stream is dead, because of failure_.
  forward::LocalStreamHandler* handler_ = nullptr;
  std::error_code failure_;
  bool wants_read_ = false;
  bool wants_write_ = false;
  bool is_write_shut_ = false;
};

IoResult TcpStream::fail(std::error_code error) {
  failure_ = error;
  readiness_.reset();
  socket_.close();
  return {0, IoState::kError, error};
}

IoResult TcpStream::read(MutableByteView out) {
  CHECK(!out.empty());
  if (failure_) return {0, IoState::kError, failure_};
  ssize_t count;
  do {
    count = ::recv(socket_.number(), out.data(), out.size(), 0);
  } while (count < 0 && errno == EINTR);
  if (count > 0) {
    const auto bytes = static_cast<std::size_t>(count);
    return {bytes, bytes == out.size() ? IoState::kOk : IoState::kWouldBlock, {}};
  }
  if (count < 0) {
    if (would_block(errno)) return {0, IoState::kWouldBlock, {}};
    return fail({errno, std::system_category()});
  }
  want_read(false);  // The end stays readable for ever.
  return {0, IoState::kEnd, {}};
}

IoResult TcpStream::write(ByteView data) {
  CHECK(!is_write_shut_ || failure_);
  if (failure_) return {0, IoState::kError, failure_};
  std::size_t bytes = 0;
  while (bytes < data.size()) {
    const ByteView rest = data.subspan(bytes);
    const ssize_t count = ::send(socket_.number(), rest.data(), rest.size(), kSendFlags);
    if (count >= 0) {
      bytes += static_cast<std::size_t>(count);
      // A part means that the buffer is full: asking again would only say so.
      if (bytes < data.size()) return {bytes, IoState::kWouldBlock, {}};
    } else if (would_block(errno)) {
      return {bytes, IoState::kWouldBlock, {}};
    } else if (errno != EINTR) {
      return fail({errno, std::system_category()});
    }
  }
  return {bytes, IoState::kOk, {}};
}

void TcpStream::shutdown_write() {
  if (failure_ || is_write_shut_) return;
  is_write_shut_ = true;
  want_write(false);
  ::shutdown(socket_.number(), SHUT_WR);  // Fails only if the connection is gone: read() tells.
}

void TcpStream::reset() {
  if (failure_) return;
  const linger at_once{.l_onoff = 1, .l_linger = 0};  // Closing then sends RST.
  ::setsockopt(socket_.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  fail(std::make_error_code(std::errc::connection_aborted));
}

// Also called when both directions ended in order: then there is no error, and read() has the rest.
void TcpStream::on_error() {
  if (handler_ == nullptr) return;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.number(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return;
  fail({error, std::system_category()});
  handler_->on_failed(failure_, monotonic_now());
}

}  // namespace

std::unique_ptr<forward::LocalStream> make_tcp_stream(IoContext& io, Descriptor socket) {
  CHECK(socket);
  return std::make_unique<TcpStream>(io, std::move(socket));
}

}  // namespace openp2p::net
