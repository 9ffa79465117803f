#include "net/upnp_message.h"

#include <gtest/gtest.h>

namespace openp2p::net {
namespace {

const Address kGateway{IpAddress::v4(192, 168, 1, 1), 5'000};

TEST(UpnpUrl, TakesNumericHttpOnly) {
  const auto url = parse_upnp_url("HTTP://192.168.1.1:5000/a/desc.xml?x=1", 0);
  ASSERT_TRUE(url);
  EXPECT_EQ(url->server, kGateway);
  EXPECT_EQ(url->path, "/a/desc.xml?x=1");
  EXPECT_EQ(parse_upnp_url("http://192.168.1.1", 0)->server.port, 80);
  EXPECT_EQ(parse_upnp_url("http://[fe80::1%25eth0]:80/x", 7)->server.scope, 7U);
  EXPECT_EQ(parse_upnp_url("http://[2001:db8::1]/x", 7)->server.scope, 0U);
  for (const char* bad :
       {"", "http://", "https://192.168.1.1/", "http://router.lan/", "http://192.168.1.1:0/",
        "http://192.168.1.1:65536/", "http://192.168.1.1:8x/", "http://192.168.1.1@6.6.6.6/",
        "http://192.168.1.1/a b", "http://192.168.1.1/\r\nX: y", "http://[fe80::1/x"}) {
    EXPECT_FALSE(parse_upnp_url(bad, 0)) << bad;
  }
  EXPECT_FALSE(parse_upnp_url("http://192.168.1.1/" + std::string(kUpnpUrlBytesMax, 'a'), 0));
}

TEST(UpnpUrl, ResolvesWhatDescriptionsHave) {
  const UpnpUrl base{kGateway, "/igd/desc.xml"};
  EXPECT_EQ(resolve_upnp_url(base, "/ctl")->path, "/ctl");
  EXPECT_EQ(resolve_upnp_url(base, "ctl")->path, "/igd/ctl");
  EXPECT_EQ(resolve_upnp_url(base, "http://192.168.1.1:80/c")->server.port, 80);
  EXPECT_FALSE(resolve_upnp_url(base, ""));
  EXPECT_FALSE(resolve_upnp_url(base, "https://192.168.1.1/c"));
  EXPECT_FALSE(resolve_upnp_url(base, "/a\r\nb"));
}

TEST(Ssdp, LocationOfAnAnswer) {
  EXPECT_EQ(
      ssdp_location("HTTP/1.1 200 OK\r\nlocation:  http://x/ \r\nLOCATION: http://y/\r\n\r\n"),
      "http://x/");
  EXPECT_FALSE(ssdp_location("NOTIFY * HTTP/1.1\r\nLOCATION: http://x/\r\n\r\n"));
  EXPECT_FALSE(ssdp_location("HTTP/1.1 404 No\r\nLOCATION: http://x/\r\n\r\n"));
  EXPECT_FALSE(ssdp_location("HTTP/1.1 200 OK\r\nLOCATION: " + std::string(600, 'x') + "\r\n\r\n"));
}

/// The reply to `text`, fed in pieces of every size.
std::optional<HttpReply> read(std::string_view text, bool is_closed, std::size_t body_bytes_max) {
  std::optional<HttpReply> first;
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    HttpReplyReader reader(body_bytes_max);
    std::optional<HttpReply> reply;
    bool is_broken = false;
    for (std::size_t at = 0; at < text.size() && !reply && !is_broken; at += piece) {
      const auto whole = reader.take(as_bytes(text.substr(at, piece)));
      is_broken = !whole;
      if (whole && *whole) reply = reader.reply();
    }
    if (!reply && !is_broken && is_closed && reader.end()) reply = reader.reply();
    if (piece == 1) first = reply;
    EXPECT_EQ(first.has_value(), reply.has_value()) << "pieces of " << piece;
    if (first && reply) {
      EXPECT_EQ(first->body, reply->body) << "pieces of " << piece;
    }
  }
  return first;
}

TEST(HttpReplyReader, EndsByLengthChunksOrClose) {
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 10)->body, "hello");
  EXPECT_EQ(read("HTTP/1.0 500 No\r\n\r\nhello", true, 10)->status, 500);
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                 false, 10)
                ->body,
            "hello");
  EXPECT_EQ(
      read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false, 10)
          ->body,
      "x");
}

