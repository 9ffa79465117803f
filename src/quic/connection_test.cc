#include "quic/connection.h"

#include <gtest/gtest.h>

#include <set>

#include "quic/test_pair.h"

namespace openp2p::quic {
namespace {

using namespace std::chrono_literals;

class ConnectionTest : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    protection = make_packet_protection(GetParam());
    if (!protection) GTEST_SKIP() << "this machine has no such back end";
  }
  std::unique_ptr<PacketProtection> protection;
};

TEST_P(ConnectionTest, HandshakeProvesBothKeys) {
  Pair pair(*protection);

  ASSERT_TRUE(pair.connect());

  EXPECT_EQ(pair.client.authenticated_peer, pair.server.identity.id());
  EXPECT_EQ(pair.server.authenticated_peer, pair.client.identity.id());
  EXPECT_EQ(pair.client.connection->peer(), pair.server.identity.id());
  EXPECT_GT(pair.server.connection->packets_opened(), 0u);
  EXPECT_FALSE(pair.client.closed);
  EXPECT_EQ(pair.now.time_since_epoch(), 30ms);  // One and a half round trips.
}

TEST_P(ConnectionTest, ClientRefusesAnUnexpectedServer) {
  Pair pair(*protection);
  pair.client.expected = identity_of(9).id();

  EXPECT_FALSE(pair.connect());

  ASSERT_TRUE(pair.client.closed && pair.server.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(pair.server.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(pair.client.asked_about, pair.server.identity.id());
  EXPECT_FALSE(pair.client.authenticated_peer);
  EXPECT_FALSE(pair.server.authenticated_peer);
}

TEST_P(ConnectionTest, ServerRefusesAnUnknownClient) {
  Pair pair(*protection);
  pair.server.expected = identity_of(9).id();

  EXPECT_FALSE(pair.connect());

  ASSERT_TRUE(pair.client.closed && pair.server.closed);
  EXPECT_EQ(pair.server.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(pair.server.asked_about, pair.client.identity.id());
  EXPECT_FALSE(pair.server.authenticated_peer);
}

TEST_P(ConnectionTest, RefusesAnotherProtocolVersion) {
  Pair pair(*protection);
  pair.client.config.alpn = "openp2p/2";

  EXPECT_FALSE(pair.connect());

  ASSERT_TRUE(pair.client.closed && pair.server.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(pair.server.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(pair.server.closed->text, "the peer speaks another protocol version");
}

TEST_P(ConnectionTest, ExportsEqualKeysBoundToLabelAndContext) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  const auto key = [](Party& party, std::string_view label, std::string_view context) {
    Bytes out(32);
    party.connection->export_key(label, as_bytes(context), out);
    return to_hex(out);
  };

  EXPECT_EQ(key(pair.client, "EXPORTER-a", "c"), key(pair.server, "EXPORTER-a", "c"));
  EXPECT_NE(key(pair.client, "EXPORTER-a", "c"), key(pair.client, "EXPORTER-b", "c"));
  EXPECT_NE(key(pair.client, "EXPORTER-a", "c"), key(pair.client, "EXPORTER-a", "d"));
}

TEST_P(ConnectionTest, GivesUpAHandshakeThatNobodyAnswers) {
  Pair pair(*protection);
  pair.rules.loss = 1;
  pair.dial();

  pair.run(60s, [&] { return pair.client.closed.has_value(); });

  ASSERT_TRUE(pair.client.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kHandshakeTimeout);
  EXPECT_GE(pair.now.time_since_epoch(), 10s);
  EXPECT_LT(pair.now.time_since_epoch(), 11s);
  EXPECT_FALSE(pair.client.connection->next_timeout());
}

TEST_P(ConnectionTest, EndsWhenNothingIsHeard) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  pair.rules.loss = 1;

  pair.run(300s, [&] { return pair.client.closed && pair.server.closed; });

  ASSERT_TRUE(pair.client.closed && pair.server.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kIdle);
  EXPECT_EQ(pair.server.closed->kind, CloseReason::Kind::kIdle);
  EXPECT_LT(pair.now.time_since_epoch(), 100s);
}

TEST_P(ConnectionTest, StaysAliveWhileIdle) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  const std::size_t before = pair.datagrams;

  pair.run(600s);

  EXPECT_FALSE(pair.client.closed);
  EXPECT_FALSE(pair.server.closed);
  EXPECT_LE(pair.datagrams - before, 60u);  // One side asks each 25 s, and the other answers.
}

TEST_P(ConnectionTest, TellsThePeerWhyItCloses) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());

  pair.server.connection->close(kErrorCodeMax, "no \x1b[31mspace", pair.now);
  EXPECT_TRUE(pair.server.connection->is_closed());
  pair.run(10s);

  ASSERT_TRUE(pair.client.closed && pair.server.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kPeer);
  EXPECT_EQ(pair.client.closed->code, kErrorCodeMax);
  EXPECT_EQ(pair.client.closed->text, "no ?[31mspace");
  EXPECT_EQ(pair.server.closed->kind, CloseReason::Kind::kLocal);
  EXPECT_FALSE(pair.client.connection->next_timeout());
  EXPECT_FALSE(pair.server.connection->next_timeout());
}

