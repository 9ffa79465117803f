#include "net/udp_dialer.h"

#include <cerrno>
#include <optional>
#include <utility>

#include "net/clock.h"
#include "net/light_timer.h"

namespace openp2p::net {
namespace {

DialError to_dial_error(const std::error_code& error) {
  const bool lacks_resources = error == std::errc::too_many_files_open ||
                               error == std::errc::too_many_files_open_in_system ||
                               error == std::errc::no_buffer_space ||
                               error == std::errc::not_enough_memory;
  return lacks_resources ? DialError::kNoResources : DialError::kUnreachable;
}

class UdpDial final : public Dial {
 public:
  UdpDial(IoContext& io, DialRequest request, LocalUdpMemory& memory,
          forward::LocalDatagramsHandler& handler, UdpDialer::Callback callback)
      : io_(io),
        request_(std::move(request)),
        memory_(memory),
        handler_(handler),
        callback_(std::move(callback)),
        timer_(io, [this](TimePoint) { on_timer(); }) {}

  void start(NameResolver& resolver) {
    const TimePoint now = monotonic_now();
    if (const auto ip = IpAddress::parse(request_.host)) {
      addresses_ = {*ip};
      return timer_.arm(now);  // Never inside dial().
    }
    timer_.arm(now + request_.timeout);
    lookup_ = resolver.look_up(request_.host, [this](Result<std::vector<IpAddress>> addresses) {
      lookup_.reset();
      if (!addresses) return finish(addresses.error());
      addresses_ = std::move(*addresses);
      connect();
    });
  }

 private:
  void on_timer() {
    addresses_.empty() ? finish(make_error_code(DialError::kTimedOut)) : connect();
  }

  void connect() {
    if (addresses_.empty()) return finish(make_error_code(DialError::kNameNotFound));
    std::vector<Address> allowed;
    for (const IpAddress& ip : addresses_) {
      if (!request_.allows || request_.allows(ip)) allowed.push_back({ip, request_.port});
    }
    if (allowed.empty()) return finish(make_error_code(DialError::kVetoed));
    auto socket = connect_local_udp(io_, std::move(allowed), memory_, handler_);
    if (!socket) return finish(make_error_code(to_dial_error(socket.error())));
    finish(std::move(*socket));
  }

  // The last thing to do: the callback may destroy this.
  void finish(Result<std::unique_ptr<forward::LocalDatagrams>> result) {
    timer_.arm(std::nullopt);
    const auto callback = std::move(callback_);
    callback(std::move(result));
  }

  IoContext& io_;
  DialRequest request_;
  LocalUdpMemory& memory_;
  forward::LocalDatagramsHandler& handler_;
  UdpDialer::Callback callback_;
  LightTimer timer_;
  std::unique_ptr<NameResolver::Lookup> lookup_;
  std::vector<IpAddress> addresses_;
};

}  // namespace

std::unique_ptr<Dial> UdpDialer::dial(DialRequest request, forward::LocalDatagramsHandler& handler,
                                      Callback callback) {
  auto dial =
      std::make_unique<UdpDial>(io_, std::move(request), memory_, handler, std::move(callback));
  dial->start(resolver_);
  return dial;
}

}  // namespace openp2p::net
