#include "sim/network.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::sim {
namespace {

// A packet on its way is an event, which must not cost an allocation; see carry().
static_assert(sizeof(Packet) + 3 * sizeof(void*) <= Task::kInlineBytes);

constexpr std::uint64_t kTraceSend = 1;
constexpr std::uint64_t kTraceDeliver = 2;

std::uint64_t trace_value(const Packet& packet) {
  const std::hash<Address> hash;
  return hash(packet.from) * 31 + hash(packet.to) * 7 + packet.payload.size();
}

/// Schedules what the link decided: the packet's arrival, and its duplicate's.
template <class Arrive>
void carry(World& world, const Passage& passage, Packet packet, Arrive arrive) {
  const auto schedule = [&](TimePoint at, Packet copy) {
    world.at(at, [arrive, moved = std::move(copy)]() mutable { arrive(std::move(moved)); });
  };
  if (passage.copies == 2) schedule(passage.arrivals[1], packet.copy());
  if (passage.copies >= 1) schedule(passage.arrivals[0], std::move(packet));
}

}  // namespace

std::optional<IpAddress> Interface::address(Family family) const {
  for (const IpAddress& ip : addresses_) {
    if (family_of(ip) == family) return ip;
  }
  return std::nullopt;
}

bool Interface::has(const IpAddress& ip) const {
  return std::ranges::find(addresses_, ip) != addresses_.end();
}

void Interface::set_up(bool is_up) {
  up_.set_up(is_up);
  down_.set_up(is_up);
}

Network::Network(World& world, std::optional<Prefix> v4, std::optional<Prefix> v6,
                 std::uint8_t hops)
    : world_(world), v4_(v4), v6_(v6), hops_(hops) {}

Network::~Network() {
  for (const auto& interface : interfaces_) {
    if (interface->is_attached_) interface->box_.on_network_gone(*interface);
  }
}

Interface& Network::attach(Box& box, const AttachOptions& options) {
  interfaces_.push_back(std::make_unique<Interface>(world_, *this, box, options));
  give_addresses(*interfaces_.back());
  return *interfaces_.back();
}

void Network::give_addresses(Interface& interface) {
  if (v4_) {
    for (unsigned i = 0; i < interface.options_.v4_addresses; ++i) {
      interface.addresses_.push_back(v4_->at(next_v4_++));
    }
  }
  if (v6_ && interface.options_.has_v6) interface.addresses_.push_back(v6_->at(next_v6_++));
  for (const IpAddress& ip : interface.addresses_) by_address_[ip] = &interface;
}

void Network::readdress(Interface& interface) {
  for (const IpAddress& ip : std::exchange(interface.addresses_, {})) by_address_.erase(ip);
  give_addresses(interface);
}

void Network::detach(Interface& interface) {
  if (!std::exchange(interface.is_attached_, false)) return;
  for (const IpAddress& ip : std::exchange(interface.addresses_, {})) by_address_.erase(ip);
  std::erase_if(routes_, [&](const Route& route) { return route.via == &interface; });
  if (gateway_ == &interface) gateway_ = nullptr;
}

void Network::add_route(const Prefix& to, Interface& via) {
  const auto is_longer = [&](const Route& route) { return route.to.length >= to.length; };
  routes_.insert(std::ranges::find_if_not(routes_, is_longer), Route{to, &via});
}

const std::optional<Prefix>& Network::prefix(Family family) const {
  return family == Family::kV4 ? v4_ : v6_;
}

bool Network::is_on_link(const IpAddress& ip) const {
  const auto& on_link = prefix(family_of(ip));
  return on_link && on_link->contains(ip);
}

bool Network::reaches(const IpAddress& ip) const {
  if (gateway_ != nullptr || is_on_link(ip)) return true;
  return std::ranges::any_of(routes_, [&](const Route& route) { return route.to.contains(ip); });
}

Interface* Network::find(const IpAddress& ip) const {
  const auto exact = by_address_.find(ip);
  if (exact != by_address_.end()) return exact->second;
  for (const Route& route : routes_) {
    if (route.to.contains(ip)) return route.via;
  }
  return is_on_link(ip) ? nullptr : gateway_;
}

std::optional<DropReason> Network::send(Interface& from, Packet packet) {
  if (!from.is_attached_) {
    ++world_.counters().drops(DropReason::kClosed);
    return DropReason::kClosed;
  }
  world_.trace(kTraceSend, trace_value(packet));
  const Passage passage = from.up_.admit(packet.ip_bytes());
  carry(world_, passage, std::move(packet), [this, &from, era = passage.era](Packet arrived) {
    if (from.up_.is_intact(era)) forward(&from, std::move(arrived));
  });
  return passage.dropped;
}

void Network::forward(Interface* from, Packet packet) {
  Interface* to = find(packet.to.ip);
  if (to == nullptr || to == from) {
    ++world_.counters().drops(DropReason::kNoRoute);
    return report(ErrorKind::kNoRoute, packet);
  }
  if (!packet.travel(hops_)) {
    ++world_.counters().drops(DropReason::kHops);
    return report(ErrorKind::kHopsExceeded, packet);
  }
  const Passage passage = to->down_.admit(packet.ip_bytes());
  const LinkOptions& link = to->down_.options();
  if (passage.dropped == DropReason::kTooBig && !link.is_mtu_silent) {
    return report(ErrorKind::kTooBig, packet, link.mtu);
  }
  carry(world_, passage, std::move(packet),
        [this, to, era = passage.era](Packet arrived) { deliver(*to, era, std::move(arrived)); });
}

void Network::deliver(Interface& to, std::uint32_t era, Packet packet) {
  if (!to.down_.is_intact(era)) return;
  if (!to.is_attached_) {
    ++world_.counters().drops(DropReason::kClosed);
    return;
  }
  world_.trace(kTraceDeliver, trace_value(packet));
  to.box_.on_packet(std::move(packet), to);
}

void Network::report(ErrorKind kind, const Packet& about, std::size_t mtu) {
  if (about.error || find(about.from.ip) == nullptr) return;
  const auto reporter =
      gateway_ == nullptr ? std::nullopt : gateway_->address(family_of(about.from.ip));
  const Address from{reporter.value_or(about.to.ip)};
  forward(nullptr, Packet::error_about({kind, about.from, about.to, mtu, about.protocol}, from));
}

}  // namespace openp2p::sim
