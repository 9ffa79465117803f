#include "sim/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "sim/inbox.h"
#include "sim/internet.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

/// A world with a server that remembers who talks to it.
class RouterTest : public testing::Test {
 protected:
  void run() { world_.run_for(1s); }
  /// The address that the server sees behind `socket`.
  Address reflexive(UdpSocket& socket) {
    socket.send(service_.local(), as_bytes("who am I?"));
    run();
    return seen_.senders.back();
  }

  World world_{1};
  Internet internet_{world_};
  std::unique_ptr<Host> server_ = make_public_host(internet_);
  UdpSocket& service_ = server_->open_udp(3478);
  Inbox seen_{service_};
};

TEST_F(RouterTest, TranslatesOutAndBack) {
  Home home(internet_, NatKind::kPortRestricted);
  UdpSocket& socket = home.host().open_udp(4000);
  Inbox inbox(socket);

  const Address mapped = reflexive(socket);
  service_.send(mapped, as_bytes("answer"));
  run();

  EXPECT_EQ(mapped, (Address{home.router()->nat().external_addresses()[0], 4000}));
  EXPECT_TRUE(socket.local().ip.is_private());
  EXPECT_THAT(inbox.texts, ElementsAre("answer"));
  EXPECT_THAT(inbox.senders, ElementsAre(service_.local()));
}

TEST_F(RouterTest, OpensItsNatOnlyForWhatHasHopsLeft) {
  Home home(internet_, NatKind::kPortRestricted);
  UdpSocket& socket = home.host().open_udp();
  NatTable& nat = home.router()->nat();

  socket.send(service_.local(), as_bytes("dies at home"), /*hop_limit=*/1);
  run();
  EXPECT_EQ(nat.mappings(world_.now()), 0u);

  socket.send(service_.local(), as_bytes("opens"), /*hop_limit=*/2);
  run();
  EXPECT_EQ(nat.mappings(world_.now()), 1u);
  EXPECT_THAT(seen_.texts, IsEmpty());
}

TEST_F(RouterTest, ThreeHopsPassHomeAndCarrierAndReachNobodyElse) {
  Carrier carrier(internet_);
  Home customer(internet_, NatKind::kDoubleNat, {.carrier = &carrier});
  Home peer(internet_, NatKind::kPortRestricted);
  UdpSocket& at_peer = peer.host().open_udp(4000);
  const Address mapped = reflexive(at_peer);
  UdpSocket& socket = customer.host().open_udp();
  const std::size_t known = peer.router()->nat().flows(world_.now());

  socket.send(mapped, as_bytes("dies at the carrier"), /*hop_limit=*/2);
  run();
  EXPECT_EQ(customer.router()->nat().mappings(world_.now()), 1u);
  EXPECT_EQ(carrier.router().nat().mappings(world_.now()), 0u);

  socket.send(mapped, as_bytes("dies in the core"), /*hop_limit=*/3);
  run();
  EXPECT_EQ(carrier.router().nat().mappings(world_.now()), 1u);
  EXPECT_EQ(world_.counters().drops(DropReason::kHops), 2u);
  EXPECT_EQ(world_.counters().drops(DropReason::kUnsolicited), 0u);
  EXPECT_EQ(peer.router()->nat().flows(world_.now()), known);
}

TEST_F(RouterTest, KeepsHostsBehindOneNatApart) {
  Home home(internet_, NatKind::kPortRestricted);
  UdpSocket& first = home.host().open_udp(4000);
  UdpSocket& second = home.add_host().open_udp(4000);
  Inbox at_first(first), at_second(second);

  const Address first_mapped = reflexive(first);
  const Address second_mapped = reflexive(second);
  service_.send(first_mapped, as_bytes("1"));
  service_.send(second_mapped, as_bytes("2"));
  run();

  EXPECT_EQ(first_mapped.ip, second_mapped.ip);
  EXPECT_THAT(at_first.texts, ElementsAre("1"));
  EXPECT_THAT(at_second.texts, ElementsAre("2"));
  EXPECT_EQ(home.router()->nat().mappings(world_.now()), 2u);
}

