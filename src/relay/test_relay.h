#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "relay/test_node.h"
#include "sim/internet.h"
#include "sim/world.h"

namespace openp2p::relay {

/// Two ends and a relay that all reach each other; sessions between the ends have no other way than
/// the relay.
struct RelayWorld {
  explicit RelayWorld(std::uint64_t seed,
                      const sim::LinkOptions& link = {.delay = std::chrono::milliseconds(10)})
      : world(seed),
        internet(world),
        home_a(internet, sim::NatKind::kSymmetricRandom, {.link = link}),
        home_b(internet, sim::NatKind::kSymmetricRandom, {.link = link}),
        relay_host(sim::make_public_host(internet)),
        relay(*relay_host, seed * 3),
        a(home_a.host(), seed * 3 + 1),
        b(home_b.host(), seed * 3 + 2) {
    secret.fill(std::byte{42});
  }

  bool run_until(const std::function<bool()>& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }
  WallTime server_time() const {
    return {kServerEpochUs + (world.now() - TimePoint{}) / std::chrono::microseconds(1)};
  }
  void lend(std::uint64_t bits_per_second) { relay.lend(secret, server_time(), bits_per_second); }
  void be_one_network() {
    for (const TestNode* node : {&a, &b, &relay}) {
      relay.own.insert(node->id());
    }
  }
  /// Both ends have a session with the relay, and a relay stream.
  bool connect() {
    to_a = &a.dial(relay);
    to_b = &b.dial(relay);
    const bool is_up =
        run_until([&] { return to_a->is_up() && to_b->is_up(); }, std::chrono::seconds(10));
    world.run_for(std::chrono::milliseconds(300));  // Until their paths are checked.
    return is_up;
  }
  Ticket ticket(std::uint8_t number, TicketKind kind = TicketKind::kShared) {
    return make_ticket(secret, {relay.id(), a.id(), b.id()}, kind, AllocationId{std::byte{number}},
                       Account{std::byte{1}}, server_time());
  }
  void allocate(const std::optional<Ticket>& given) {
    to_a->client->allocate(b.id(), given);
    to_b->client->allocate(a.id(), given);
    a.poke();
    b.poke();
  }
  bool allocate_and_join(const std::optional<Ticket>& given) {
    const std::size_t before = a.joined.size();
    allocate(given);
    return run_until([&] { return a.joined.size() > before && b.joined.size() > before; },
                     std::chrono::seconds(5));
  }
  /// All of it: sessions with the relay, an allocation, and a session through it.
  bool open_session(const std::function<std::optional<Ticket>()>& make_ticket) {
    if (!connect()) return false;
    meet();
    return allocate_and_join(make_ticket()) &&
           run_until([&] { return a.inner.is_up && b.inner.is_up; }, std::chrono::seconds(5));
  }
  bool open_lent_session() {
    return open_session([this] { return ticket(1); });
  }
  /// As signalling would tell both ends; before the allocation is joined.
  void meet() {
    session::Meeting meeting;
    meeting.local_tag = path::FinderTag(11);
    meeting.remote_tag = path::FinderTag(22);
    meeting.check_key.fill(std::byte{7});
    meeting.peer = b.id();
    a.inner.session = &a.endpoint().meet(meeting, a.inner, a.now());
    std::swap(meeting.local_tag, meeting.remote_tag);
    meeting.peer = a.id();
    meeting.role = path::IceRole::kControlled;
    b.inner.session = &b.endpoint().meet(meeting, b.inner, b.now());
  }
  bool has_all_of(std::size_t bytes) const {
    return b.inner.has_end && b.inner.received.size() == bytes;
  }

  static constexpr std::int64_t kServerEpochUs = 1'800'000'000'000'000;
  sim::World world;
  sim::Internet internet;
  sim::Home home_a, home_b;
  std::unique_ptr<sim::Host> relay_host;
  TicketSecret secret;
  TestNode relay, a, b;
  HopLink* to_a = nullptr;
  HopLink* to_b = nullptr;
};

}  // namespace openp2p::relay
