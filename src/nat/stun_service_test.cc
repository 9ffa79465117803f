#include "nat/stun_service.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

#include "base/random.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

Address address(std::string_view text) { return *Address::parse(text); }

const SocketId kMain{10};
const SocketId kOtherPort{11};
const SocketId kOtherIp{12};
const SocketId kOtherBoth{13};
const SocketId kMain6{20};

std::vector<StunSocket> two_addresses() {
  return {{kMain, address("192.0.2.1:3478"), false, false},
          {kOtherPort, address("192.0.2.1:3479"), false, true},
          {kOtherIp, address("192.0.2.2:3478"), true, false},
          {kOtherBoth, address("192.0.2.2:3479"), true, true},
          {kMain6, address("[2001:db8::1]:3478"), false, false}};
}

std::vector<StunSocket> one_address() {
  return {{kMain, address("192.0.2.1:3478"), false, false},
          {kOtherPort, address("192.0.2.1:3479"), false, true}};
}

struct Reply {
  SocketId socket;
  Address to;
  std::size_t size;
  StunMessage message;
};

/// A service and a client's address.
struct Fixture {
  explicit Fixture(const std::vector<StunSocket>& sockets, SourceLimitConfig limit = {})
      : service(sockets, limit, /*seed=*/7) {}

  std::optional<Reply> ask_raw(ByteView datagram, SocketId socket = kMain) {
    std::array<std::byte, StunService::kAnswerBytesMax> out;
    const auto answer = service.on_datagram(socket, from, datagram, out, now);
    if (!answer) return std::nullopt;
    const auto message = decode_stun(ByteView(out).first(answer->size));
    EXPECT_TRUE(message);
    return Reply{answer->socket, answer->to, answer->size, *message};
  }

  std::optional<Reply> ask(const StunMessage& request, SocketId socket = kMain) {
    Bytes datagram(kStunBytesMax);
    datagram.resize(encode_stun(request, {}, datagram));
    return ask_raw(datagram, socket);
  }

  StunService service;
  Address from = address("198.51.100.7:40000");
  TimePoint now{};
};

StunMessage binding(bool change_ip = false, bool change_port = false) {
  StunMessage request;
  Random(3).fill(request.transaction.bytes);
  request.change_ip = change_ip;
  request.change_port = change_port;
  return request;
}

StunMessage old_binding(bool change_ip = false, bool change_port = false) {
  StunMessage request = binding(change_ip, change_port);
  request.is_rfc3489 = true;
  request.cookie = 0xdeadbeef;
  return request;
}

TEST(StunService, ReflectsTheSource) {
  Fixture f(two_addresses());

  const auto reply = f.ask(binding());

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->socket, kMain);
  EXPECT_EQ(reply->to, f.from);
  EXPECT_EQ(reply->message.message_class, StunClass::kSuccess);
  EXPECT_EQ(reply->message.transaction, binding().transaction);
  EXPECT_EQ(reply->message.xor_mapped_address, f.from);
  EXPECT_EQ(reply->message.mapped_address, f.from);
  EXPECT_EQ(reply->message.response_origin, address("192.0.2.1:3478"));
  EXPECT_EQ(reply->message.other_address, address("192.0.2.2:3479"));
  EXPECT_FALSE(reply->message.has_fingerprint);
}

TEST(StunService, AnswersFromWhereItIsAskedTo) {
  Fixture f(two_addresses());
  const std::array<SocketId, 4> sockets = {kMain, kOtherPort, kOtherIp, kOtherBoth};
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    for (const bool ip : {false, true}) {
      for (const bool port : {false, true}) {
        const auto reply = f.ask(binding(ip, port), sockets[i]);

        ASSERT_TRUE(reply);
        const std::size_t expected = i ^ (ip ? 2 : 0) ^ (port ? 1 : 0);
        EXPECT_EQ(reply->socket, sockets[expected]);
        EXPECT_EQ(reply->message.response_origin, two_addresses()[expected].address);
        EXPECT_EQ(reply->message.other_address, two_addresses()[i ^ 3].address);
      }
    }
  }
}

