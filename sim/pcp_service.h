#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"
#include "nat/pcp_message.h"
#include "sim/nat_table.h"

namespace openp2p::sim {

struct PcpServiceOptions {
  Duration lifetime_max = std::chrono::hours(2);           ///< Granted at most.
  nat::PcpResult refuses_with = nat::PcpResult::kSuccess;  ///< Else: every request.
  std::uint32_t error_lifetime_s = 30;
};

/// The PCP server of a simulated router (RFC 6887): MAP makes static mappings in its NAT tables.
/// It takes addresses and times and knows nothing of packets, as NatTable. Threading: one owner.
class PcpService {
 public:
  /// A nullptr: that protocol is not mapped. The tables outlive it.
  PcpService(NatTable* udp, NatTable* tcp, const PcpServiceOptions& options)
      : udp_(udp), tcp_(tcp), options_(options) {}

  /// Answers a request of `from` into `out`; 0: silence.
  std::size_t on_datagram(const Address& from, ByteView datagram, MutableByteView out,
                          TimePoint now);
  /// The state is lost: epoch 0. The tables are for the router to reset. Writes the announcement
  /// that goes to all hosts.
  std::size_t restart(MutableByteView out, TimePoint now);

  std::vector<IpAddress> clients() const;  ///< Who has mappings.
  std::uint64_t requests() const { return requests_; }

 private:
  nat::PcpMessage answer(const nat::PcpMessage& request, const Address& from, TimePoint now);
  nat::PcpResult map(nat::PcpMessage& answer, const Address& from, TimePoint now);

  NatTable* udp_;
  NatTable* tcp_;
  const PcpServiceOptions options_;
  std::map<Address, nat::PcpNonce> owners_;  // By internal endpoint; the TCP ones apart.
  std::map<Address, nat::PcpNonce> tcp_owners_;
  TimePoint started_at_{};
  std::uint64_t requests_ = 0;
};

}  // namespace openp2p::sim
