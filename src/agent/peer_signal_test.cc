#include "agent/peer_signal.h"

#include <gtest/gtest.h>

#include <string>

#include "agent/test_party.h"
#include "peer.pb.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;
using path::Candidate;
using path::CandidateType;

const Party kAlice(1), kBob(2), kEve(3);

Candidate candidate(CandidateType type, const char* address) {
  return {type, Address::parse(address).value(), SocketId()};
}

path::SideProfile any_profile() {
  path::SideProfile profile;
  profile.udp.mapping = nat::Dependence::kAddressAndPortDependent;
  profile.udp.filtering = nat::Dependence::kAddressDependent;
  profile.udp.allocation = nat::PortAllocation::kSequential;
  profile.udp.external = IpAddress::v4(203, 0, 113, 7);
  profile.udp.last_port = 65'535;
  profile.udp.step = -2;
  profile.udp.is_spoilt_by_unsolicited = true;
  profile.tcp.allocation = nat::PortAllocation::kBlocks;
  profile.tcp.block = {2048, 3071};
  profile.tcp.is_translated = false;
  profile.tcp.is_blocked = true;
  profile.methods = path::MethodSet::all().without(path::Method::kBirthday);
  profile.entries_left = 700;
  return profile;
}

PeerSignal offer() {
  PeerSignal signal;
  signal.from = kAlice.id();
  signal.to = kBob.id();
  signal.attempt.fill(std::byte{0x11});
  signal.agreement_key.fill(std::byte{0x22});
  signal.tag = path::FinderTag(0x33445566);
  signal.candidates = {candidate(CandidateType::kHost, "192.168.1.2:4000"),
                       candidate(CandidateType::kServerReflexive, "203.0.113.7:4001"),
                       candidate(CandidateType::kMapped, "[2001:db8::7]:65535")};
  signal.incarnation = 7;
  signal.sequence = 8;
  return signal;
}

Result<PeerSignal> decode_at_bob(ByteView bytes) {
  return decode_signal(bytes, kAlice.id(), kBob.id());
}

/// Signed as encode_signal() does, over a body that it would not write.
Bytes sign_body(const peer::SignalBody& body, const IdentityKey& key) {
  peer::SignedSignal message;
  message.set_body(body.SerializeAsString());
  const auto signature = key.sign(as_bytes("openp2p signal 1" + message.body()));
  message.set_signature(std::string(as_text(signature)));
  return to_bytes(as_bytes(message.SerializeAsString()));
}

peer::SignalBody body_of(const PeerSignal& signal) {
  peer::SignedSignal message;
  peer::SignalBody body;
  const Bytes bytes = encode_signal(signal, kAlice.key());
  EXPECT_TRUE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_TRUE(body.ParseFromString(message.body()));
  return body;
}

TEST(PeerSignal, EveryKindComesBackAsItWas) {
  for (const auto kind :
       {PeerSignal::Kind::kOffer, PeerSignal::Kind::kAnswer, PeerSignal::Kind::kCandidates,
        PeerSignal::Kind::kRefusal, PeerSignal::Kind::kChallenge, PeerSignal::Kind::kNews}) {
    PeerSignal sent = offer();
    sent.kind = kind;
    sent.reason = kind == PeerSignal::Kind::kRefusal ? "busy" : "";
    const bool is_brief = kind >= PeerSignal::Kind::kRefusal;
    if (!is_brief) sent.profile = any_profile();
    sent.echo = 0xfedcba9876543210;
    sent.candidates[1].transport = path::Transport::kTcp;
    sent.server_rtt = 31ms;
    sent.round = 3;

    const auto got = decode_at_bob(encode_signal(sent, kAlice.key()));

    ASSERT_TRUE(got) << got.error().message();
    EXPECT_EQ(got->from, sent.from);
    EXPECT_EQ(got->to, sent.to);
    EXPECT_EQ(got->attempt, sent.attempt);
    EXPECT_EQ(got->kind, kind);
    EXPECT_EQ(got->agreement_key, sent.agreement_key);
    EXPECT_EQ(got->tag, sent.tag);
    EXPECT_EQ(got->reason, sent.reason);
    EXPECT_EQ(got->incarnation, 7U);
    EXPECT_EQ(got->sequence, 8U);
    EXPECT_EQ(got->echo, sent.echo);
    EXPECT_EQ(got->profile, sent.profile);
    EXPECT_EQ(got->server_rtt, sent.server_rtt);
    EXPECT_EQ(got->round, 3U);
    ASSERT_EQ(got->candidates.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(got->candidates[i].type, sent.candidates[i].type);
      EXPECT_EQ(got->candidates[i].transport, sent.candidates[i].transport);
      EXPECT_EQ(got->candidates[i].address, sent.candidates[i].address);
    }
  }
}

