// Law: whatever a client sends is refused, or within every limit of what it is read as.
#include "base/check.h"
#include "server/messages.h"
#include "wire/control_frame.h"

using namespace openp2p;
using namespace openp2p::server;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kControlMessageBytesMax) return 0;
  constexpr std::string_view kAddress = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
  const auto message = decode_client_message(std::as_bytes(std::span(data, size)));
  if (!message) return 0;
  if (const auto* hello = std::get_if<Hello>(&*message)) {
    CHECK(hello->join_secret.size() <= 16 && hello->name.size() <= kNameWishBytesMax);
    for (const std::string* label : {&hello->version, &hello->platform}) {
      CHECK(label->size() <= kLabelBytesMax);
      CHECK(printable(*label) == *label);
    }
  } else if (const auto* signal = std::get_if<SignalRequest>(&*message)) {
    CHECK(signal->body.size() <= kSignalBodyBytesMax);
    CHECK(encode_signal({.from = signal->to,
                         .number = signal->number,
                         .body = signal->body,
                         .sender_address = std::string(kAddress)})
              .size() <= kControlMessageBytesMax);
  } else if (const auto* rename = std::get_if<Rename>(&*message)) {
    CHECK(rename->name.size() <= kNameWishBytesMax);
  } else if (const auto* wish = std::get_if<RelayWish>(&*message)) {
    CHECK(wish->only.size() <= kWishNodesMax && wish->without.size() <= kWishNodesMax);
  } else if (const auto* offer = std::get_if<ShareOffer>(&*message)) {
    CHECK(offer->bits_per_second <= kBitsPerSecondMax);
    CHECK(offer->used_bits_per_second <= kBitsPerSecondMax);
    CHECK(offer->own_bits_per_second <= kBitsPerSecondMax);
    CHECK(offer->allocations <= kAllocationsMax);
  } else if (const auto* receipt = std::get_if<SignedReceipt>(&*message)) {
    CHECK(receipt->body.size() <= kReceiptBytesMax);
  } else if (const auto* report = std::get_if<RelayReport>(&*message)) {
    CHECK(report->rtt_us <= kRttMaxUs && report->loss_permille <= 1'000);
    CHECK(report->bits_per_second <= kBitsPerSecondMax);
  }
  return 0;
}
