#include "path/planner.h"

#include <gtest/gtest.h>

#include <vector>

#include "path/nat_class.h"

namespace openp2p::path {
namespace {

using nat::Dependence;
using nat::PortAllocation;

SideProfile side(Dependence mapping, Dependence filtering,
                 PortAllocation allocation = PortAllocation::kUnknown) {
  SideProfile side;
  side.udp.mapping = mapping;
  side.udp.filtering = filtering;
  side.udp.allocation = allocation;
  side.udp.external = IpAddress::v4(11, 0, 0, 1);
  side.udp.last_port = 4000;
  side.udp.step = 1;
  side.udp.block = {2048, 3071};
  side.tcp.is_blocked = true;
  return side;
}

constexpr auto kIndependent = Dependence::kEndpointIndependent;
constexpr auto kDependent = Dependence::kAddressAndPortDependent;

SideProfile open() { return side(kIndependent, kIndependent); }
SideProfile fixed() { return side(kIndependent, kDependent); }
SideProfile random() { return side(kDependent, kDependent, PortAllocation::kNoPattern); }
SideProfile sequential() { return side(kDependent, kDependent, PortAllocation::kSequential); }
SideProfile blocks() { return side(kDependent, kDependent, PortAllocation::kBlocks); }
SideProfile unknown() { return side(Dependence::kUnknown, Dependence::kUnknown); }
SideProfile touchy() {
  SideProfile result = fixed();
  result.udp.is_spoilt_by_unsolicited = true;
  return result;
}
SideProfile blocked() {
  SideProfile result = unknown();
  result.udp.is_blocked = true;
  return result;
}

const IpAddress kPeer = IpAddress::v4(11, 0, 0, 2);

/// What either side does, controlling first.
struct Both {
  Plan a;
  Plan b;
};
Both plan(const SideProfile& a, SideProfile b, unsigned round = 0) {
  b.udp.external = kPeer;
  return {make_plan(a, b, IceRole::kControlling, round),
          make_plan(b, a, IceRole::kControlled, round)};
}

std::vector<SideProfile> all_sides() {
  return {open(), fixed(), random(), sequential(), blocks(), unknown(), touchy(), blocked()};
}

TEST(Planner, PlansOfBothSidesFit) {
  for (const SideProfile& a : all_sides()) {
    for (const SideProfile& b : all_sides()) {
      for (unsigned round = 0; round < 6; ++round) {
        const Both plans = plan(a, b, round);

        EXPECT_EQ(plans.a.is_hopeless(), plans.b.is_hopeless());
        EXPECT_EQ(plans.a.opener_hops, plans.b.opener_hops);
        ASSERT_EQ(plans.a.steps.size(), plans.b.steps.size());
        for (std::size_t i = 0; i < plans.a.steps.size(); ++i) {
          const Step& mine = plans.a.steps[i];
          const Step& theirs = plans.b.steps[i];
          EXPECT_EQ(mine.method, theirs.method);
          // A fan is met by somebody who asks; two who count both ask, in different ways.
          EXPECT_TRUE(mine.part != theirs.part || mine.method == Method::kPredictBoth);
          EXPECT_TRUE(mine.part != theirs.part || mine.ports.kind != theirs.ports.kind);
        }
      }
    }
  }
}

/// Such a NAT has entries of what it sends and of what it gets.
TEST(Planner, BothSidesOfASearchFitIntoATouchyNat) {
  for (unsigned round = 1; round < 40; ++round) {
    for (const SideProfile& other : {fixed(), random(), touchy()}) {
      const Both plans = plan(touchy(), other, round);
      unsigned entries = 0;
      for (const Plan& side : {plans.a, plans.b}) {
        for (const Step& step : side.steps) entries += step.count;
      }
      EXPECT_LE(entries, ProbeBudget::kEntriesMax);
    }
  }
}

TEST(Planner, NothingCostsMoreThanARouterCanBear) {
  for (const SideProfile& a : all_sides()) {
    for (const SideProfile& b : all_sides()) {
      for (unsigned round = 0; round < 40; ++round) {
        const Plan mine = plan(a, b, round).a;
        unsigned entries = 0;
        for (const Step& step : mine.steps) entries += step.count;
        EXPECT_LE(entries, ProbeBudget::kEntriesMax);
        EXPECT_LE(mine.duration(), std::chrono::seconds(8)) << "an attempt has 12 s";
      }
    }
  }
}

TEST(Planner, EasyPairsNeedNoSearchAndNoWait) {
  for (const SideProfile& peer : {open(), fixed()}) {
    EXPECT_TRUE(plan(fixed(), peer).a.steps.empty());
    EXPECT_EQ(plan(fixed(), peer).a.opener_hops, 0);
    EXPECT_FALSE(plan(fixed(), peer).a.is_hopeless());
  }
  EXPECT_TRUE(plan(random(), open()).a.steps.empty());
  EXPECT_TRUE(plan(sequential(), open()).a.steps.empty());
}

TEST(Planner, OpenersGoWhereSomebodyIsTouchyOrNotKnown) {
  EXPECT_GT(plan(touchy(), fixed()).a.opener_hops, 0);
  EXPECT_GT(plan(fixed(), touchy()).a.opener_hops, 0);
  EXPECT_GT(plan(unknown(), open()).a.opener_hops, 0);
  EXPECT_NE(plan(touchy(), fixed(), 0).a.opener_hops, plan(touchy(), fixed(), 1).a.opener_hops);
  EXPECT_GT(plan(random(), touchy()).a.steps.at(0).hop_limit, 0) << "a fan would spoil it, too";
}

TEST(Planner, SearchesFitTheAllocator) {
  const Both to_random = plan(random(), fixed());
  const Both to_blocks = plan(blocks(), fixed());
  const Both to_sequence = plan(sequential(), fixed());

  EXPECT_EQ(to_random.a.steps.at(0).count, Plan::kSocketsMax);
  EXPECT_EQ(to_random.b.steps.at(0).count, Plan::kPortsMax);
  EXPECT_LE(to_blocks.a.steps.at(0).count + to_blocks.b.steps.at(0).count, 300u);
  EXPECT_EQ(to_blocks.b.steps.at(0).ports.range, (nat::PortRange{2048, 3071}));
  EXPECT_LE(to_sequence.a.steps.at(0).count + to_sequence.b.steps.at(0).count, 50u);
}

/// Each takes no more of the block than a home can spare, and a second search has to wait until
/// routers have forgotten the first.
TEST(Planner, ABlockAndASequenceAreAskedNowAndThen) {
  for (unsigned round = 0; round < 6; ++round) {
    Both plans = plan(blocks(), sequential(), round);
    const Step in_block = plans.a.steps.at(0);
    const Step in_sequence = plans.b.steps.at(0);

    EXPECT_FALSE(plans.a.is_hopeless());
    EXPECT_EQ(in_block.count, in_sequence.count);
    EXPECT_GT(in_block.count, 1'024u / 4) << "a chance of a quarter each";
    EXPECT_LT(in_block.count, 1'024u / 3) << "the home has the rest";
    EXPECT_EQ(in_block.ports.kind, PortRule::Kind::kAhead);
    EXPECT_EQ(in_sequence.ports.range, (nat::PortRange{2048, 3071}));
    EXPECT_EQ(plans.a.missed, ReasonCode::kBlockMissed);

    SideProfile a = blocks();
    a.entries_left = ProbeBudget::kEntriesMax - in_block.count;
    EXPECT_FALSE(plans.a.fit(a, sequential()));
  }
}

TEST(Planner, LaterRoundsDiffer) {
  const std::pair<SideProfile, SideProfile> searches[] = {
      {sequential(), fixed()}, {blocks(), fixed()},  {sequential(), sequential()},
      {random(), open()},      {touchy(), touchy()}, {unknown(), fixed()}};
  for (const auto& [a, b] : searches) {
    const Both first = plan(a, b, 0);
    const Both second = plan(a, b, 1);
    EXPECT_TRUE(first.a != second.a || first.b != second.b);
  }
  // The two who may be symmetric take turns in being taken for it.
  const Both odd = plan(touchy(), touchy(), 1);
  const Both even = plan(touchy(), touchy(), 2);
  EXPECT_EQ(odd.a.steps.at(0).part, Step::Part::kFan);
  EXPECT_EQ(even.a.steps.at(0).part, Step::Part::kAsk);
}

TEST(Planner, SaysWhyNothingCanWork) {
  EXPECT_EQ(plan(random(), random()).a.reason, ReasonCode::kBothRandom);
  EXPECT_EQ(plan(random(), blocks()).a.reason, ReasonCode::kBothRandom);
  EXPECT_EQ(plan(blocked(), fixed()).a.reason, ReasonCode::kUdpBlockedHere);
  EXPECT_EQ(plan(fixed(), blocked()).a.reason, ReasonCode::kUdpBlockedThere);
  EXPECT_EQ(plan(blocked(), blocked()).a.reason, ReasonCode::kUdpBlockedBoth);
}

TEST(Planner, MethodsOfBothSidesCount) {
  SideProfile without = random();
  without.methods = MethodSet::all().without(Method::kBirthday);
  EXPECT_EQ(plan(without, fixed()).a.reason, ReasonCode::kMethodsDisabled);
  EXPECT_EQ(plan(fixed(), without).a.reason, ReasonCode::kMethodsDisabled);
  EXPECT_EQ(plan(without, random()).a.reason, ReasonCode::kBothRandom) << "it was not the option";

  SideProfile tcp_only = fixed();
  tcp_only.methods = MethodSet::none().with(Method::kTcpDirect);
  EXPECT_EQ(plan(tcp_only, fixed()).a.reason, ReasonCode::kTcpBlocked);
}

TEST(Planner, TcpGivesHopeWhereUdpHasNone) {
  SideProfile a = blocked();
  SideProfile b = fixed();
  a.tcp = fixed().udp;
  b.tcp = fixed().udp;
  EXPECT_FALSE(plan(a, b).a.is_hopeless());

  a.tcp = random().udp;
  b.tcp = open().udp;
  EXPECT_FALSE(plan(a, b).a.is_hopeless());
  b.tcp = random().udp;
  EXPECT_EQ(plan(a, b).a.reason, ReasonCode::kUdpBlockedHere);

  SideProfile c = random();
  SideProfile d = random();
  c.tcp = d.tcp = {};
  EXPECT_EQ(plan(c, d).a.reason, ReasonCode::kBothRandom) << "TCP maps as UDP does, as a rule";
}

TEST(Planner, OneNatForBothIsNotSearched) {
  EXPECT_TRUE(make_plan(random(), fixed(), IceRole::kControlling, 0).steps.empty());
  EXPECT_FALSE(plan(random(), fixed()).a.steps.empty());
}

TEST(Planner, HistoryLetsAMethodBeginSooner) {
  SideProfile peer = fixed();
  peer.udp.filtering = Dependence::kUnknown;
  peer.udp.external = kPeer;
  const SideProfile own = random();
  MethodHistory history;
  const Plan before = make_plan(own, peer, IceRole::kControlling, 0, &history);
  for (int i = 0; i < 3; ++i) {
    history.note(nat_class(own.udp), nat_class(peer.udp), Method::kBirthday);
  }

  const Plan after = make_plan(own, peer, IceRole::kControlling, 0, &history);

  EXPECT_EQ(before.steps.at(0).start, Plan::kWatchFirst);
  EXPECT_EQ(after.steps.at(0).start, Duration::zero());
}

TEST(MethodHistory, CountsForEverAndForgetsSlowly) {
  MethodHistory history;
  for (int i = 0; i < 10'000; ++i) history.note(NatClass::kOpen, NatClass::kOpen, Method::kPunch);
  EXPECT_TRUE(history.favours(NatClass::kOpen, NatClass::kOpen, Method::kPunch));
  EXPECT_FALSE(history.favours(NatClass::kOpen, NatClass::kFixed, Method::kPunch));

  for (int i = 0; i < 300; ++i) history.note(NatClass::kOpen, NatClass::kOpen, Method::kDirect);
  EXPECT_TRUE(history.favours(NatClass::kOpen, NatClass::kOpen, Method::kDirect));
}

}  // namespace
}  // namespace openp2p::path
