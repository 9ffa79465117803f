#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/time.h"
#include "nat/pcp_message.h"

namespace openp2p::nat {

/// A gateway's time since it last lost its state, against our clock (RFC 6887 section 8.5). NAT-PMP
/// has the same thing (RFC 6886 section 3.6), and the same check serves it.
class EpochWatch {
 public:
  /// False: the gateway has lost its mappings since the answer before.
  bool accept(std::uint32_t epoch_s, TimePoint now);

 private:
  std::optional<std::uint32_t> last_epoch_s_;
  TimePoint last_at_{};
};

struct PcpClientConfig {
  Address server;    ///< The gateway, port 5351; with its scope where it is link-local.
  IpAddress client;  ///< Ours, as the gateway sees it: what the datagrams are sent from.
  Duration lifetime = std::chrono::hours(1);  ///< Asked for; the gateway decides.
};

/// Asks one gateway by PCP to let packets in to our ports, renews that, and takes it back.
///
/// Source: RFC 6887. Where the gateway does not translate (IPv6), the mapping is a pinhole in its
/// firewall: external and internal address are equal. One message a mapping; retransmission by
/// section 8.1.1, renewal at a half, three quarters, .. of the lifetime by section 11.2.1, and at
/// once when the epoch says that the gateway has lost its state.
///
/// A gateway that never answers is given up after kSendsMax: no timer runs then. THIRD_PARTY and
/// FILTER are not used, PREFER_FAILURE neither: any external port will do.
///
/// The gateway is not trusted: an answer counts only with our nonce and from its address; absurd
/// addresses, lifetimes and epochs cost at most a datagram each kPaceMin. Sans-I/O. Allocates for
/// mappings only. Threading: one owner.
class PcpClient {
 public:
  static constexpr std::size_t kMappingsMax = 8;  ///< A node has two ports.
  static constexpr unsigned kSendsMax = 4;        ///< 3 + 6 + 12 s, and 12 more for the last.
  static constexpr Duration kPaceMin = std::chrono::seconds(10);    ///< Between unforced renewals.
  static constexpr Duration kLifetimeMax = std::chrono::hours(24);  ///< Section 15: not for ever.
  static constexpr Duration kRetryMax = std::chrono::hours(1);      ///< After errors.

  enum class State { kAsking, kMapped, kRefused, kSilent };
  struct Mapping {
    PcpProtocol protocol = PcpProtocol::kUdp;
    std::uint16_t internal_port = 0;
    State state = State::kAsking;
    Address external;                        ///< Of kMapped.
    Duration lifetime{};                     ///< Of kMapped: as granted.
    PcpResult result = PcpResult::kSuccess;  ///< Of kRefused.
  };

  /// `random` makes timers differ between nodes.
  PcpClient(const PcpClientConfig& config, Random random);

  /// Requires fewer than kMappingsMax, a port, and that it was not added before. Nobody else may
  /// know the nonce: it is what the mapping belongs to. A program that starts again and has the
  /// same nonce goes on with the mapping; with another, the gateway refuses until the lease ends.
  void add(PcpProtocol protocol, std::uint16_t internal_port, const PcpNonce& nonce, TimePoint now);
  /// Asks for everything again, at once: what was given up, too.
  void refresh(TimePoint now);
  /// Takes everything back: each is repeated until it is answered, within a second and a half, as
  /// somebody waits for the program's end.
  void remove_all();
  bool is_removed() const;  ///< The gateway knows, or was given up.

  /// True if it is an answer or announcement of this gateway; others are left alone. Announcements
  /// come in through a socket of their own, at kPcpAnnouncementPort.
  bool on_datagram(const Address& from, ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  std::size_t poll_datagram(MutableByteView out, TimePoint now);  ///< To server(). 0: nothing.
  std::optional<TimePoint> next_timeout() const;

  const Address& server() const { return config_.server; }
  std::vector<Mapping> mappings() const;
  bool is_answered() const { return is_answered_; }  ///< By anything that is PCP.
  /// It answered that it has no PCP of this version: it may have NAT-PMP.
  bool is_version_refused() const { return is_version_refused_; }
  bool is_any_mapped() const;
  bool is_settled() const;  ///< Nothing is asked for the first time any more.

 private:
  struct Entry {
    Mapping mapping;
    PcpNonce nonce{};
    std::optional<TimePoint> due_at;  ///< Of the next copy, of a renewal, or of giving up.
    TimePoint expires_at{};
    Duration wait{};        ///< Between copies of a request that was never answered.
    unsigned sends = 0;     ///< Since the last answer.
    unsigned refusals = 0;  ///< In a row.
    bool is_due = false;
    bool is_gone = false;      ///< Taken back.
    bool is_remaking = false;  ///< kMapped, but the gateway has lost it.
  };

  bool on_announcement(const PcpMessage& message, TimePoint now);
  void on_map(const PcpMessage& answer, TimePoint now);
  void on_removed(const PcpMessage& answer);
  void on_removal_timeout(TimePoint now);
  bool is_paced(TimePoint now);
  void remake_all(Duration delay, const Entry* except, TimePoint now);
  void granted(Entry& entry, const PcpMessage& answer, TimePoint now);
  void refused(Entry& entry, const PcpMessage& answer, TimePoint now);
  void refuse_version();
  void expire(Entry& entry, TimePoint now);
  void schedule_after_send(Entry& entry, TimePoint now);
  Duration jittered(Duration base, double least, double span);
  PcpMessage request(const Entry& entry) const;

  const PcpClientConfig config_;
  Random random_;
  std::vector<Entry> entries_;
  EpochWatch epoch_;
  std::optional<TimePoint> recovered_at_;
  bool is_answered_ = false;
  bool is_version_refused_ = false;
  bool is_removing_ = false;
};

}  // namespace openp2p::nat
