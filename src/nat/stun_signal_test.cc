#include "nat/stun_signal.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace openp2p::nat {
namespace {

TransactionId any_transaction() {
  TransactionId id;
  Random(1).fill(id.bytes);
  return id;
}

Bytes random_signal(std::size_t size) {
  Bytes signal(size);
  Random(size).fill(signal);
  return signal;
}

Bytes encoded(ByteView signal) {
  Bytes out(kStunBytesMax);
  out.resize(encode_stun_signal(any_transaction(), signal, out));
  return out;
}

TEST(StunSignal, ComesBackAtEverySize) {
  for (std::size_t size = 0; size <= kStunSignalBytesMax; ++size) {
    const Bytes signal = random_signal(size);

    const Bytes datagram = encoded(signal);

    ASSERT_TRUE(looks_like_stun(datagram)) << size;
    const auto read = decode_stun_signal(datagram);
    ASSERT_TRUE(read) << size;
    EXPECT_EQ(to_bytes(*read), signal);
  }
}

TEST(StunSignal, IsAnIndicationToOthersWithNothingTheyMustUnderstand) {
  const auto message = decode_stun(encoded(random_signal(100)));

  ASSERT_TRUE(message);
  EXPECT_EQ(message->message_class, StunClass::kIndication);
  EXPECT_EQ(message->method, kBindingMethod);
  EXPECT_EQ(message->transaction, any_transaction());
  EXPECT_EQ(message->unknown_attribute, 0);
  EXPECT_TRUE(message->has_fingerprint);
}

TEST(StunSignal, TooLongOnesAreNotWritten) {
  EXPECT_TRUE(encoded(random_signal(kStunSignalBytesMax + 1)).empty());
}

TEST(StunSignal, NothingIsWrittenWhereThereIsNoRoom) {
  const Bytes signal = random_signal(50);
  const std::size_t whole = encoded(signal).size();

  for (std::size_t room = 0; room < whole; ++room) {
    Bytes out(room);
    EXPECT_EQ(encode_stun_signal(any_transaction(), signal, out), 0U) << room;
  }
}

TEST(StunSignal, AChangedByteAnywhereIsNoticed) {
  const Bytes datagram = encoded(random_signal(64));

  for (std::size_t at = 0; at < datagram.size(); ++at) {
    Bytes changed = datagram;
    changed[at] ^= std::byte{0x40};
    EXPECT_FALSE(decode_stun_signal(changed)) << at;
  }
}

TEST(StunSignal, OtherStunMessagesAreNone) {
  for (const StunClass message_class : {StunClass::kRequest, StunClass::kIndication}) {
    StunMessage message;
    message.message_class = message_class;
    message.has_fingerprint = true;
    Bytes out(kStunBytesMax);
    out.resize(encode_stun(message, {}, out));
    EXPECT_FALSE(decode_stun_signal(out));
  }
}

}  // namespace
}  // namespace openp2p::nat
