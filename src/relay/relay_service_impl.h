#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "path/token_bucket.h"
#include "relay/allocation_table.h"
#include "relay/relay_end.h"
#include "relay/relay_message.h"
#include "relay/relay_service.h"
#include "relay/shaper.h"
#include "relay/spent_tickets.h"

/// What RelayService is made of. Three sources: relay_service.cc (its ends, time, reports),
/// relay_admission.cc (who is let in), relay_carriage.cc (datagrams, receipts).
namespace openp2p::relay {

class RelayService::Impl final : public RelayEndHandler {
 public:
  /// The second end has so long: as tickets are good, and a new session takes a few seconds.
  static constexpr Duration kJoinPatience = std::chrono::seconds(90);
  /// An end checks a standby path each 25 s; one that nobody checks is forgotten.
  static constexpr Duration kIdleMax = std::chrono::minutes(10);
  /// How often all allocations are looked at, while there are any.
  static constexpr Duration kLookInterval = std::chrono::seconds(5);
  /// How often what is lent follows this node's own traffic.
  static constexpr Duration kRateInterval = std::chrono::milliseconds(500);
  /// However busy this node is: what is carried lives.
  static constexpr std::uint64_t kRateDivisor = 20;
  /// Forged tickets of one session: 256-bit codes are not guessed, but each try costs two hashes.
  static constexpr int kGuessesMax = 8;
  static constexpr Duration kGuessInterval = std::chrono::minutes(10);

  /// The last receipts of an allocation that ended come so late at most, and of so many.
  static constexpr Duration kLastReceiptPatience = std::chrono::seconds(15);
  static constexpr std::size_t kEndedMax = 1'024;
  static constexpr std::string_view kRelayedText =
      "the session with the relay goes over a relay itself";

  explicit Impl(const Options& options);
  ~Impl() override;

  // relay_service.cc
  void set_cap(std::uint64_t bits_per_second, TimePoint now);
  void set_own_rate(std::uint64_t bits_per_second, TimePoint now);
  void on_account_spent(const Account& account);
  void on_network_changed();
  forward::StreamUser* on_stream(Hop& hop, session::StreamId id);
  void forget(Hop& hop);
  void on_hop_moved(Hop& hop);
  void sweep();
  void stop(std::string_view why);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::vector<AllocationReport> report(TimePoint now) const;

  // RelayEndHandler
  TimePoint now() const override { return options_.host->now(); }
  void on_end_message(RelayEnd& end, EndMessage message) override;
  void on_end_datagram(RelayEnd& end, Channel channel, MutableByteView datagram,
                       TimePoint now) override;
  void on_end_malformed(RelayEnd& end) override;
  void on_end_gone(RelayEnd& end) override;

 private:
  friend class RelayService;
  struct HopState {
    HopState() : guesses(kGuessesMax, kGuessInterval) {}
    RelayEnd* end = nullptr;  ///< nullptr: none whose stream is open.
    path::TokenBucket guesses;
  };
  struct Ended {
    std::unique_ptr<Allocation> allocation;
    TimePoint at;
  };
  struct Refusal {
    RefusalCode code;
    std::string_view text;
  };

  // relay_admission.cc
  void on_message(RelayEnd& end, const UnknownMessage&) { static_cast<void>(end); }
  void on_message(RelayEnd& end, const AllocateMessage& wish);
  void on_message(RelayEnd& end, const ReleaseMessage& release);
  void on_message(RelayEnd& end, const ReceiptMessage& message);
  void on_message(RelayEnd& end, const LetterMessage& letter);
  std::optional<Refusal> check_room(const RelayEnd& end, const AllocateMessage& wish) const;
  std::optional<Refusal> check_right(RelayEnd& end, const AllocateMessage& wish, TimePoint now);
  std::optional<Refusal> check_lending(RelayEnd& end, const AllocateMessage& wish) const;
  std::optional<Refusal> check_code(RelayEnd& end, const AllocateMessage& wish, TimePoint now);
  void admit(RelayEnd& end, const AllocateMessage& wish, TimePoint now);
  Allocation& find_or_add(RelayEnd& end, const AllocateMessage& wish, TimePoint now);
  RelayEnd* find_end(const NodeId& node) const;

  // relay_carriage.cc
  void carry(Allocation& allocation, unsigned to, ByteView datagram, TimePoint now);
  bool is_shaped(const Allocation& allocation) const {
    return allocation.is_lent() && cap_ != kNoCap;
  }
  void let_out(TimePoint now);
  void ask_for_receipt(Allocation& allocation, unsigned side, TimePoint now);
  void take_receipt(Allocation& allocation, unsigned side, const SignedReceipt& receipt,
                    const Receipt& said);
  Allocation* find_ended(Channel channel, const NodeId& end) const;
  bool is_expected(const Allocation& allocation, unsigned side, const Receipt& said) const;

  // relay_service.cc
  void add_flows(const Allocation& allocation);
  void end_allocation(Allocation& allocation, std::string_view why,
                      const RelayEnd* untold = nullptr);
  void detach(Allocation& allocation, RelayEnd* end);
  void keep_for_receipts(std::unique_ptr<Allocation> ended);
  void look_at(Allocation& allocation, TimePoint now);
  void update_rate(TimePoint now);

  const Options options_;
  std::optional<TicketSecret> secret_;
  ServerClock clock_;
  SpentTickets spent_;
  std::uint64_t cap_ = kLendNothing;
  std::uint64_t own_rate_ = 0;
  RateMeter own_meter_;  ///< What is carried for own nodes.
  RateMeter lent_meter_;
  AllocationTable allocations_;
  std::size_t lent_ = 0;
  std::deque<Ended> ended_;  ///< Oldest first. Of these, only receipts are taken.
  Shaper shaper_;
  std::list<std::unique_ptr<RelayEnd>> ends_;
  std::unordered_map<Hop*, HopState> hops_;
  std::unordered_map<NodeId, RelayEnd*> ends_by_node_;
  bool has_gone_ends_ = false;
  std::optional<TimePoint> look_at_;
  std::optional<TimePoint> rate_at_;
  Counters counters_;
};

}  // namespace openp2p::relay
