#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

#include "base/address.h"
#include "base/time.h"
#include "path/finder_tag.h"
#include "path/stranger_limit.h"
#include "path/token_bucket.h"

namespace openp2p::path {

/// What a host may ask of routers, its own and others', when it searches for ports: entries in
/// their connection tracking tables, and packets a second. One for all sessions of a host, so that
/// together they stay below what one may cost. Small home routers keep 1,024 to 4,096 entries.
/// And what those sessions may send to addresses that peers name and that have never answered.
///
/// Entries count for as long as routers keep them: RFC 4787 REQ-5 asks for two minutes.
/// Threading: one owner. Holds a few numbers per remote address, at most kRemotesMax of them.
class ProbeBudget {
 public:
  /// Plan::kPortsMax fits in once; what is left to 1,100 is for ordinary checks, the server,
  /// measurements of the NAT, and TCP.
  static constexpr unsigned kEntriesMax = 1'020;
  static constexpr Duration kEntryLifetime = std::chrono::seconds(120);
  static constexpr std::size_t kRemotesMax = 32;  ///< Then no search begins until some expire.
  static constexpr Duration kPacketGap = std::chrono::milliseconds(2);  ///< 500 a second.
  static constexpr int kPacketBurst = 8;  ///< What a timer that is late by 16 ms makes up for.

  /// Searches that it cannot pay for are not begun: they would cost, and miss. Nor would the two
  /// sides, of which one pays more, ever again have enough at the same time.
  static constexpr unsigned kWorthPercent = 90;

  /// Takes up to `count` entries towards the NAT at `remote`. Gives how many; 0: none are left.
  unsigned reserve(const IpAddress& remote, unsigned count, TimePoint now);
  unsigned left(const IpAddress& remote, TimePoint now);
  unsigned left(TimePoint now);  ///< In the own router.
  /// For whom it is not known yet what the search takes: all that is left. Nobody else gets it
  /// until settle(), nor longer than kPromiseMax, since who was asked may never answer. What is
  /// promised once more ends no later.
  unsigned promise(FinderTag to, TimePoint now);
  void settle(FinderTag to);
  static constexpr Duration kPromiseMax = std::chrono::milliseconds(1'500);
  /// A peer is about to send so much to the own NAT, which keeps what comes unasked. Gives what was
  /// counted.
  unsigned expect(unsigned count, TimePoint now);
  void refund_expected(unsigned count) { own_.remove(count); }  ///< It did not come.
  /// Entries that were reserved and not used.
  void refund(const IpAddress& remote, unsigned count);

  bool take_packet(TimePoint now) { return packets_.take(now); }
  TimePoint next_packet_at() const { return packets_.next_token_at(); }

  /// Outside of searches. Ten honest sessions with one silent address need no more at once; a
  /// bystander sees 26 KB, then 100 bytes a second.
  static constexpr int kChecksBurst = 256;
  /// Five campaigns of a StreamOpener at one address.
  static constexpr int kConnectsBurst = 512;
  static constexpr Duration kTrickle = std::chrono::seconds(1);
  StrangerLimit& checks() { return checks_; }
  StrangerLimit& connects() { return connects_; }
  /// An authentic answer came from there.
  void on_answer(const IpAddress& ip) {
    checks_.on_answer(ip);
    connects_.on_answer(ip);
  }

 private:
  /// A sum over the last lifetime, in slots.
  struct Sum {
    static constexpr std::size_t kSlots = 13;
    std::array<std::uint16_t, kSlots> slots{};
    std::int64_t newest = 0;  // Counted from the start of time.

    void advance(TimePoint now);
    unsigned total() const;
    void add(unsigned count) { slots[index(newest)] += static_cast<std::uint16_t>(count); }
    void remove(unsigned count);
    static std::size_t index(std::int64_t slot) { return static_cast<std::size_t>(slot) % kSlots; }
  };

  struct Promise {
    FinderTag to;
    unsigned count = 0;
    TimePoint until;
  };

  Sum own_;
  std::optional<Promise> promise_;  // It is for all that was left, so there are never two.
  std::map<IpAddress, Sum> remotes_;
  TokenBucket packets_{kPacketBurst, kPacketGap};
  StrangerLimit checks_{kChecksBurst, kTrickle};
  StrangerLimit connects_{kConnectsBurst, kTrickle};
};

}  // namespace openp2p::path
