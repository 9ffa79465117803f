#include "net/upnp_message.h"

#include <fmt/core.h>
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#include <miniupnpc/upnperrors.h>
#include <miniupnpc/upnpreplyparse.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace openp2p::net {
namespace {

constexpr std::string_view kScheme = "http://";
constexpr std::uint16_t kHttpPort = 80;
constexpr std::size_t kChunkLineBytesMax = 32;
// miniupnpc's parser looks a few bytes past what it was given ("<![CDATA[", "-->").
constexpr std::size_t kParserMargin = 16;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::size_t> number(std::string_view text, int base) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A path goes into our request line: nothing in it may end the line.
bool is_path(std::string_view path) {
  return path.starts_with('/') && path.size() <= kUpnpUrlBytesMax &&
         std::ranges::all_of(path, [](char c) { return c > ' ' && c < 127; });
}

// "203.0.113.1", "203.0.113.1:80", "[fe80::1%25eth0]:80".
std::optional<Address> parse_host(std::string_view text, std::uint32_t scope) {
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    host = host.substr(0, host.find('%'));
    port = text.substr(end + 1);
  } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon);
  }
  const auto ip = IpAddress::parse(host);
  if (!ip) return std::nullopt;
  Address address{*ip, kHttpPort, ip->is_v6() && ip->is_link_local() ? scope : 0};
  if (port.empty()) return address;
  const auto given = port.front() == ':' ? number(port.substr(1), 10) : std::nullopt;
  if (!given || *given == 0 || *given > 65'535) return std::nullopt;
  address.port = static_cast<std::uint16_t>(*given);
  return address;
}