TEST_F(RouterTest, HairpinsBetweenHostsBehindIt) {  // RFC 4787 REQ-9.
  Home home(internet_, NatKind::kFullCone);
  UdpSocket& first = home.host().open_udp();
  UdpSocket& second = home.add_host().open_udp();
  Inbox inbox(second);
  const Address first_mapped = reflexive(first);
  const Address second_mapped = reflexive(second);

  first.send(second_mapped, as_bytes("round the corner"));
  run();

  EXPECT_THAT(inbox.texts, ElementsAre("round the corner"));
  EXPECT_THAT(inbox.senders, ElementsAre(first_mapped));
}

TEST_F(RouterTest, DropsHairpinsWhereItHasNone) {
  Home home(internet_, NatKind::kPortRestricted);
  UdpSocket& second = home.add_host().open_udp();
  Inbox inbox(second);
  const Address mapped = reflexive(second);

  home.host().open_udp().send(mapped, as_bytes("x"));
  run();

  EXPECT_THAT(inbox.texts, IsEmpty());
  EXPECT_EQ(world_.counters().drops(DropReason::kNoHairpin), 1u);
}

TEST_F(RouterTest, DropsUnsolicitedPacketsSilently) {
  Home home(internet_, NatKind::kPortRestricted);
  const Address mapped = reflexive(home.host().open_udp());
  const auto stranger = make_public_host(internet_);
  UdpSocket& socket = stranger->open_udp();
  Inbox inbox(socket);

  socket.send(mapped, as_bytes("let me in"));
  run();

  EXPECT_EQ(world_.counters().drops(DropReason::kUnsolicited), 1u);
  EXPECT_THAT(inbox.errors, IsEmpty());
}

TEST_F(RouterTest, RejectsUnsolicitedPacketsWithAnError) {
  Network lan(world_, Prefix{IpAddress::v4(192, 168, 1, 0), 24});
  Router router(world_, lan, internet_.core(),
                {.v4 = NatOptions{.unsolicited = Unsolicited::kReject}});
  UdpSocket& socket = server_->open_udp();
  Inbox inbox(socket);
  const Address closed{router.nat().external_addresses()[0], 9};

  socket.send(closed, as_bytes("let me in"));
  run();

  ASSERT_EQ(inbox.errors.size(), 1u);
  EXPECT_EQ(inbox.errors[0].kind, ErrorKind::kProhibited);
  EXPECT_EQ(inbox.errors[0].to, closed);
}

TEST_F(RouterTest, PassesErrorsInAndOut) {  // RFC 4787 REQ-10, RFC 5508.
  Home home(internet_, NatKind::kFullCone);
  UdpSocket& socket = home.host().open_udp();
  Inbox at_home(socket);
  const Address mapped = reflexive(socket);

  const Address closed{service_.local().ip, 9};
  socket.send(closed, as_bytes("nobody there"));
  run();
  socket.close();
  service_.send(mapped, as_bytes("gone?"));
  run();

  ASSERT_EQ(at_home.errors.size(), 1u);
  EXPECT_EQ(at_home.errors[0].to, closed);
  ASSERT_EQ(seen_.errors.size(), 1u);
  EXPECT_EQ(seen_.errors[0].to, mapped);
}

TEST_F(RouterTest, PassesErrorsAboutHairpins) {
  Home home(internet_, NatKind::kFullCone);
  UdpSocket& first = home.host().open_udp();
  UdpSocket& second = home.add_host().open_udp();
  Inbox inbox(first);
  reflexive(first);
  const Address mapped = reflexive(second);

  second.close();
  first.send(mapped, as_bytes("gone?"));
  run();

  ASSERT_EQ(inbox.errors.size(), 1u);
  EXPECT_EQ(inbox.errors[0].to, mapped);
}

TEST_F(RouterTest, ForgetsMappingsInItsOwnTime) {  // RFC 4787 REQ-5.
  Home home(internet_, NatKind::kPortRestricted);
  UdpSocket& socket = home.host().open_udp();
  Inbox inbox(socket);
  const Address mapped = reflexive(socket);

  world_.run_for(60s);
  service_.send(mapped, as_bytes("in time"));
  world_.run_for(60s);
  service_.send(mapped, as_bytes("too late"));
  run();

  EXPECT_THAT(inbox.texts, ElementsAre("in time"));
}

