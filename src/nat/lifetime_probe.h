#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"
#include "nat/stun_transaction.h"

namespace openp2p::nat {

/// The silences that are tried, each on a socket of its own: just under the times that devices and
/// carriers choose, since that is where keep-alives would go.
inline constexpr std::array<Duration, 10> kLifetimeSilences = {
    std::chrono::seconds(14),  std::chrono::seconds(28),  std::chrono::seconds(43),
    std::chrono::seconds(58),  std::chrono::seconds(88),  std::chrono::seconds(118),
    std::chrono::seconds(148), std::chrono::seconds(178), std::chrono::seconds(238),
    std::chrono::seconds(298)};

struct LifetimeReport {
  std::optional<Duration> alive;  ///< The longest silence that a mapping was seen to outlive.
  std::optional<Duration> dead;   ///< The shortest that none outlived.
  std::string problem;            ///< Why nothing is known; empty otherwise.
  std::vector<std::string> evidence;
};

/// How long a UDP mapping lives in silence (RFC 5780 section 4.6): some sockets make mappings, are
/// silent for different times, and then another socket asks the service to answer to them
/// (RESPONSE-PORT). All at once instead of by halves: an answer that comes refreshes some NATs'
/// mappings, so each can be asked once, and this way it takes as long as the longest silence that
/// is tried, five minutes at most, and ends at the first that is not outlived.
///
/// Each mapping gets a second request after kSettle: connection trackers give flows of more than
/// one exchange more time (Linux: after 2 s), as a session's is. Mappings: one a silence and one.
/// Sans-I/O. Threading: one owner.
class LifetimeProbe {
 public:
  static constexpr Duration kSettle = std::chrono::milliseconds(2'500);
  static constexpr std::size_t kAsker = kLifetimeSilences.size();  ///< Socket that asks for others.

  struct Config {
    std::uint32_t tag = 0;
    Address server;
    std::size_t silences = kLifetimeSilences.size();  ///< The first so many are tried.
  };
  LifetimeProbe(const Config& config, SecretSource& secrets, TimePoint now);

  /// `socket`: 0 to silences - 1, or kAsker. True if the datagram belongs to this probe.
  bool on_datagram(std::size_t socket, const Address& from, ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  std::size_t poll_datagram(std::size_t& socket, Address& to, MutableByteView out, TimePoint now);
  std::optional<TimePoint> next_timeout() const;

  bool is_done() const { return is_done_; }
  const LifetimeReport& report() const { return report_; }  ///< Complete when done.

 private:
  enum class Stage { kOpening, kSettling, kConfirming, kSilent, kAsking, kAlive, kDead, kFailed };
  struct Mapping {
    Stage stage = Stage::kOpening;
    std::optional<StunTransaction> asked;
    std::optional<Address> external;
    TimePoint until;  ///< Of the stages that wait.
  };

  void ask(Mapping& mapping, Stage stage, std::optional<std::uint16_t> response_port,
           TimePoint now);
  void on_answer(Mapping& mapping, const StunMessage& answer, TimePoint now);
  void step(Mapping& mapping, TimePoint now);
  void advance(TimePoint now);
  void conclude();
  bool is_over(const Mapping& mapping) const;

  const Config config_;
  SecretSource& secrets_;
  std::vector<Mapping> mappings_;
  bool is_refused_ = false;  ///< The service knows no RESPONSE-PORT.
  bool is_done_ = false;
  LifetimeReport report_;
};

}  // namespace openp2p::nat
