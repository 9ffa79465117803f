#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/random.h"
#include "sim/nat_behaviour.h"

namespace openp2p::sim {

/// Chooses the external address and port of a NAT's new mapping (RFC 4787 section 4.2).
class PortAllocator {
 public:
  using IsFree = std::function<bool(const Address& external)>;

  PortAllocator(const NatOptions& options, Random random);

  /// nullopt: nothing is free, or `internal` has used up its blocks.
  std::optional<Address> allocate(const Address& internal, std::span<const IpAddress> external,
                                  const IsFree& is_free);
  void release(const Address& external);  ///< Every allocated endpoint, once.
  void clear();

 private:
  using BlockKey = std::pair<IpAddress, std::uint32_t>;
  struct Block {
    IpAddress owner;
    unsigned used = 0;
  };

  IpAddress pick_address(const IpAddress& internal, std::span<const IpAddress> external);
  std::optional<Address> scan(const IpAddress& ip, std::uint32_t first, std::uint32_t count,
                              std::uint32_t start, const IsFree& is_free) const;
  std::optional<Address> scan_all_from(const IpAddress& ip, std::uint32_t port,
                                       const IsFree& is_free) const;
  std::optional<Address> allocate_in_blocks(const IpAddress& internal, const IpAddress& ip,
                                            const IsFree& is_free);
  std::optional<Address> allocate_in_block(const BlockKey& key, const IsFree& is_free);
  std::optional<BlockKey> take_block(const IpAddress& internal, const IpAddress& ip);
  std::uint32_t ports() const { return options_.port_max - options_.port_min + 1u; }

  const NatOptions options_;
  Random random_;
  std::uint32_t next_port_;
  std::map<BlockKey, Block> blocks_;
  std::map<IpAddress, std::vector<BlockKey>> blocks_of_;
};

}  // namespace openp2p::sim
