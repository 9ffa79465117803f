#include "path/check_pair.h"

#include <gtest/gtest.h>

#include "path/test_world.h"

namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

class CheckPairTest : public testing::Test {
 protected:
  nat::TransactionId send(bool is_nomination) {
    nat::TransactionId id;
    id.bytes.back() = static_cast<std::byte>(++sent_);
    pair_.on_sent(id, is_nomination, now_);
    return id;
  }
  bool answer(const nat::TransactionId& id) { return pair_.on_answer(id, now_ += 10ms); }

  TimePoint now_{};
  int sent_ = 0;
  RemoteCandidate remote_{
      .candidate = {CandidateType::kHost, Address::parse("192.0.2.1:1").value(), SocketId()},
      .added_at = {}};
  CheckPair pair_{{SocketId(1), Address::parse("192.0.2.1:1").value()}, remote_, 100ms, now_};
};

TEST_F(CheckPairTest, ANominationIsKnownOnceItsOwnCheckIsAnswered) {
  const auto plain = send(/*is_nomination=*/false);
  const auto nomination = send(/*is_nomination=*/true);

  EXPECT_TRUE(answer(plain));
  EXPECT_FALSE(pair_.is_nomination_known());
  EXPECT_TRUE(answer(nomination));
  EXPECT_TRUE(pair_.is_nomination_known());
}

TEST_F(CheckPairTest, ARenewedNominationHasToBeHeardAgain) {
  answer(send(/*is_nomination=*/true));
  const auto late = send(/*is_nomination=*/true);
  pair_.renew_nomination();
  EXPECT_FALSE(pair_.is_nomination_known());

  EXPECT_TRUE(answer(late));  // Of before the renewal: meanwhile another may have been nominated.
  EXPECT_FALSE(pair_.is_nomination_known());
  answer(send(/*is_nomination=*/true));
  EXPECT_TRUE(pair_.is_nomination_known());
}

TEST_F(CheckPairTest, AnInvalidPairIsNominatedAnew) {
  answer(send(/*is_nomination=*/true));

  pair_.set_invalid();

  EXPECT_FALSE(pair_.is_nomination_known());
}

/// The controlling side goes to another path and comes back, and its first word of that is lost.
TEST(Renomination, ThePeerFollowsBackToAPathThatWasNominatedBefore) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    Router* router = world.add_router({.external = IpAddress::v4(203, 0, 113, 1)});
    Router* other = world.add_router({.external = IpAddress::v4(203, 0, 113, 2)});
    Router* firewalls[] = {world.add_router({.external = {}, .is_firewall = true}),
                           world.add_router({.external = {}, .is_firewall = true})};
    world.add_socket(0, Address::parse("192.168.1.2:27183").value(), router);
    world.add_socket(1, Address::parse("192.168.7.3:27183").value(), other);
    world.add_socket(0, Address::parse("[2001:db8:1::2]:27183").value(), firewalls[0]);
    world.add_socket(1, Address::parse("[2001:db8:2::2]:27183").value(), firewalls[1]);
    world.gather_and_tell();
    const auto both_on_v6 = [&](bool is_v6) {
      return world.both_selected() && world.finder(0).selected()->remote.ip.is_v6() == is_v6 &&
             world.finder(1).selected()->remote.ip.is_v6() == is_v6;
    };
    ASSERT_TRUE(world.run_until([&] { return both_on_v6(true); }, 5s));

    bool is_v6_slow = true;
    world.extra_delay = [&](const Flight& flight) {
      return flight.to.ip.is_v6() == is_v6_slow ? 80ms : 0ms;
    };
    ASSERT_TRUE(world.run_until([&] { return both_on_v6(false); }, 5min));
    is_v6_slow = false;
    ASSERT_TRUE(
        world.run_until([&] { return world.finder(0).selected()->remote.ip.is_v6(); }, 10min));
    int lost = 0;
    world.drop = [&](const Flight& flight) { return flight.to.ip.is_v6() && lost++ < 1; };

    EXPECT_TRUE(world.run_until([&] { return both_on_v6(true); }, 2s));
  }
}

}  // namespace
}  // namespace openp2p::path::test