TEST_F(RouterTest, RebootLosesMappingsAndMayChangeTheAddress) {
  Home home(internet_, NatKind::kFullCone);
  UdpSocket& socket = home.host().open_udp();
  Inbox inbox(socket);
  const Address before = reflexive(socket);

  home.router()->reboot(/*has_new_address=*/false);
  service_.send(before, as_bytes("lost"));
  run();
  EXPECT_EQ(reflexive(socket).ip, before.ip);

  home.router()->reboot(/*has_new_address=*/true);
  const Address after = reflexive(socket);
  service_.send(before, as_bytes("to nobody"));
  service_.send(after, as_bytes("found"));
  run();

  EXPECT_NE(after.ip, before.ip);
  EXPECT_THAT(inbox.texts, ElementsAre("found"));
}

TEST_F(RouterTest, CarrierNatTranslatesASecondTime) {
  Home home(internet_, NatKind::kDoubleNat);
  UdpSocket& socket = home.host().open_udp();
  Inbox inbox(socket);

  const Address mapped = reflexive(socket);
  service_.send(mapped, as_bytes("answer"));
  run();

  const IpAddress between = home.router()->nat().external_addresses()[0];
  EXPECT_TRUE((Prefix{IpAddress::v4(100, 64, 0, 0), 10}.contains(between)));
  EXPECT_FALSE(mapped.ip.is_private());
  EXPECT_THAT(inbox.texts, ElementsAre("answer"));
}

TEST_F(RouterTest, CarrierNatHairpinsBetweenItsHomes) {  // RFC 6888 REQ-1 and RFC 4787 REQ-9.
  Carrier carrier(internet_);
  Home home(internet_, NatKind::kDoubleNat, {.carrier = &carrier});
  Home neighbour(internet_, NatKind::kDoubleNat, {.carrier = &carrier});
  UdpSocket& a = home.host().open_udp();
  UdpSocket& b = neighbour.host().open_udp();
  Inbox inbox(b);
  const Address a_mapped = reflexive(a);
  const Address b_mapped = reflexive(b);
  EXPECT_EQ(a_mapped.ip, b_mapped.ip);

  b.send(a_mapped, as_bytes("opens the way"));
  a.send(b_mapped, as_bytes("comes in"));
  run();
  a.send(b_mapped, as_bytes("and again"));
  run();

  EXPECT_EQ(inbox.texts.back(), "and again");
  EXPECT_EQ(inbox.senders.back(), a_mapped);
}

TEST_F(RouterTest, Ipv6FirewallLetsOnlyAnswersIn) {  // RFC 6092.
  Home home(internet_, NatKind::kIpv6Firewall);
  UdpSocket& socket = home.host().open_udp(4000, Family::kV6);
  Inbox inbox(socket);
  UdpSocket& service = server_->open_udp(3478, Family::kV6);
  Inbox at_server(service);

  service.send(socket.local(), as_bytes("unsolicited"));
  run();
  socket.send(service.local(), as_bytes("hello"));
  run();
  service.send(socket.local(), as_bytes("answer"));
  run();

  EXPECT_THAT(at_server.senders, ElementsAre(socket.local()));
  EXPECT_THAT(inbox.texts, ElementsAre("answer"));
  EXPECT_EQ(world_.counters().drops(DropReason::kUnsolicited), 1u);
}

TEST_F(RouterTest, PlainRouterPassesEverythingUnchanged) {
  Network office(world_, Prefix{IpAddress::v4(11, 200, 0, 0), 16});
  Router router(world_, office, internet_.core(), {});
  Host host(world_, office);
  UdpSocket& socket = host.open_udp();
  Inbox inbox(socket);

  service_.send(socket.local(), as_bytes("straight in"));
  run();

  EXPECT_THAT(inbox.senders, ElementsAre(service_.local()));
  EXPECT_EQ(reflexive(socket), socket.local());
}

