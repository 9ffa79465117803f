#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/peer_signal.h"
#include "base/address.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "path/method_history.h"

/// What a node remembers of the other nodes of its network, so that they find each other again
/// while no server can be reached, also after a restart.
namespace openp2p::agent {

struct KnownPeer {
  NodeId id;
  std::string name;
  std::uint64_t incarnation = 0;
  std::string version;
  std::string platform;
  friend bool operator==(const KnownPeer&, const KnownPeer&) = default;
};

/// UDP ports of a node's main sockets; 0: none, or any.
struct OwnPorts {
  std::uint16_t v4 = 0;
  std::uint16_t v6 = 0;
  friend bool operator==(const OwnPorts&, const OwnPorts&) = default;
};

/// The members as the server last told them, and where each was last.
///
/// Trust: who is a member is what the server said, and rests on the state folder being this user's
/// alone, as the node's key does. Candidates come from the peer's own last signal, whose signature
/// is checked again when they are used; where it proved itself is a place to ask, and nothing else.
/// Sans-I/O. Threading: one owner.
class PeerCache {
 public:
  static constexpr std::size_t kPeersMax = 10'000;  ///< As many as a network has.
  /// A signal with more than about 50 candidates, which none has, is not kept.
  static constexpr std::size_t kSignalBytesMax = 2'048;
  static constexpr std::size_t kProvenMax = 4;     ///< A peer: home, office, telephone, and before.
  static constexpr std::size_t kAddressesMax = 6;  ///< Of one peer that are worth asking.
  /// All of the above with the longest names.
  static constexpr std::size_t kFileBytesMax = std::size_t{32} << 20;

  PeerCache(const NodeId& self, const NodeId& server) : self_(self), server_(server) {}

  void set_own_ports(const OwnPorts& ports);
  OwnPorts own_ports() const { return own_ports_; }
  void set_history(const path::MethodHistory& history);
  const path::MethodHistory& history() const { return history_; }
  void put(const KnownPeer& peer);  ///< New, or in place of what was said before.
  void remove(const NodeId& id);    ///< It is no member any more.
  /// The peer signed this; what has no candidates is not worth keeping.
  void on_signal(const PeerSignal& signal, ByteView bytes);
  /// A direct path to the peer carries a session with it. UDP, and no socket's.
  void on_proven(const NodeId& id, const Address& address);

  std::vector<KnownPeer> peers() const;
  /// Where to ask for the peer over UDP, the likeliest first.
  std::vector<Address> addresses(const NodeId& id) const;
  /// It can be reached from anywhere, as it last said: a public address, or a mapped port.
  bool is_open(const NodeId& id) const;

  bool is_changed() const { return is_changed_; }
  /// True once after each change that is worth a write.
  bool take_change();
  Bytes encode() const;
  /// Takes what another life of this node wrote. False: the bytes are of something else, or
  /// damaged; then nothing was taken.
  bool decode(ByteView bytes);

 private:
  struct Entry {
    KnownPeer peer;
    Bytes signal;
    std::vector<Address> proven;
    /// Of the signal, once somebody asked: verifying costs more than keeping.
    mutable std::optional<std::vector<path::Candidate>> candidates;
  };
  const std::vector<path::Candidate>& candidates(const Entry& entry) const;

  const NodeId self_;
  const NodeId server_;
  std::map<NodeId, Entry> entries_;
  OwnPorts own_ports_;
  path::MethodHistory history_;
  bool is_changed_ = false;
};

}  // namespace openp2p::agent
