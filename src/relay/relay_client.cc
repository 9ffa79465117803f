#include "relay/relay_client.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "relay/message_stream.h"

namespace openp2p::relay {
namespace {

constexpr Duration kReceiptGap = std::chrono::milliseconds(500);

}  // namespace

class RelayClient::Impl final : public HopReceiver {
 public:
  Impl(RelayClient& client, const IdentityKey& identity, RelayClientHandler& handler)
      : client_(client), identity_(identity), handler_(handler) {}

  Result<session::StreamId> open();
  bool is_open() const { return stream_ && stream_->is_open(); }
  std::optional<std::uint64_t> allocate(const NodeId& peer, const std::optional<Ticket>& ticket);
  void release(Channel channel);
  std::size_t send(Channel channel, ByteView datagrams, std::size_t segment_bytes);
  bool send_letter(const NodeId& to, ByteView body);
  void read(ByteView data, bool is_end);
  void lose();
  void fail();

  void on_hop_datagram(Channel channel, MutableByteView datagram, TimePoint now) override;

  std::optional<MessageStream> stream_;
  Counters counters_;

 private:
  struct Wish {
    NodeId peer;
    std::optional<Ticket> ticket;
  };
  struct Use {
    Wish wish;
    std::uint64_t received = 0;
    std::uint64_t receipted = 0;
    std::optional<TimePoint> receipt_at;
  };

  void on_message(const UnknownMessage&) {}
  void on_message(const AllocatedMessage& allocated);
  void on_message(const RefusedMessage& refused);
  void on_message(const JoinedMessage& joined);
  void on_message(const LeftMessage& left);
  void on_message(const ReceiptWantedMessage& wanted);
  void on_message(const LetterMessage& letter) {
    handler_.on_letter(client_, letter.node, letter.body);
  }
  void on_message(const LetterFailedMessage& failed) {
    handler_.on_letter_failed(client_, failed.node);
  }
  void send_receipt(Channel channel, Use& use);
  void say(const EndMessage& message);

