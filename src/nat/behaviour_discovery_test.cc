#include "nat/behaviour_discovery.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "base/random.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

Address address(std::string_view text) { return *Address::parse(text); }

const Address kLocal = address("192.168.1.10:5000");
const Address kServer = address("203.0.113.1:3478");
const Address kReflexive = address("198.51.100.1:5000");

/// A discovery whose every request a test answers, or not, at once.
class Conversation {
 public:
  using Answer = std::function<std::optional<Address>(const Address& to, StunMessage& message)>;

  explicit Conversation(const Address& server = kServer, const Address& local = kLocal)
      : discovery_({.tag = 0x01020304, .server = server, .local_addresses = {local}}, secrets_,
                   TimePoint{}) {}

  /// `answer` turns the request into its answer and names its sender; nullopt for silence.
  BehaviourReport run(const Answer& answer) {
    TimePoint now{};
    Bytes out(kStunBytesMax);
    for (int i = 0; i < 1000 && !discovery_.is_done(); ++i) {
      Address to;
      while (const std::size_t size = discovery_.poll_datagram(to, out, now)) {
        asked_.insert(to);
        respond(answer, to, ByteView(out).first(size), now + 1ms);
      }
      if (const auto next = discovery_.next_timeout()) now = std::max(now + 1ms, *next);
      discovery_.on_timeout(now);
    }
    EXPECT_TRUE(discovery_.is_done());
    EXPECT_FALSE(discovery_.next_timeout());
    return discovery_.report();
  }
  const std::set<Address>& asked() const { return asked_; }

 private:
  void respond(const Answer& answer, const Address& to, ByteView request, TimePoint now) {
    StunMessage message = *decode_stun(request);
    EXPECT_EQ(tag_of(message.transaction), 0x01020304u);
    message.message_class = StunClass::kSuccess;
    const auto from = answer(to, message);
    if (!from) return;
    message.change_ip = false;
    message.change_port = false;
    Bytes bytes(kStunBytesMax);
    const std::size_t size = encode_stun(message, {}, bytes);
    EXPECT_TRUE(discovery_.on_datagram(*from, ByteView(bytes).first(size), now));
    EXPECT_TRUE(discovery_.on_datagram(*from, ByteView(bytes).first(size), now));  // A duplicate.
  }

  SystemSecrets secrets_;
  BehaviourDiscovery discovery_;
  std::set<Address> asked_;
};

TEST(BehaviourDiscovery, AsksNobodyThatTheServerMayNotName) {
  for (const auto* other :
       {"224.0.0.1:3479", "0.0.0.0:3479", "203.0.113.2:0", "192.168.1.10:3479", "127.0.0.1:3479",
        "[2001:db8::1]:3479", "203.0.113.1:3479", "203.0.113.2:3478"}) {
    Conversation conversation;
    conversation.run([&](const Address& to, StunMessage& message) -> std::optional<Address> {
      if (to != kServer) return std::nullopt;
      message.xor_mapped_address = kReflexive;
      message.other_address = address(other);
      return to;
    });

    EXPECT_EQ(conversation.asked(), (std::set<Address>{kServer, kReflexive})) << other;
  }
}

TEST(BehaviourDiscovery, LearnsNothingFromServerThatIgnoresChangeRequests) {
  Conversation conversation;

  const auto report = conversation.run([&](const Address& to, StunMessage& message) {
    message.xor_mapped_address = kReflexive;
    message.other_address = address("203.0.113.2:3479");
    return to == kReflexive ? std::nullopt : std::optional(to);
  });

  EXPECT_EQ(report.mapping, Dependence::kEndpointIndependent);
  EXPECT_EQ(report.filtering, Dependence::kUnknown);
  EXPECT_EQ(classic_name(report), "cone, filtering unknown");
}

TEST(BehaviourDiscovery, TakesSilenceOfAnUnreachableAddressForNoProof) {
  Conversation conversation;

  const auto report =
      conversation.run([&](const Address& to, StunMessage& message) -> std::optional<Address> {
        const bool is_other_address = to.ip == address("203.0.113.2:3479").ip;
        if (is_other_address || message.change_ip || to == kReflexive) return std::nullopt;
        message.xor_mapped_address = kReflexive;
        message.other_address = address("203.0.113.2:3479");
        return message.change_port ? address("203.0.113.1:3479") : to;
      });

  EXPECT_EQ(report.mapping, Dependence::kIndependentOrAddressDependent);
  EXPECT_EQ(report.filtering, Dependence::kIndependentOrAddressDependent);
  EXPECT_EQ(classic_name(report), "full cone, address-restricted cone or symmetric");
}

TEST(BehaviourDiscovery, SurvivesServerThatOnlyRefuses) {
  Conversation conversation;

  const auto report = conversation.run([&](const Address& to, StunMessage& message) {
    message.message_class = StunClass::kError;
    message.error_code = 400;
    return std::optional(to);
  });

  EXPECT_FALSE(report.reflexive);
  ASSERT_EQ(report.evidence.size(), 1u);
  EXPECT_EQ(report.evidence[0], "asked 203.0.113.1:3478: refused with error 400");
}

TEST(BehaviourDiscovery, NoticesRewrittenPayloads) {
  Conversation conversation;

  const auto report = conversation.run([&](const Address& to, StunMessage& message) {
    message.xor_mapped_address = kReflexive;
    message.mapped_address = kLocal;
    return to == kReflexive ? std::nullopt : std::optional(to);
  });

  EXPECT_TRUE(report.is_payload_rewritten);
}

TEST(BehaviourDiscovery, WorksOverIpv6) {
  const Address local = address("[2001:db8:1::10]:5000");
  const Address server = address("[2001:db8::1]:3478");
  const Address other = address("[2001:db8::2]:3479");
  Conversation conversation(server, local);

  const auto report = conversation.run([&](const Address& to, StunMessage& message) {
    message.xor_mapped_address = local;
    message.other_address = other;
    const Address from{message.change_ip ? other.ip : to.ip,
                       message.change_port ? other.port : to.port};
    return std::optional(from);
  });

  EXPECT_EQ(report.reflexive, local);
  EXPECT_EQ(describe(report), "no translation, endpoint-independent filtering (no NAT)");
}

TEST(BehaviourDiscovery, LeavesForeignDatagramsAlone) {
  SystemSecrets secrets;
  BehaviourDiscovery discovery({.server = kServer, .local_addresses = {kLocal}}, secrets,
                               TimePoint{});
  StunMessage foreign;
  foreign.message_class = StunClass::kSuccess;
  foreign.xor_mapped_address = kReflexive;
  Bytes bytes(kStunBytesMax);
  const std::size_t size = encode_stun(foreign, {}, bytes);

  EXPECT_FALSE(discovery.on_datagram(kServer, ByteView(bytes).first(size), TimePoint{}));
  EXPECT_FALSE(discovery.on_datagram(kServer, as_bytes("nonsense"), TimePoint{}));
  EXPECT_FALSE(discovery.is_done());
}

}  // namespace
}  // namespace openp2p::nat
