#include "forward/udp_flow.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "forward/test_datagram_ends.h"
#include "quic/counting_new.h"

namespace openp2p::forward {
namespace {

constexpr TimePoint kNow{};
constexpr auto kUse = session::SealedUse::kForward;

/// One node: its end of the session, its flow, and what the flow's owner was told.
struct Side final : UdpFlowOwner {
  Side() { flow = std::make_unique<UdpFlow>(session, DatagramSession::kStream, flows, *this); }
  void on_datagram(UdpFlow&, ByteView datagram) override {
    if (keeps) received.emplace_back(as_text(datagram));
    ++count;
  }
  void on_datagrams_end(UdpFlow&) override { ++ends; }
  void on_answer(UdpFlow&, const OpenAnswer& answer) override { answers.push_back(answer); }
  void on_finished(UdpFlow&) override { ++finishes; }

  DatagramSession session;
  SealedFlows flows{session};
  std::unique_ptr<UdpFlow> flow;
  std::vector<std::string> received;
  std::vector<OpenAnswer> answers;
  bool keeps = true;
  int count = 0;
  int ends = 0;
  int finishes = 0;
};

struct Harness {
  OpenRequest request{.kind = StreamKind::kUdp, .host = "nas", .port = 53};

  void open(const EarlyDatagrams& early = {}) { opener.flow->open(request, early); }
  /// The stream's bytes in pieces, and all that is sealed.
  void carry_up(std::size_t piece = SIZE_MAX) {
    ByteView data = opener.session.sent;
    if (!is_accepted) {
      OpenDecoder<OpenRequest> decoder;
      const auto used = decoder.feed(data);
      ASSERT_TRUE(used && decoder.message());
      EXPECT_EQ(decoder.message()->kind, StreamKind::kUdp);
      EXPECT_EQ(decoder.message()->host, "nas");
      EXPECT_EQ(decoder.message()->port, 53);
      is_accepted = true;
      acceptor.flow->accept({}, false);
      data = data.subspan(*used);
    }
    carry_stream(data, *acceptor.flow, piece);
    if (opener.session.is_finished) acceptor.flow->on_stream_data({}, true);
    opener.session.sent.clear();
    carry_sealed(opener.session, acceptor);
  }
  void carry_down(std::size_t piece = SIZE_MAX) {
    carry_stream(acceptor.session.sent, *opener.flow, piece);
    if (acceptor.session.is_finished) opener.flow->on_stream_data({}, true);
    acceptor.session.sent.clear();
    carry_sealed(acceptor.session, opener);
  }
  void establish() {
    open();
    carry_up();
    acceptor.flow->set_opened();
    carry_down();
  }

  Side opener, acceptor;
  bool is_accepted = false;

 private:
  static void carry_stream(ByteView data, UdpFlow& to, std::size_t piece) {
    while (!data.empty()) {
      const std::size_t size = std::min(piece, data.size());
      to.on_stream_data(data.first(size), false);
      data = data.subspan(size);
    }
  }
  static void carry_sealed(DatagramSession& from, Side& to) {
    for (std::size_t i = 0; i < from.sealed_count; ++i) {
      to.flows.on_sealed(to.session, kUse, from.sealed[i], kNow);
    }
    from.sealed_count = 0;
    to.flows.on_batch_end();
  }
};

TEST(UdpFlow, CarriesDatagramsBothWays) {
  Harness h;
  h.establish();

  h.opener.flow->send(as_bytes("question"));
  h.carry_up();
  h.acceptor.flow->send(as_bytes("answer"));
  h.carry_down();

  EXPECT_EQ(h.acceptor.received, std::vector<std::string>{"question"});
  EXPECT_EQ(h.opener.received, std::vector<std::string>{"answer"});
  EXPECT_EQ(h.acceptor.ends, 1);
  ASSERT_EQ(h.opener.answers.size(), 1U);
  EXPECT_EQ(h.opener.answers[0].status, OpenStatus::kOpened);
  EXPECT_EQ(h.opener.flow->counters().sent, 1U);
  EXPECT_EQ(h.opener.flow->counters().bytes_received, 6U);
}

TEST(UdpFlow, WhatIsSentBeforeTheAnswerGoesOnTheStreamInOrder) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, SIZE_MAX}) {
    Harness h;
    EarlyDatagrams early;
    early.push(as_bytes("first"));
    h.open(early);
    h.opener.flow->send({});
    h.opener.flow->send(as_bytes("third"));
    EXPECT_EQ(h.opener.session.sealed_count, 0U);

    h.carry_up(piece);
    EXPECT_TRUE(h.acceptor.received.empty());  // The destination is not there yet.
    h.acceptor.flow->set_opened();
    h.opener.flow->send(as_bytes("fourth"));
    h.carry_up(piece);
    h.carry_down();
    h.opener.flow->send(as_bytes("fifth"));

    EXPECT_EQ(h.opener.session.sealed_count, 1U);
    EXPECT_EQ(h.acceptor.received, (std::vector<std::string>{"first", "", "third", "fourth"}));
    EXPECT_EQ(h.opener.flow->counters().sent, 5U);
  }
}

