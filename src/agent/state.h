#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/node_control.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "path/method.h"

/// What an agent remembers between starts, and its text in `state.json`.
namespace openp2p::agent {

/// The largest state file read or written. The most forwards and destinations below, each with the
/// longest names, need 750 KiB.
inline constexpr std::size_t kStateBytesMax = 1024 * 1024;
/// More forwards than any known user has by two orders.
inline constexpr std::size_t kForwardsMax = 1'000;
/// Of all forwards, one for each port and protocol: below the descriptors that systems let a
/// program have (4,096 at least, and most far more).
inline constexpr std::size_t kForwardSocketsMax = 3'000;
/// `--accept` destinations, as many as forward::AcceptPolicy takes: it looks through them once for
/// each opened connection.
inline constexpr std::size_t kAcceptsMax = 256;

/// Why the state cannot be used, in words for the person who starts the agent: the file, what is
/// wrong with it, and the command that repairs it.
struct StateFailure {
  enum class Kind {
    kBusy,        ///< Another agent uses the folder.
    kPermission,  ///< Owner or mode are wrong, or access is denied.
    kCorrupt,     ///< The file's content cannot be read. Nothing was overwritten.
    kDisk,        ///< Reading or writing failed; what was there before is whole.
  };
  Kind kind;
  std::string text;
};

template <class T>
using StateResult = boost::system::result<T, StateFailure>;

struct ServerIdentity {
  std::vector<std::string> addresses;  ///< "host:port", in the order to be tried.
  NodeId key;
  /// Tried after those: what the server itself said last, so that this node learns of new ones.
  std::vector<std::string> told = {};
  friend bool operator==(const ServerIdentity&, const ServerIdentity&) = default;
};

struct AgentState {
  std::optional<ServerIdentity> server;  ///< nullopt: no join token was ever given.
  /// Of the join token, until the server has accepted this node's key; then dropped, here and on
  /// disk, since the key is the credential from there on.
  std::optional<Bytes> join_secret;
  std::string node_name;
  bool accepts_lan = false;
  std::vector<std::string> accepts;                  ///< "HOST:PORT"
  std::uint16_t port = 0;                            ///< UDP; 0: any.
  std::optional<unsigned> share_mbit;                ///< nullopt: nobody was asked yet.
  bool discovers_lan = false;                        ///< By multicast.
  bool avoids_strangers = false;                     ///< Never relayed by strangers' nodes.
  bool relays_own_nodes = true;                      ///< For the nodes of its network.
  path::MethodSet methods = path::MethodSet::all();  ///< To reach peers by.
  std::vector<ForwardSpec> forwards;
  /// The text this was read from. Fields that this version does not know are taken from it when the
  /// state is written, so that an older program does not lose what a newer one stored.
  std::string document;

  bool is_joined() const { return server.has_value() && !join_secret.has_value(); }
};

std::string encode_state(const AgentState& state);
/// `file` is named in failures. Refused: other JSON types than ours, limits exceeded, unknown
/// schema.
StateResult<AgentState> decode_state(std::string_view text, std::string_view file);

}  // namespace openp2p::agent
