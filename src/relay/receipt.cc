#include "relay/receipt.h"

#include <algorithm>
#include <string_view>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::relay {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::string_view kSignatureContext = "openp2p relay receipt 1";

const char* words(ReceiptError error) {
  switch (error) {
    case ReceiptError::kMalformed:
      return "the receipt is malformed";
    case ReceiptError::kBadSignature:
      return "the receipt is not signed by the node that it names";
  }
  return "unknown receipt error";
}

std::array<std::byte, kSignatureContext.size() + Receipt::kBytes> to_be_signed(ByteView body) {
  std::array<std::byte, kSignatureContext.size() + Receipt::kBytes> bytes;
  Writer writer(bytes);
  writer.bytes(as_bytes(kSignatureContext));
  writer.bytes(body);
  CHECK(writer.ok() && writer.size() == bytes.size());
  return bytes;
}

NodeId take_node(Reader& reader) { return *NodeId::from_bytes(*reader.bytes(NodeId::kSize)); }

}  // namespace

std::error_code make_error_code(ReceiptError error) {
  static const ErrorCategory<ReceiptError> kCategory("receipt", words);
  return {static_cast<int>(error), kCategory};
}

std::array<std::byte, Receipt::kBytes> encode(const Receipt& receipt) {
  std::array<std::byte, Receipt::kBytes> bytes;
  Writer writer(bytes);
  writer.u8(kVersion);
  writer.bytes(encode(receipt.ticket));
  writer.bytes(receipt.relay.key);
  writer.bytes(receipt.end.key);
  writer.bytes(receipt.peer.key);
  writer.u64(receipt.bytes);
  CHECK(writer.ok() && writer.size() == bytes.size());
  return bytes;
}

Result<Receipt> decode_receipt(ByteView body) {
  if (body.size() != Receipt::kBytes) return ReceiptError::kMalformed;
  Reader reader(body);
  if (*reader.u8() != kVersion) return ReceiptError::kMalformed;
  const auto ticket = decode_ticket(*reader.bytes(Ticket::kBytes));
  if (!ticket) return ReceiptError::kMalformed;
  Receipt receipt;
  receipt.ticket = *ticket;
  receipt.relay = take_node(reader);
  receipt.end = take_node(reader);
  receipt.peer = take_node(reader);
  receipt.bytes = *reader.u64();
  return receipt;
}

SignedReceipt sign(const Receipt& receipt, const IdentityKey& key) {
  CHECK(receipt.end == key.id());
  SignedReceipt signed_receipt;
  signed_receipt.body = encode(receipt);
  signed_receipt.signature = key.sign(to_be_signed(signed_receipt.body));
  return signed_receipt;
}

Result<Receipt> check_receipt(ByteView body, ByteView signature) {
  const auto receipt = decode_receipt(body);
  if (!receipt) return receipt.error();
  if (!verify_signature(receipt->end, to_be_signed(body), signature)) {
    return ReceiptError::kBadSignature;
  }
  return receipt;
}

}  // namespace openp2p::relay