TEST_P(ConnectionTest, RepeatsItsCloseEverMoreRarely) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  pair.keeps_datagrams = true;
  const auto id = pair.client.connection->open_stream();
  pair.client.connection->write(*id, as_bytes("hello"));
  pair.run(5ms);
  ASSERT_FALSE(pair.kept.empty());
  const Bytes late = pair.kept.front().second;
  pair.server.connection->close(1, "", pair.now);
  Bytes buffer(2000);
  std::size_t answers = 0;

  for (int i = 0; i < 1000; ++i) {
    if (pair.server.connection->poll_burst(buffer, 1350, pair.now).bytes > 0) ++answers;
    pair.server.connection->on_datagram(late, pair.now);
  }

  EXPECT_GT(answers, 3u);
  EXPECT_LE(answers, 11u);
}

TEST_P(ConnectionTest, BelievesAStatelessReset) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  pair.run(1s);
  pair.keeps_datagrams = true;
  pair.server.connection.reset();  // It restarts with the same identity.
  Party restarted(2, *protection);
  const auto id = pair.client.connection->open_stream();
  pair.client.connection->write(*id, Bytes(100));
  Bytes buffer(2000);
  const Burst burst = pair.client.connection->poll_burst(buffer, 1350, pair.now);
  ASSERT_GT(burst.bytes, 0u);

  Bytes answer(1200);
  answer.resize(
      restarted.factory.write_stateless_reset(ByteView(buffer).first(burst.bytes), answer));
  ASSERT_GT(answer.size(), 0u);
  EXPECT_LT(answer.size(), burst.bytes);
  pair.inject(pair.client, answer);

  ASSERT_TRUE(pair.client.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kProtocol);
}

TEST_P(ConnectionTest, RetryProvesTheClientsAddress) {
  Pair pair(*protection);
  pair.token_required = true;

  ASSERT_TRUE(pair.connect());

  EXPECT_EQ(pair.now.time_since_epoch(), 50ms);  // One round trip more.
}

TEST_P(ConnectionTest, RefusesForeignOldAndMissingTokens) {
  Pair pair(*protection);
  pair.token_required = true;
  pair.keeps_datagrams = true;
  ASSERT_TRUE(pair.connect());
  Bytes with_token, without_token;
  for (const auto& [to_server, datagram] : pair.kept) {
    const auto initial = ConnectionFactory::inspect(datagram);
    if (!to_server || initial.kind != ConnectionFactory::InitialKind::kAccept) continue;
    Bytes& first = initial.has_token ? with_token : without_token;
    if (first.empty()) first = datagram;
  }
  ASSERT_FALSE(with_token.empty());
  ASSERT_FALSE(without_token.empty());
  Party& server = pair.server;
  const auto accept = [&](const Bytes& datagram, std::string_view client, TimePoint now) {
    return server.factory.accept(datagram, as_bytes(client), /*token_required=*/true, {}, server,
                                 server, now) != nullptr;
  };

  EXPECT_TRUE(accept(with_token, "192.0.2.1:7", pair.now));
  EXPECT_FALSE(accept(with_token, "192.0.2.1:8", pair.now));
  EXPECT_FALSE(accept(with_token, "192.0.2.1:7", pair.now + 11s));
  EXPECT_FALSE(accept(without_token, "192.0.2.1:7", pair.now));
}

