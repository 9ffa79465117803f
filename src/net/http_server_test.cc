#include "net/http_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "base/test_folder.h"
#include "net/http_client.h"
#include "net/http_socket.h"

namespace openp2p::net {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A server on a loop of its own thread, and a folder for its socket.
class HttpServerTest : public testing::Test {
 public:
  ~HttpServerTest() override { stop(); }

 protected:
  void serve(HttpHandler handler) {
    auto server = HttpServer::listen(io_, path_, std::move(handler));
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
    thread_ = std::thread([this] { io_.run(); });
  }
  /// Runs `what` on the loop's thread and waits for it.
  void on_loop(const std::function<void()>& what) {
    std::promise<void> done;
    boost::asio::post(io_, [&] {
      what();
      done.set_value();
    });
    done.get_future().wait();
  }
  void stop() {
    if (!thread_.joinable()) return;
    on_loop([this] { server_.reset(); });
    work_.reset();
    thread_.join();
  }
  HttpClient client() const { return HttpClient(path_, 10s); }

  const TestFolder test_folder_;
  const std::string folder_ = test_folder_.path();
  std::string path_ = folder_ + "/agent.sock";
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

void echo(const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
  reply->send(200, "text/plain", request.method + " " + request.target + " " + request.body);
}

TEST_F(HttpServerTest, AnswersRequests) {
  serve(echo);
  const std::string large(kHttpRequestBodyMax, 'x');

  EXPECT_EQ(client().request("GET", "/a", "")->body, "GET /a ");
  EXPECT_EQ(client().request("POST", "/b", "c")->body, "POST /b c");
  EXPECT_EQ(client().request("POST", "/b", large)->body.size(), large.size() + 8);
}

TEST_F(HttpServerTest, ReportsABodyBeyondItsLimit) {
  serve(echo);
  const auto response = client().request("POST", "/", std::string(kHttpRequestBodyMax + 1, 'x'));
  ASSERT_TRUE(response) << response.error().message();
  EXPECT_EQ(response->status, 413u);
}

TEST_F(HttpServerTest, AnswersLater) {
  std::shared_ptr<HttpReply> held;
  std::promise<void> arrived;
  serve([&](const HttpRequest&, std::shared_ptr<HttpReply> reply) {
    held = std::move(reply);
    arrived.set_value();
  });
  auto response = std::async([this] { return client().request("GET", "/", ""); });
  arrived.get_future().wait();

  on_loop([&] {
    held->send(200, "text/plain", "late");
    held.reset();
  });

  EXPECT_EQ(response.get()->body, "late");
}

TEST_F(HttpServerTest, StreamsLines) {
  std::shared_ptr<HttpReply> held;
  serve([&](const HttpRequest&, std::shared_ptr<HttpReply> reply) {
    held = std::move(reply);
    held->start(200, "application/x-ndjson");
    held->write("1\n");
  });
  std::vector<std::string> lines;

  const auto response = client().stream("GET", "/", "", [&](std::string_view line) {
    lines.emplace_back(line);
    on_loop([&] {  // The next part is sent only once this one has arrived.
      if (lines.size() == 1) held->write("2");
      if (lines.size() == 1) held->write("2\n33\n");
      if (lines.size() == 3) held->finish();
    });
    return true;
  });

  ASSERT_TRUE(response) << response.error().message();
  EXPECT_EQ(lines, (std::vector<std::string>{"1", "22", "33"}));
}

TEST_F(HttpServerTest, TellsTheHandlerThatAStreamsClientIsGone) {
  std::shared_ptr<HttpReply> held;
  serve([&](const HttpRequest&, std::shared_ptr<HttpReply> reply) {
    held = std::move(reply);
    held->start(200, "application/x-ndjson");
    held->write("1\n");
  });

  ASSERT_TRUE(client().stream("GET", "/", "", [](std::string_view) { return false; }));

  bool is_taken = true;
  while (is_taken) on_loop([&] { is_taken = held->write("2\n"); });
  on_loop([&] { held.reset(); });
}

TEST_F(HttpServerTest, ShowsABrokenOffStream) {
  serve([](const HttpRequest&, const std::shared_ptr<HttpReply>& reply) {
    reply->start(200, "application/x-ndjson");
    reply->write("1\n");
  });

  const auto response = client().stream("GET", "/", "", [](std::string_view) { return true; });

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error(), HttpError::kClosed);
}

TEST_F(HttpServerTest, EndsConnectionsWhenItIsDestroyed) {
  std::shared_ptr<HttpReply> held;
  std::promise<void> arrived;
  serve([&](const HttpRequest&, std::shared_ptr<HttpReply> reply) {
    held = std::move(reply);
    arrived.set_value();
  });
  auto response = std::async([this] { return client().request("GET", "/", ""); });
  arrived.get_future().wait();

  stop();

  EXPECT_EQ(response.get().error(), HttpError::kClosed);
  held->send(200, "text/plain", "too late");
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(HttpServerTest, IsForItsUserOnly) {
  serve(echo);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  if (::geteuid() != 0) return;

  // Another user who got hold of the path nevertheless, here by open modes.
  ::chmod(folder_.c_str(), 0755);
  ::chmod(path_.c_str(), 0777);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(12'345) != 0) ::_exit(10);
    const auto response = client().request("GET", "/", "");
    ::_exit(response ? static_cast<int>(response->status / 100) : 7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 4);
}

TEST_F(HttpServerTest, ReportsASocketOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs a second user";
  serve(echo);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(12'345) != 0) ::_exit(10);
    const auto response = client().request("GET", "/", "");
    ::_exit(!response && response.error() == HttpError::kNotPermitted ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(HttpServerTest, RefusesAFolderThatOthersCanEnter) {
  ::chmod(folder_.c_str(), 0755);
  const auto server = HttpServer::listen(io_, path_, echo);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error(), HttpError::kFolderNotPrivate);
}

TEST_F(HttpServerTest, RefusesToListenTwice) {
  serve(echo);
  const auto second = HttpServer::listen(io_, path_, echo);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), HttpError::kAlreadyRunning);
  EXPECT_EQ(client().request("GET", "/a", "")->body, "GET /a ");
}

TEST_F(HttpServerTest, ReplacesTheSocketOfADeadProcess) {
  { const auto dead = listen_unix(path_); }
  ASSERT_TRUE(fs::exists(path_));
  EXPECT_EQ(client().request("GET", "/", "").error(), HttpError::kNotRunning);

  serve(echo);

  EXPECT_EQ(client().request("GET", "/a", "")->body, "GET /a ");
}

TEST_F(HttpServerTest, LeavesAFileInItsPlaceAlone) {
  std::ofstream(path_) << "precious";
  EXPECT_FALSE(HttpServer::listen(io_, path_, echo));
  EXPECT_EQ(fs::file_size(path_), 8u);
}

TEST_F(HttpServerTest, ServesPathsLongerThanASocketAddress) {
  const std::string deep = folder_ + "/" + std::string(200, 'd');
  fs::create_directories(deep);
  ::chmod(deep.c_str(), 0700);
  path_ = deep + "/agent.sock";

  serve(echo);

  EXPECT_EQ(client().request("GET", "/a", "")->body, "GET /a ");
}

TEST_F(HttpServerTest, ReportsThatNobodyListens) {
  EXPECT_EQ(client().request("GET", "/", "").error(), HttpError::kNotRunning);
  path_ = "/nonexistent/agent.sock";
  EXPECT_EQ(client().request("GET", "/", "").error(), HttpError::kNotRunning);
}

TEST_F(HttpServerTest, ReportsSilence) {
  std::shared_ptr<HttpReply> held;
  serve([&](const HttpRequest&, std::shared_ptr<HttpReply> reply) { held = std::move(reply); });
  EXPECT_EQ(HttpClient(path_, 1ms).request("GET", "/", "").error(), HttpError::kTimedOut);
  on_loop([&] { held.reset(); });
}

TEST_F(HttpServerTest, BoundsItsConnections) {
  serve(echo);
  std::vector<Descriptor> idle;
  for (std::size_t i = 0; i < HttpServer::kHttpConnectionsMax; ++i) {
    auto socket = connect_unix(path_);
    ASSERT_TRUE(socket);
    idle.push_back(std::move(*socket));
  }

  const auto refused = client().request("GET", "/", "");
  ASSERT_TRUE(refused) << refused.error().message();
  EXPECT_EQ(refused->status, 503u);

  idle.clear();
  // The ends of the idle ones and this request come to the loop in any order.
  unsigned status = 503;
  while (status == 503) status = client().request("GET", "/", "")->status;
  EXPECT_EQ(status, 200u);
}

}  // namespace
}  // namespace openp2p::net
