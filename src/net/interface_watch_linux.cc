#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/interfaces.h"
#include "net/readiness.h"
#include "net/suspend_watch.h"
#include "net/timer.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

constexpr Duration kGatherFor = 100ms;  // A network change is tens of messages.
constexpr Duration kPollEvery = 15s;    // Without netlink: some sandboxes forbid it.
constexpr int kReadsPerWakeupMax = 64;

Descriptor open_route_socket() {
  Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups =
      RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (!socket ||
      ::bind(socket.number(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return {};
  }
  return socket;
}

enum class News { kNone, kMaybe, kCertain };

// Routers renew IPv6 addresses every few minutes, which is told as if they were new: so addresses
// and links are compared. Routes come and go for many reasons; those that matter are the default.
News read_news(const nlmsghdr& message) {
  switch (message.nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return News::kMaybe;
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      if (message.nlmsg_len < NLMSG_LENGTH(sizeof(rtmsg))) return News::kNone;
      const auto* route = static_cast<const rtmsg*>(NLMSG_DATA(&message));
      const bool is_default = route->rtm_dst_len == 0 && route->rtm_type == RTN_UNICAST;
      return is_default ? News::kCertain : News::kNone;
    }
    default:
      return News::kNone;
  }
}

class NetlinkWatch final : public InterfaceWatch {
 public:
  NetlinkWatch(IoContext& io, Descriptor socket, Callback on_change)
      : socket_(std::move(socket)),
        on_change_(std::move(on_change)),
        known_(list_interface_addresses()),
        gathered_(io, [this](TimePoint now) { tell_gathered(now); }),
        readiness_(io, socket_.number(), {[this] { on_readable(); }, {}, {}}),
        suspend_watch_(make_suspend_watch(io, [this] { note(News::kCertain); })) {
    readiness_.want_read(true);
  }

 private:
  void on_readable() {
    for (int i = 0; i < kReadsPerWakeupMax; ++i) {
      const ssize_t bytes = ::recv(socket_.number(), room_.data(), room_.size(), 0);
      if (bytes < 0 && errno == ENOBUFS) {
        note(News::kCertain);  // Messages were lost: anything may have happened.
      } else if (bytes < 0 && errno != EINTR) {
        break;
      } else if (bytes > 0) {
        read_messages(static_cast<unsigned int>(bytes));
      }
    }
    // Who has other addresses must not go on as before for as long as the rest is gathered.
    if (std::exchange(is_first_, false)) tell(monotonic_now());
  }

  void read_messages(unsigned int bytes) {
    for (auto* message = reinterpret_cast<const nlmsghdr*>(room_.data()); NLMSG_OK(message, bytes);
         message = NLMSG_NEXT(message, bytes)) {
      note(read_news(*message));
    }
  }

  void note(News news) {
    if (news == News::kNone) return;
    if (news == News::kCertain) is_certain_ = true;
    if (is_gathering_) return;
    is_gathering_ = true;
    gathered_.arm(monotonic_now() + kGatherFor);
    is_first_ = true;
  }

  void tell_gathered(TimePoint now) {
    is_gathering_ = is_first_ = false;
    tell(now);
  }

  void tell(TimePoint now) {
    auto found = list_interface_addresses();
    const bool is_news = is_certain_ || found != known_;
    is_certain_ = false;
    known_ = std::move(found);
    if (is_news) on_change_(now);
  }

  Descriptor socket_;
  Callback on_change_;
  std::vector<InterfaceAddress> known_;
  alignas(nlmsghdr) std::array<std::byte, 8192> room_;  // What the kernel fills at most.
  bool is_certain_ = false;
  bool is_gathering_ = false;
  bool is_first_ = false;  ///< Of what is gathered; not looked at yet.
  Timer gathered_;
  Readiness readiness_;
  std::unique_ptr<SuspendWatch> suspend_watch_;
};

}  // namespace

std::unique_ptr<InterfaceWatch> make_interface_watch(IoContext& io,
                                                     InterfaceWatch::Callback on_change) {
  Descriptor socket = open_route_socket();
  if (!socket) return make_polling_interface_watch(io, kPollEvery, std::move(on_change));
  return std::make_unique<NetlinkWatch>(io, std::move(socket), std::move(on_change));
}

}  // namespace openp2p::net
