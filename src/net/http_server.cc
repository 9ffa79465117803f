#include "net/http_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <list>
#include <optional>
#include <utility>

#include "net/clock.h"
#include "net/http_connection.h"
#include "net/http_socket.h"
#include "net/readiness.h"
#include "net/timer.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kReadBytesMax = 16 * 1024;  // A turn; all but the largest requests fit.
/// Out of descriptors: accepting again at once would only fail again, in a busy loop.
constexpr Duration kAcceptPause = 1s;

/// Before anything was read: the whole answer at once, since nobody will wait to write more.
void refuse(int socket, std::string_view status, std::string_view kind, std::string_view text) {
  std::string body = R"({"error":{"kind":")";
  body.append(kind).append(R"(","text":")").append(text).append(R"("}})");
  std::string answer = "HTTP/1.1 ";
  answer.append(status).append("\r\nContent-Type: application/json\r\nConnection: close\r\n");
  answer.append("Content-Length: " + std::to_string(body.size()) + "\r\n\r\n").append(body);
  ::send(socket, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

struct HttpServer::State {
  struct Connection;
  class Reply;
  using Connections = std::list<std::shared_ptr<Connection>>;

  State(IoContext& context, std::string socket_path, Descriptor listener_socket,
        HttpHandler handle);
  void accept_all();
  void admit(Descriptor socket);
  void remove(const Connection& connection);
  void arm();
  void on_deadline(TimePoint now);

  IoContext& io;
  std::string path;
  HttpHandler handler;
  Descriptor listener;
  // shared_ptr: owned here; a reply or a callback that runs holds one for the length of a call.
  Connections connections;
  std::optional<TimePoint> accept_again_at;
  Timer timer;
  Readiness readiness;
};

struct HttpServer::State::Connection {
  Connection(State& owner, Descriptor accepted);
  void on_readable();
  void pump();
  bool write_output();
  void close();

  State& server;
  Descriptor socket;
  HttpConnection http;
  std::weak_ptr<Connection> self;  // For replies, which may outlive this object.
  bool is_pumping = false;
  bool is_closed = false;
  std::optional<Readiness> readiness;
};

/// What a handler answers through: a way to a connection that may have gone meanwhile.
class HttpServer::State::Reply final : public HttpReply {
 public:
  explicit Reply(std::weak_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ~Reply() override {
    if (const auto connection = connection_.lock(); connection && !is_over_) {
      connection->http.abandon();
      connection->pump();
    }
  }

  void send(unsigned status, std::string_view content_type, std::string_view body) override {
    is_over_ = true;
    const auto connection = connection_.lock();
    if (!connection) return;
    connection->http.send(status, content_type, body);
    connection->pump();
  }
  void start(unsigned status, std::string_view content_type) override {
    const auto connection = connection_.lock();
    if (!connection) return;
    connection->http.start(status, content_type);
    connection->pump();
  }
  bool write(std::string_view text) override {
    const auto connection = connection_.lock();
    if (!connection) return false;
    const bool is_taken = connection->http.write(text);
    connection->pump();
    return is_taken && !connection_.expired();
  }
  void finish() override {
    is_over_ = true;
    const auto connection = connection_.lock();
    if (!connection) return;
    connection->http.finish();
    connection->pump();
  }

 private:
  std::weak_ptr<Connection> connection_;
  bool is_over_ = false;
};

HttpServer::State::Connection::Connection(State& owner, Descriptor accepted)
    : server(owner), socket(std::move(accepted)), http(monotonic_now()) {}

void HttpServer::State::Connection::on_readable() {
  std::array<std::byte, kReadBytesMax> room;
  const ssize_t size = ::recv(socket.number(), room.data(), room.size(), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size < 0) return close();
  if (size == 0) {
    http.on_end_of_input();
  } else {
    http.on_input(ByteView(room).first(static_cast<std::size_t>(size)), monotonic_now());
  }
  pump();
}

/// Hands requests to the handler and replies to the socket, until neither goes on. A handler that
/// answers at once comes back here through its reply: the outer call does the work.
void HttpServer::State::Connection::pump() {
  if (is_pumping || is_closed) return;
  is_pumping = true;
  do {
    while (auto request = http.poll_request()) {
      server.handler(std::move(*request), std::make_shared<Reply>(self));
    }
  } while (write_output());
  is_pumping = false;
  if (is_closed) return;
  if (http.is_over()) return close();
  readiness->want_read(http.wants_input());
  readiness->want_write(!http.output().empty());
  server.arm();
}

/// False: nothing to write, or the socket takes no more for now.
bool HttpServer::State::Connection::write_output() {
  const std::string_view output = http.output();
  if (is_closed || output.empty()) return false;
  const ssize_t size =
      ::send(socket.number(), output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (size >= 0) {
    http.on_written(static_cast<std::size_t>(size), monotonic_now());
    return true;
  }
  if (errno != EAGAIN && errno != EINTR) close();
  return false;
}

void HttpServer::State::Connection::close() {
  if (std::exchange(is_closed, true)) return;
  readiness.reset();
  socket.close();
  server.remove(*this);
}

HttpServer::State::State(IoContext& context, std::string socket_path, Descriptor listener_socket,
                         HttpHandler handle)
    : io(context),
      path(std::move(socket_path)),
      handler(std::move(handle)),
      listener(std::move(listener_socket)),
      timer(context, [this](TimePoint now) { on_deadline(now); }),
      readiness(context, listener.number(), {[this] { accept_all(); }, {}, {}}) {
  readiness.want_read(true);
}

void HttpServer::State::accept_all() {
  for (std::size_t i = 0; i < kHttpConnectionsMax; ++i) {
    Descriptor socket(::accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      admit(std::move(socket));
      continue;
    }
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return;
    readiness.want_read(false);
    accept_again_at = monotonic_now() + kAcceptPause;
    return arm();
  }
}

void HttpServer::State::admit(Descriptor socket) {
  if (!is_peer_permitted(socket.number())) {
    return refuse(socket.number(), "403 Forbidden", "denied", "the agent belongs to another user");
  }
  if (connections.size() == kHttpConnectionsMax) {
    return refuse(socket.number(), "503 Service Unavailable", "unavailable",
                  "too many connections to this agent at once; try again");
  }
  const auto connection = std::make_shared<Connection>(*this, std::move(socket));
  connection->self = connection;
  const auto call = [weak = std::weak_ptr(connection)](void (Connection::*what)()) {
    return [weak, what] {
      if (const auto held = weak.lock(); held && !held->is_closed) ((*held).*what)();
    };
  };
  connection->readiness.emplace(
      io, connection->socket.number(),
      Readiness::Callbacks{call(&Connection::on_readable), call(&Connection::pump),
                           call(&Connection::close)});
  connections.push_back(connection);
  connection->pump();
}

void HttpServer::State::remove(const Connection& connection) {
  connections.remove_if([&](const auto& each) { return each.get() == &connection; });
}

void HttpServer::State::arm() {
  std::optional<TimePoint> deadline = accept_again_at;
  for (const auto& connection : connections) {
    deadline = earlier(deadline, connection->http.next_timeout());
  }
  timer.arm(deadline);
}

void HttpServer::State::on_deadline(TimePoint now) {
  if (accept_again_at && now >= *accept_again_at) {
    accept_again_at.reset();
    readiness.want_read(true);
  }
  const Connections all = connections;  // Closing takes them out of the list.
  for (const auto& connection : all) {
    connection->http.on_timeout(now);
    connection->pump();
  }
  arm();
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

HttpServer::~HttpServer() {
  remove_unix(state_->path);
  while (!state_->connections.empty()) {
    const auto connection = state_->connections.front();
    connection->close();
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(IoContext& io, std::string socket_path,
                                                       HttpHandler handler) {
  auto listener = listen_unix(socket_path);
  if (!listener) return listener.error();
  auto state =
      std::make_unique<State>(io, std::move(socket_path), std::move(*listener), std::move(handler));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

}  // namespace openp2p::net
