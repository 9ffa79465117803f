// A survey over TCP and the world that it asks: the input chooses the servers, which connections
// come to be, break or come in from strangers, and how each request is answered or called back.
// Law: the survey ends in its time, connects to no more and nobody else than it may, and what it
// says of the filter rests on calls that came, or that the server says it made in vain.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "fuzz/stun_scene.h"
#include "nat/stream_survey.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;

namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kPort = 40'000;
constexpr unsigned kConnectsMax = 3;
constexpr unsigned kRequestsMax = 5;  // One a connection, and two for calls.
constexpr std::uint16_t kErrorCallFailed = 447;

struct Connection {
  SocketId socket;
  Address remote;
  bool is_open = false;
};
struct Request {
  SocketId over;
  Address server;
  nat::StunMessage message;
};
/// What the survey was told of one of the two calls that it asks for.
struct Told {
  bool came = false;
  bool failed = false;
};

class Exchange {
 public:
  explicit Exchange(std::span<const std::uint8_t> input)
      : choices_(input), survey_(config(), secrets_, now_) {}

  void run() {
    constexpr unsigned kTurnsMax = 2'000;
    for (unsigned turn = 0; !survey_.is_done(); ++turn) {
      CHECK(turn < kTurnsMax);
      pump();
      if (!survey_.is_done()) step();
    }
    CHECK(now_ <=
          TimePoint{} + 2 * nat::StreamSurvey::kPatience + nat::StreamSurvey::kCallPatience);
    check_silence();
    check_report();
  }

 private:
  nat::StreamSurveyConfig config() {
    nat::StreamSurveyConfig config;
    const std::uint8_t choice = choices_.byte();
    config.tag = 7;
    config.port = kPort;
    for (std::size_t i = 0; i <= choice % 4; ++i) {
      config.servers.push_back(kServers[i]);
    }
    if ((choice & 0x40) == 0) config.local_addresses = {kOwn};
    return config_ = config;
  }

  // --- What the survey does ---

  void pump() {
    while (const auto to = survey_.poll_connect()) {
      CHECK(++connects_ <= kConnectsMax);
      check_target(*to);
      if (choices_.byte() % 8 == 7) {
        survey_.on_connecting(*to, std::nullopt, now_);
        continue;
      }
      const SocketId socket(next_socket_++);
      dialled_.push_back({socket, *to});
      survey_.on_connecting(*to, socket, now_);
    }
    Bytes out(nat::kStunBytesMax);
    SocketId over;
    while (const std::size_t size = survey_.poll_datagram(over, out)) take_request(over, out, size);
  }

  /// Servers that were given, their other ports, and one other address of the first one.
  void check_target(const Address& to) {
    const Address& first = config_.servers.front();
    CHECK(connects_ > 1 || to == first);
    CHECK(to.port != 0 && to.ip.is_v4() && to.ip != kOwn && !to.ip.is_multicast());
    CHECK(!to.ip.is_unspecified() && !to.ip.is_loopback());
    const bool is_listed = std::ranges::find(config_.servers, to) != config_.servers.end();
    CHECK(is_listed || to.ip == first.ip || to.port == first.port);
  }

  void take_request(SocketId over, const Bytes& bytes, std::size_t size) {
    CHECK(++requests_ <= kRequestsMax);
    const auto asked = std::ranges::find(dialled_, over, &Connection::socket);
    CHECK(asked != dialled_.end());
    const auto message = nat::decode_stun(ByteView(bytes).first(size));
    CHECK(message && message->message_class == nat::StunClass::kRequest);
    CHECK(!message->change_ip || message->change_port);
    asked_.push_back({over, asked->remote, *message});
  }

  // --- What the world does ---

  void step() {
    switch (choices_.byte() % 8) {
      case 1:
        return come_in(choose_ip(choices_), choices_.u16(), choices_.byte());
      case 2:
        return call_back();
      case 3:
        return break_one();
      case 4:
        return survey_.on_timeout(now_);  // Too early.
      case 5:
        return pass_time(std::chrono::milliseconds(choices_.byte() * 10));
      case 6:
        return garble();
      default:
        return go_on();
    }
  }

  /// A connection opens, or a request is answered, or time passes: with these alone it ends.
  void go_on() {
    const auto opening = std::ranges::find(dialled_, false, &Connection::is_open);
    if (opening != dialled_.end() && choices_.byte() % 8 != 7) {
      opening->is_open = true;
      survey_.on_connected(opening->socket, opening->remote, /*is_incoming=*/false, now_);
    } else if (!asked_.empty()) {
      answer(take_asked());
    } else {
      pass_time(*survey_.next_timeout() - now_);
    }
  }

  Request take_asked() {
    const auto at = asked_.begin() + choices_.byte() % static_cast<std::ptrdiff_t>(asked_.size());
    const Request request = *at;
    asked_.erase(at);
    return request;
  }

