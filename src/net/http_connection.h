#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"
#include "net/http_message.h"

namespace openp2p::net {

/// The server's side of one HTTP/1.1 connection (RFC 9112), sans-I/O: bytes in, requests out,
/// replies in, bytes out. One request at a time; what a client pipelines waits in its socket.
///
/// Threading: one owner.
class HttpConnection {
 public:
  explicit HttpConnection(TimePoint now);
  ~HttpConnection();

  bool wants_input() const;  ///< False while a request is being answered.
  void on_input(ByteView bytes, TimePoint now);
  void on_end_of_input();
  /// The next whole request. It must be answered before the following one comes.
  std::optional<HttpRequest> poll_request();

  void send(unsigned status, std::string_view content_type, std::string_view body);
  void start(unsigned status, std::string_view content_type);
  bool write(std::string_view text);  ///< As HttpReply::write().
  void finish();
  void abandon();  ///< The reply was dropped.

  std::string_view output() const { return output_; }
  void on_written(std::size_t bytes, TimePoint now);
  bool is_over() const;  ///< Everything is written and nothing more will come: close.

  std::optional<TimePoint> next_timeout() const { return deadline_; }
  void on_timeout(TimePoint now);

 private:
  enum class State { kReading, kRequested, kAnswering, kStreaming, kClosing };
  struct Parser;

  void parse(TimePoint now);
  void refuse(unsigned status, std::string_view why);
  void put_head(unsigned status, std::string_view content_type, std::string_view framing);
  void end_reply();
  void arm(TimePoint now);

  State state_ = State::kReading;
  std::string input_;
  std::string output_;
  std::unique_ptr<Parser> parser_;
  bool keeps_alive_ = true;
  bool is_head_ = false;  ///< RFC 9110 section 9.3.2: no body in the answer.
  bool is_chunked_ =
      false;  ///< False towards HTTP/1.0: there the end of the connection ends the body.
  std::optional<TimePoint> deadline_;
};

}  // namespace openp2p::net