TEST(HttpReplyReader, RefusesWhatIsTooLongOrNotHttp) {
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello", true, 10));
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\n\r\nhello, hello", true, 10));
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", true, 10));
  EXPECT_FALSE(
      read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", true, 10));
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true, 10));
  EXPECT_FALSE(read("SSH-2.0-x\r\n\r\n", true, 10));
}

TEST(HttpReplyReader, HoldsNoMoreThanItsLimits) {
  HttpReplyReader reader(1'000);
  const std::string piece(100, 'x');
  std::size_t taken = 0;
  while (reader.take(as_bytes(piece))) taken += piece.size();
  EXPECT_LE(taken, kHttpHeadBytesMax + 1'100);
}

constexpr std::string_view kDescription =
    "<?xml version=\"1.0\"?><root><device><serviceList><service>"
    "<serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType>"
    "<controlURL>/ctl/IPConn</controlURL></service><service>"
    "<serviceType>urn:schemas-upnp-org:service:WANIPv6FirewallControl:1</serviceType>"
    "<controlURL>http://6.6.6.6/ctl/IP6FCtl</controlURL></service></serviceList></device></root>";

TEST(UpnpDescription, FindsTheServices) {
  const auto device = parse_description(std::string(kDescription), {kGateway, "/rootDesc.xml"});
  ASSERT_TRUE(device);
  ASSERT_EQ(device->connections.size(), 1U);
  EXPECT_EQ(device->connections[0].type, "urn:schemas-upnp-org:service:WANIPConnection:2");
  EXPECT_EQ(device->connections[0].control, (UpnpUrl{kGateway, "/ctl/IPConn"}));
  ASSERT_TRUE(device->firewall);
  EXPECT_EQ(device->firewall->control.server.ip,
            IpAddress::v4(6, 6, 6, 6));  // For others to judge.
}

TEST(UpnpDescription, EveryTruncationIsHarmless) {
  for (std::size_t size = 0; size < kDescription.size(); ++size) {
    const std::string cut(kDescription.substr(0, size));
    static_cast<void>(parse_description(cut, {kGateway, "/rootDesc.xml"}));
    static_cast<void>(parse_soap({200, cut}));
  }
}

TEST(Soap, RequestNamesServiceAndArguments) {
  const UpnpService service{"urn:schemas-upnp-org:service:WANIPConnection:1", {kGateway, "/ctl"}};
  const std::string request =
      soap_request(service, "DeletePortMapping", {{"NewExternalPort", "7"}});
  EXPECT_TRUE(request.starts_with("POST /ctl HTTP/1.1\r\nHost: 192.168.1.1:5000\r\n"));
  EXPECT_NE(request.find("SOAPAction: \"urn:schemas-upnp-org:service:WANIPConnection:1#"
                         "DeletePortMapping\"\r\n"),
            std::string::npos);
  EXPECT_NE(request.find("<NewExternalPort>7</NewExternalPort></u:DeletePortMapping>"),
            std::string::npos);
}

TEST(Soap, RepliesAndFaults) {
  const SoapReply reply = parse_soap(
      {200,
       "<s:Envelope><s:Body><u:R><NewExternalIPAddress>203.0.113.5</NewExternalIPAddress>"
       "</u:R></s:Body></s:Envelope>"});
  EXPECT_EQ(reply.error, 0);
  EXPECT_EQ(reply.value("NewExternalIPAddress"), "203.0.113.5");
  const HttpReply fault{500, "<s:Fault><errorCode>725</errorCode></s:Fault>"};
  EXPECT_EQ(parse_soap(fault).error, 725);
  EXPECT_EQ(parse_soap({500, "oops"}).error, -1);
  EXPECT_EQ(parse_soap({200, "<errorCode>99999999999999999999</errorCode>"}).error, -1);
  EXPECT_FALSE(upnp_error_text(725).empty());
  EXPECT_FALSE(upnp_error_text(-1).empty());
}

}  // namespace
}  // namespace openp2p::net