  void answer(const Request& request) {
    nat::StunMessage reply;
    reply.message_class = nat::StunClass::kSuccess;
    reply.transaction = request.message.transaction;
    reply.xor_mapped_address = Address{kExternal, kPort};
    switch (choices_.byte() % 8) {
      case 1:
        reply.xor_mapped_address = Address{choose_ip(choices_), choices_.u16()};
        break;
      case 2:
        reply.xor_mapped_address.reset();
        break;
      case 3:
        reply.other_address = kServers[3];
        break;
      case 4:
        reply.other_address = Address{choose_ip(choices_), choices_.u16()};
        break;
      case 5:
        reply.message_class = nat::StunClass::kError;
        reply.error_code = (choices_.byte() & 1) != 0 ? kErrorCallFailed : 420;
        break;
      default:
        break;
    }
    if (reply.error_code == kErrorCallFailed) told(request.message).failed = true;
    deliver(request.over, reply);
  }

  /// As the server that was asked to: over a connection of its own, from where it likes.
  void call_back() {
    if (asked_.empty()) return;
    const Request request = take_asked();
    Address from = request.server;
    const std::uint8_t choice = choices_.byte();
    if ((choice & 1) != 0) from.port = 3479;
    if ((choice & 2) != 0) from.ip = kServers[2].ip;
    nat::StunMessage reply;
    reply.message_class = nat::StunClass::kSuccess;
    reply.transaction = request.message.transaction;
    const SocketId call(next_socket_++);
    survey_.on_connected(call, from, /*is_incoming=*/true, now_);
    const bool is_as_asked = from.port != request.server.port &&
                             (from.ip != request.server.ip) == request.message.change_ip;
    if (is_as_asked && request.message.change_port) told(request.message).came = true;
    deliver(call, reply);
  }

  /// A stranger, who has seen one request or none.
  void come_in(const IpAddress& ip, std::uint16_t port, std::uint8_t choice) {
    const SocketId socket(next_socket_++);
    survey_.on_connected(socket, {ip, port}, /*is_incoming=*/true, now_);
    nat::StunMessage words;
    words.message_class = nat::StunClass::kSuccess;
    words.transaction.bytes[0] = std::byte{choice};
    words.xor_mapped_address = Address{ip, port};
    deliver(socket, words);
    if ((choice & 1) != 0) survey_.on_disconnected(socket, now_);
  }

  void break_one() {
    if (dialled_.empty()) return;
    const std::size_t which = choices_.byte() % dialled_.size();
    dialled_[which].is_open = true;  // It will not open any more.
    survey_.on_disconnected(dialled_[which].socket, now_);
  }

  void garble() {
    Bytes bytes(choices_.byte() % 64);
    for (std::byte& byte : bytes) byte = std::byte{choices_.byte()};
    survey_.on_datagram(SocketId(choices_.byte()), bytes, now_);
  }

  void deliver(SocketId over, const nat::StunMessage& message) {
    Bytes bytes(nat::kStunBytesMax);
    bytes.resize(nat::encode_stun(message, {}, bytes));
    survey_.on_datagram(over, bytes, now_);
  }

  void pass_time(Duration wanted) {
    now_ = std::min(now_ + wanted, *survey_.next_timeout());
    survey_.on_timeout(now_);
  }

  Told& told(const nat::StunMessage& request) {
    return request.change_ip ? address_call_ : port_call_;
  }

  // --- Laws of the end ---

  void check_silence() {
    Bytes out(nat::kStunBytesMax);
    SocketId over;
    CHECK(!survey_.next_timeout());
    survey_.on_timeout(now_ + 1s);
    come_in(kExternal, kPort, /*choice=*/0);
    CHECK(!survey_.poll_connect() && survey_.poll_datagram(over, out) == 0);
  }

  void check_report() {
    using enum nat::Dependence;
    const nat::StreamReport& report = survey_.report();
    CHECK(!report.evidence.empty());
    CHECK(report.reflexive.has_value() == report.rtt.has_value());
    if (!report.reflexive) {
      CHECK(report.profile == nat::NatProfile());
      return;
    }
    CHECK(nat::is_believable(*report.reflexive, config_.servers.front()));
    const nat::Dependence filtering = report.profile.filtering;
    if (filtering == kEndpointIndependent) CHECK(address_call_.came);
    if (filtering == kAddressDependent) CHECK(port_call_.came && address_call_.failed);
    if (filtering == kIndependentOrAddressDependent) CHECK(port_call_.came);
    if (filtering == kAddressAndPortDependent) CHECK(port_call_.failed);
  }

  Choices choices_;
  nat::StreamSurveyConfig config_;
  sim::SeededSecrets secrets_{std::uint64_t{1}};
  TimePoint now_{};
  nat::StreamSurvey survey_;
  std::vector<Connection> dialled_;
  std::vector<Request> asked_;
  Told port_call_, address_call_;
  std::uint32_t next_socket_ = 1;
  unsigned connects_ = 0;
  unsigned requests_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputBytesMax = 512;  // Some hundred turns; it asks five times at most.
  Exchange(std::span(data, std::min(size, kInputBytesMax))).run();
  return 0;
}
