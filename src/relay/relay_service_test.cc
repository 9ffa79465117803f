#include "relay/relay_service.h"

#include <gtest/gtest.h>

#include <array>

#include "quic/counting_new.h"
#include "relay/relay_message.h"
#include "relay/test_ids.h"
#include "relay/test_session.h"
#include "wire/control_frame.h"

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;

/// A relay and its ends, in memory.
struct Relayed : RelayHost {
  struct End {
    explicit End(std::uint8_t number) : session(node(number), /*is_incoming=*/true) {}
    TestSession session;
    Hop hop{session};
    forward::StreamUser* user = nullptr;
  };

  Relayed() {
    RelayService::Options options;
    options.self = node(9);
    options.host = this;
    service = std::make_unique<RelayService>(options);
    secret.fill(std::byte{5});
    service->set_secret(secret);
    service->set_server_time(WallTime{1'000'000'000}, at);
  }
  ~Relayed() override {
    for (const auto& end : ends) service->forget(end->hop);
  }
  TimePoint now() const override { return at; }
  bool is_own_node(const NodeId& id) const override { return is_one_network && id != node(9); }
  void on_receipt(const SignedReceipt&, const Receipt&) override {}
  void on_allocations_changed() override {}

  End& add_end(std::uint8_t number) {
    ends.push_back(std::make_unique<End>(number));
    End& end = *ends.back();
    end.user = service->on_stream(end.hop, session::StreamId(0));
    end.user->on_stream_data(std::array{kStreamKind, kStreamVersion}, /*is_end=*/false);
    return end;
  }
  static void say(End& end, const EndMessage& message) {
    Bytes frame;
    append_control_frame(encode(message), frame);
    end.user->on_stream_data(frame, /*is_end=*/false);
  }
  /// Two ends that have joined; gives their channel.
  Channel join(End& a, End& b, const std::optional<Ticket>& ticket) {
    say(a, AllocateMessage{1, b.session.peer(), ticket});
    say(b, AllocateMessage{1, a.session.peer(), ticket});
    ControlFrameDecoder decoder;
    ByteView written(b.session.written[session::StreamId(0)]);
    const auto frame = decoder.take(written);
    CHECK(frame && *frame);
    const auto message = decode_relay_message(**frame);
    CHECK(message && std::holds_alternative<AllocatedMessage>(*message));
    CHECK(std::get<AllocatedMessage>(*message).is_peer_there);
    return std::get<AllocatedMessage>(*message).channel;
  }
  Ticket ticket(const End& a, const End& b) {
    return make_ticket(secret, {node(9), a.session.peer(), b.session.peer()}, TicketKind::kShared,
                       AllocationId{}, Account{}, WallTime{1'000'000'000});
  }
  void send(End& from, Channel channel, std::size_t bytes = 1'200) {
    const MutableByteView payload = MutableByteView(buffer).first(kChannelBytes + bytes);
    payload[0] = static_cast<std::byte>(channel >> 16);
    payload[1] = static_cast<std::byte>(channel >> 8);
    payload[2] = static_cast<std::byte>(channel);
    from.session.handler->on_sealed(from.session, session::SealedUse::kRelay, payload, at);
  }

  TimePoint at{};
  bool is_one_network = true;
  TicketSecret secret;
  std::unique_ptr<RelayService> service;
  std::vector<std::unique_ptr<End>> ends;
  std::array<std::byte, 2'000> buffer{};
};

TEST(RelayService, CarriesWithoutAllocatingMemory) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  const Channel channel = net.join(a, b, std::nullopt);
  net.send(a, channel);

  const std::uint64_t before = quic::allocations_so_far();
  for (int i = 0; i < 2'000; ++i) net.send(i % 2 == 0 ? a : b, channel);

  EXPECT_EQ(quic::allocations_so_far(), before);
  EXPECT_EQ(a.session.sealed + b.session.sealed, 2'001u);
}

TEST(RelayService, LetsDatagramsWaitWithoutAllocatingMemoryInSteadyState) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  net.service->set_cap(10'000'000, net.at);
  const Channel channel = net.join(a, b, net.ticket(a, b));
  const auto flood = [&] {
    for (int i = 0; i < 200; ++i) {
      net.send(a, channel);
      net.send(b, channel);
      net.at += 500us;
      net.service->on_timeout(net.at);
    }
  };
  flood();

  const std::uint64_t before = quic::allocations_so_far();
  flood();

  EXPECT_EQ(quic::allocations_so_far(), before);
  EXPECT_GT(net.service->counters().dropped_cap, 100u);
}

TEST(RelayService, AddsItsBitOfTheChannelAndNothingElse) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  const Channel channel = net.join(a, b, std::nullopt);
  Bytes left;
  b.session.on_sealed = [&](ByteView payload) { left = to_bytes(payload); };
  for (std::size_t i = kChannelBytes; i < net.buffer.size(); ++i) {
    net.buffer[i] = static_cast<std::byte>(i);
  }

  net.send(a, channel, 100);

  ASSERT_EQ(left.size(), kChannelBytes + 100);
  EXPECT_EQ(left[0], std::byte{0x80});
  for (std::size_t i = kChannelBytes; i < left.size(); ++i) {
    ASSERT_EQ(left[i], static_cast<std::byte>(i));
  }
}

TEST(RelayService, CountsWhatAnEndWithoutAPathCannotTake) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  const Channel channel = net.join(a, b, std::nullopt);
  b.session.has_path = false;
  net.send(a, channel);
  EXPECT_EQ(net.service->counters().dropped_path, 1u);
  EXPECT_EQ(net.service->report(net.at)[0].dropped, 1u);
}

TEST(RelayService, DropsWhatIsSentBeforeTheOtherEndIsThere) {
  Relayed net;
  auto& a = net.add_end(1);
  Relayed::say(a, AllocateMessage{1, node(2), std::nullopt});
  net.send(a, /*channel=*/0);
  EXPECT_EQ(net.service->counters().dropped_alone, 1u);
}

TEST(RelayService, CutsOffAnEndThatDoesNotReadAndKeepsTheOther) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  b.session.stream_room = 0;
  for (int i = 0; i < 100 && !b.session.was_reset[session::StreamId(0)]; ++i) {
    net.at += 1s;
    Relayed::say(a, LetterMessage{node(2), Bytes(kLetterBytesMax)});
  }
  EXPECT_TRUE(b.session.was_reset[session::StreamId(0)]);
  EXPECT_FALSE(a.session.was_reset[session::StreamId(0)]);
  EXPECT_EQ(net.service->counters().malformed, 1u);
}

TEST(RelayService, EndsAllocationsOfAnEndWhoseSessionIsGone) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  net.join(a, b, std::nullopt);
  a.session.written.clear();

