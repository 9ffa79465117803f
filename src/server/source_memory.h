#pragma once

#include <vector>

#include "base/address.h"

namespace openp2p::server {

/// Which of this machine's addresses a remote one wrote to, so that a socket bound to all of them
/// answers from the same: clients and NATs know no other (RFC 8489 section 6.3.1).
///
/// A table of fixed size in which a newer entry takes the place of one that falls into the same
/// slot. Who loses its slot is answered from the address that the kernel chooses, which on a
/// machine with one address is the right one anyway. Threading: one owner.
class SourceMemory {
 public:
  static constexpr std::size_t kEntries =
      8'192;  ///< 400 KiB; two for each three sessions at worst.

  SourceMemory() : entries_(kEntries) {}

  void remember(const Address& remote, const IpAddress& local) {
    entries_[slot(remote)] = {remote, local};
  }
  IpAddress find(const Address& remote) const {  ///< Unspecified: not known.
    const Entry& entry = entries_[slot(remote)];
    return entry.remote == remote ? entry.local : IpAddress();
  }

 private:
  struct Entry {
    Address remote;
    IpAddress local;
  };
  static std::size_t slot(const Address& remote) { return std::hash<Address>{}(remote) % kEntries; }
  std::vector<Entry> entries_;
};

}  // namespace openp2p::server