TEST(PeerSignal, NonsenseAboutNatsIsReadAsUnknown) {
  peer::SignalBody body = body_of(offer());
  peer::NatProfile& udp = *body.mutable_udp();
  udp.set_external_ip(std::string(16, 'x'));
  udp.set_last_port(70'000);
  udp.set_step(1 << 30);
  udp.set_block_first(3000);
  udp.set_block_last(2000);
  body.set_server_rtt_us(4'000'000'000);
  body.set_round(4'000'000'000);

  const auto got = decode_at_bob(sign_body(body, kAlice.key()));

  ASSERT_TRUE(got) << got.error().message();
  EXPECT_TRUE(got->profile.udp.external.is_unspecified());
  EXPECT_EQ(got->profile.udp.last_port, 0);
  EXPECT_EQ(got->profile.udp.step, 1'024);
  EXPECT_EQ(got->profile.udp.block.size(), 0U);
  EXPECT_EQ(got->server_rtt, 2s);
  EXPECT_EQ(got->round, 1'000'000U);
}

TEST(PeerSignal, OnlyItsSenderCanHaveSignedIt) {
  const Bytes forged = encode_signal(offer(), kEve.key());
  EXPECT_EQ(decode_at_bob(forged).error(), SignalError::kBadSignature);

  const Bytes good = encode_signal(offer(), kAlice.key());
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes changed = good;
    changed[i] ^= std::byte{1};
    EXPECT_FALSE(decode_at_bob(changed)) << "byte " << i;
  }
}

TEST(PeerSignal, TheServerCannotRedirectIt) {
  const Bytes good = encode_signal(offer(), kAlice.key());
  EXPECT_EQ(decode_signal(good, kAlice.id(), kEve.id()).error(), SignalError::kNotForUs);
  EXPECT_EQ(decode_signal(good, kEve.id(), kBob.id()).error(), SignalError::kBadSignature);

  PeerSignal of_eve = offer();  // Signed by Eve, but speaks for Alice.
  const auto got = decode_signal(encode_signal(of_eve, kEve.key()), kEve.id(), kBob.id());
  EXPECT_EQ(got.error(), SignalError::kNotForUs);
}

TEST(PeerSignal, EveryTruncationIsRefused) {
  const Bytes good = encode_signal(offer(), kAlice.key());
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(decode_at_bob(ByteView(good).first(size))) << size;
  }
}

TEST(PeerSignal, AnOversizedOneIsRefused) {
  PeerSignal large = offer();
  large.reason = std::string(PeerSignal::kBytesMax, 'x');

  EXPECT_EQ(decode_at_bob(encode_signal(large, kAlice.key())).error(), SignalError::kMalformed);
}

TEST(PeerSignal, TheLargestHonestOneFits) {
  PeerSignal large = offer();
  large.candidates.assign(PeerSignal::kCandidatesMax,
                          candidate(CandidateType::kHost, "[2001:db8::7]:65535"));

  const Bytes bytes = encode_signal(large, kAlice.key());

  EXPECT_LE(bytes.size(), PeerSignal::kBytesMax);
  const auto got = decode_at_bob(bytes);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->candidates.size(), PeerSignal::kCandidatesMax);
}

TEST(PeerSignal, OneCandidateTooManyIsLeftOut) {
  PeerSignal many = offer();
  for (int port = 1; port <= 33; ++port) {
    many.candidates.push_back(candidate(CandidateType::kHost, "192.168.1.2:1"));
  }
  EXPECT_EQ(decode_at_bob(encode_signal(many, kAlice.key()))->candidates.size(),
            PeerSignal::kCandidatesMax);

  peer::SignalBody body = body_of(offer());
  while (body.candidates_size() < 300) *body.add_candidates() = body.candidates(0);
  const auto got = decode_at_bob(sign_body(body, kAlice.key()));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->candidates.size(), PeerSignal::kCandidatesMax);
}

