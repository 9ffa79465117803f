#include "agent/local_api.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <thread>

#include "agent/json_text.h"
#include "agent/local_api_fake_node.h"
#include "base/test_folder.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace openp2p::agent {
namespace {

namespace json = boost::json;

/// Keeps what was answered.
struct FakeReply final : net::HttpReply {
  void send(unsigned with_status, std::string_view, std::string_view text) override {
    EXPECT_EQ(status, 0u);
    status = with_status;
    body = text;
    is_finished = true;
  }
  void start(unsigned with_status, std::string_view) override {
    EXPECT_EQ(status, 0u);
    status = with_status;
  }
  bool write(std::string_view text) override {
    EXPECT_NE(status, 0u);
    body += text;
    return is_reading;
  }
  void finish() override { is_finished = true; }

  unsigned status = 0;
  std::string body;
  bool is_finished = false;
  bool is_reading = true;
};

constexpr std::string_view kForward =
    R"({"name":"my ssh","peer":"nas","host":"::1","port":22,"listen":"2222"})";

class LocalApiTest : public testing::Test {
 protected:
  std::shared_ptr<FakeReply> ask(std::string_view method, std::string_view target,
                                 std::string_view body = "") {
    auto reply = std::make_shared<FakeReply>();
    api_.handle({std::string(method), std::string(target), std::string(body)}, reply);
    return reply;
  }
  /// A whole answer as an object; it must be JSON of version 1.
  static json::object object(const std::string& text) {
    const auto parsed = parse_json(text);
    EXPECT_TRUE(parsed.value && parsed.value->is_object()) << text;
    if (!parsed.value || !parsed.value->is_object()) return {};
    EXPECT_EQ(json_number(parsed.value->get_object(), "version", 9), 1u) << text;
    return parsed.value->get_object();
  }
  static std::string error_kind(const FakeReply& reply) {
    const json::object answer = object(reply.body);
    const json::value* error = answer.if_contains("error");
    return error == nullptr ? "" : json_text(error->as_object(), "kind").value_or("");
  }

  FakeNode node_;
  LocalApi api_{node_};
};

TEST_F(LocalApiTest, TellsWhatIsLentAndBorrowed) {
  const auto reply = ask("GET", "/v1/share");

  EXPECT_EQ(reply->status, 200u);
  const json::object share = object(reply->body);
  EXPECT_EQ(json_number(share, "share_mbit", 99), 10u);
  const json::object lent = share.at("lent").as_array().at(0).as_object();
  EXPECT_EQ(json_text(lent, "one"), NodeId{}.text());
  EXPECT_EQ(json_bool(lent, "strangers"), true);
  EXPECT_EQ(json_number(lent, "age_us", 9'000'000), 5'000'000u);
  const json::object borrowed = share.at("borrowed").as_array().at(0).as_object();
  EXPECT_EQ(json_number(borrowed, "bytes_received", 99), 20u);
  EXPECT_EQ(json_number(share.at("credit").as_object(), "lent_bytes", 99), 7u);
  const json::object refusals = share.at("refusals").as_object();
  EXPECT_EQ(refusals.size(), 12u);
  EXPECT_EQ(json_number(refusals, "tickets_forged", 99), 8u);
  EXPECT_EQ(json_number(refusals, "streams_reset", 99), 3u);
  EXPECT_EQ(reply->body.find('\x1b'), std::string::npos);
}

TEST_F(LocalApiTest, ChangesWhatIsLent) {
  EXPECT_EQ(ask("POST", "/v1/share", R"({"share_mbit":25})")->status, 200u);
  EXPECT_EQ(node_.share_mbit, 25u);
  for (const char* body : {"", "[]", "{}", R"({"share_mbit":-1})", R"({"share_mbit":1000001})",
                           R"({"share_mbit":"10"})"}) {
    EXPECT_EQ(ask("POST", "/v1/share", body)->status, 400u) << body;
  }
  EXPECT_EQ(node_.share_mbit, 25u);
  EXPECT_EQ(ask("DELETE", "/v1/share")->status, 405u);
}

TEST_F(LocalApiTest, AForwardSaysWhichRelayMayCarryIt) {
  const auto add = [&](const std::string& name, const std::string& rest) {
    return ask("POST", "/v1/forwards",
               R"({"peer":"nas","host":"::1","port":22,"listen":"2222","name":")" + name + "\"," +
                   rest + "}")
        ->status;
  };
  EXPECT_EQ(add("pinned", R"("relay":"gate")"), 201u);
  EXPECT_EQ(add("private", R"("no_relay":true)"), 201u);
  EXPECT_EQ(add("both", R"("relay":"gate","no_relay":true)"), 400u);
  EXPECT_EQ(add("garbled", R"("relay":"a/b")"), 400u);
  const json::array forwards = object(ask("GET", "/v1/forwards")->body).at("forwards").as_array();
  EXPECT_EQ(json_text(forwards.at(0).as_object(), "relay"), "gate");
  EXPECT_EQ(json_bool(forwards.at(1).as_object(), "no_relay"), true);
}