  b.user->on_session_lost();
  b.hop.on_session_lost();
  net.service->forget(b.hop);

  EXPECT_EQ(net.service->allocation_count(), 0u);
  EXPECT_FALSE(a.session.written[session::StreamId(0)].empty()) << "it is told";
}

TEST(RelayService, EndsWhatASpentAccountPaysFor) {
  Relayed relay;
  relay.is_one_network = false;
  relay.service->set_cap(10'000'000, relay.at);
  auto& a = relay.add_end(1);
  auto& b = relay.add_end(2);
  auto& c = relay.add_end(3);
  Ticket other =
      make_ticket(relay.secret, {node(9), node(1), node(3)}, TicketKind::kShared,
                  AllocationId{std::byte{2}}, Account{std::byte{7}}, WallTime{1'000'000'000});
  relay.join(a, b, relay.ticket(a, b));
  relay.join(a, c, other);

  relay.service->on_account_spent(Account{std::byte{7}});

  ASSERT_EQ(relay.service->allocation_count(), 1u);
  EXPECT_EQ(relay.service->report(relay.at)[0].other, node(2));
}

/// What the session of an end with the relay goes over.
struct OwnPath {
  explicit OwnPath(TestSession& session) : finder({}, Random(1), Log(), TimePoint()) {
    session.finder = &finder;
  }
  void relay() { finder.add_relayed({kSocket, {IpAddress::loopback_v4(), 1}}, TimePoint()); }
  void go_direct() { finder.remove_socket(kSocket, TimePoint()); }
  static constexpr SocketId kSocket{path::kRelayedSocketFirst + 1};
  path::PathFinder finder;
};

TEST(RelayService, CarriesNothingOverAnotherRelay) {
  Relayed relay;
  auto& a = relay.add_end(1);
  auto& b = relay.add_end(2);
  auto& c = relay.add_end(3);
  OwnPath path(b.session);
  relay.join(a, b, std::nullopt);
  relay.join(a, c, std::nullopt);

  path.relay();
  relay.service->on_hop_moved(b.hop);

  ASSERT_EQ(relay.service->allocation_count(), 1u) << "that of the others stays";
  EXPECT_EQ(relay.service->report(relay.at)[0].other, node(3));
  const auto refused = [&] { return relay.service->counters().refused; };
  Relayed::say(b, AllocateMessage{2, node(1), std::nullopt});
  EXPECT_EQ(refused(), 1u);
  Relayed::say(a, AllocateMessage{3, node(2), std::nullopt});
  EXPECT_EQ(refused(), 1u) << "its own hop is direct";
  path.go_direct();
  relay.service->on_hop_moved(b.hop);
  Relayed::say(b, AllocateMessage{3, node(1), std::nullopt});
  EXPECT_EQ(relay.service->allocation_count(), 2u);
  EXPECT_EQ(refused(), 1u);
}

TEST(RelayService, KeepsUncappedPairsWhenTheCapComesAndGoes) {
  Relayed net;
  auto& a = net.add_end(1);
  auto& b = net.add_end(2);
  net.service->set_cap(RelayService::kNoCap, net.at);
  const Channel channel = net.join(a, b, net.ticket(a, b));
  for (const std::uint64_t cap : {1'000'000ULL, 2'000'000ULL, ~0ULL, 3'000'000ULL}) {
    net.service->set_cap(cap, net.at);
    for (int i = 0; i < 50; ++i) net.send(a, channel);
    net.at += 10s;
    net.service->on_timeout(net.at);
  }
  EXPECT_EQ(net.service->lent_count(), 1u);
  EXPECT_GE(b.session.sealed, 50u + 3 * 16u);
  net.service->set_cap(RelayService::kLendNothing, net.at);
  EXPECT_EQ(net.service->lent_count(), 0u);
}

}  // namespace
}  // namespace openp2p::relay
