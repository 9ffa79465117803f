#include "net/http_connection.h"

#include <gtest/gtest.h>

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{};

/// Feeds `text` and gives the request that is complete then.
std::optional<HttpRequest> feed(HttpConnection& http, std::string_view text) {
  http.on_input(as_bytes(text), kStart);
  return http.poll_request();
}

std::string drain(HttpConnection& http) {
  std::string all;
  while (!http.output().empty()) {
    const std::string part(http.output());
    http.on_written(part.size(), kStart);
    all += part;
  }
  return all;
}

TEST(HttpConnection, GivesARequestAndTakesItsAnswer) {
  HttpConnection http(kStart);

  const auto request = feed(http, "POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  ASSERT_TRUE(request);
  http.send(200, "text/plain", "hello");

  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->target, "/a?b");
  EXPECT_EQ(request->body, "abc");
  const std::string answer = drain(http);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("Content-Length: 5\r\n\r\nhello")) << answer;
  EXPECT_FALSE(http.is_over());
}

TEST(HttpConnection, TakesARequestByteByByte) {
  HttpConnection http(kStart);
  const std::string_view text = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok";

  for (std::size_t i = 0; i + 1 < text.size(); ++i) ASSERT_FALSE(feed(http, text.substr(i, 1)));
  const auto request = feed(http, text.substr(text.size() - 1));

  ASSERT_TRUE(request);
  EXPECT_EQ(request->body, "ok");
}

TEST(HttpConnection, AnswersPipelinedRequestsInOrder) {
  HttpConnection http(kStart);
  http.on_input(as_bytes("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"),
                kStart);

  EXPECT_EQ(http.poll_request()->target, "/1");
  EXPECT_FALSE(http.poll_request());
  http.send(200, "text/plain", "1");
  drain(http);

  EXPECT_EQ(http.poll_request()->target, "/2");
}

TEST(HttpConnection, StreamsInChunks) {
  HttpConnection http(kStart);
  ASSERT_TRUE(feed(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));

  http.start(200, "application/x-ndjson");
  EXPECT_TRUE(http.write("0123456789abcdef\n"));
  EXPECT_TRUE(http.write(""));
  http.finish();

  const std::string answer = drain(http);
  EXPECT_NE(answer.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n11\r\n0123456789abcdef\n\r\n0\r\n\r\n")) << answer;
}

TEST(HttpConnection, EndsTheBodyWithTheConnectionForOldClients) {
  HttpConnection http(kStart);
  ASSERT_TRUE(feed(http, "GET / HTTP/1.0\r\n\r\n"));

  http.start(200, "text/plain");
  http.write("x\n");
  http.finish();

  EXPECT_TRUE(drain(http).ends_with("\r\n\r\nx\n"));
  EXPECT_TRUE(http.is_over());
}

TEST(HttpConnection, SendsNoBodyForHead) {
  HttpConnection http(kStart);
  ASSERT_TRUE(feed(http, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"));
  http.send(200, "text/plain", "hello");
  EXPECT_TRUE(drain(http).ends_with("Content-Length: 5\r\n\r\n"));
}

TEST(HttpConnection, RefusesWhatIsNotHttp) {
  for (const std::string_view text :
       {"\x16\x03\x01\x02", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nA\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET http://evil/ HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"}) {
    HttpConnection http(kStart);
    EXPECT_FALSE(feed(http, text)) << text;
    EXPECT_TRUE(drain(http).starts_with("HTTP/1.1 400 ")) << text;
    EXPECT_TRUE(http.is_over()) << text;
  }
}

TEST(HttpConnection, BoundsHeaderAndBody) {
  HttpConnection long_header(kStart);
  EXPECT_FALSE(feed(long_header, "GET / HTTP/1.1\r\nA: " + std::string(kHttpHeaderMax, 'x')));
  EXPECT_TRUE(drain(long_header).starts_with("HTTP/1.1 431 "));

  HttpConnection long_body(kStart);
  EXPECT_FALSE(feed(long_body, "POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n"));
  EXPECT_TRUE(drain(long_body).starts_with("HTTP/1.1 413 "));
}

TEST(HttpConnection, AsksForTheLengthOfABody) {
  for (const std::string_view body : {"", "0", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n"}) {
    HttpConnection http(kStart);
    const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    EXPECT_FALSE(feed(http, head + std::string(body)));
    EXPECT_TRUE(drain(http).starts_with("HTTP/1.1 411 ")) << body;
    EXPECT_TRUE(http.is_over());
  }
}

TEST(HttpConnection, ClosesSilentAndStuckClients) {
  HttpConnection silent(kStart);
  feed(silent, "GET / HT");
  silent.on_timeout(kStart + 29s);
  EXPECT_FALSE(silent.is_over());
  silent.on_timeout(*silent.next_timeout());
  EXPECT_TRUE(silent.is_over());

  HttpConnection stuck(kStart);
  ASSERT_TRUE(feed(stuck, "GET / HTTP/1.1\r\n\r\n"));
  EXPECT_FALSE(stuck.next_timeout());  // The handler may take its time.
  stuck.send(200, "text/plain", "hello");
  stuck.on_written(1, kStart + 5s);
  ASSERT_EQ(stuck.next_timeout(), kStart + 15s);
  stuck.on_timeout(kStart + 15s);
  EXPECT_TRUE(stuck.is_over());
}

TEST(HttpConnection, StopsAStreamThatNobodyReads) {
  HttpConnection http(kStart);
  ASSERT_TRUE(feed(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  http.start(200, "text/plain");

  std::size_t written = 0;
  while (http.write(std::string(65'536, 'x'))) written += 65'536;

  EXPECT_LE(written, 5u * 1024 * 1024);
  EXPECT_FALSE(http.write("x"));
}

TEST(HttpConnection, AnswersForAHandlerThatDoesNot) {
  HttpConnection http(kStart);
  ASSERT_TRUE(feed(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  http.abandon();
  EXPECT_TRUE(drain(http).starts_with("HTTP/1.1 500 "));
  EXPECT_TRUE(http.is_over());
}

TEST(HttpConnection, StillAnswersAClientThatClosedItsSide) {
  HttpConnection http(kStart);
  ASSERT_TRUE(feed(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  http.on_end_of_input();
  EXPECT_FALSE(http.is_over());
  http.send(200, "text/plain", "x");
  EXPECT_NE(drain(http).find("Connection: close"), std::string::npos);
  EXPECT_TRUE(http.is_over());
}

}  // namespace
}  // namespace openp2p::net
