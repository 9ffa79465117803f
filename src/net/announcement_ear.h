#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"
#include "net/gateway.h"
#include "net/io_context.h"

namespace openp2p::net {

/// Hears what gateways announce to all hosts of the link: 224.0.0.1 or ff02::1, port 5350 (RFC 6887
/// section 14.1, RFC 6886 section 3.2.1). Shares the port with other programs, and reads at most 16
/// datagrams a wake-up. Anybody on the link can send there.
class AnnouncementEar {
 public:
  using Callback = std::function<void(const Address& from, ByteView datagram, TimePoint now)>;
  virtual ~AnnouncementEar() = default;
};

/// nullptr where the system refuses. Threading: the loop's; the callback may destroy the object.
std::unique_ptr<AnnouncementEar> hear_announcements(IoContext& io, const Gateway& gateway,
                                                    AnnouncementEar::Callback on_datagram);

/// As above: hears what is sent to an IPv4 group, on the interfaces that have these addresses. The
/// datagrams are cut at 2,048 bytes. nullptr also where there is no interface.
std::unique_ptr<AnnouncementEar> hear_group(IoContext& io, const Address& group,
                                            const std::vector<IpAddress>& interfaces,
                                            AnnouncementEar::Callback on_datagram);

}  // namespace openp2p::net
