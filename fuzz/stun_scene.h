#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <utility>

#include "base/address.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/time.h"
#include "fuzz/choices.h"
#include "nat/stun_message.h"

/// Who asks and who is asked where the input of a fuzz target plays NATs and STUN servers.
const openp2p::IpAddress kOwn = openp2p::IpAddress::v4(192, 168, 1, 10);
const openp2p::IpAddress kExternal = openp2p::IpAddress::v4(198, 51, 100, 7);
const openp2p::Address kServers[] = {{openp2p::IpAddress::v4(203, 0, 113, 1), 3478},
                                     {openp2p::IpAddress::v4(203, 0, 113, 1), 3479},
                                     {openp2p::IpAddress::v4(203, 0, 113, 2), 3478},
                                     {openp2p::IpAddress::v4(203, 0, 113, 2), 3479},
                                     {openp2p::IpAddress::v4(203, 0, 113, 1), 3480}};

/// One that is easily believed, one that never may be, or any of IPv4's.
inline openp2p::IpAddress choose_ip(Choices& choices) {
  using openp2p::IpAddress;
  switch (choices.byte() % 6) {
    case 0:
      return kExternal;
    case 1:
      return kOwn;
    case 2:
      return IpAddress::any_v4();
    case 3:
      return IpAddress::loopback_v4();
    case 4:
      return *IpAddress::parse("2001:db8::7");
    default:
      break;
  }
  const std::uint8_t a = choices.byte(), b = choices.byte(), c = choices.byte();
  return IpAddress::v4(a, b, c, choices.byte());
}

struct LateDatagram {
  std::size_t socket = 0;
  openp2p::Address from;
  openp2p::Bytes bytes;
  openp2p::TimePoint due{};
};

/// Empty: what is to be said fits no datagram.
inline openp2p::Bytes encoded(const openp2p::nat::StunMessage& reply) {
  openp2p::Bytes bytes(openp2p::nat::kStunBytesMax);
  bytes.resize(openp2p::nat::encode_stun(reply, {}, bytes));
  return bytes;
}

/// Answers on their way to a machine that measures, in the order in which they arrive.
class LateWire {
 public:
  bool is_due(openp2p::TimePoint now) const { return !wire_.empty() && wire_.front().due <= now; }

  void insert(LateDatagram datagram) {
    const auto place = std::ranges::upper_bound(wire_, datagram.due, {}, &LateDatagram::due);
    wire_.insert(place, std::move(datagram));
  }
  openp2p::TimePoint last_due() const { return wire_.back().due; }

  template <class Machine>
  void deliver(Machine& machine, openp2p::TimePoint now) {
    const LateDatagram datagram = std::move(wire_.front());
    wire_.pop_front();
    machine.on_datagram(datagram.socket, datagram.from, datagram.bytes, now);
  }

  /// On to whatever comes next; sometimes the machine is called too early.
  template <class Machine>
  void pass_time(Machine& machine, Choices& choices, openp2p::TimePoint& now) {
    const auto next = machine.next_timeout();
    CHECK(next);  // Something is always to come, until it is done.
    if (choices.byte() % 16 == 15) return machine.on_timeout(now);
    openp2p::TimePoint to = *next;
    if (!wire_.empty()) to = std::min(to, wire_.front().due);
    now = std::max(now, to);
    if (now >= *next) machine.on_timeout(now);
  }

 private:
  std::deque<LateDatagram> wire_;
};

/// Who is done wants no timer and sends nothing.
template <class Machine>
void check_silence(Machine& machine, openp2p::TimePoint now) {
  openp2p::Bytes out(openp2p::nat::kStunBytesMax);
  openp2p::Address to;
  std::size_t socket = 0;
  machine.on_timeout(now);
  CHECK(!machine.next_timeout());
  CHECK(machine.poll_datagram(socket, to, out, now) == 0);
}
