#include "sim/port_allocator.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::sim {

PortAllocator::PortAllocator(const NatOptions& options, Random random)
    : options_(options), random_(random) {
  CHECK(options.port_min > 0 && options.port_min <= options.port_max);
  CHECK(options.allocation != PortAllocation::kBlocks ||
        (options.block_ports > 0 && options.block_ports <= ports()));
  next_port_ = options.port_min + static_cast<std::uint32_t>(random_.below(ports()));
}

std::optional<Address> PortAllocator::allocate(const Address& internal,
                                               std::span<const IpAddress> external,
                                               const IsFree& is_free) {
  const IpAddress ip = pick_address(internal.ip, external);
  const auto any = [&] {
    const auto offset = static_cast<std::uint32_t>(random_.below(ports()));
    return scan_all_from(ip, options_.port_min + offset, is_free);
  };
  switch (options_.allocation) {
    case PortAllocation::kPreserving:
      if (is_free({ip, internal.port})) return Address{ip, internal.port};
      return any();
    case PortAllocation::kSequential: {
      const auto found = scan_all_from(ip, next_port_, is_free);
      if (found)
        next_port_ = found->port == options_.port_max ? options_.port_min : found->port + 1;
      return found;
    }
    case PortAllocation::kRandom:
      return any();
    case PortAllocation::kBlocks:
      return allocate_in_blocks(internal.ip, ip, is_free);
  }
  return std::nullopt;
}

IpAddress PortAllocator::pick_address(const IpAddress& internal,
                                      std::span<const IpAddress> external) {
  CHECK(!external.empty());
  if (options_.pooling == AddressPooling::kArbitrary) {
    return external[random_.below(external.size())];
  }
  // RFC 4787 REQ-2 without a table that could be filled up: neighbours get different addresses.
  const std::size_t last = internal.bytes()[14] * 256u + internal.bytes()[15];
  return external[last % external.size()];
}

std::optional<Address> PortAllocator::scan(const IpAddress& ip, std::uint32_t first,
                                           std::uint32_t count, std::uint32_t start,
                                           const IsFree& is_free) const {
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t port = first + (start - first + i) % count;
    const Address external{ip, static_cast<std::uint16_t>(port)};
    if (is_free(external)) return external;
  }
  return std::nullopt;
}

std::optional<Address> PortAllocator::scan_all_from(const IpAddress& ip, std::uint32_t port,
                                                    const IsFree& is_free) const {
  return scan(ip, options_.port_min, ports(), port, is_free);
}

std::optional<Address> PortAllocator::allocate_in_blocks(const IpAddress& internal,
                                                         const IpAddress& ip,
                                                         const IsFree& is_free) {
  const auto owned = blocks_of_.find(internal);
  if (owned != blocks_of_.end()) {
    for (const BlockKey& key : owned->second) {
      if (key.first != ip) continue;
      if (const auto found = allocate_in_block(key, is_free)) return found;
    }
    if (owned->second.size() >= options_.blocks_per_host_max) return std::nullopt;
  }
  const auto key = take_block(internal, ip);
  if (!key) return std::nullopt;
  return allocate_in_block(*key, is_free);
}

std::optional<Address> PortAllocator::allocate_in_block(const BlockKey& key,
                                                        const IsFree& is_free) {
  const std::uint32_t first = options_.port_min + key.second * options_.block_ports;
  const auto start = first + static_cast<std::uint32_t>(random_.below(options_.block_ports));
  const auto found = scan(key.first, first, options_.block_ports, start, is_free);
  if (found) ++blocks_[key].used;
  return found;
}

std::optional<PortAllocator::BlockKey> PortAllocator::take_block(const IpAddress& internal,
                                                                 const IpAddress& ip) {
  const std::uint32_t count = ports() / options_.block_ports;
  const auto start = static_cast<std::uint32_t>(random_.below(count));
  for (std::uint32_t i = 0; i < count; ++i) {
    const BlockKey key{ip, (start + i) % count};
    if (blocks_.contains(key)) continue;
    blocks_[key].owner = internal;
    blocks_of_[internal].push_back(key);
    return key;
  }
  return std::nullopt;
}

void PortAllocator::release(const Address& external) {
  if (options_.allocation != PortAllocation::kBlocks) return;
  const BlockKey key{external.ip,
                     (external.port - std::uint32_t{options_.port_min}) / options_.block_ports};
  const auto block = blocks_.find(key);
  CHECK(block != blocks_.end() && block->second.used > 0);
  if (--block->second.used > 0) return;
  const auto owned = blocks_of_.find(block->second.owner);
  std::erase(owned->second, key);
  if (owned->second.empty()) blocks_of_.erase(owned);
  blocks_.erase(block);
}

void PortAllocator::clear() {
  blocks_.clear();
  blocks_of_.clear();
}

}  // namespace openp2p::sim