  RelayClient& client_;
  const IdentityKey& identity_;
  RelayClientHandler& handler_;
  bool is_lost_ = false;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, Wish> asked_;
  std::unordered_map<Channel, Use> uses_;
};

Result<session::StreamId> RelayClient::Impl::open() {
  CHECK(!stream_ && !is_lost_);
  session::Session* session = client_.hop_.session();
  if (session == nullptr) return std::make_error_code(std::errc::not_connected);
  const auto id = session->open_stream();
  if (!id) return id.error();
  stream_.emplace(client_.hop_, *id, MessageStream::Side::kEnd);
  client_.hop_.set_receiver(Hop::Way::kFromRelay, this);
  return *id;
}

void RelayClient::Impl::say(const EndMessage& message) {
  if (is_open() && !stream_->send(encode(message))) fail();
}

/// The relay broke the protocol, or does not read.
void RelayClient::Impl::fail() {
  ++counters_.malformed;
  if (stream_) stream_->reset(MessageStream::kProtocolCode);
  lose();
}

void RelayClient::Impl::lose() {
  if (std::exchange(is_lost_, true)) return;
  if (stream_) stream_->reset(MessageStream::kProtocolCode);
  client_.hop_.set_receiver(Hop::Way::kFromRelay, nullptr);
  asked_.clear();
  uses_.clear();
  handler_.on_relay_lost(client_);
}

std::optional<std::uint64_t> RelayClient::Impl::allocate(const NodeId& peer,
                                                         const std::optional<Ticket>& ticket) {
  if (!is_open() || asked_.size() + uses_.size() >= kAllocationsMax) return std::nullopt;
  const std::uint64_t number = ++last_number_;
  if (!stream_->send(encode(EndMessage(AllocateMessage{number, peer, ticket})))) {
    return std::nullopt;
  }
  asked_[number] = {peer, ticket};
  return number;
}

void RelayClient::Impl::release(Channel channel) {
  const auto found = uses_.find(channel);
  if (found == uses_.end()) return;
  if (found->second.received > found->second.receipted) send_receipt(channel, found->second);
  uses_.erase(channel);
  say(ReleaseMessage{channel});
}

std::size_t RelayClient::Impl::send(Channel channel, ByteView datagrams,
                                    std::size_t segment_bytes) {
  if (!uses_.contains(channel) || datagrams.empty()) return 0;
  if (segment_bytes == 0) segment_bytes = datagrams.size();
  std::size_t sent = 0;
  while (!datagrams.empty()) {
    const ByteView one = datagrams.first(std::min(segment_bytes, datagrams.size()));
    datagrams = datagrams.subspan(one.size());
    if (!client_.hop_.send(Hop::Way::kToRelay, channel, one)) {
      ++counters_.dropped;
      continue;
    }
    ++sent;
    ++counters_.datagrams_sent;
    counters_.bytes_sent += one.size();
  }
  return sent;
}

bool RelayClient::Impl::send_letter(const NodeId& to, ByteView body) {
  if (!is_open() || body.empty() || body.size() > kLetterBytesMax) return false;
  return stream_->send(encode(EndMessage(LetterMessage{to, to_bytes(body)})));
}

void RelayClient::Impl::read(ByteView data, bool is_end) {
  if (!is_open()) return;
  stream_->consume(data.size());
  while (is_open()) {
    const auto bytes = stream_->take(data);
    if (bytes && !*bytes) break;
    const auto message =
        bytes ? decode_relay_message(**bytes) : Result<RelayMessage>(bytes.error());
    if (!message) return fail();
    std::visit([&](const auto& known) { on_message(known); }, *message);
  }
  if (is_end) lose();
}

void RelayClient::Impl::on_message(const AllocatedMessage& allocated) {
  const auto asked = asked_.find(allocated.number);
  if (asked == asked_.end() || uses_.contains(allocated.channel)) return fail();
  uses_[allocated.channel].wish = std::move(asked->second);
  asked_.erase(asked);
  handler_.on_allocated(client_, allocated.number, allocated);
}

void RelayClient::Impl::on_message(const RefusedMessage& refused) {
  if (asked_.erase(refused.number) == 0) return fail();
  handler_.on_refused(client_, refused);
}

void RelayClient::Impl::on_message(const JoinedMessage& joined) {
  if (uses_.contains(joined.channel)) handler_.on_joined(client_, joined.channel);
}

void RelayClient::Impl::on_message(const LeftMessage& left) {
  const auto found = uses_.find(left.channel);
  if (found == uses_.end()) return;
  if (found->second.received > found->second.receipted) send_receipt(left.channel, found->second);
  if (uses_.erase(left.channel) > 0) handler_.on_left(client_, left.channel, left.text);
}

void RelayClient::Impl::on_message(const ReceiptWantedMessage& wanted) {
  const auto found = uses_.find(wanted.channel);
  if (found == uses_.end()) return;
  const TimePoint now = handler_.now();
  Use& use = found->second;
  if (use.receipt_at && now - *use.receipt_at < kReceiptGap) return;
  use.receipt_at = now;
  send_receipt(wanted.channel, use);
}

void RelayClient::Impl::send_receipt(Channel channel, Use& use) {
  const auto& ticket = use.wish.ticket;
  if (!ticket || ticket->kind == TicketKind::kOwn) return;  // Nobody counts these.
  const Receipt receipt{*ticket, client_.relay_, identity_.id(), use.wish.peer, use.received};
  use.receipted = use.received;
  ++counters_.receipts;
  say(ReceiptMessage{channel, sign(receipt, identity_)});
}

void RelayClient::Impl::on_hop_datagram(Channel channel, MutableByteView datagram, TimePoint now) {
  const auto found = uses_.find(channel);
  if (found == uses_.end()) {
    ++counters_.wrong_channel;
    return;
  }
  ++counters_.datagrams_received;
  counters_.bytes_received += datagram.size();
  found->second.received += datagram.size();
  handler_.on_relayed(client_, channel, datagram, now);
}

RelayClient::RelayClient(Hop& hop, const IdentityKey& identity, RelayClientHandler& handler)
    : hop_(hop),
      relay_(hop.session()->peer()),
      impl_(std::make_unique<Impl>(*this, identity, handler)) {}

RelayClient::~RelayClient() {
  hop_.set_receiver(Hop::Way::kFromRelay, nullptr);
  if (impl_->stream_) impl_->stream_->reset(MessageStream::kRefusedCode);
}

Result<session::StreamId> RelayClient::open() { return impl_->open(); }
bool RelayClient::is_open() const { return impl_->is_open(); }
std::optional<std::uint64_t> RelayClient::allocate(const NodeId& peer,
                                                   const std::optional<Ticket>& ticket) {
  return impl_->allocate(peer, ticket);
}
void RelayClient::release(Channel channel) { impl_->release(channel); }
std::size_t RelayClient::send(Channel channel, ByteView datagrams, std::size_t segment_bytes) {
  return impl_->send(channel, datagrams, segment_bytes);
}
bool RelayClient::send_letter(const NodeId& to, ByteView body) {
  return impl_->send_letter(to, body);
}
const RelayClient::Counters& RelayClient::counters() const { return impl_->counters_; }

void RelayClient::on_stream_data(ByteView data, bool is_end) { impl_->read(data, is_end); }
void RelayClient::on_stream_writable() {
  if (impl_->stream_) impl_->stream_->flush();
}
void RelayClient::on_stream_reset() { impl_->lose(); }
void RelayClient::on_stream_stopped() { impl_->lose(); }
void RelayClient::on_stream_closed() { impl_->lose(); }
void RelayClient::on_batch_end() {}
void RelayClient::on_session_lost() {
  if (impl_->stream_) impl_->stream_->close();
  impl_->lose();
}

}  // namespace openp2p::relay
