#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"

/// What UPnP gateways say, from bytes to values: SSDP answers, URLs, HTTP replies, descriptions and
/// SOAP. Sources: UPnP Device Architecture 1.1, IGD:1 and IGD:2. XML is read by miniupnpc's parser,
/// in memory that is bounded before it sees a byte; miniupnpc's own sockets are not used, since
/// they read answers without end. Nothing here waits or allocates more than a few times its input.
namespace openp2p::net {

constexpr std::size_t kUpnpUrlBytesMax = 512;
constexpr std::size_t kUpnpDescriptionBytesMax = 64 * 1024;  ///< Large ones have 20 KiB.
constexpr std::size_t kSoapReplyBytesMax = 8 * 1024;         ///< Ours have less than 1 KiB.
constexpr std::size_t kHttpHeadBytesMax = 4 * 1024;

/// "http://192.168.1.1:5000/rootDesc.xml": numeric host, since a gateway knows its own address.
struct UpnpUrl {
  Address server;
  std::string path;  ///< Begins with '/', printable, no spaces.
  std::string text() const;
  friend bool operator==(const UpnpUrl&, const UpnpUrl&) = default;
};
/// `scope` is for link-local hosts. nullopt: not such a URL.
std::optional<UpnpUrl> parse_upnp_url(std::string_view text, std::uint32_t scope);
/// A URL as descriptions have it, absolute or relative.
std::optional<UpnpUrl> resolve_upnp_url(const UpnpUrl& base, std::string_view text);

/// A search for `target`, to be sent to `host` ("239.255.255.250:1900").
std::string ssdp_search(std::string_view target, std::string_view host);
/// The LOCATION of an answer to a search; nullopt: it is no such answer.
std::optional<std::string> ssdp_location(std::string_view datagram);

struct HttpReply {
  int status = 0;
  std::string body;
};
enum class UpnpError { kMalformed = 1, kTooLong, kClosed };
std::error_code make_error_code(UpnpError error);

}  // namespace openp2p::net

template <>
struct std::is_error_code_enum<openp2p::net::UpnpError> : std::true_type {};

namespace openp2p::net {

/// Gathers one HTTP/1.x reply from pieces of any size, holding at most kHttpHeadBytesMax and
/// `body_bytes_max`.
class HttpReplyReader {
 public:
  explicit HttpReplyReader(std::size_t body_bytes_max) : body_bytes_max_(body_bytes_max) {}

  /// True once the reply is whole. Errors are final.
  Result<bool> take(ByteView bytes);
  Result<bool> end();  ///< The connection was closed, which ends a reply without a length.
  const HttpReply& reply() const { return reply_; }  ///< Requires that it is whole.

 private:
  Result<bool> take_head();
  Result<bool> take_body();
  Result<bool> take_chunks();

  std::size_t body_bytes_max_;
  HttpReply reply_;
  std::string held_;  ///< The head, then what of the body is not decoded yet.
  std::optional<std::size_t> length_;
  bool has_head_ = false;
  bool is_chunked_ = false;
};

struct UpnpService {
  std::string type;  ///< "urn:schemas-upnp-org:service:WANIPConnection:1"
  UpnpUrl control;
};
struct UpnpDevice {
  std::vector<UpnpService> connections;  ///< WANIPConnection, WANPPPConnection; at most 2.
  std::optional<UpnpService> firewall;   ///< WANIPv6FirewallControl.
};
/// nullopt: it describes no gateway. Whether its URLs may be used is for the caller to judge.
std::optional<UpnpDevice> parse_description(const std::string& body, const UpnpUrl& at);

using SoapArguments = std::vector<std::pair<std::string_view, std::string>>;
/// A whole HTTP request. Argument values are numbers and addresses: nothing to escape.
std::string soap_request(const UpnpService& service, std::string_view action,
                         const SoapArguments& arguments);
std::string http_get(const UpnpUrl& url);

struct SoapReply {
  int error = 0;  ///< UPnP's code; -1: no answer that makes sense.
  std::map<std::string, std::string> values;
  std::string value(const std::string& name) const;  ///< "": not there.
};
SoapReply parse_soap(const HttpReply& reply);
/// "no such entry" and the like; for people.
std::string upnp_error_text(int error);

}  // namespace openp2p::net