// The stream is paced, sealed datagrams are not: whoever is answered has been let in.
TEST(UdpFlow, ASealedDatagramThatOvertakesTheAnswerOpensTheFlow) {
  Harness h;
  h.open();
  h.carry_up();
  h.acceptor.flow->set_opened();
  h.acceptor.flow->send(as_bytes("overtakes"));
  Bytes held;
  held.swap(h.acceptor.session.sent);
  h.carry_down();

  h.opener.flow->send(as_bytes("sealed"));
  EXPECT_EQ(h.opener.session.sealed_count, 1U);
  EXPECT_TRUE(h.opener.session.sent.empty());

  held.swap(h.acceptor.session.sent);
  h.carry_down();
  ASSERT_EQ(h.opener.answers.size(), 1U);
  EXPECT_EQ(h.opener.answers[0].status, OpenStatus::kOpened);
  EXPECT_EQ(h.opener.finishes, 0);
}

TEST(UdpFlow, TooManyEarlyDatagramsAreDroppedAndCounted) {
  Harness h;
  h.open();
  const Bytes large(60'000);
  for (int i = 0; i < 5; ++i) h.opener.flow->send(large);

  h.carry_up();
  h.acceptor.flow->set_opened();

  EXPECT_EQ(h.opener.flow->counters().dropped, 3U);
  EXPECT_EQ(h.acceptor.count, 2);
  EXPECT_EQ(h.acceptor.finishes, 0);
}

TEST(UdpFlow, AStreamWithoutRoomDelaysEarlyDatagramsOnly) {
  Harness h;
  h.opener.session.room_bytes = 10;
  EarlyDatagrams early;
  early.push(as_bytes("waits for room"));
  h.open(early);
  EXPECT_EQ(h.opener.session.sent.size(), 10U);

  h.opener.session.room_bytes = SIZE_MAX;
  h.opener.flow->on_stream_writable();
  h.carry_up();
  h.acceptor.flow->set_opened();

  EXPECT_EQ(h.acceptor.received, std::vector<std::string>{"waits for room"});
}

TEST(UdpFlow, APeerThatSendsTooMuchEarlyIsCutOff) {
  Harness h;
  h.open();
  h.carry_up();
  const Bytes flood(64 << 10);

  for (int i = 0; i < 4; ++i) h.acceptor.flow->on_stream_data(flood, false);

  EXPECT_EQ(h.acceptor.finishes, 1);
  EXPECT_TRUE(h.acceptor.session.is_stopped);
}

TEST(UdpFlow, ALengthThatNoDatagramHasEndsIt) {
  Harness h;
  h.establish();
  const Bytes header(2, std::byte{0xff});

  h.acceptor.flow->on_stream_data(header, false);

  EXPECT_EQ(h.acceptor.finishes, 1);
}

TEST(UdpFlow, SealedDatagramsBeforeTheAnswerAreDropped) {
  Harness h;
  h.open();
  h.carry_up();
  Bytes payload(kWholeHeaderBytes + 3);
  encode_datagram({flow_id_of(DatagramSession::kStream), std::nullopt, as_bytes("bad")}, payload);

  h.acceptor.flows.on_sealed(h.acceptor.session, kUse, payload, kNow);
  h.acceptor.flow->set_opened();

  EXPECT_EQ(h.acceptor.count, 0);
}

TEST(UdpFlow, AnswersThatOvertakeTheOpeningAreTaken) {
  Harness h;
  h.open();
  h.carry_up();
  h.acceptor.flow->set_opened();
  h.acceptor.flow->send(as_bytes("sooner than the stream"));
  const Bytes answer = std::exchange(h.acceptor.session.sent, {});
  h.carry_down();
  EXPECT_EQ(h.opener.received, std::vector<std::string>{"sooner than the stream"});

  h.opener.flow->on_stream_data(answer, false);

  EXPECT_TRUE(h.opener.flow->is_opened());
}

TEST(UdpFlow, ARefusalGivesTheReasonAndEndsIt) {
  Harness h;
  h.open();
  h.carry_up();
  h.acceptor.flow->refuse({OpenStatus::kDenied, "not here"});
  h.opener.flow->on_stream_stopped();  // May be heard of first.
  EXPECT_EQ(h.opener.finishes, 0);
  h.carry_down();

  ASSERT_EQ(h.opener.answers.size(), 1U);
  EXPECT_EQ(h.opener.answers[0].text, "not here");
  EXPECT_EQ(h.opener.finishes, 1);
  EXPECT_EQ(h.acceptor.finishes, 1);
}

TEST(UdpFlow, TroubleOfTheDestinationIsToldAndEndsNothing) {
  Harness h;
  h.establish();

  h.acceptor.flow->tell({OpenStatus::kRefused, "nobody listens"});
  h.carry_down(1);

  ASSERT_EQ(h.opener.answers.size(), 2U);
  EXPECT_EQ(h.opener.answers[1].text, "nobody listens");
  EXPECT_EQ(h.opener.finishes, 0);
}

TEST(UdpFlow, APeerThatReadsNoAnswersGetsNoHalfOnes) {
  Harness h;
  h.establish();
  h.acceptor.session.room_bytes = 5;

  h.acceptor.flow->tell({OpenStatus::kRefused, "nobody listens"});

  EXPECT_TRUE(h.acceptor.session.sent.empty());
}

TEST(UdpFlow, EitherSideEndsBoth) {
  for (const bool is_opener : {true, false}) {
    Harness h;
    h.establish();

    (is_opener ? h.opener : h.acceptor).flow->end();
    is_opener ? h.carry_up() : h.carry_down();

    EXPECT_EQ(h.opener.finishes, 1);
    EXPECT_EQ(h.acceptor.finishes, 1);
    EXPECT_EQ(h.opener.flows.size(), 0U);
    EXPECT_EQ(h.acceptor.flows.size(), 0U);
    h.opener.flow->send(as_bytes("late"));
    EXPECT_EQ(h.opener.session.sealed_count, 0U);
  }
}

TEST(UdpFlow, ALostSessionEndsItAndIsNotUsedAgain) {
  Harness h;
  h.establish();
  h.opener.session.sent.clear();

  h.opener.flow->on_session_lost();
  h.opener.flow->send(as_bytes("late"));
  h.opener.flow->end();

  EXPECT_EQ(h.opener.finishes, 1);
  EXPECT_FALSE(h.opener.session.is_finished);
  EXPECT_EQ(h.opener.session.sealed_count, 0U);
}

TEST(UdpFlow, NonsenseInsteadOfAnAnswerEndsIt) {
  Harness h;
  h.open();
  const Bytes nonsense(20, std::byte{0xee});

  h.opener.flow->on_stream_data(nonsense, false);

  EXPECT_EQ(h.opener.finishes, 1);
  EXPECT_TRUE(h.opener.answers.empty());
}

TEST(UdpFlow, SteadyTrafficAllocatesNothing) {
  Harness h;
  h.establish();
  h.opener.keeps = h.acceptor.keeps = false;
  const Bytes datagram(1'200);
  const auto exchange = [&] {
    for (int i = 0; i < 50; ++i) h.opener.flow->send(datagram);
    h.carry_up();
    for (int i = 0; i < 50; ++i) h.acceptor.flow->send(datagram);
    h.carry_down();
  };
  for (int i = 0; i < 3; ++i) exchange();

  const std::uint64_t before = quic::allocations_so_far();
  for (int i = 0; i < 200; ++i) exchange();

  EXPECT_EQ(quic::allocations_so_far(), before);
  EXPECT_EQ(h.acceptor.count, 50 * 203);
}

}  // namespace
}  // namespace openp2p::forward