TEST_P(ConnectionTest, NegotiatesNoOtherVersion) {
  Pair pair(*protection);
  pair.dial();
  Bytes first(1350);
  first.resize(pair.client.connection->poll_burst(first, 1350, pair.now).bytes);
  Bytes other = first;
  other[1] = std::byte{0x1a};
  Bytes answer(1200);

  EXPECT_EQ(ConnectionFactory::inspect(other).kind,
            ConnectionFactory::InitialKind::kVersionNegotiation);
  answer.resize(pair.server.factory.write_version_negotiation(other, answer));
  ASSERT_GT(answer.size(), 0u);
  EXPECT_EQ(pair.server.factory.write_version_negotiation(answer, other), 0u);  // No loop.
  // A negotiation that offers the version in use must be ignored (RFC 9000 section 6.2).
  pair.inject(pair.client, answer);
  EXPECT_FALSE(pair.client.closed);
  answer[answer.size() - 1] = std::byte{0x7f};
  pair.inject(pair.client, answer);

  ASSERT_TRUE(pair.client.closed);
  EXPECT_EQ(pair.client.closed->kind, CloseReason::Kind::kRefused);
}

TEST_P(ConnectionTest, ReportsEveryIdThatDatagramsCarry) {
  Pair pair(*protection);
  pair.keeps_datagrams = true;
  ASSERT_TRUE(pair.connect());
  pair.run(5s);
  std::array<std::set<Connection::ConnectionId>, 2> known;
  for (Party* party : {&pair.client, &pair.server}) {
    while (const auto change = party->connection->poll_id_change()) {
      if (change->is_added) known[party == &pair.server].insert(change->id);
    }
  }
  for (const auto& [to_server, datagram] : pair.kept) {
    const auto id = destination_id(datagram);
    ASSERT_TRUE(id);
    EXPECT_TRUE(known[to_server].contains(*id));
  }
}

TEST_P(ConnectionTest, DialsTheIdThatWasAskedFor) {
  Pair pair(*protection);
  pair.client.config.initial_destination = 0x0102030405060708;
  pair.keeps_datagrams = true;

  ASSERT_TRUE(pair.connect());

  EXPECT_EQ(destination_id(pair.kept.front().second), 0x0102030405060708u);
}

TEST_P(ConnectionTest, CountsWhatArrivedAndWhatWasLost) {
  for (const double loss : {0.0, 0.2}) {
    SCOPED_TRACE(loss);
    Pair pair(*protection, 3);
    ASSERT_TRUE(pair.connect());
    pair.rules.loss = loss;
    const auto id = pair.client.connection->open_stream();
    Sender sender(pair.client, *id, patterned(1, 300'000));
    pair.client.when_writable = [&](StreamId) { sender.push(); };
    sender.push();
    pair.server.when_data = [&](StreamId open, ByteView, bool is_end) {
      if (is_end) pair.server.connection->finish(open);
    };
    EXPECT_TRUE(pair.client.connection->traffic().has_unsent);

    ASSERT_TRUE(pair.run(60s, [&] { return pair.client.closed_streams == 1; }));

    const Traffic traffic = pair.client.connection->traffic();
    EXPECT_EQ(traffic.bytes_acknowledged, 300'000U);
    EXPECT_FALSE(traffic.has_unsent);
    EXPECT_GT(traffic.packets_sent, 300'000U / 1'472);
    const double part =
        static_cast<double>(traffic.packets_lost) / static_cast<double>(traffic.packets_sent);
    EXPECT_NEAR(part, loss, loss / 3) << "of closed streams too";
  }
}

TEST_P(ConnectionTest, GivesTheSamePacketTimesForTheSameSeed) {
  const auto trace = [&] {
    Pair pair(*protection, 5);
    pair.rules = {.loss = 0.1, .reordering = 0.2};
    EXPECT_TRUE(pair.connect());
    const auto id = pair.client.connection->open_stream();
    Sender sender(pair.client, *id, patterned(1, 300'000));
    sender.push();
    pair.run(60s, [&] { return pair.server.streams[*id].is_end; });
    return std::pair(pair.now, pair.datagrams);
  };

  EXPECT_EQ(trace(), trace());
}

INSTANTIATE_TEST_SUITE_P(Backends, ConnectionTest,
                         testing::Values(Backend::kGnutls, Backend::kIpsecMb),
                         [](const auto& test) {
                           return test.param == Backend::kGnutls ? "Gnutls" : "IpsecMb";
                         });

}  // namespace
}  // namespace openp2p::quic
