#include "agent/peer_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/test_party.h"

namespace openp2p::agent {
namespace {

using path::CandidateType;
using testing::ElementsAre;
using testing::IsEmpty;

const Party kSelf(1), kPeer(2), kOther(3), kServer(9);

Address at(const char* text) { return Address::parse(text).value(); }

KnownPeer known(const Party& party, const std::string& name) {
  return {party.id(), name, 7, "1.0", "linux/x86_64"};
}

PeerSignal signal_of(const Party& party, std::vector<path::Candidate> candidates) {
  PeerSignal signal;
  signal.from = party.id();
  signal.to = kSelf.id();
  signal.kind = PeerSignal::Kind::kCandidates;
  signal.candidates = std::move(candidates);
  return signal;
}

PeerCache cache_with_peer() {
  PeerCache cache(kSelf.id(), kServer.id());
  cache.put(known(kPeer, "nas"));
  return cache;
}

void tell(PeerCache& cache, const Party& party, std::vector<path::Candidate> candidates) {
  const PeerSignal signal = signal_of(party, std::move(candidates));
  cache.on_signal(signal, encode_signal(signal, party.key()));
}

TEST(PeerCache, KeepsWhichMethodsWorked) {
  PeerCache cache = cache_with_peer();
  path::MethodHistory history;
  for (int i = 0; i < 2; ++i) {
    history.note(path::NatClass::kRandom, path::NatClass::kFixed, path::Method::kBirthday);
  }
  cache.take_change();

  cache.set_history(history);
  EXPECT_TRUE(cache.take_change());
  cache.set_history(history);
  EXPECT_FALSE(cache.take_change());
  PeerCache again(kSelf.id(), kServer.id());
  ASSERT_TRUE(again.decode(cache.encode()));

  EXPECT_TRUE(again.history().favours(path::NatClass::kRandom, path::NatClass::kFixed,
                                      path::Method::kBirthday));
  EXPECT_EQ(again.history(), history);
}

TEST(PeerCache, WhatAnotherVersionLearnedIsNotTaken) {
  path::MethodHistory history;
  history.note(path::NatClass::kOpen, path::NatClass::kOpen, path::Method::kPunch);
  const path::MethodHistory before = history;

  EXPECT_FALSE(history.decode(Bytes(path::MethodHistory::kBytes - 1)));
  EXPECT_EQ(history, before);
}

TEST(PeerCache, WhatIsWrittenIsReadAgain) {
  PeerCache cache = cache_with_peer();
  cache.put(known(kOther, "gate"));
  cache.set_own_ports({4'321, 65'535});
  tell(cache, kPeer, {{CandidateType::kHost, at("192.168.1.2:4000"), {}}});
  cache.on_proven(kPeer.id(), at("203.0.113.7:4001"));
  cache.on_proven(kPeer.id(), at("[2001:db8::7]:4002"));

  PeerCache again(kSelf.id(), kServer.id());
  ASSERT_TRUE(again.decode(cache.encode()));

  EXPECT_EQ(again.peers(), cache.peers());
  EXPECT_EQ(again.own_ports(), (OwnPorts{4'321, 65'535}));
  EXPECT_THAT(
      again.addresses(kPeer.id()),
      ElementsAre(at("[2001:db8::7]:4002"), at("203.0.113.7:4001"), at("192.168.1.2:4000")));
  EXPECT_EQ(again.encode(), cache.encode());
  EXPECT_FALSE(again.take_change());
}

TEST(PeerCache, AsksWherePeersProvedThemselvesBeforeWhereTheySayTheyAre) {
  PeerCache cache = cache_with_peer();
  tell(cache, kPeer,
       {{CandidateType::kHost, at("10.0.0.2:1"), {}},
        {CandidateType::kServerReflexive, at("203.0.113.7:2"), {}},
        {CandidateType::kHost, at("203.0.113.8:9"), {}, path::Transport::kTcp},
        {CandidateType::kMapped, at("203.0.113.7:3"), {}},
        {CandidateType::kHost, at("[2001:db8::7]:4"), {}}});

  cache.on_proven(kPeer.id(), at("203.0.113.7:2"));

  EXPECT_THAT(cache.addresses(kPeer.id()), ElementsAre(at("203.0.113.7:2"), at("203.0.113.7:3"),
                                                       at("[2001:db8::7]:4"), at("10.0.0.2:1")));
}

TEST(PeerCache, NothingIsAskedThatIsNoMachineOnANetwork) {
  PeerCache cache = cache_with_peer();
  tell(cache, kPeer,
       {{CandidateType::kHost, at("127.0.0.1:1"), {}},
        {CandidateType::kHost, at("224.0.0.1:1"), {}},
        {CandidateType::kHost, at("255.255.255.255:1"), {}},
        {CandidateType::kHost, at("0.0.0.0:1"), {}},
        {CandidateType::kHost, at("[ff02::1]:1"), {}},
        {CandidateType::kHost, at("169.254.1.1:1"), {}}});
  cache.on_proven(kPeer.id(), at("224.0.0.1:5"));

  EXPECT_THAT(cache.addresses(kPeer.id()), IsEmpty());
}

TEST(PeerCache, ASignalThatIsNotThePeersOwnGivesNoAddress) {
  PeerCache cache = cache_with_peer();
  const PeerSignal lie = signal_of(kPeer, {{CandidateType::kHost, at("192.0.2.1:1"), {}}});

  cache.on_signal(lie, encode_signal(lie, kOther.key()));

  EXPECT_THAT(cache.addresses(kPeer.id()), IsEmpty());
}

TEST(PeerCache, KeepsTheNewestPlacesOfAPeer) {
  PeerCache cache = cache_with_peer();
  for (std::uint16_t port = 1; port <= 10; ++port) {
    cache.on_proven(kPeer.id(), {IpAddress::v4(192, 0, 2, 1), port});
  }
  cache.on_proven(kPeer.id(), at("192.0.2.1:8"));

  EXPECT_THAT(cache.addresses(kPeer.id()), ElementsAre(at("192.0.2.1:8"), at("192.0.2.1:10"),
                                                       at("192.0.2.1:9"), at("192.0.2.1:7")));
}

TEST(PeerCache, ARemovedMemberIsForgotten) {
  PeerCache cache = cache_with_peer();
  (void)cache.take_change();

  cache.remove(kPeer.id());
  cache.on_proven(kPeer.id(), at("192.0.2.1:1"));

  EXPECT_TRUE(cache.take_change());
  EXPECT_THAT(cache.peers(), IsEmpty());
  EXPECT_THAT(cache.addresses(kPeer.id()), IsEmpty());
}

TEST(PeerCache, WhatIsKnownAlreadyIsNoChange) {
  PeerCache cache = cache_with_peer();
  tell(cache, kPeer, {{CandidateType::kHost, at("10.0.0.2:1"), {}}});
  cache.on_proven(kPeer.id(), at("192.0.2.1:1"));
  EXPECT_TRUE(cache.take_change());

  cache.put(known(kPeer, "nas"));
  tell(cache, kPeer, {{CandidateType::kHost, at("10.0.0.2:1"), {}}});
  cache.on_proven(kPeer.id(), at("192.0.2.1:1"));

  EXPECT_FALSE(cache.take_change());
}

TEST(PeerCache, AnotherNodesOrServersFileIsNotTaken) {
  const Bytes file = cache_with_peer().encode();
  PeerCache other_node(kOther.id(), kServer.id());
  PeerCache other_server(kSelf.id(), kOther.id());

  EXPECT_FALSE(other_node.decode(file));
  EXPECT_FALSE(other_server.decode(file));
  EXPECT_THAT(other_server.peers(), IsEmpty());
}

TEST(PeerCache, DamagedFilesAreNotTaken) {
  const Bytes file = cache_with_peer().encode();
  PeerCache cache(kSelf.id(), kServer.id());

  EXPECT_FALSE(cache.decode({}));
  EXPECT_FALSE(cache.decode(ByteView(file).first(file.size() - 1)));
  EXPECT_FALSE(cache.decode(as_bytes("{}")));
}

TEST(PeerCache, OpenIsWhoCanBeReachedFromAnywhere) {
  PeerCache cache = cache_with_peer();
  const auto is_open_at = [&](CandidateType type, const char* address) {
    tell(cache, kPeer, {{type, at(address), {}}});
    return cache.is_open(kPeer.id());
  };

  EXPECT_TRUE(is_open_at(CandidateType::kHost, "203.0.113.7:1"));
  EXPECT_TRUE(is_open_at(CandidateType::kMapped, "203.0.113.7:1"));
  EXPECT_FALSE(is_open_at(CandidateType::kServerReflexive, "203.0.113.7:1"));
  EXPECT_FALSE(is_open_at(CandidateType::kHost, "192.168.1.1:1"));
  EXPECT_FALSE(is_open_at(CandidateType::kMapped, "100.64.0.1:1"));  // A carrier's NAT above.
}

TEST(PeerCache, HoldsNoMoreThanANetworkHas) {
  PeerCache cache(kSelf.id(), kServer.id());
  KnownPeer peer = known(kPeer, "n");
  for (std::uint32_t i = 0; i < PeerCache::kPeersMax + 5; ++i) {
    std::memcpy(peer.id.key.data(), &i, sizeof i);
    cache.put(peer);
  }

  EXPECT_EQ(cache.peers().size(), PeerCache::kPeersMax);
}

}  // namespace
}  // namespace openp2p::agent
