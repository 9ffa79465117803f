#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "nat/nat_profile.h"

namespace openp2p::path {

/// The ways to reach a peer. All that apply start together; which apply follows from what
/// both sides know of their NATs (SideProfile).
enum class Method : std::uint8_t {
  kDirect,           ///< Checks to host and public addresses, LAN and IPv6 included.
  kMapped,           ///< Checks to a port that a router was asked for (UPnP, NAT-PMP, PCP).
  kPunch,            ///< Checks cross, between mappings that depend on no endpoint.
  kPredictOne,       ///< One side is symmetric: the other asks the ports that are likely next.
  kBirthday,         ///< .. many sockets there, paced random ports from here.
  kPredictBoth,      ///< Both are symmetric; one's next ports can be told, the other's roughly.
  kTcpDirect,        ///< TCP to a listener that can be reached.
  kTcpSimultaneous,  ///< Both connect at once (RFC 9293 section 3.5), through both NATs.
  kRelayed,          ///< Through another node, whose allocation was asked for elsewhere.
};
inline constexpr int kMethods = 9;
std::string_view method_text(Method method);  ///< "direct", "mapped", "punch", "predict-one", ..
std::optional<Method> parse_method(std::string_view text);

class MethodSet;
std::vector<std::string> method_texts(MethodSet methods);  ///< Of those in it.

/// Which methods may be used: all, unless somebody diagnoses.
class MethodSet {
 public:
  static MethodSet all() { return MethodSet((1U << kMethods) - 1); }
  static MethodSet none() { return MethodSet(0); }
  static MethodSet from_bits(std::uint32_t bits) { return MethodSet(bits & all().bits_); }
  MethodSet with(Method method) const { return MethodSet(bits_ | bit(method)); }
  MethodSet without(Method method) const { return MethodSet(bits_ & ~bit(method)); }
  bool has(Method method) const { return (bits_ & bit(method)) != 0; }
  std::uint32_t bits() const { return bits_; }
  friend MethodSet operator&(MethodSet a, MethodSet b) { return MethodSet(a.bits_ & b.bits_); }
  friend bool operator==(MethodSet, MethodSet) = default;

 private:
  explicit MethodSet(std::uint32_t bits) : bits_(bits) {}
  static std::uint32_t bit(Method method) { return 1U << static_cast<unsigned>(method); }
  std::uint32_t bits_;
};

/// What one side of an attempt tells the other about how it can be reached, beside its candidates.
struct SideProfile {
  nat::NatProfile udp;
  nat::NatProfile tcp;
  MethodSet methods = MethodSet::all();
  /// What its router may be asked to remember yet (ProbeBudget); nullopt: an older node does not
  /// tell.
  std::optional<unsigned> entries_left = std::nullopt;
  friend bool operator==(const SideProfile&, const SideProfile&) = default;
};

}  // namespace openp2p::path