TEST(PeerSignal, CandidatesThatMakeNoSenseAreSkipped) {
  peer::SignalBody body = body_of(offer());
  body.mutable_candidates(0)->set_port(0);
  body.mutable_candidates(1)->set_port(65'536);
  body.mutable_candidates(2)->set_ip("abc");
  peer::Candidate& relayed = *body.add_candidates();
  relayed = body.candidates(0);
  relayed.set_port(1);
  relayed.set_type(peer::Candidate::RELAYED);
  peer::Candidate& unknown = *body.add_candidates();
  unknown = relayed;
  unknown.set_type(static_cast<peer::Candidate::Type>(77));

  const auto got = decode_at_bob(sign_body(body, kAlice.key()));

  ASSERT_TRUE(got);
  EXPECT_TRUE(got->candidates.empty());
}

TEST(PeerSignal, FieldsOfTheWrongSizeOrKindAreRefused) {
  const auto is_malformed = [](const peer::SignalBody& body) {
    const auto got = decode_at_bob(sign_body(body, kAlice.key()));
    return !got && got.error() == SignalError::kMalformed;
  };
  peer::SignalBody body = body_of(offer());
  EXPECT_FALSE(is_malformed(body));

  body.set_attempt("short");
  EXPECT_TRUE(is_malformed(body));
  body = body_of(offer());
  body.set_from("short");
  EXPECT_TRUE(is_malformed(body));
  body = body_of(offer());
  body.set_kind(static_cast<peer::SignalBody::Kind>(7));
  EXPECT_TRUE(is_malformed(body));
  body.set_kind(peer::SignalBody::UNKNOWN);
  EXPECT_TRUE(is_malformed(body));
  body = body_of(offer());
  body.set_agreement_key(std::string(31, 'k'));
  EXPECT_TRUE(is_malformed(body));
  body = body_of(offer());
  body.set_tag(0);
  EXPECT_TRUE(is_malformed(body));
}

TEST(PeerSignal, AReasonIsFitForATerminal) {
  PeerSignal refusal = offer();
  refusal.kind = PeerSignal::Kind::kRefusal;
  refusal.reason = "no\x1b[2J\n";

  EXPECT_EQ(decode_at_bob(encode_signal(refusal, kAlice.key()))->reason, "no?[2J?");
}

TEST(PeerSignal, AKeyOfLowOrderGivesNoSecret) {
  sim::SeededSecrets secrets(9);
  const AgreementKey ours = AgreementKey::generate(secrets);
  AgreementKey::PublicKey low{};
  EXPECT_FALSE(ours.agree(low));
  low[0] = std::byte{1};
  EXPECT_FALSE(ours.agree(low));
}

TEST(CheckKey, BothSidesHaveItAndNobodyElse) {
  sim::SeededSecrets secrets(4);
  const AgreementKey a = AgreementKey::generate(secrets), b = AgreementKey::generate(secrets);
  const AgreementKey other = AgreementKey::generate(secrets);
  const AttemptId attempt = offer().attempt;
  AttemptId next = attempt;
  next[0] ^= std::byte{1};

  const auto key = derive_check_key(*a.agree(b.public_key()), attempt, kAlice.id(), kBob.id());

  EXPECT_EQ(key, derive_check_key(*b.agree(a.public_key()), attempt, kAlice.id(), kBob.id()));
  EXPECT_NE(key, derive_check_key(*b.agree(a.public_key()), attempt, kBob.id(), kAlice.id()));
  EXPECT_NE(key, derive_check_key(*b.agree(a.public_key()), next, kAlice.id(), kBob.id()));
  EXPECT_NE(key, derive_check_key(*other.agree(b.public_key()), attempt, kAlice.id(), kBob.id()));
}

}  // namespace
}  // namespace openp2p::agent
