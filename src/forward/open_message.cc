#include "forward/open_message.h"

#include <algorithm>
#include <array>

#include "base/address.h"
#include "base/check.h"
#include "base/host_name.h"
#include "base/ids.h"
#include "wire/codec.h"

namespace openp2p::forward {
namespace {

constexpr std::uint8_t kVersion = 1;

/// kTruncated: more bytes are wanted. Other errors: this can never become a message.
Result<OpenRequest> decode(Reader& in, const OpenRequest*) {
  const auto kind = in.u8();
  const auto version = in.u8();
  if (!kind || !version) return make_error_code(WireError::kTruncated);
  if (*version != kVersion) return make_error_code(WireError::kMalformed);
  OpenRequest request;
  if (*kind == static_cast<std::uint8_t>(StreamKind::kEcho)) {
    request.kind = StreamKind::kEcho;
    return request;
  }
  if (*kind == static_cast<std::uint8_t>(StreamKind::kUdp)) {
    request.kind = StreamKind::kUdp;
  } else if (*kind != static_cast<std::uint8_t>(StreamKind::kTcp)) {
    return make_error_code(WireError::kMalformed);
  }
  const auto port = in.u16();
  const auto host_size = in.u8();
  if (!port || !host_size) return make_error_code(WireError::kTruncated);
  const auto host = in.bytes(*host_size);
  if (!host) return host.error();
  if (*port == 0 || !is_valid_host(as_text(*host))) return make_error_code(WireError::kMalformed);
  request.port = *port;
  request.host = as_text(*host);
  return request;
}

Result<OpenAnswer> decode(Reader& in, const OpenAnswer*) {
  const auto status = in.u8();
  const auto text_size = in.u16();
  if (!status || !text_size) return make_error_code(WireError::kTruncated);
  if (*text_size > OpenAnswer::kTextBytesMax) return make_error_code(WireError::kTooLong);
  if (*status > static_cast<std::uint8_t>(OpenStatus::kFailed)) {
    return make_error_code(WireError::kMalformed);
  }
  const auto text = in.bytes(*text_size);
  if (!text) return text.error();
  return OpenAnswer{static_cast<OpenStatus>(*status),
                    printable(as_text(*text), OpenAnswer::kTextBytesMax)};
}

constexpr std::size_t size_max(const OpenRequest*) { return kRequestBytesMax; }
constexpr std::size_t size_max(const OpenAnswer*) { return kAnswerBytesMax; }

}  // namespace

std::string_view open_status_text(OpenStatus status) {
  switch (status) {
    case OpenStatus::kOpened:
      return "opened";
    case OpenStatus::kDenied:
      return "not allowed";
    case OpenStatus::kRefused:
      return "connection refused";
    case OpenStatus::kUnreachable:
      return "unreachable";
    case OpenStatus::kTimedOut:
      return "timed out";
    case OpenStatus::kNameNotFound:
      return "name not found";
    case OpenStatus::kBusy:
      return "too many connections";
    case OpenStatus::kUnsupported:
      return "not supported by the peer's version";
    case OpenStatus::kFailed:
      return "failed";
  }
  return "failed";
}

Bytes encode(const OpenRequest& request) {
  std::array<std::byte, kRequestBytesMax> memory;
  Writer out(memory);
  out.u8(static_cast<std::uint8_t>(request.kind));
  out.u8(kVersion);
  if (request.kind != StreamKind::kEcho) {
    out.u16(request.port);
    out.u8(static_cast<std::uint8_t>(request.host.size()));
    out.bytes(as_bytes(request.host));
  }
  CHECK(out.ok());
  return to_bytes(out.written());
}

Bytes encode(const OpenAnswer& answer) {
  std::array<std::byte, kAnswerBytesMax> memory;
  Writer out(memory);
  const std::string text = answer.text.substr(0, OpenAnswer::kTextBytesMax);
  out.u8(static_cast<std::uint8_t>(answer.status));
  out.u16(static_cast<std::uint16_t>(text.size()));
  out.bytes(as_bytes(text));
  CHECK(out.ok());
  return to_bytes(out.written());
}

template <class Message>
Result<std::size_t> OpenDecoder<Message>::feed(ByteView data) {
  CHECK(!message_);
  const Message* kind = nullptr;
  const std::size_t held_before = held_.size();
  const std::size_t taken = std::min(data.size(), size_max(kind) - held_.size());
  held_.insert(held_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken));
  Reader in(held_);
  auto message = decode(in, kind);
  if (!message) {
    if (message.error() == make_error_code(WireError::kTruncated)) return taken;
    return message.error();
  }
  const std::size_t used = held_.size() - in.rest().size();
  message_ = std::move(*message);
  held_.clear();
  return used - held_before;
}

template class OpenDecoder<OpenRequest>;
template class OpenDecoder<OpenAnswer>;

}  // namespace openp2p::forward
