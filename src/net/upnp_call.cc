#include "net/upnp_call.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "net/upnp_exchange.h"

namespace openp2p::net {
namespace {

constexpr int kOnlyPermanentLeases = 725;
constexpr int kInvalidArguments = 402;
constexpr int kActionFailed = 501;
constexpr int kConflict = 718;
constexpr int kConflictWithOther = 729;
constexpr int kOtherPortsMax = 4;  // Tried where the wanted one is somebody else's.
constexpr const char* kDescription = "openp2p";

const char* protocol_text(path::Transport transport) {
  return transport == path::Transport::kUdp ? "UDP" : "TCP";
}
const char* protocol_number(path::Transport transport) {
  return transport == path::Transport::kUdp ? "17" : "6";
}

std::optional<std::uint16_t> to_u16(const std::string& text) {
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_plausible(const IpAddress& ip) {
  return ip.is_v4() && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() &&
         !ip.is_link_local();
}

/// The conversation with one service of a gateway that was found.
class Conversation {
 public:
  Conversation(const GatewayRequest& request, UpnpService service, const BoundedWait& wait)
      : request_(request), service_(std::move(service)), wait_(wait) {}

  std::optional<IpAddress> external_address() {
    const SoapReply reply = call("GetExternalIPAddress", {});
    const auto ip = IpAddress::parse(reply.value("NewExternalIPAddress"));
    if (reply.error != 0 || !ip || !is_plausible(*ip)) return std::nullopt;
    return ip;
  }

  PortGrant map(const PortAsk& ask) {
    PortGrant grant{.ask = ask, .lease = request_.lease};
    int error = add(grant);
    const bool is_taken = error == kConflict || error == kConflictWithOther;
    if (is_taken && service_.type.ends_with("WANIPConnection:2")) error = add_any(grant);
    for (int i = 1; error == kConflict && i <= kOtherPortsMax; ++i) {
      grant.ask.external_port = other_port(ask.internal_port, i);
      error = add(grant);
    }
    grant.is_granted = error == 0;
    if (error != 0) grant.failure = upnp_error_text(error);
    return grant;
  }

  // Only what is still ours: the router may have been restarted and given the port away since.
  PortGrant unmap(const PortAsk& ask) {
    PortGrant grant{.ask = ask};
    const SoapArguments which = {{"NewRemoteHost", ""},
                                 {"NewExternalPort", std::to_string(ask.external_port)},
                                 {"NewProtocol", protocol_text(ask.transport)}};
    const SoapReply entry = call("GetSpecificPortMappingEntry", which);
    const bool is_ours = entry.value("NewInternalClient") == request_.gateway.local.text() &&
                         to_u16(entry.value("NewInternalPort")) == ask.internal_port;
    if (entry.error != 0 || !is_ours) return grant;
    grant.is_granted = call("DeletePortMapping", which).error == 0;
    return grant;
  }

  PortGrant open_pinhole(const PortAsk& ask) {
    PortGrant grant{.ask = ask, .lease = request_.lease};
    grant.ask.external_port = ask.internal_port;  // A firewall does not translate.
    int error = -1;
    if (ask.pinhole) {
      error = call("UpdatePinhole", {{"UniqueID", std::to_string(*ask.pinhole)},
                                     {"NewLeaseTime", lease_text(grant.lease)}})
                  .error;
    }
    if (error != 0) {
      const SoapReply reply =
          call("AddPinhole", {{"RemoteHost", ""},
                              {"RemotePort", "0"},
                              {"InternalClient", request_.gateway.local.text()},
                              {"InternalPort", std::to_string(ask.internal_port)},
                              {"Protocol", protocol_number(ask.transport)},
                              {"LeaseTime", lease_text(grant.lease)}});
      error = reply.error;
      grant.ask.pinhole = to_u16(reply.value("UniqueID"));
      if (error == 0 && !grant.ask.pinhole) error = -1;
    }
    grant.is_granted = error == 0;
    if (error != 0) grant.failure = upnp_error_text(error);
    return grant;
  }

  PortGrant close_pinhole(const PortAsk& ask) {
    PortGrant grant{.ask = ask};
    if (!ask.pinhole) return grant;
    grant.is_granted =
        call("DeletePinhole", {{"UniqueID", std::to_string(*ask.pinhole)}}).error == 0;
    return grant;
  }

 private:
  SoapReply call(std::string_view action, const SoapArguments& arguments) {
    if (wait_.is_over()) return {.error = -1, .values = {}};
    const auto reply =
        exchange_http(request_.gateway, service_.control.server,
                      soap_request(service_, action, arguments), kSoapReplyBytesMax, wait_);
    return reply ? parse_soap(*reply) : SoapReply{.error = -1, .values = {}};
  }

  // Many routers know no leases, and say so in different ways: for ever, then.
  int add(PortGrant& grant) {
    const int error = call("AddPortMapping", arguments_of(grant)).error;
    const bool may_be_lease =
        error == kOnlyPermanentLeases || error == kInvalidArguments || error == kActionFailed;
    if (!may_be_lease || grant.lease == Duration::zero()) return error;
    PortGrant permanent = grant;
    permanent.lease = Duration::zero();
    const int second = call("AddPortMapping", arguments_of(permanent)).error;
    if (second == 0) grant = permanent;
    return second == 0 ? 0 : error;
  }

  int add_any(PortGrant& grant) {
    const SoapReply reply = call("AddAnyPortMapping", arguments_of(grant));
    if (reply.error != 0) return reply.error;
    const auto port = to_u16(reply.value("NewReservedPort"));
    if (!port || *port == 0) return -1;
    grant.ask.external_port = *port;
    return 0;
  }

  SoapArguments arguments_of(const PortGrant& grant) const {
    return {{"NewRemoteHost", ""},
            {"NewExternalPort", std::to_string(grant.ask.external_port)},
            {"NewProtocol", protocol_text(grant.ask.transport)},
            {"NewInternalPort", std::to_string(grant.ask.internal_port)},
            {"NewInternalClient", request_.gateway.local.text()},
            {"NewEnabled", "1"},
            {"NewPortMappingDescription", kDescription},
            {"NewLeaseDuration", lease_text(grant.lease)}};
  }

  static std::string lease_text(Duration lease) {
    return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(lease).count());
  }

  // The same ones each time, so that a program that starts again finds its own mapping. The step
  // is a prime that spreads them over the ports above 1,024.
  static std::uint16_t other_port(std::uint16_t port, int attempt) {
    constexpr unsigned kFirst = 1'024;
    constexpr unsigned kStep = 20'011;
    return static_cast<std::uint16_t>(kFirst + (port + static_cast<unsigned>(attempt) * kStep) %
                                                   (65'536 - kFirst));
  }

  const GatewayRequest& request_;
  const UpnpService service_;
  const BoundedWait& wait_;
};

void ask_ports(const GatewayRequest& request, Conversation& conversation, bool is_v6,
               GatewayAnswer& answer) {
  const bool is_removal = request.lease == Duration::zero();
  for (const PortAsk& ask : request.ports) {
    PortGrant grant;
    if (is_v6) {
      grant = is_removal ? conversation.close_pinhole(ask) : conversation.open_pinhole(ask);
    } else {
      grant = is_removal ? conversation.unmap(ask) : conversation.map(ask);
    }
    if (!grant.is_granted) answer.failure = grant.failure;
    answer.ports.push_back(std::move(grant));
  }
}

void ask_connections(const GatewayRequest& request, const UpnpDevice& device,
                     const BoundedWait& wait, GatewayAnswer& answer) {
  answer.failure = "the gateway has no external address at the moment";
  for (const UpnpService& service : device.connections) {
    Conversation conversation(request, service, wait);
    const auto external = conversation.external_address();
    if (!external) continue;
    answer.external = external;
    answer.failure.clear();
    return ask_ports(request, conversation, /*is_v6=*/false, answer);
  }
}

}  // namespace

GatewayAnswer call_upnp(const GatewayRequest& request, const BoundedWait& wait) {
  GatewayAnswer answer;
  std::optional<FoundDevice> found;
  if (!request.description.empty()) {
    found = read_device(request.gateway, request.description, wait);
  }
  if (!found) found = search_device(request.gateway, wait);
  if (!found) {
    answer.failure = "the gateway does not answer";
    return answer;
  }
  answer.is_answered = true;
  answer.description = found->at.text();
  if (request.gateway.local.is_v4()) {
    ask_connections(request, found->device, wait, answer);
  } else if (found->device.firewall) {
    Conversation conversation(request, *found->device.firewall, wait);
    ask_ports(request, conversation, /*is_v6=*/true, answer);
  } else {
    answer.failure = "the gateway opens no ports in its IPv6 firewall";
  }
  return answer;
}

}  // namespace openp2p::net
