#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"
#include "nat/source_limit.h"
#include "nat/stun_message.h"

namespace openp2p::nat {

/// One bound socket of the server. `address` is the one that clients reach it at; where its IP
/// address is unspecified (bound to all), the service cannot tell clients its addresses, but still
/// answers from the port they ask for.
struct StunSocket {
  SocketId id;
  Address address;
  bool is_alternate_ip = false;
  bool is_alternate_port = false;
};

/// Answers Binding requests: RFC 8489, behaviour discovery of RFC 5780, and old clients of RFC
/// 3489.
///
/// A family is served in full with four sockets: two IP addresses, each with the same two ports.
/// With one IP address OTHER-ADDRESS is left out (RFC 5780 section 7.4) and a request to change the
/// IP address is refused with 420; changing the port works. Old clients, which read any answer as
/// success, get silence for a change that cannot be, and a CHANGED-ADDRESS with the other port; to
/// them filters then look more closed than they are. (Debian's stun asks that address at the first
/// port, and so takes a symmetric NAT for a cone: RFC 3489 needs two addresses.)
///
/// Against abuse: one answer at most per request, never above kAnswerBytesMax, to where the request
/// came from (RESPONSE-PORT: the same IP address, and no port below 1024); PADDING is refused with
/// 420, since it is made to be amplified into fragments (RFC 5780 section 9); only requests are
/// answered, so that two servers cannot be set upon each other; SourceLimit bounds the rate.
/// Sans-I/O, no allocation per datagram. Threading: one owner.
class StunService {
 public:
  static constexpr std::size_t kSocketsMax = 8;  ///< Four a family.
  /// The longest answer, to an IPv6 client of RFC 5780 with FINGERPRINT, has 124 bytes.
  static constexpr std::size_t kAnswerBytesMax = 128;
  static constexpr std::uint16_t kResponsePortMin = 1024;

  struct Answer {
    SocketId socket;
    Address to;
    std::size_t size = 0;
  };
  struct Counters {
    std::uint64_t answered = 0;
    std::uint64_t refused = 0;  ///< Answered with an error.
    std::uint64_t limited = 0;
    std::uint64_t ignored = 0;  ///< Not a Binding request, or from where none can come.
  };

  /// `seed` must be secret (SourceLimit).
  StunService(const std::vector<StunSocket>& sockets, const SourceLimitConfig& limit,
              std::uint64_t seed);

  /// `out` of at least kAnswerBytesMax. nullopt: say nothing.
  std::optional<Answer> on_datagram(SocketId socket, const Address& from, ByteView datagram,
                                    MutableByteView out, TimePoint now);
  /// The same for a request that came over a TCP connection to the port of `beside`. Over it there
  /// is but one way back; an answer from another port or address (CHANGE-REQUEST) needs a new
  /// connection, from `call_from` (unspecified: the address asked) and a port that the client never
  /// met. Only `from` itself may be called, which has just proven that it is where it says.
  struct StreamAnswer {
    std::size_t size = 0;
    std::optional<IpAddress> call_from;  ///< nullopt: over the connection that asked.
  };
  std::optional<StreamAnswer> on_stream_datagram(SocketId beside, const Address& from,
                                                 ByteView datagram, MutableByteView out,
                                                 TimePoint now);
  /// What the client is told over the connection that asked, when it was not called.
  enum class NoCall : std::uint16_t {
    kCannot = 420,   ///< CHANGE-REQUEST is not understood: there is nothing to call with.
    kFailed = 447,   ///< Connection Timeout or Failure (RFC 6062 section 6.3): it was called.
    kTooMany = 508,  ///< Insufficient Capacity (RFC 8656 section 19).
  };
  static std::size_t encode_no_call(ByteView request, NoCall why, MutableByteView out);
  const Counters& counters() const { return counters_; }

 private:
  const StunSocket* by_id(SocketId id) const;
  /// The socket that differs from `socket` in just what is asked for; nullptr if there is none.
  const StunSocket* changed(const StunSocket& socket, bool ip, bool port) const;
  bool is_plausible_source(const Address& from) const;
  void add_origin(const StunSocket& received_on, const StunSocket& answers, StunMessage& answer,
                  bool is_rfc3489) const;
  StunMessage answer_to(const StunMessage& request, const StunSocket& received_on,
                        const StunSocket& answers, const Address& from) const;
  std::optional<Answer> send(const StunMessage& answer, const StunSocket& socket, const Address& to,
                             MutableByteView out);
  std::optional<Answer> refuse(const StunMessage& request, const AttributeTypes& not_understood,
                               const StunSocket& socket, const Address& from, MutableByteView out);
  std::optional<Answer> ignore();

  std::vector<StunSocket> sockets_;
  SourceLimit limit_;
  Counters counters_;
};

}  // namespace openp2p::nat
