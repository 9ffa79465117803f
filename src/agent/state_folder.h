#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/state.h"
#include "base/crypto.h"
#include "base/descriptor.h"

namespace openp2p::agent {

/// $OPENP2P_STATE; else /var/lib/openp2p for root; else $XDG_DATA_HOME/openp2p or
/// ~/.local/share/openp2p.
std::string default_state_path();

/// The folder in which one agent keeps its key and its state, locked while this object lives.
///
/// Mode 0700, owned by the user who runs the agent; the files in it 0600. Files are replaced as a
/// whole: written beside, synced, renamed, and the folder synced, so that neither kill -9 nor a
/// full disk nor a power cut leaves half a file. Symbolic links inside the folder are not followed.
/// Threading: one owner. Calls block for the disk.
class StateFolder {
 public:
  /// Makes the folder where it is missing. Fails where another agent holds the lock, and names its
  /// process; where another user owns the folder.
  static StateResult<std::unique_ptr<StateFolder>> open(const std::string& path);
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;

  /// nullopt where there is none yet. Refuses a key of a wrong size, and one that others can read.
  StateResult<std::optional<IdentityKey>> load_key() const;
  /// Stores a new key; never over one that is there.
  StateResult<void> store_key(const IdentityKey& key);

  /// nullopt where none was saved yet.
  StateResult<std::optional<AgentState>> load_state() const;
  StateResult<void> save_state(const AgentState& state);

  /// What the node knew of its peers: PeerCache's, which reads it. nullopt where there is nothing.
  StateResult<std::optional<Bytes>> load_peers() const;
  StateResult<void> save_peers(ByteView peers);

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// Where the agent listens for the command line. A function of the path alone, since the command
  /// line asks without opening the folder.
  static std::string socket_path(const std::string& folder) { return folder + "/agent.sock"; }

 private:
  StateFolder(std::string path, Descriptor folder, Descriptor lock);
  StateResult<std::optional<std::string>> read(const char* name, std::size_t bytes_max) const;
  StateResult<void> write(const char* name, ByteView content);

  std::string path_;
  Descriptor folder_;  ///< Files are opened relative to it: renaming the path changes nothing.
  Descriptor lock_;
};

}  // namespace openp2p::agent
