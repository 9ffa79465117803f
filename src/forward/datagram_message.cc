#include "forward/datagram_message.h"

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::forward {
namespace {

constexpr std::uint8_t kWhole = 0;
constexpr std::uint8_t kFragment = 1;

Result<FragmentPlace> decode_place(Reader& in) {
  const auto message = in.u32();
  const auto total = in.u16();
  const auto index = in.u8();
  const auto count = in.u8();
  if (!message || !total || !index || !count) return make_error_code(WireError::kTruncated);
  const FragmentPlace place{*message, *total, *index, *count};
  const bool is_sane = place.count >= 2 && place.count <= FragmentPlace::kCountMax &&
                       place.index < place.count && place.total_bytes <= kDatagramBytesMax;
  if (!is_sane) return make_error_code(WireError::kMalformed);
  // Every fragment carries something, the last one too.
  if ((place.count - 1U) * place.piece_bytes() >= place.total_bytes) {
    return make_error_code(WireError::kMalformed);
  }
  return place;
}

}  // namespace

Result<DatagramMessage> decode_datagram(ByteView payload) {
  Reader in(payload);
  const auto flow = in.u32();
  const auto kind = in.u8();
  if (!flow || !kind) return make_error_code(WireError::kTruncated);
  DatagramMessage message;
  message.flow = FlowId(*flow);
  if (*kind == kWhole) {
    message.data = in.rest();
    return message;
  }
  if (*kind != kFragment) return make_error_code(WireError::kMalformed);
  const auto place = decode_place(in);
  if (!place) return place.error();
  if (in.rest().size() != place->bytes()) return make_error_code(WireError::kMalformed);
  message.fragment = *place;
  message.data = in.rest();
  return message;
}

std::size_t fragments_of(std::size_t datagram_bytes, std::size_t data_bytes_max) {
  CHECK(data_bytes_max > 0);
  return (datagram_bytes + data_bytes_max - 1) / data_bytes_max;
}

std::size_t encoded_bytes(const DatagramMessage& message) {
  return (message.fragment ? kFragmentHeaderBytes : kWholeHeaderBytes) + message.data.size();
}

void encode_datagram(const DatagramMessage& message, MutableByteView out) {
  Writer writer(out);
  writer.u32(message.flow.value());
  if (message.fragment) {
    CHECK(message.data.size() == message.fragment->bytes());
    writer.u8(kFragment);
    writer.u32(message.fragment->message);
    writer.u16(message.fragment->total_bytes);
    writer.u8(message.fragment->index);
    writer.u8(message.fragment->count);
  } else {
    writer.u8(kWhole);
  }
  writer.bytes(message.data);
  CHECK(writer.ok() && writer.size() == out.size());
}

}  // namespace openp2p::forward