// Calls `each(name, value)` for the lines after the first.
template <class Each>
void for_each_header(std::string_view head, Each&& each) {
  std::size_t at = head.find('\n');
  while (at != std::string_view::npos) {
    const std::size_t begin = at + 1;
    at = head.find('\n', begin);
    std::string_view line = head.substr(begin, at == std::string_view::npos ? at : at - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    each(trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  }
}

// "HTTP/1.1 200 OK"; 0: it is not.
int status_of(std::string_view head) {
  if (!head.starts_with("HTTP/1.") || head.size() < 12 || head[8] != ' ') return 0;
  const auto status = number(head.substr(9, 3), 10);
  return status && *status >= 100 ? static_cast<int>(*status) : 0;
}

struct ClearList {
  void operator()(NameValueParserData* list) const { ::ClearNameValueList(list); }
};

const char* words(UpnpError error) {
  switch (error) {
    case UpnpError::kMalformed:
      return "the reply is not HTTP";
    case UpnpError::kTooLong:
      return "the reply is too long";
    case UpnpError::kClosed:
      return "the reply is incomplete";
  }
  return "unknown";
}

}  // namespace

std::error_code make_error_code(UpnpError error) {
  static const ErrorCategory<UpnpError> category("upnp", words);
  return {static_cast<int>(error), category};
}

std::string UpnpUrl::text() const { return std::string(kScheme) + server.text() + path; }

std::optional<UpnpUrl> parse_upnp_url(std::string_view text, std::uint32_t scope) {
  text = trimmed(text);
  const bool is_http = text.size() <= kUpnpUrlBytesMax && text.size() > kScheme.size() &&
                       equal_ignoring_case(text.substr(0, kScheme.size()), kScheme);
  if (!is_http) return std::nullopt;
  text.remove_prefix(kScheme.size());
  const auto slash = text.find('/');
  const auto server = parse_host(text.substr(0, slash), scope);
  const std::string path(slash == std::string_view::npos ? "/" : text.substr(slash));
  if (!server || !is_path(path)) return std::nullopt;
  return UpnpUrl{*server, path};
}

std::optional<UpnpUrl> resolve_upnp_url(const UpnpUrl& base, std::string_view text) {
  text = trimmed(text);
  if (text.find("://") != std::string_view::npos) return parse_upnp_url(text, base.server.scope);
  if (text.empty()) return std::nullopt;
  UpnpUrl url{base.server, std::string(text)};
  if (!text.starts_with('/')) {
    url.path = base.path.substr(0, base.path.rfind('/') + 1) + std::string(text);
  }
  if (!is_path(url.path)) return std::nullopt;
  return url;
}

std::string ssdp_search(std::string_view target, std::string_view host) {
  return fmt::format(
      "M-SEARCH * HTTP/1.1\r\nHOST: {}\r\nST: {}\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\r\n", host,
      target);
}

std::optional<std::string> ssdp_location(std::string_view datagram) {
  if (datagram.size() > kHttpHeadBytesMax || status_of(datagram) != 200) return std::nullopt;
  std::optional<std::string> location;
  for_each_header(datagram, [&](std::string_view name, std::string_view value) {
    const bool is_first = !location && equal_ignoring_case(name, "location");
    if (is_first && value.size() <= kUpnpUrlBytesMax) location = std::string(value);
  });
  return location;
}

Result<bool> HttpReplyReader::take(ByteView bytes) {
  const std::size_t room = has_head_ ? body_bytes_max_ + kChunkLineBytesMax - held_.size()
                                     : kHttpHeadBytesMax + body_bytes_max_ - held_.size();
  if (bytes.size() > room) return UpnpError::kTooLong;
  held_ += as_text(bytes);
  if (!has_head_) return take_head();
  return take_body();
}

Result<bool> HttpReplyReader::take_head() {
  const auto end = held_.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (held_.size() > kHttpHeadBytesMax) return UpnpError::kTooLong;
    return false;
  }
  const std::string_view head = std::string_view(held_).substr(0, end);
  reply_.status = status_of(head);
  if (reply_.status == 0 || head.size() > kHttpHeadBytesMax) return UpnpError::kMalformed;
  bool is_legal = true;
  for_each_header(head, [&](std::string_view name, std::string_view value) {
    if (equal_ignoring_case(name, "content-length")) {
      length_ = number(value, 10);
      is_legal = is_legal && length_.has_value();
    }
    if (equal_ignoring_case(name, "transfer-encoding")) {
      is_chunked_ = equal_ignoring_case(value, "chunked");
    }
  });
  if (!is_legal) return UpnpError::kMalformed;
  if (!is_chunked_ && length_ && *length_ > body_bytes_max_) return UpnpError::kTooLong;
  has_head_ = true;
  held_.erase(0, end + 4);
  if (reply_.status == 100) {  // RFC 9110 section 15.2: the real one follows.
    has_head_ = is_chunked_ = false;
    length_.reset();
    return take_head();
  }
  return take_body();
}

Result<bool> HttpReplyReader::take_body() {
  if (is_chunked_) return take_chunks();
  if (held_.size() > body_bytes_max_) return UpnpError::kTooLong;
  if (!length_ || held_.size() < *length_) return false;
  reply_.body = held_.substr(0, *length_);
  return true;
}

// RFC 9112 section 7.1. Trailers do not matter: the zero chunk is the end.
Result<bool> HttpReplyReader::take_chunks() {
  for (;;) {
    const auto line_end = held_.find("\r\n");
    if (line_end == std::string::npos) {
      if (held_.size() > kChunkLineBytesMax) return UpnpError::kMalformed;
      return false;
    }
    const std::string_view line = std::string_view(held_).substr(0, line_end);
    const auto size = number(trimmed(line.substr(0, line.find(';'))), 16);
    if (!size) return UpnpError::kMalformed;
    if (*size > body_bytes_max_ - reply_.body.size()) return UpnpError::kTooLong;
    if (*size == 0) return true;
    if (held_.size() < line_end + 2 + *size + 2) return false;
    reply_.body.append(held_, line_end + 2, *size);
    held_.erase(0, line_end + 2 + *size + 2);
  }
}

Result<bool> HttpReplyReader::end() {
  if (!has_head_ || is_chunked_ || length_) return UpnpError::kClosed;
  reply_.body = held_;
  return true;
}