TEST_F(LocalApiTest, AForwardSaysWhatItCarriesAndHowManyPorts) {
  const auto add = [&](const std::string& name, const std::string& rest) {
    return ask("POST", "/v1/forwards",
               R"({"peer":"nas","host":"::1","port":22,"listen":"2222","name":")" + name + "\"," +
                   rest + "}")
        ->status;
  };
  EXPECT_EQ(add("dns", R"("protocols":["tcp","udp"],"ports":3)"), 201u);
  EXPECT_EQ(add("plain", R"("enabled":true)"), 201u);
  for (const char* wrong : {R"("protocols":["sctp"])", R"("protocols":"udp")", R"("protocols":[])",
                            R"("protocols":["tcp","udp","tcp"])", R"("ports":0)", R"("ports":1001)",
                            R"("ports":"3")", R"("ports":-1)"}) {
    EXPECT_EQ(add("wrong", wrong), 400u) << wrong;
  }
  const json::array forwards = object(ask("GET", "/v1/forwards")->body).at("forwards").as_array();
  EXPECT_EQ(json::serialize(forwards.at(0).at("protocols")), R"(["tcp","udp"])");
  EXPECT_EQ(forwards.at(0).at("ports"), 3);
  EXPECT_EQ(json::serialize(forwards.at(1).at("protocols")), R"(["tcp"])");
  EXPECT_EQ(forwards.at(1).at("ports"), 1);
}

