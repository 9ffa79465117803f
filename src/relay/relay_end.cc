#include "relay/relay_end.h"

#include <utility>

#include "base/check.h"

namespace openp2p::relay {

RelayEnd::RelayEnd(Hop& hop, session::StreamId id, RelayEndHandler& handler)
    : hop_(hop),
      node_(hop.session()->peer()),
      handler_(handler),
      stream_(hop, id, MessageStream::Side::kRelay),
      messages_(kMessagesBurstMax, kMessageInterval),
      letters_(kLettersBurstMax, kLetterInterval) {
  hop_.set_receiver(Hop::Way::kToRelay, this);
}

RelayEnd::~RelayEnd() { CHECK(is_gone_); }

void RelayEnd::send(const RelayMessage& message) {
  if (is_gone_ || stream_.send(encode(message))) return;
  handler_.on_end_malformed(*this);
  cut(MessageStream::kProtocolCode);
}

void RelayEnd::cut(std::uint64_t code) {
  stream_.reset(code);
  leave();
}

/// After the session, or the stream either way: nothing can be told to this end any more.
void RelayEnd::leave() {
  if (std::exchange(is_gone_, true)) return;
  stream_.reset(MessageStream::kProtocolCode);
  hop_.set_receiver(Hop::Way::kToRelay, nullptr);
  handler_.on_end_gone(*this);
}

void RelayEnd::on_stream_data(ByteView data, bool is_end) {
  if (is_gone_) return;
  stream_.consume(data.size());
  read(data);
  if (is_end) leave();
}

void RelayEnd::read(ByteView data) {
  while (!is_gone_) {
    const auto bytes = stream_.take(data);
    if (bytes && !*bytes) return;
    auto message = bytes ? decode_end_message(**bytes) : Result<EndMessage>(bytes.error());
    if (!message || !messages_.take(handler_.now())) {
      handler_.on_end_malformed(*this);
      return cut(MessageStream::kProtocolCode);
    }
    handler_.on_end_message(*this, std::move(*message));
  }
}

void RelayEnd::on_stream_closed() {
  is_stream_closed_ = true;
  stream_.close();
  leave();
}

void RelayEnd::on_session_lost() {
  is_stream_closed_ = true;
  stream_.close();
  leave();
}

}  // namespace openp2p::relay
