#include "relay/relay_message.h"

#include <gtest/gtest.h>

#include "relay/test_ids.h"
#include "wire/codec.h"

namespace openp2p::relay {
namespace {

template <class Message>
Message through_end(const Message& message) {
  const auto back = decode_end_message(encode(EndMessage(message)));
  EXPECT_TRUE(back);
  const auto* same = back ? std::get_if<Message>(&*back) : nullptr;
  EXPECT_NE(same, nullptr);
  return same == nullptr ? Message() : *same;
}

template <class Message>
Message through_relay(const Message& message) {
  const auto back = decode_relay_message(encode(RelayMessage(message)));
  EXPECT_TRUE(back);
  const auto* same = back ? std::get_if<Message>(&*back) : nullptr;
  EXPECT_NE(same, nullptr);
  return same == nullptr ? Message() : *same;
}

TEST(RelayMessage, AllocateRoundTripsWithAndWithoutTicket) {
  Ticket ticket;
  ticket.step = 77;
  ticket.code.fill(std::byte{4});
  const auto with = through_end(AllocateMessage{5, node(1), ticket});
  EXPECT_EQ(with.number, 5u);
  EXPECT_EQ(with.peer, node(1));
  EXPECT_EQ(with.ticket, ticket);
  EXPECT_EQ(through_end(AllocateMessage{5, node(1), std::nullopt}).ticket, std::nullopt);
}

TEST(RelayMessage, OthersOfAnEndRoundTrip) {
  EXPECT_EQ(through_end(ReleaseMessage{kChannelMax}).channel, kChannelMax);
  ReceiptMessage receipt;
  receipt.channel = 3;
  receipt.receipt.body.fill(std::byte{1});
  receipt.receipt.signature.fill(std::byte{2});
  const ReceiptMessage same = through_end(receipt);
  EXPECT_EQ(same.receipt.body, receipt.receipt.body);
  EXPECT_EQ(same.receipt.signature, receipt.receipt.signature);
  const auto letter = through_end(LetterMessage{node(2), Bytes(kLetterBytesMax, std::byte{7})});
  EXPECT_EQ(letter.node, node(2));
  EXPECT_EQ(letter.body.size(), kLetterBytesMax);
}

TEST(RelayMessage, ThoseOfARelayRoundTrip) {
  const auto allocated = through_relay(AllocatedMessage{1, 2, 10'000'000, true});
  EXPECT_EQ(allocated.channel, 2u);
  EXPECT_EQ(allocated.bits_per_second, 10'000'000u);
  EXPECT_TRUE(allocated.is_peer_there);
  const auto refused = through_relay(RefusedMessage{9, RefusalCode::kRelayedHop, "no"});
  EXPECT_EQ(refused.code, RefusalCode::kRelayedHop);
  EXPECT_EQ(refused.text, "no");
  EXPECT_EQ(through_relay(JoinedMessage{4}).channel, 4u);
  EXPECT_EQ(through_relay(LeftMessage{4, "gone"}).text, "gone");
  EXPECT_EQ(through_relay(ReceiptWantedMessage{4}).channel, 4u);
  EXPECT_EQ(through_relay(LetterFailedMessage{node(8)}).node, node(8));
}

TEST(RelayMessage, TextsAreSafeToShowAndShort) {
  const auto left = through_relay(LeftMessage{4, "a\x1b[2Jb" + std::string(9'000, 'x')});
  EXPECT_EQ(left.text.find('\x1b'), std::string::npos);
  EXPECT_LE(left.text.size(), kTextBytesMax + 8);
}

TEST(RelayMessage, WithANumberThatIsNoChannelIsMalformed) {
  // Field 2 (release), length 5: field 1, varint 2^23.
  constexpr std::string_view kRelease("\x12\x05\x08\x80\x80\x80\x04", 7);
  EXPECT_EQ(decode_end_message(as_bytes(kRelease)).error(), WireError::kMalformed);
}

TEST(RelayMessage, TooLongIsRefusedUnparsed) {
  EXPECT_EQ(decode_end_message(Bytes(kMessageBytesMax + 1)).error(), WireError::kTooLong);
  EXPECT_EQ(decode_relay_message(Bytes(kMessageBytesMax + 1)).error(), WireError::kTooLong);
}

TEST(RelayMessage, OfANewerVersionIsUnknown) {
  constexpr std::string_view kField15("\x7a\x02hi", 4);
  const auto message = decode_end_message(as_bytes(kField15));
  ASSERT_TRUE(message);
  EXPECT_TRUE(std::holds_alternative<UnknownMessage>(*message));
}

TEST(RelayMessage, CutAnywhereNeverPassesForAWholeTicket) {
  const Bytes whole = encode(EndMessage(AllocateMessage{5, node(1), Ticket{}}));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto message = decode_end_message(ByteView(whole).first(size));
    if (!message) continue;
    EXPECT_TRUE(std::holds_alternative<UnknownMessage>(*message)) << size;
  }
}

}  // namespace
}  // namespace openp2p::relay
