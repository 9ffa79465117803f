// A throttle probe and the lines that it measures: the input decides of each request whether it is
// lost, late, answered, refused, repeated, changed or answered over the wrong protocol, and when
// the connection ends. Law: the probe ends in its time, sends no more than it says, and blames
// somebody for holding UDP back only after the answers that this takes.
#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <set>
#include <span>
#include <utility>

#include "base/check.h"
#include "fuzz/choices.h"
#include "nat/stun_transaction.h"
#include "nat/throttle_probe.h"
#include "sim/seeded_secrets.h"

using namespace openp2p;

namespace {

using namespace std::chrono_literals;
using nat::ThrottleProbe;

constexpr std::uint32_t kTag = 5;
constexpr std::size_t kBytesMax = 100'000;
constexpr Duration kTimeMax = 10s;

struct Answer {
  TimePoint due{};
  bool is_stream = false;
  Bytes bytes;
};

class Exchange {
 public:
  explicit Exchange(std::span<const std::uint8_t> input)
      : choices_(input), fate_(choices_.byte()), probe_(kTag, secrets_, now_) {}

  void run() {
    constexpr unsigned kTurnsMax = 2'000;
    for (unsigned turn = 0; !probe_.is_done(); ++turn) {
      CHECK(turn < kTurnsMax);
      ask();
      if (probe_.is_done()) break;
      if (!line_.empty() && line_.front().due <= now_) {
        deliver();
      } else {
        pass_time();
      }
    }
    CHECK(now_ <= TimePoint{} + kTimeMax);
    check_end();
  }

 private:
  enum Series { kSlow, kTrain, kStream };

  void ask() {
    Bytes out(nat::kStunBytesMax);
    bool is_stream = false;
    while (const std::size_t size = probe_.poll_datagram(is_stream, out, now_)) {
      CHECK((bytes_sent_ += size) <= kBytesMax);
      const auto request = nat::decode_stun(ByteView(out).first(size));
      CHECK(request && request->message_class == nat::StunClass::kRequest);
      CHECK(nat::tag_of(request->transaction) == kTag);
      const Series series = is_stream                                    ? kStream
                            : size == ThrottleProbe::kTrainDatagramBytes ? kTrain
                                                                         : kSlow;
      CHECK(sent_[series].insert(request->transaction).second);
      answer(*request, series);
    }
  }

  /// The input's first byte is the usual fate of a series; each request may have another.
  void answer(const nat::StunMessage& request, Series series) {
    nat::StunMessage reply;
    reply.message_class = nat::StunClass::kSuccess;
    reply.transaction = request.transaction;
    Answer answer{now_ + 20ms, series == kStream, {}};
    const std::uint8_t choice = choices_.byte();
    switch (choice % 12) {
      case 1:
        return;  // Lost.
      case 2:
        reply.message_class = nat::StunClass::kError;
        reply.error_code = 420;
        break;
      case 3:
        answer.due += std::chrono::milliseconds(choices_.byte() * 8);
        break;
      case 4:
        answer.is_stream = !answer.is_stream;
        break;
      case 5:
        reply.transaction.bytes[choices_.byte() % reply.transaction.bytes.size()] ^= std::byte{1};
        break;
      case 6:
        return probe_.give_up_stream(now_);
      default:
        if ((fate_ >> series & 1) != 0) return;
        break;
    }
    send(std::move(answer), reply, /*is_repeated=*/choice % 12 == 7);
  }

  void send(Answer answer, const nat::StunMessage& reply, bool is_repeated) {
    answer.bytes.resize(nat::kStunBytesMax);
    answer.bytes.resize(nat::encode_stun(reply, {}, answer.bytes));
    const auto place = std::ranges::upper_bound(line_, answer.due, {}, &Answer::due);
    const auto sent = line_.insert(place, std::move(answer));
    if (is_repeated) line_.insert(sent, Answer(*sent));
  }

  void deliver() {
    const Answer answer = std::move(line_.front());
    line_.pop_front();
    const auto message = nat::decode_stun(answer.bytes);
    CHECK(message);
    for (const Series series : {kSlow, kTrain, kStream}) {
      const bool is_asked = sent_[series].contains(message->transaction);
      if (is_asked && answer.is_stream == (series == kStream)) {
        answered_[series].insert(message->transaction);
      }
    }
    const bool is_own = probe_.on_datagram(answer.bytes, answer.is_stream, now_);
    CHECK(is_own == (nat::tag_of(message->transaction) == kTag));
  }

  void pass_time() {
    const auto next = probe_.next_timeout();
    CHECK(next);  // Something is always to come, until it is done.
    if (choices_.byte() % 16 == 15) return probe_.on_timeout(now_);  // Too early.
    const TimePoint to = line_.empty() ? *next : std::min(*next, line_.front().due);
    now_ = std::max(now_, to);
    probe_.on_timeout(now_);
  }

  void check_end() {
    Bytes out(nat::kStunBytesMax);
    bool is_stream = false;
    CHECK(!probe_.next_timeout() && probe_.poll_datagram(is_stream, out, now_ + 1s) == 0);
    CHECK(sent_[kSlow].size() <= ThrottleProbe::kSlowCount);
    CHECK(sent_[kTrain].size() <= ThrottleProbe::kTrainCount);
    CHECK(sent_[kStream].size() <= ThrottleProbe::kTrainCount);
    const nat::ThrottleReport& report = probe_.report();
    CHECK(report.evidence.size() >= 2 && report.evidence.size() <= 3);
    const std::size_t train = answered_[kTrain].size();
    if (report.throttling == nat::Throttling::kNone) {
      CHECK(train >= ThrottleProbe::kTrainCount * 4 / 5);
    } else if (report.throttling != nat::Throttling::kUnknown) {
      CHECK(answered_[kSlow].size() + 1 >= ThrottleProbe::kSlowCount);
      CHECK(answered_[kStream].size() == ThrottleProbe::kTrainCount);
    }
  }

  Choices choices_;
  const std::uint8_t fate_;
  sim::SeededSecrets secrets_{std::uint64_t{1}};
  TimePoint now_{};
  ThrottleProbe probe_;
  std::deque<Answer> line_;
  std::array<std::set<nat::TransactionId>, 3> sent_, answered_;
  std::size_t bytes_sent_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputBytesMax = 512;  // A few choices for each of 100 requests.
  Exchange(std::span(data, std::min(size, kInputBytesMax))).run();
  return 0;
}