TEST(StunService, WithOneAddressChangesThePortOnly) {
  Fixture f(one_address());

  const auto plain = f.ask(binding());
  const auto port = f.ask(binding(false, true));
  const auto both = f.ask(binding(true, true));

  ASSERT_TRUE(plain && port && both);
  EXPECT_FALSE(plain->message.other_address);
  EXPECT_EQ(port->socket, kOtherPort);
  EXPECT_EQ(port->message.response_origin, address("192.0.2.1:3479"));
  EXPECT_EQ(both->socket, kMain);
  EXPECT_EQ(both->message.error_code, 420);
  EXPECT_EQ(both->message.unknown_attributes.types[0], 0x0003);
}

TEST(StunService, NeverCrossesFamilies) {
  Fixture f(two_addresses());
  f.from = address("[2001:db8:7::1]:4000");

  const auto plain = f.ask(binding(), kMain6);
  const auto changed = f.ask(binding(false, true), kMain6);

  ASSERT_TRUE(plain && changed);
  EXPECT_EQ(plain->message.xor_mapped_address, f.from);
  EXPECT_FALSE(plain->message.other_address);
  EXPECT_EQ(changed->message.error_code, 420);
}

TEST(StunService, ServesOldClients) {
  Fixture f(two_addresses());

  const auto plain = f.ask(old_binding());
  const auto both = f.ask(old_binding(true, true));

  ASSERT_TRUE(plain && both);
  EXPECT_TRUE(plain->message.is_rfc3489);
  EXPECT_EQ(plain->message.cookie, old_binding().cookie);
  EXPECT_EQ(plain->message.mapped_address, f.from);
  EXPECT_FALSE(plain->message.xor_mapped_address);
  EXPECT_EQ(plain->message.source_address, address("192.0.2.1:3478"));
  EXPECT_EQ(plain->message.changed_address, address("192.0.2.2:3479"));
  EXPECT_EQ(both->socket, kOtherBoth);
  EXPECT_EQ(both->message.source_address, address("192.0.2.2:3479"));
}

TEST(StunService, WithOneAddressIsSilentToOldClientsThatAskForAnother) {
  Fixture f(one_address());

  EXPECT_FALSE(f.ask(old_binding(true, true)));
  const auto plain = f.ask(old_binding());
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->message.changed_address, address("192.0.2.1:3479"));
}

TEST(StunService, KeepsItsAddressToItselfWhereItKnowsNone) {
  Fixture f({{kMain, address("0.0.0.0:3478"), false, false},
             {kOtherPort, address("0.0.0.0:3479"), false, true}});

  const auto reply = f.ask(binding(false, true));

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->socket, kOtherPort);
  EXPECT_EQ(reply->message.xor_mapped_address, f.from);
  EXPECT_FALSE(reply->message.response_origin);
}

TEST(StunService, SendsToResponsePortOfTheSameAddressOnly) {
  Fixture f(two_addresses());
  StunMessage request = binding();
  request.response_port = 41000;
  const auto reply = f.ask(request);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->to, address("198.51.100.7:41000"));
  EXPECT_EQ(reply->message.xor_mapped_address, f.from);

  request.response_port = 53;
  const auto refused = f.ask(request);

  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->to, f.from);
  EXPECT_EQ(refused->message.error_code, 420);
  EXPECT_EQ(refused->message.unknown_attributes.types[0], 0x0027);
}

TEST(StunService, RefusesPaddingAndWhatItDoesNotKnow) {
  Fixture f(two_addresses());
  StunMessage padded = binding();
  padded.padding_bytes = 1500;

  const auto reply = f.ask(padded);

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->message.error_code, 420);
  EXPECT_EQ(reply->message.unknown_attributes.types[0], 0x0026);

  Bytes unknown(kStunHeaderBytes + 4);
  encode_stun(binding(), {}, unknown);
  unknown[3] = std::byte{4};
  unknown[20] = std::byte{0x7f};
  const auto refused = f.ask_raw(unknown);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->message.error_code, 420);
  EXPECT_EQ(refused->message.unknown_attributes.types[0], 0x7f00);
}

