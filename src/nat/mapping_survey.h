#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"
#include "nat/nat_profile.h"
#include "nat/port_pattern.h"
#include "nat/stun_transaction.h"

namespace openp2p::nat {

struct MappingSurveyConfig {
  std::uint32_t tag = 0;  ///< Begins all transaction ids.
  /// Where STUN is answered, all of one family; the first is asked most. A second one with the same
  /// IP address and another port shows what mappings depend on; so does one with another address,
  /// which the service may also name itself (OTHER-ADDRESS of RFC 5780).
  std::vector<Address> servers;
  std::vector<IpAddress> local_addresses;  ///< This machine's own, of the family.
  std::vector<std::uint16_t> ports;        ///< Of the fresh sockets, at most kSurveySocketsMax.
  /// Whether to follow OTHER-ADDRESS: another mapping and round trip.
  bool asks_other_address = true;
};

inline constexpr std::size_t kSurveySocketsMax = 6;

struct SurveyReport {
  NatProfile profile;                  ///< Filtering and what belongs to it stay unknown.
  std::optional<Address> reflexive;    ///< Of the first socket towards the first server.
  std::vector<MappingSample> samples;  ///< Distinct mappings, in the order asked for.
  std::vector<IpAddress> externals;    ///< More than one: the NAT changes addresses.
  std::optional<Duration> rtt;
  std::vector<std::string> evidence;  ///< A line each, for people.

  bool is_silent() const { return !reflexive; }  ///< Nothing answers: UDP to it is blocked.
};

/// Tells quickly how a NAT maps: on what mappings depend, how ports are chosen, what the external
/// address is. It asks nothing whose answer is silence, so it takes two round trips; filtering is
/// BehaviourDiscovery's, which takes seconds.
///
/// All sockets ask the first server at once, the first socket also the others. Copies of a request
/// use the mapping that the first one made, so loss costs time but no ports; and the pattern does
/// not depend on the order of a few samples, nor on neighbours who take ports in between. It ends
/// kPatience after the first answer, whatever is missing, and after kSilence where none comes.
///
/// With S sockets it makes at most S + kOtherServersMax mappings. An answer counts only from where
/// it was asked for, with the request's 64 random bits, and only if it names an address that a
/// socket can have; a server that lies can still mislead its own user.
/// Sans-I/O. Threading: one owner.
class MappingSurvey {
 public:
  static constexpr Duration kPatience = std::chrono::milliseconds(1'500);
  static constexpr Duration kSilence = std::chrono::seconds(3);
  /// Another port, another address: what can be told apart needs no more.
  static constexpr std::size_t kOtherServersMax = 2;

  /// Requires a server and at least one port.
  MappingSurvey(const MappingSurveyConfig& config, SecretSource& secrets, TimePoint now);

  /// `socket`: index into config.ports. True if the datagram belongs to this survey.
  bool on_datagram(std::size_t socket, const Address& from, ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  /// What `socket` is to send, and where; 0: nothing of any socket.
  std::size_t poll_datagram(std::size_t& socket, Address& to, MutableByteView out, TimePoint now);
  std::optional<TimePoint> next_timeout() const;

  bool is_done() const { return is_done_; }
  bool is_answered() const { return has_answer_; }        ///< By anybody, so far.
  const SurveyReport& report() const { return report_; }  ///< Complete when done.

 private:
  struct Question {
    std::size_t socket = 0;
    StunTransaction asked;
  };

  void ask(std::size_t socket, const Address& to, TimePoint now);
  void ask_other_address(const StunMessage& answer, TimePoint now);
  bool is_believable(const Address& seen) const;
  std::optional<Address> seen_by(const Question& question) const;
  void advance(TimePoint now);
  void conclude();
  void collect_samples();
  Dependence conclude_mapping() const;
  void add_evidence(const PortPattern& pattern);

  MappingSurveyConfig config_;
  SecretSource& secrets_;
  std::vector<Question> questions_;  ///< In the order asked.
  TimePoint ends_at_;
  bool has_answer_ = false;
  bool is_done_ = false;
  SurveyReport report_;
};

}  // namespace openp2p::nat