TEST_F(RouterTest, BlockedUdpDoesNotPass) {
  Home home(internet_, NatKind::kUdpBlocked);
  home.host().open_udp().send(service_.local(), as_bytes("x"));
  run();
  EXPECT_THAT(seen_.texts, IsEmpty());
  EXPECT_EQ(world_.counters().drops(DropReason::kBlocked), 1u);
}

TEST_F(RouterTest, RejectedUdpCausesAnError) {
  Network lan(world_, Prefix{IpAddress::v4(192, 168, 1, 0), 24});
  Router router(world_, lan, internet_.core(), {.v4 = NatOptions{}, .udp = UdpPolicy::kReject});
  Host host(world_, lan);
  UdpSocket& socket = host.open_udp();
  Inbox inbox(socket);

  socket.send(service_.local(), as_bytes("x"));
  run();

  ASSERT_EQ(inbox.errors.size(), 1u);
  EXPECT_EQ(inbox.errors[0].kind, ErrorKind::kProhibited);
  EXPECT_EQ(inbox.errors[0].to, service_.local());
  EXPECT_THAT(seen_.texts, IsEmpty());
}

/// The simplest punching: both learn their reflexive address from a server and are told each
/// other's; both send there a few times, and answer whatever address a datagram came from.
class Puncher {
 public:
  explicit Puncher(Home& home) : socket_(home.host().open_udp()) {}

  void learn_reflexive(World& world, const UdpSocket& server, Inbox& seen) {
    socket_.send(server.local(), as_bytes("who am I?"));
    world.run_for(1s);
    if (!seen.senders.empty()) reflexive_ = seen.senders.back();
  }
  void start() {
    socket_.on_receive([this](const Address& from, ByteView datagram, TimePoint) {
      is_heard_ = is_heard_ || as_text(datagram) == "answer";
      if (as_text(datagram) == "probe") socket_.send(from, as_bytes("answer"));
    });
  }
  void probe(const Puncher& peer) { socket_.send(peer.reflexive_, as_bytes("probe")); }
  bool is_heard() const { return is_heard_; }

 private:
  UdpSocket& socket_;
  Address reflexive_{IpAddress::v4(11, 250, 0, 1), 9};  // Until the server tells: nobody.
  bool is_heard_ = false;
};

bool can_punch(NatKind a_kind, NatKind b_kind) {
  World world(7);
  Internet internet(world);
  const auto server = make_public_host(internet);
  UdpSocket& service = server->open_udp(3478);
  Inbox seen(service);
  Home a_home(internet, a_kind), b_home(internet, b_kind);
  Puncher a(a_home), b(b_home);
  a.learn_reflexive(world, service, seen);
  seen.senders.clear();
  b.learn_reflexive(world, service, seen);
  a.start();
  b.start();
  for (int i = 0; i < 5; ++i) {
    a.probe(b);
    b.probe(a);
    world.run_for(100ms);
  }
  return a.is_heard() || b.is_heard();  // An answer proves both directions.
}

/// What the literature says about plain punching (RFC 5128 section 3.3, and port preservation).
bool should_punch(NatKind a, NatKind b) {
  const auto is_eim = [](NatKind kind) {
    return std::ranges::find(kEimNatKinds, kind) != kEimNatKinds.end();
  };
  const auto is_forgiving = [](NatKind kind) {  // Lets another port of a known address in.
    return kind == NatKind::kNone || kind == NatKind::kFullCone ||
           kind == NatKind::kAddressRestricted;
  };
  const auto is_predictable = [&](NatKind kind) {
    return is_eim(kind) || kind == NatKind::kSymmetricPreserving;
  };
  if (a == NatKind::kUdpBlocked || b == NatKind::kUdpBlocked) return false;
  if (is_predictable(a) && is_predictable(b)) return true;
  return is_forgiving(a) || is_forgiving(b);
}

TEST(NatKind, PairsPunchAsTheLiteratureSays) {
  for (const NatKind a : kNatKinds) {
    for (const NatKind b : kNatKinds) {
      EXPECT_EQ(can_punch(a, b), should_punch(a, b))
          << nat_kind_text(a) << " with " << nat_kind_text(b);
    }
  }
}

}  // namespace
}  // namespace openp2p::sim
