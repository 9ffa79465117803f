#include "net/http_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <span>
#include <utility>

#include "net/http_socket.h"

namespace openp2p::net {
namespace http = boost::beast::http;

namespace {

using Parser = http::response_parser<http::string_body>;

constexpr std::size_t kReadBytesMax = 64 * 1024;

std::error_code last_error() { return {errno, std::system_category()}; }

Status send_all(int socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    // The server may refuse, and close, before it has read everything: its answer says why.
    if (size < 0 && (errno == EPIPE || errno == ECONNRESET)) return {};
    if (size < 0) return last_error();
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  return {};
}

/// 0 at the end of the connection.
Result<std::size_t> receive(int socket, std::span<char> room, Duration silence_max) {
  const auto timeout = std::chrono::ceil<std::chrono::milliseconds>(silence_max).count();
  for (;;) {
    pollfd waiting{socket, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(timeout));
    if (ready == 0) return HttpError::kTimedOut;
    if (ready < 0 && errno != EINTR) return last_error();
    if (ready < 0) continue;
    const ssize_t size = ::recv(socket, room.data(), room.size(), 0);
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == ECONNRESET) return std::size_t{0};
    if (errno != EINTR) return last_error();
  }
}

/// One response while it comes in.
class Receiver {
 public:
  explicit Receiver(const HttpClient::OnLine* on_line) : on_line_(on_line) {
    parser_.header_limit(static_cast<std::uint32_t>(kHttpHeaderMax));
    if (on_line == nullptr) {
      parser_.body_limit(HttpClient::kBodyBytesMax);
    } else {
      parser_.body_limit(boost::none);  // Lines leave the buffer as they come; see take_lines().
    }
    parser_.eager(true);
  }

  bool is_done() const { return is_done_; }
  Status on_bytes(std::string_view bytes);
  Status on_end();
  HttpResponse response();

 private:
  Status take_lines();

  const HttpClient::OnLine* on_line_;
  Parser parser_;
  std::string input_;
  bool is_done_ = false;
};

Status Receiver::on_bytes(std::string_view bytes) {
  input_ += bytes;
  for (;;) {
    boost::system::error_code error;
    const std::size_t used = parser_.put(boost::asio::buffer(input_), error);
    input_.erase(0, used);
    if (error == http::error::body_limit) return HttpError::kTooLarge;
    if (error && error != http::error::need_more) return HttpError::kMalformed;
    if (const auto taken = take_lines(); !taken) return taken.error();
    is_done_ = is_done_ || parser_.is_done();
    if (is_done_ || error || used == 0 || input_.empty()) return {};
  }
}

Status Receiver::take_lines() {
  if (on_line_ == nullptr || !parser_.is_header_done() || parser_.get().result_int() / 100 != 2) {
    return {};
  }
  std::string& body = parser_.get().body();
  std::size_t begin = 0;
  for (auto end = body.find('\n'); end != std::string::npos; end = body.find('\n', begin)) {
    if (!(*on_line_)(std::string_view(body).substr(begin, end - begin))) {
      is_done_ = true;
      return {};
    }
    begin = end + 1;
  }
  body.erase(0, begin);
  if (body.size() > HttpClient::kBodyBytesMax) return HttpError::kTooLarge;
  return {};
}

Status Receiver::on_end() {
  boost::system::error_code error;
  if (parser_.got_some()) parser_.put_eof(error);
  if (!parser_.got_some() || error || !parser_.is_done()) return HttpError::kClosed;
  is_done_ = true;
  return {};
}

HttpResponse Receiver::response() {
  HttpResponse response;
  response.status = parser_.get().result_int();
  response.content_type = std::string(parser_.get()[http::field::content_type]);
  response.body = std::move(parser_.get().body());
  return response;
}

std::string request_text(std::string_view method, std::string_view target, std::string_view body) {
  std::string text(method);
  text += ' ';
  text += target;
  text += " HTTP/1.1\r\nHost: openp2p\r\nConnection: close\r\n";
  if (!body.empty()) {
    text +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  text += "\r\n";
  text += body;
  return text;
}

Result<HttpResponse> exchange(const std::string& socket_path, Duration silence_max,
                              const std::string& request, const HttpClient::OnLine* on_line) {
  const auto socket = connect_unix(socket_path);
  if (!socket) return socket.error();
  if (const auto sent = send_all(socket->number(), request); !sent) return sent.error();
  Receiver receiver(on_line);
  std::array<char, kReadBytesMax> room;
  while (!receiver.is_done()) {
    const auto size = receive(socket->number(), room, silence_max);
    if (!size) return size.error();
    const auto taken =
        *size == 0 ? receiver.on_end() : receiver.on_bytes(std::string_view(room.data(), *size));
    if (!taken) return taken.error();
  }
  return receiver.response();
}

}  // namespace

HttpClient::HttpClient(std::string socket_path, Duration silence_max)
    : socket_path_(std::move(socket_path)), silence_max_(silence_max) {}

Result<HttpResponse> HttpClient::request(std::string_view method, std::string_view target,
                                         std::string_view body) const {
  return exchange(socket_path_, silence_max_, request_text(method, target, body), nullptr);
}

Result<HttpResponse> HttpClient::stream(std::string_view method, std::string_view target,
                                        std::string_view body, const OnLine& on_line) const {
  return exchange(socket_path_, silence_max_, request_text(method, target, body), &on_line);
}

}  // namespace openp2p::net