TEST_F(LocalApiTest, TellsTheStatus) {
  const auto reply = ask("GET", "/v1/status");

  EXPECT_EQ(reply->status, 200u);
  const json::object status = object(reply->body);
  EXPECT_EQ(json_text(status, "name"), "laptop");
  EXPECT_EQ(json_text(status, "observed_address"), "198.51.100.7:4500");
  EXPECT_EQ(json_number(status, "uptime_us", ~0ULL), 93'840'000'000u);
  const json::object& server = status.at("server").as_object();
  EXPECT_EQ(json_text(server, "state"), "waiting");
  EXPECT_EQ(json_number(server, "retry_in_us", ~0ULL), 3'000'000u);
  const json::object& signals = status.at("signals").as_object();
  EXPECT_EQ(signals.size(), 11u);
  EXPECT_EQ(json_number(signals, "letters_taken", ~0ULL), 1u);
  EXPECT_EQ(json_number(signals, "direct_forged", ~0ULL), 2u);
}

TEST_F(LocalApiTest, TellsThePeersWithNothingThatActsOnATerminal) {
  const auto reply = ask("GET", "/v1/peers");

  EXPECT_EQ(reply->status, 200u);
  const json::object answer = object(reply->body);
  const json::array& peers = answer.at("peers").as_array();
  ASSERT_EQ(peers.size(), 2u);
  EXPECT_EQ(json_text(peers[0].as_object(), "name"), "büro-nas");
  EXPECT_EQ(json_number(peers[0].as_object(), "rtt_us", ~0ULL), 12'345u);
  EXPECT_TRUE(peers[1].as_object().at("rtt_us").is_null());
  EXPECT_EQ(json_text(peers[1].as_object(), "name"), "bad?[2J???\"\\name");
  for (const char c : reply->body) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
}

TEST_F(LocalApiTest, TellsOfOnePeerWhatWasTriedToReachIt) {
  const json::object peer =
      object(ask("GET", "/v1/peers/b%C3%BCro-nas")->body).at("peer").as_object();

  EXPECT_EQ(json_text(peer, "method"), "punch");
  EXPECT_EQ(json_text(peer, "reason_code"), "none");
  EXPECT_TRUE(peer.at("retry_in_us").is_null());
  const json::array& timeline = peer.at("timeline").as_array();
  ASSERT_EQ(timeline.size(), 2u);
  EXPECT_EQ(json_number(timeline[0].as_object(), "ago_us", ~0ULL), 1'250'000u);
  EXPECT_EQ(json_text(timeline[0].as_object(), "reason"), "no-answer");
  EXPECT_EQ(json_text(timeline[1].as_object(), "address"), "203.0.113.5:4500");
}

TEST_F(LocalApiTest, APeerIsFoundByItsIdAndAStrangerIsNot) {
  const std::string id = "ab" + std::string(62, '0');
  EXPECT_EQ(ask("GET", "/v1/peers/" + id)->status, 200u);
  EXPECT_EQ(ask("GET", "/v1/peers/nobody")->status, 404u);
  EXPECT_EQ(ask("GET", "/v1/peers/%zz")->status, 400u);
  EXPECT_EQ(ask("DELETE", "/v1/peers/nobody")->status, 405u);
}

TEST_F(LocalApiTest, AddsListsSwitchesAndRemovesAForward) {
  EXPECT_EQ(ask("POST", "/v1/forwards", kForward)->status, 201u);
  EXPECT_EQ(node_.forwards().at(0).spec.listen.text(), "127.0.0.1:2222");
  EXPECT_TRUE(node_.forwards().at(0).spec.is_enabled);

  const json::object answer = object(ask("GET", "/v1/forwards")->body);
  EXPECT_EQ(json_text(answer.at("forwards").as_array().at(0).as_object(), "name"), "my ssh");

  EXPECT_EQ(ask("POST", "/v1/forwards/my%20ssh/disable")->status, 200u);
  EXPECT_FALSE(node_.forwards().at(0).spec.is_enabled);
  EXPECT_EQ(ask("POST", "/v1/forwards/my%20ssh/enable")->status, 200u);
  EXPECT_TRUE(node_.forwards().at(0).spec.is_enabled);

  EXPECT_EQ(ask("DELETE", "/v1/forwards/my%20ssh")->status, 200u);
  EXPECT_TRUE(node_.forwards().empty());
}

TEST_F(LocalApiTest, PassesTheNodesRefusalsOn) {
  ask("POST", "/v1/forwards", kForward);
  const auto again = ask("POST", "/v1/forwards", kForward);
  EXPECT_EQ(again->status, 409u);
  EXPECT_EQ(error_kind(*again), "conflict");

  const auto unknown = ask("DELETE", "/v1/forwards/x%1b%5b2J");
  EXPECT_EQ(unknown->status, 404u);
  EXPECT_EQ(error_kind(*unknown), "not_found");
  EXPECT_EQ(unknown->body.find("\\u001b"), std::string::npos);
}

TEST_F(LocalApiTest, RefusesBadForwards) {
  for (const char* body :
       {"", "[]", "{", "{}", R"({"name":"a\u001b[2J","peer":"p","host":"h","port":1,"listen":"1"})",
        R"({"name":"a","peer":"","host":"h","port":1,"listen":"1"})",
        R"({"name":"a","peer":"p","host":"h h","port":1,"listen":"1"})",
        R"({"name":"a","peer":"p","host":"h","port":0,"listen":"1"})",
        R"({"name":"a","peer":"p","host":"h","port":65536,"listen":"1"})",
        R"({"name":"a","peer":"p","host":"h","port":"1","listen":"1"})",
        R"({"name":"a","peer":"p","host":"h","port":1,"listen":"nas:1"})",
        R"({"name":"a","peer":"p","host":"h","port":1,"listen":"1","enabled":"yes"})"}) {
    const auto reply = ask("POST", "/v1/forwards", body);
    EXPECT_EQ(reply->status, 400u) << body;
    EXPECT_EQ(error_kind(*reply), "invalid") << body;
  }
  EXPECT_TRUE(node_.forwards().empty());
}

TEST_F(LocalApiTest, RefusesWhatItDoesNotKnow) {
  for (const char* target : {"/", "/v1", "/v2/status", "/v1/status/", "/v1/forwards/a/b",
                             "/v1/forwards/a/enable/x", "/v1/../v1/status"}) {
    EXPECT_EQ(ask("GET", target)->status, 404u) << target;
  }
  for (const char* target : {"/v1/status", "/v1/peers", "/v1/forwards", "/v1/ping", "/v1/netcheck",
                             "/v1/forwards/a", "/v1/forwards/a/enable"}) {
    EXPECT_EQ(ask("PATCH", target)->status, 405u) << target;
  }
  for (const char* target : {"/v1/forwards/%", "/v1/forwards/%2", "/v1/forwards/%zz"}) {
    EXPECT_EQ(ask("DELETE", target)->status, 400u) << target;
  }
}

TEST_F(LocalApiTest, StreamsPingsAndSumsThemUp) {
  const auto reply = ask("POST", "/v1/ping", R"({"peer":"büro-nas","count":3})");

  EXPECT_EQ(reply->status, 200u);
  EXPECT_TRUE(reply->is_finished);
  std::vector<json::object> lines;
  for (std::size_t begin = 0; begin < reply->body.size();) {
    const auto end = reply->body.find('\n', begin);
    lines.push_back(object(reply->body.substr(begin, end - begin)));
    begin = end + 1;
  }
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(json_number(lines[2], "rtt_us", ~0ULL), 30'000u);
  const json::object& summary = lines[3].at("summary").as_object();
  EXPECT_EQ(json_number(summary, "received", 9), 3u);
  EXPECT_EQ(json_number(summary, "rtt_min_us", ~0ULL), 10'000u);
  EXPECT_EQ(json_number(summary, "rtt_avg_us", ~0ULL), 20'000u);
  EXPECT_EQ(json_number(summary, "rtt_max_us", ~0ULL), 30'000u);
}

TEST_F(LocalApiTest, StopsAPingWhoseClientIsGone) {
  const auto reply = ask("POST", "/v1/ping", R"({"peer":"later","count":3})");
  ASSERT_TRUE(node_.held_ping);

  EXPECT_TRUE(node_.held_ping(FakeNode::reply_of(1, /*is_lost=*/false)));
  reply->is_reading = false;
  EXPECT_FALSE(node_.held_ping(FakeNode::reply_of(2, /*is_lost=*/false)));
}

TEST_F(LocalApiTest, SumsUpPingsThatAllWereLost) {
  const auto reply = ask("POST", "/v1/ping", R"({"peer":"silent","count":1})");
  EXPECT_NE(reply->body.find(R"("received":0,"rtt_min_us":null)"), std::string::npos);
  EXPECT_NE(reply->body.find("the peer is offline"), std::string::npos);
}

TEST_F(LocalApiTest, RefusesBadPings) {
  EXPECT_EQ(ask("POST", "/v1/ping", R"({"peer":"nobody"})")->status, 404u);
  for (const char* body :
       {"", "{}", R"({"peer":1})", R"({"peer":"silent","count":0})",
        R"({"peer":"silent","count":1001})", R"({"peer":"silent","count":-1})"}) {
    EXPECT_EQ(ask("POST", "/v1/ping", body)->status, 400u) << body;
  }
}

TEST_F(LocalApiTest, TellsWhatTheNetworkIsLike) {
  const auto reply = ask("GET", "/v1/netcheck");
  const json::object report = object(reply->body);
  EXPECT_EQ(json_text(report, "nat"), "port-restricted cone");
  EXPECT_EQ(json_bool(report, "hairpin"), false);
  EXPECT_TRUE(report.at("preserves_port").is_null());
  EXPECT_TRUE(report.at("lifetime_alive_us").is_null());
  const json::array& findings = report.at("findings").as_array();
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[0].at("block").at("last").to_number<int>(), 5'119);
  EXPECT_EQ(findings[0].at("sample_ports").as_array().size(), 2u);
  EXPECT_EQ(findings[1].at("transport"), "tcp");
  EXPECT_TRUE(findings[1].at("block").is_null());
}

TEST_F(LocalApiTest, MeasuresLifetimesWhereAskedFor) {
  const auto reply = ask("GET", "/v1/netcheck?lifetime=1");

  EXPECT_EQ(object(reply->body).at("lifetime_alive_us").to_number<int>(), 58'000'000);
  EXPECT_EQ(ask("GET", "/v1/netcheck?lifetime=2")->status, 404u);
  EXPECT_EQ(ask("POST", "/v1/netcheck?lifetime=1")->status, 405u);
}

TEST_F(LocalApiTest, AnswersOverASocket) {
  const TestFolder folder;
  const std::string path = folder.path() / "agent.sock";
  boost::asio::io_context io{1};
  auto server = net::HttpServer::listen(
      io, path,
      [this](const net::HttpRequest& request, const auto& reply) { api_.handle(request, reply); });
  ASSERT_TRUE(server) << server.error().message();
  std::vector<std::string> lines;
  unsigned status = 0;
  std::thread client([&] {
    const net::HttpClient http(path, std::chrono::seconds(10));
    status = http.request("POST", "/v1/forwards", kForward)->status;
    const auto ping = http.stream("POST", "/v1/ping", R"({"peer":"büro-nas","count":2})",
                                  [&](std::string_view line) {
                                    lines.emplace_back(line);
                                    return true;
                                  });
    EXPECT_TRUE(ping);
    boost::asio::post(io, [&] { io.stop(); });
  });

  io.run();
  client.join();

  EXPECT_EQ(status, 201u);
  EXPECT_EQ(lines.size(), 3u);
  server->reset();
}

}  // namespace
}  // namespace openp2p::agent