std::optional<UpnpDevice> parse_description(const std::string& body, const UpnpUrl& at) {
  if (body.size() > kUpnpDescriptionBytesMax) return std::nullopt;
  const std::string padded = body + std::string(kParserMargin, '\0');
  const auto data = std::make_unique<IGDdatas>();  // Zeroed, and too large for a small stack.
  ::parserootdesc(padded.data(), static_cast<int>(body.size()), data.get());
  UpnpUrl base = at;
  if (const auto given = parse_upnp_url(data->urlbase, at.server.scope)) base = *given;
  UpnpDevice device;
  const auto service = [&](const IGDdatas_service& from) -> std::optional<UpnpService> {
    if (from.servicetype[0] == '\0') return std::nullopt;
    const std::string_view type = from.servicetype;
    // It goes into a header and into XML.
    const auto is_plain = [](char c) {
      return c > ' ' && c < 127 && c != '"' && c != '<' && c != '&';
    };
    const auto control = resolve_upnp_url(base, from.controlurl);
    if (!control || !std::ranges::all_of(type, is_plain)) return std::nullopt;
    return UpnpService{std::string(type), *control};
  };
  for (const IGDdatas_service* from : {&data->first, &data->second}) {
    if (auto found = service(*from)) device.connections.push_back(std::move(*found));
  }
  device.firewall = service(data->IPv6FC);
  if (device.connections.empty() && !device.firewall) return std::nullopt;
  return device;
}

std::string soap_request(const UpnpService& service, std::string_view action,
                         const SoapArguments& arguments) {
  std::string body = fmt::format(
      "<?xml version=\"1.0\"?>\r\n<s:Envelope "
      "xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" "
      "s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{} xmlns:u=\"{}\">",
      action, service.type);
  for (const auto& [name, value] : arguments) body += fmt::format("<{0}>{1}</{0}>", name, value);
  body += fmt::format("</u:{}></s:Body></s:Envelope>\r\n", action);
  return fmt::format(
             "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: openp2p\r\nContent-Length: {}\r\n"
             "Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{}#{}\"\r\n"
             "Connection: close\r\n\r\n",
             service.control.path, service.control.server.text(), body.size(), service.type,
             action) +
         body;
}

std::string http_get(const UpnpUrl& url) {
  return fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: openp2p\r\nConnection: close\r\n\r\n", url.path,
      url.server.text());
}

std::string SoapReply::value(const std::string& name) const {
  const auto found = values.find(name);
  return found == values.end() ? std::string() : found->second;
}

SoapReply parse_soap(const HttpReply& reply) {
  SoapReply parsed;
  if (reply.body.size() > kSoapReplyBytesMax) {
    parsed.error = -1;
    return parsed;
  }
  const std::string padded = reply.body + std::string(kParserMargin, '\0');
  NameValueParserData data;
  ::ParseNameValue(padded.data(), static_cast<int>(reply.body.size()), &data);
  const std::unique_ptr<NameValueParserData, ClearList> owner(&data);
  for (const NameValue* item = data.l_head; item != nullptr; item = item->l_next) {
    parsed.values.emplace(item->name, item->value);
  }
  if (const std::string code = parsed.value("errorCode"); !code.empty()) {
    parsed.error = static_cast<int>(std::min<std::size_t>(number(code, 10).value_or(0), 9'999));
    if (parsed.error == 0) parsed.error = -1;
  } else if (reply.status != 200) {
    parsed.error = -1;
  }
  return parsed;
}

std::string upnp_error_text(int error) {
  if (error == 606) return "the gateway does not allow this device to map ports";
  if (error == 718) return "other devices use the ports that were asked for";
  if (error == 728) return "the gateway has no room for another mapping";
  const char* known = error > 0 ? ::strupnperror(error) : nullptr;
  if (known == nullptr)
    return error > 0 ? fmt::format("error {}", error) : "no answer to a request";
  return fmt::format("error {} ({})", error, known);
}

}  // namespace openp2p::net
