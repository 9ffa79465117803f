#pragma once

#include "base/address.h"
#include "base/result.h"
#include "base/time.h"
#include "sim/nat_table.h"
#include "sim/pcp_service.h"

namespace openp2p::lab {

/// A simulated router's PCP server (RFC 6887) on a real UDP socket: hosts inside map ports of the
/// NAT's tables by it. The socket stays in the network namespace it was opened in.
class PcpListener {
 public:
  /// On `ip`, the router's address inside. The tables outlive it; nullptr: not mapped.
  static Result<PcpListener> open(const IpAddress& ip, sim::NatTable* udp, sim::NatTable* tcp,
                                  TimePoint now);
  PcpListener(PcpListener&& other) noexcept;
  PcpListener& operator=(PcpListener&&) = delete;
  ~PcpListener();

  int descriptor() const { return descriptor_; }
  void on_readable(TimePoint now);  ///< Answers what has come, up to a limit a call.
  /// The router restarted without its state, which its hosts are told. (The tables: see NatTable.)
  void restart(TimePoint now);

 private:
  PcpListener(int descriptor, const IpAddress& ip, const sim::PcpService& service)
      : descriptor_(descriptor), ip_(ip), service_(service) {}

  int descriptor_;
  const IpAddress ip_;
  sim::PcpService service_;
};

}  // namespace openp2p::lab