TEST(StunService, IgnoresAllButBindingRequests) {
  Fixture f(two_addresses());
  StunMessage indication = binding();
  indication.message_class = StunClass::kIndication;
  StunMessage success = binding();
  success.message_class = StunClass::kSuccess;
  StunMessage allocate = binding();
  allocate.method = 3;

  EXPECT_FALSE(f.ask(indication));
  EXPECT_FALSE(f.ask(success));
  EXPECT_FALSE(f.ask(allocate));
  EXPECT_FALSE(f.ask_raw(as_bytes("GET / HTTP/1.1\r\n\r\n....")));
  EXPECT_FALSE(f.ask_raw({}));
  EXPECT_FALSE(f.ask(binding(), SocketId{99}));
  EXPECT_EQ(f.service.counters().ignored, 6u);
}

TEST(StunService, IgnoresSourcesThatCannotBe) {
  Fixture f(two_addresses());
  for (const auto* source : {"198.51.100.7:0", "224.0.0.1:4000", "255.255.255.255:4000",
                             "0.0.0.0:4000", "[ff02::1]:4000", "192.0.2.2:3479"}) {
    f.from = address(source);
    EXPECT_FALSE(f.ask(binding())) << source;
  }
}

TEST(StunService, NeverAnswersItself) {
  Fixture f(two_addresses());
  const auto reply = f.ask(binding());
  ASSERT_TRUE(reply);

  EXPECT_FALSE(f.ask(reply->message));
}

TEST(StunService, EchoesFingerprintAndStaysShort) {
  Fixture f({{kMain6, address("[2001:db8::1]:3478"), false, false},
             {kOtherBoth, address("[2001:db8::2]:3479"), true, true}});
  f.from = address("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
  StunMessage request = binding();
  request.has_fingerprint = true;

  const auto reply = f.ask(request, kMain6);

  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->message.has_fingerprint);
  EXPECT_EQ(reply->size, 124u);
}

TEST(StunService, LimitsEachSourcePrefix) {
  Fixture f(two_addresses(), {.answers_per_second = 10, .burst = 5});
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(f.ask(binding()));
  EXPECT_FALSE(f.ask(binding()));
  EXPECT_EQ(f.service.counters().limited, 1u);

  const Address victim = f.from;
  f.from = address("203.0.113.9:1");
  EXPECT_TRUE(f.ask(binding()));
  f.from = victim;
  f.now += 1s;

  int answered = 0;
  for (int i = 0; i < 100; ++i) answered += f.ask(binding()).has_value();
  EXPECT_EQ(answered, 5);
}

TEST(SourceLimit, SharesOneBucketAmongTheAddressesOfAHome) {
  SourceLimit limit({.answers_per_second = 1, .burst = 2}, /*seed=*/1);
  const TimePoint now{};

  EXPECT_TRUE(limit.take(*IpAddress::parse("2001:db8:0:1200::1"), now));
  EXPECT_TRUE(limit.take(*IpAddress::parse("2001:db8:0:12ff:ffff::2"), now));
  EXPECT_FALSE(limit.take(*IpAddress::parse("2001:db8:0:1234::3"), now));
  EXPECT_TRUE(limit.take(*IpAddress::parse("2001:db8:0:1300::1"), now));
}

TEST(SourceLimit, BoundsAFloodFromEverywhere) {
  SourceLimit limit({.answers_per_second = 1, .burst = 1}, /*seed=*/1);
  Random random(5);
  std::size_t taken = 0;
  for (int i = 0; i < 500'000; ++i) {
    taken += limit.take(IpAddress::v4(static_cast<std::uint32_t>(random.next())), TimePoint{});
  }

  EXPECT_EQ(taken, SourceLimit::kBucketsMax);
}

TEST(SourceLimit, PicksBucketsBySecretSeed) {
  // The neighbours that share a bucket with 192.0.2.1: under one seed some, under another others.
  const auto neighbours = [](std::uint64_t seed) {
    SourceLimit limit({.answers_per_second = 1, .burst = 1}, seed);
    EXPECT_TRUE(limit.take(IpAddress::v4(192, 0, 2, 1), TimePoint{}));
    std::set<std::uint32_t> shared;
    for (std::uint32_t i = 0; i < 40'000; ++i) {
      SourceLimit fresh = limit;
      if (!fresh.take(IpAddress::v4(i), TimePoint{})) shared.insert(i);
    }
    return shared;
  };

  EXPECT_NE(neighbours(1), neighbours(2));
}

}  // namespace
}  // namespace openp2p::nat
