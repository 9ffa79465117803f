#include "net/http_connection.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <charconv>

#include "base/check.h"

namespace openp2p::net {
namespace http = boost::beast::http;
using namespace std::chrono_literals;

namespace {

constexpr Duration kReadTimeMax = 30s;   // For a whole request, and between requests.
constexpr Duration kWriteTimeMax = 10s;  // Without a byte taken: the client has stopped reading.
/// Of a reply that nobody reads. The largest answer of the local API, 1,000 forwards, has 600 KiB.
constexpr std::size_t kOutputBytesMax = 4 * 1024 * 1024;

unsigned status_of(boost::system::error_code error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit) return 431;
  return 400;
}

}  // namespace

struct HttpConnection::Parser {
  Parser() {
    parser.header_limit(static_cast<std::uint32_t>(kHttpHeaderMax));
    parser.body_limit(kHttpRequestBodyMax);
  }
  http::request_parser<http::string_body> parser;
};

HttpConnection::HttpConnection(TimePoint now) : parser_(std::make_unique<Parser>()) { arm(now); }

HttpConnection::~HttpConnection() = default;

bool HttpConnection::wants_input() const { return state_ == State::kReading; }

bool HttpConnection::is_over() const { return state_ == State::kClosing && output_.empty(); }

void HttpConnection::on_input(ByteView bytes, TimePoint now) {
  if (state_ == State::kClosing) return;
  input_ += as_text(bytes);
  parse(now);
}

void HttpConnection::on_end_of_input() {
  // A client may close its sending side behind a request (RFC 9112 section 9.6) and still read.
  if (state_ == State::kReading) state_ = State::kClosing;
  keeps_alive_ = false;
}

void HttpConnection::parse(TimePoint now) {
  while (state_ == State::kReading && !input_.empty()) {
    boost::system::error_code error;
    const std::size_t used = parser_->parser.put(boost::asio::buffer(input_), error);
    input_.erase(0, used);
    if (error == http::error::need_more) return;
    if (error) return refuse(status_of(error), "the request is not understood");
    // RFC 9112 section 6.3 allows to ask for a length. Beast 1.81 asserts on an empty chunked body
    // that arrives in small pieces, and no client of ours sends one.
    if (parser_->parser.is_header_done() && parser_->parser.chunked()) {
      return refuse(411, "a body needs its Content-Length");
    }
    if (parser_->parser.is_done()) {
      state_ = State::kRequested;
      arm(now);
    } else if (used == 0) {
      return;
    }
  }
}

std::optional<HttpRequest> HttpConnection::poll_request() {
  if (state_ != State::kRequested) return std::nullopt;
  auto& message = parser_->parser.get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.body = std::move(message.body());
  keeps_alive_ = keeps_alive_ && message.keep_alive();
  is_chunked_ = message.version() >= 11;
  is_head_ = message.method() == http::verb::head;
  parser_ = std::make_unique<Parser>();
  state_ = State::kAnswering;
  deadline_.reset();  // How long an answer takes is the handler's business.
  if (request.target.starts_with('/')) return request;
  refuse(400, "the target does not begin with /");
  return std::nullopt;
}

void HttpConnection::put_head(unsigned status, std::string_view content_type,
                              std::string_view framing) {
  output_ += "HTTP/1.1 " + std::to_string(status) + " ";
  output_ += std::string_view(http::obsolete_reason(static_cast<http::status>(status)));
  output_ += "\r\nContent-Type: ";
  output_ += content_type;
  // The answers describe one moment, and a browser that got here must not guess types.
  output_ += "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
  output_ += framing;
  if (!keeps_alive_) output_ += "Connection: close\r\n";
  output_ += "\r\n";
}

void HttpConnection::send(unsigned status, std::string_view content_type, std::string_view body) {
  if (state_ == State::kClosing) return;
  CHECK(state_ == State::kAnswering);
  put_head(status, content_type, "Content-Length: " + std::to_string(body.size()) + "\r\n");
  if (!is_head_) output_ += body;
  end_reply();
}

void HttpConnection::refuse(unsigned status, std::string_view why) {
  keeps_alive_ = false;  // Where the next request would begin is unknown.
  state_ = State::kAnswering;
  send(status, "application/json",
       R"({"error":{"kind":"invalid","text":")" + std::string(why) + R"("}})");
}

void HttpConnection::start(unsigned status, std::string_view content_type) {
  if (state_ == State::kClosing) return;
  CHECK(state_ == State::kAnswering);
  if (!is_chunked_) keeps_alive_ = false;
  put_head(status, content_type, is_chunked_ ? "Transfer-Encoding: chunked\r\n" : "");
  state_ = State::kStreaming;
}

bool HttpConnection::write(std::string_view text) {
  if (state_ == State::kClosing) return false;
  CHECK(state_ == State::kStreaming);
  if (output_.size() + text.size() > kOutputBytesMax) {
    abandon();
    return false;
  }
  if (is_head_ || text.empty()) return true;  // An empty chunk would end the body.
  if (!is_chunked_) {
    output_ += text;
    return true;
  }
  std::array<char, 16> size{};
  const auto end = std::to_chars(size.data(), size.data() + size.size(), text.size(), 16).ptr;
  output_.append(size.data(), end);
  output_ += "\r\n";
  output_ += text;
  output_ += "\r\n";
  return true;
}

void HttpConnection::finish() {
  if (state_ == State::kClosing) return;
  CHECK(state_ == State::kStreaming);
  if (is_chunked_ && !is_head_) output_ += "0\r\n\r\n";
  end_reply();
}

void HttpConnection::abandon() {
  if (state_ == State::kAnswering) {
    keeps_alive_ = false;
    send(500, "application/json",
         R"({"error":{"kind":"failed","text":"the request was not answered"}})");
  } else if (state_ == State::kStreaming) {
    state_ = State::kClosing;  // Without the last chunk: the client sees that something is missing.
  }
}

void HttpConnection::end_reply() { state_ = keeps_alive_ ? State::kReading : State::kClosing; }

void HttpConnection::on_written(std::size_t bytes, TimePoint now) {
  output_.erase(0, bytes);
  arm(now);
  parse(now);  // What was pipelined behind the request that is now answered.
}

void HttpConnection::arm(TimePoint now) {
  if (!output_.empty()) {
    deadline_ = now + kWriteTimeMax;
  } else if (state_ == State::kReading) {
    deadline_ = now + kReadTimeMax;
  } else {
    deadline_.reset();
  }
}

void HttpConnection::on_timeout(TimePoint now) {
  if (!deadline_ || now < *deadline_) return;
  deadline_.reset();
  output_.clear();
  state_ = State::kClosing;
}

}  // namespace openp2p::net
