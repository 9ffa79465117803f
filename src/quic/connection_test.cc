#include "quic/connection.h"

#include <gtest/gtest.h>

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

Bytes patterned(std::uint64_t seed, std::size_t size) {
  Bytes data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = pattern(seed, i);
  return data;
}

/// Writes all of `data` to a stream as room comes, then finishes it.
class Sender {
 public:
  Sender(Party& party, StreamId id, Bytes data) : party_(party), id_(id), data_(std::move(data)) {}
  void push() {
    if (is_done_) return;
    sent_ += party_.connection->write(id_, ByteView(data_).subspan(sent_));
    if (sent_ < data_.size()) return;
    party_.connection->finish(id_);
    is_done_ = true;
  }
  StreamId id() const { return id_; }
  const Bytes& data() const { return data_; }

 private:
  Party& party_;
  StreamId id_;
  Bytes data_;
  std::size_t sent_ = 0;
  bool is_done_ = false;
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

TEST_P(ConnectionTest, CarriesStreamsBothWaysOverABadNetwork) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Pair pair(*protection, seed);
    pair.rules = {.loss = 0.1, .duplication = 0.05, .reordering = 0.3};
    ASSERT_TRUE(pair.connect());
    std::vector<std::unique_ptr<Sender>> senders;
    for (Party* party : {&pair.client, &pair.server}) {
      for (std::uint64_t i = 0; i < 3; ++i) {
        const auto id = party->connection->open_stream();
        ASSERT_TRUE(id.has_value());
        senders.push_back(std::make_unique<Sender>(*party, *id, patterned(i, 40'000 + i * 70'000)));
        senders.back()->push();
      }
      party->when_writable = [&senders](StreamId id) {
        for (auto& sender : senders) {
          if (sender->id() == id) sender->push();
        }
      };
      party->when_data = [party](StreamId id, ByteView, bool is_end) {
        if (is_end) party->connection->finish(id);
      };
    }

    const bool done = pair.run(
        120s, [&] { return pair.client.closed_streams == 6 && pair.server.closed_streams == 6; });

    ASSERT_TRUE(done);
    for (std::size_t i = 0; i < senders.size(); ++i) {
      Party& receiver = i < 3 ? pair.server : pair.client;
      EXPECT_TRUE(receiver.streams[senders[i]->id()].data == senders[i]->data());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, ConnectionTest,
                         testing::Values(Backend::kGnutls, Backend::kIpsecMb),
                         [](const auto& test) {
                           return test.param == Backend::kGnutls ? "Gnutls" : "IpsecMb";
                         });

}  // namespace
}  // namespace openp2p::quic
