#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "base/address.h"
#include "base/time.h"

namespace openp2p::session {

/// What limits per address count by: an IPv4 address; of IPv6 the /64, since networks hand out at
/// least that to a customer.
IpAddress prefix_of(const IpAddress& ip);

/// Who may still open a session here: limits against floods of Initial packets, spoofed or not.
///
/// Below `handshakes_before_retry` everybody is let in at once. Above it a client has to prove its
/// address first with a Retry token, which costs this side no memory (RFC 9000 section 8.1.2).
/// Above `handshakes_max`, or with too many sessions in all or from one address (IPv6: one /64),
/// nobody.
class Admission {
 public:
  struct Limits {
    std::size_t sessions_max;
    std::size_t sessions_per_address_max;
    std::size_t handshakes_before_retry;
    std::size_t handshakes_max;
  };
  enum class Verdict { kAccept, kAcceptWithToken, kRefuse };
  using Serial = std::uint64_t;

  explicit Admission(const Limits& limits) : limits_(limits) {}

  Verdict judge(const IpAddress& from) const;
  void on_handshake(Serial session, const IpAddress& from);
  void on_handshake_end(Serial session);  ///< It is established, or over. May be repeated.
  void on_session_end(Serial session);    ///< Unknown sessions are ignored.
  /// A token bucket for answers to datagrams of unknown connections: 100 a second, so that two
  /// parties without state cannot keep each other busy.
  bool may_answer_stranger(TimePoint now);

 private:
  struct Guest {
    IpAddress prefix;
    bool is_in_handshake = true;
  };
  const Limits limits_;
  std::map<Serial, Guest> guests_;
  std::map<IpAddress, std::size_t> per_prefix_;
  std::size_t handshakes_ = 0;
  TimePoint answers_since_;
  unsigned answers_ = 0;
};

}  // namespace openp2p::session
