// Whole nodes beside a member of their network that breaks every rule but the cryptography's: ours
// stay within their limits, and go on working for everybody else.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "forward/open_message.h"
#include "test/world/three_nodes.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

Bytes request_to(const std::string& host, std::uint16_t port) {
  return forward::encode(forward::OpenRequest{.host = host, .port = port});
}

TEST(HostilePeer, TenThousandStreamsAreNotGranted) {
  ThreeNodes net(1);
  const Bytes half = {std::byte{1}, std::byte{1}};  // Requests that never become whole.
  int opened = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (net.eve->open(half)) ++opened;
    if (i % 500 != 0) continue;
    net.eve->poke();
    net.world.run_for(100ms);
  }

  EXPECT_LE(opened, 1'024);
  EXPECT_GE(opened, 100);  // The session was there, and the limit is not nothing.
  net.expect_forward_works();
}

TEST(HostilePeer, AReaderThatNeverReadsHoldsOnlyItself) {
  ThreeNodes net(2);
  const Bytes large = random_bytes(net.world.random(), 3'000'000);
  net.b.platform().serve(kOther, [&](sim::PipeEnd& end) {
    net.served.push_back(std::make_unique<Application>(end, large));
  });
  net.eve->consumes = false;
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(net.eve->open(request_to("127.0.0.1", kOther)));
  net.eve->poke();
  net.world.run_for(20s);

  EXPECT_GT(net.eve->received, 1'000'000U);
  EXPECT_LE(net.eve->received, 16U << 20);  // Sixteen streams, none of which was given credit.
  net.expect_forward_works();
}

TEST(HostilePeer, AFloodThatNobodyReadsIsBoundedByTheWindow) {
  ThreeNodes net(3);
  net.b.platform().serve(kOther, [&](sim::PipeEnd& end) {
    net.served.push_back(std::make_unique<Application>(end, Bytes()));
    net.served.back()->pause(true);
  });
  const auto stream = net.eve->open(request_to("127.0.0.1", kOther));
  ASSERT_TRUE(stream);
  const Bytes flood(256 << 10, std::byte{0x55});
  std::uint64_t written = 0;
  for (int i = 0; i < 400; ++i) {
    written += net.eve->session()->write(*stream, flood);
    net.eve->poke();
    net.world.run_for(50ms);
  }

  const std::uint64_t window = 1 << 20;  // The first one: it grows only for those who are read.
  EXPECT_GT(net.bytes_from_eve(), window / 2);
  EXPECT_LE(net.bytes_from_eve(), window + window / 4);  // Headers, and what was sent again.
  EXPECT_LE(written, window + (16 << 20));               // Her own ring, grown, holds the rest.
  net.expect_forward_works();
}

TEST(HostilePeer, GarbageInsteadOfARequestIsAnsweredAndForgotten) {
  ThreeNodes net(4);
  int opened = 0;
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 50; ++i) {
      Bytes garbage = random_bytes(net.world.random(), 2 + net.world.random().below(2'000));
      garbage[0] = std::byte{0xff};  // Surely no kind of stream.
      const auto stream = net.eve->open(garbage);
      if (!stream) continue;
      ++opened;
      net.eve->session()->finish(*stream);
    }
    net.eve->poke();
    net.world.run_for(100ms);
  }

  EXPECT_EQ(opened, 5'000);  // More than may be open at once: each was let go.
  forward::OpenDecoder<forward::OpenAnswer> decoder;
  ASSERT_TRUE(decoder.feed(net.eve->answers.front()));
  ASSERT_TRUE(decoder.message());
  EXPECT_EQ(decoder.message()->status, forward::OpenStatus::kUnsupported);
  EXPECT_TRUE(net.served.empty());
  net.expect_forward_works();
}

TEST(HostilePeer, DestinationsThatAreNotAllowedAreNotDialed) {
  ThreeNodes net(5);
  const std::vector<std::string> hosts = {"192.168.1.20", "10.0.0.1", "8.8.8.8", "169.254.169.254",
                                          "0.0.0.0",      "::",       "fd00::1", "fe80::1"};
  for (const std::string& host : hosts) ASSERT_TRUE(net.eve->open(request_to(host, kService)));
  net.eve->poke();
  net.world.run_for(2s);

  EXPECT_TRUE(net.served.empty());
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    forward::OpenDecoder<forward::OpenAnswer> decoder;
    ASSERT_TRUE(decoder.feed(net.eve->answers[i])) << hosts[i];
    ASSERT_TRUE(decoder.message()) << hosts[i];
    EXPECT_EQ(decoder.message()->status, forward::OpenStatus::kDenied) << hosts[i];
    EXPECT_NE(decoder.message()->text.find("openp2p up --accept "), std::string::npos);
  }
  net.expect_forward_works();
}

TEST(HostilePeer, WhateverItDoesWithItsStreamsOthersGoOn) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ThreeNodes net(seed, /*loss=*/0.02);
    Random& random = net.world.random();
    std::vector<session::StreamId> streams;
    for (int step = 0; step < 400 && net.eve->session() != nullptr; ++step) {
      session::Session& session = *net.eve->session();
      const std::uint64_t choice = random.below(8);
      if (choice < 3 || streams.empty()) {
        Bytes first = choice == 0 ? random_bytes(random, random.below(40))
                      : choice == 1
                          ? forward::encode(forward::OpenRequest{forward::StreamKind::kEcho, {}, 0})
                          : request_to("127.0.0.1", kService);
        if (const auto stream = net.eve->open(first)) streams.push_back(*stream);
        continue;
      }
      const session::StreamId stream = streams[random.below(streams.size())];
      if (choice == 3) session.reset(stream, random.below(1 << 30));
      if (choice == 4) session.stop(stream, random.below(3));
      if (choice == 5) session.finish(stream);
      if (choice == 6) session.write(stream, random_bytes(random, random.below(30'000)));
      if (choice == 7) net.eve->consumes = random.chance(0.5);
      if (random.chance(0.2)) net.eve->poke();
      if (random.chance(0.2)) net.world.run_for(std::chrono::milliseconds(random.below(60)));
    }
    net.expect_forward_works();
  }
}

}  // namespace
}  // namespace openp2p::test
