#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "relay/relay_message.h"
#include "relay/relay_service.h"
#include "relay/test_session.h"
#include "wire/codec.h"
#include "wire/control_frame.h"

/// A relay and four nodes, of which two are of its network, while the input picks what happens:
/// time, tickets that are good, old, of another pair or forged, datagrams on any channel, receipts
/// that lie, letters, garbage, caps, ends that do not read, sessions that end.
///
/// Laws: what an end gets was sent by the other end of an allocation that it has been told of;
/// nothing but own nodes and genuine tickets opens one; limits hold; no deadline spins; and when
/// all sessions are over, nothing is left.
namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;

constexpr int kOperationsMax = 300;
constexpr std::size_t kNodes = 4;
constexpr std::size_t kAllocationsMax = 6;
constexpr std::size_t kPerEndMax = 4;
constexpr WallTime kEpoch{1'800'000'000'000'000};

IdentityKey key_of(std::size_t number) {
  std::array<std::byte, IdentityKey::kSeedSize> seed{};
  seed[0] = static_cast<std::byte>(number);
  return IdentityKey(seed);
}

class Schedule final : public RelayHost {
 public:
  explicit Schedule(ByteView input) : in_(input) {
    secret_.fill(std::byte{5});
    RelayService::Options options;
    options.self = key_of(kNodes).id();
    options.host = this;
    options.allocations_max = kAllocationsMax;
    options.per_end_max = kPerEndMax;
    service_ = std::make_unique<RelayService>(options);
    service_->set_secret(secret_);
    service_->set_server_time(kEpoch, now_);
    for (std::size_t i = 0; i < kNodes; ++i) keys_.push_back(key_of(i));
  }

  void run() {
    for (int i = 0; i < kOperationsMax && !in_.empty(); ++i) {
      operate();
      settle();
      CHECK(service_->allocation_count() <= kAllocationsMax);
      CHECK(service_->lent_count() <= service_->allocation_count());
    }
    for (std::size_t i = 0; i < kNodes; ++i) lose(i);
    CHECK(service_->allocation_count() == 0 && service_->lent_count() == 0);
    now_ += 1min;
    settle();
    now_ += 1min;
    settle();
    CHECK(!service_->next_timeout());
  }

  // RelayHost
  TimePoint now() const override { return now_; }
  bool is_own_node(const NodeId& node) const override {
    return node == keys_[0].id() || node == keys_[1].id();
  }
  void on_receipt(const SignedReceipt& receipt, const Receipt& said) override {
    CHECK(check_receipt(receipt.body, receipt.signature).has_value());
    std::uint64_t& last = receipted_[{said.ticket.code, said.end}];
    CHECK(said.bytes > last);
    last = said.bytes;
  }
  void on_allocations_changed() override {}

 private:
  struct End {
    std::unique_ptr<TestSession> session;
    std::unique_ptr<Hop> hop;
    forward::StreamUser* user = nullptr;
    ControlFrameDecoder decoder;
    std::map<Channel, AllocateMessage> uses;         ///< As the relay said.
    std::map<std::uint64_t, AllocateMessage> asked;  ///< What has to be refused is not here.
    std::uint64_t last_number = 0;
  };

  struct Asked {
    std::size_t from;
    std::size_t to;
    AllocateMessage wish;
    bool is_good;
  };

  std::uint8_t byte() {
    const auto value = in_.u8();
    return value ? *value : std::uint8_t{0};
  }

  void operate();
  void settle();
  void open(std::size_t i);
  void lose(std::size_t i);
  void allocate(std::size_t i);
  void follow();
  void send_datagram(std::size_t i);
  void send_receipt(std::size_t i);
  void say(std::size_t i, const EndMessage& message);
  void hear(std::size_t i);
  void on_message(End& end, const RelayMessage& message);
  void on_payload(std::size_t i, ByteView payload);

  Reader in_;
  TimePoint now_{};
  TicketSecret secret_;
  std::vector<IdentityKey> keys_;
  std::unique_ptr<RelayService> service_;
  std::array<End, kNodes> ends_;
  std::optional<Asked> last_;
  std::map<std::pair<std::array<std::byte, 32>, NodeId>, std::uint64_t> receipted_;
};

void Schedule::operate() {
  const std::size_t i = byte() % kNodes;
  switch (byte() % 17) {
    case 14:
    case 15:
    case 16:
      return follow();
    case 0:
      now_ += byte() * 1ms;
      return;
    case 1:
      now_ += byte() * 1s;
      return;
    case 2:
    case 3:
    case 4:
      return allocate(i);
    case 5:
    case 6:
    case 7:
      return send_datagram(i);
    case 8:
      return send_receipt(i);
    case 9:
      return say(i, ReleaseMessage{byte() % 8U});
    case 10:
      return say(i, LetterMessage{keys_[byte() % kNodes].id(), Bytes(1 + byte())});
    case 11:
      service_->set_cap(byte() % 4 == 0 ? RelayService::kNoCap : byte() * 10'000ULL, now_);
      service_->set_own_rate(byte() * 10'000ULL, now_);
      return;
    case 12:
      if (ends_[i].session) ends_[i].session->has_path = byte() % 2 == 0;
      if (ends_[i].session) ends_[i].session->stream_room = byte() * 100;
      return;
    case 13:
      if (byte() % 4 == 0) return lose(i);
      if (ends_[i].user == nullptr || byte() % 4 != 0) return;
      const Bytes garbage(1 + byte(), static_cast<std::byte>(byte()));
      ends_[i].user->on_stream_data(garbage, /*is_end=*/byte() % 8 == 0);
      return;
  }
}

void Schedule::settle() {
  for (int spins = 0; service_->next_timeout() && *service_->next_timeout() <= now_; ++spins) {
    CHECK(spins < 4);
    service_->on_timeout(now_);
  }
  for (std::size_t i = 0; i < kNodes; ++i) hear(i);
  for (End& end : ends_) {
    if (end.session == nullptr || !end.session->was_reset[session::StreamId(0)]) continue;
    if (end.user != nullptr) end.user->on_stream_closed();
    end.user = nullptr;
  }
  service_->sweep();
}

void Schedule::open(std::size_t i) {
  End& end = ends_[i];
  if (end.session != nullptr) return;
  end.session = std::make_unique<TestSession>(keys_[i].id(), /*is_incoming=*/true);
  end.session->on_sealed = [this, i](ByteView payload) { on_payload(i, payload); };
  end.hop = std::make_unique<Hop>(*end.session);
  end.user = service_->on_stream(*end.hop, session::StreamId(0));
  if (end.user != nullptr) end.user->on_stream_data(std::array{kStreamKind, kStreamVersion}, false);
}

void Schedule::lose(std::size_t i) {
  End& end = ends_[i];
  if (end.session == nullptr) return;
  if (end.user != nullptr) end.user->on_session_lost();
  end.hop->on_session_lost();
  service_->forget(*end.hop);
  end = End();
}

void Schedule::say(std::size_t i, const EndMessage& message) {
  open(i);
  if (ends_[i].user == nullptr) return;
  Bytes frame;
  append_control_frame(encode(message), frame);
  ends_[i].user->on_stream_data(frame, /*is_end=*/false);
}

/// Which of the tickets are good is known here, too.
void Schedule::allocate(std::size_t i) {
  open(i);
  End& end = ends_[i];
  const std::size_t other = byte() % (kNodes + 1);
  const NodeId peer = key_of(other).id();
  AllocateMessage wish{++end.last_number, peer, std::nullopt};
  const std::uint8_t how = byte();
  bool is_good = i < 2 && other < 2 && i != other;
  if (how % 4 != 0) {
    const auto kind = how % 4 == 1 ? TicketKind::kOwn : TicketKind::kShared;
    const WallTime at{kEpoch.us + (now_ - TimePoint{}) / 1us - (how >= 224 ? 600'000'000 : 0)};
    wish.ticket = make_ticket(secret_, {key_of(kNodes).id(), keys_[i].id(), peer}, kind,
                              AllocationId{std::byte{byte()}}, Account{std::byte{byte()}}, at);
    if (how >= 192 && how < 224) wish.ticket->code[how % 32] ^= std::byte{1};
    is_good = how < 192 && other < kNodes && i != other && (kind != TicketKind::kOwn || is_good);
  }
  if (is_good) end.asked[wish.number] = wish;
  last_ = {i, other, wish, is_good};
  say(i, wish);
}

/// The other end of the last wish comes with the same ticket.
void Schedule::follow() {
  if (!last_ || last_->to >= kNodes) return;
  const Asked asked = *last_;
  open(asked.to);
  End& end = ends_[asked.to];
  AllocateMessage wish = asked.wish;
  wish.number = ++end.last_number;
  wish.peer = keys_[asked.from].id();
  if (asked.is_good) end.asked[wish.number] = wish;
  say(asked.to, wish);
}

void Schedule::send_datagram(std::size_t i) {
  End& end = ends_[i];
  if (end.session == nullptr || end.session->handler == nullptr) return;
  Channel channel = byte() % 8U;
  if (byte() % 4 != 0 && !end.uses.empty()) channel = end.uses.begin()->first;
  Bytes payload(kChannelBytes + 1 + byte() % 128 * 11);
  payload[0] = static_cast<std::byte>(channel >> 16 | (byte() % 16 == 0 ? 0x80 : 0));
  payload[1] = static_cast<std::byte>(channel >> 8);
  payload[2] = static_cast<std::byte>(channel);
  payload[3] = static_cast<std::byte>(i);  // Who sent it.
  end.session->handler->on_sealed(*end.session, session::SealedUse::kRelay, payload, now_);
}

void Schedule::send_receipt(std::size_t i) {
  End& end = ends_[i];
  if (end.session == nullptr || end.uses.empty()) return;
  const auto& [channel, use] = *end.uses.begin();
  const Receipt receipt{use.ticket.value_or(Ticket()), key_of(kNodes).id(), keys_[i].id(), use.peer,
                        byte() * 1'000ULL};
  say(i, ReceiptMessage{channel, sign(receipt, keys_[i])});
}

void Schedule::hear(std::size_t i) {
  End& end = ends_[i];
  if (end.session == nullptr) return;
  const Bytes all = std::move(end.session->written[session::StreamId(0)]);
  end.session->written.clear();
  ByteView data(all);
  for (;;) {
    const auto frame = end.decoder.take(data);
    CHECK(frame.has_value());
    if (!*frame) return;
    const auto message = decode_relay_message(**frame);
    CHECK(message.has_value());
    on_message(end, *message);
  }
}

void Schedule::on_message(End& end, const RelayMessage& message) {
  if (const auto* allocated = std::get_if<AllocatedMessage>(&message)) {
    CHECK(end.asked.contains(allocated->number));
    end.uses[allocated->channel] = end.asked[allocated->number];
  } else if (const auto* refused = std::get_if<RefusedMessage>(&message)) {
    CHECK(!refused->text.empty());
  } else if (const auto* left = std::get_if<LeftMessage>(&message)) {
    CHECK(!left->text.empty());
    end.uses.erase(left->channel);
  }
}

/// What leaves towards an end came from the peer that its allocation names.
void Schedule::on_payload(std::size_t i, ByteView payload) {
  CHECK(payload.size() > kChannelBytes && std::to_integer<int>(payload[0]) >= 0x80);
  hear(i);  // What was written before it.
  const Channel channel = (std::to_integer<Channel>(payload[0]) & 0x7f) << 16 |
                          std::to_integer<Channel>(payload[1]) << 8 |
                          std::to_integer<Channel>(payload[2]);
  const std::size_t sender = std::to_integer<std::size_t>(payload[3]);
  const auto use = ends_[i].uses.find(channel);
  if (use == ends_[i].uses.end()) return;  // An end that does not read was told, and knows not.
  CHECK(use->second.peer == keys_[sender].id());
}

}  // namespace
}  // namespace openp2p::relay

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  openp2p::relay::Schedule(std::as_bytes(std::span(data, size))).run();
  return 0;
}
