#include "agent/state_folder.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "agent/peer_cache.h"
#include "base/file_replace.h"

namespace openp2p::agent {
namespace {

constexpr const char* kLockName = "lock";
constexpr const char* kKeyName = "key";
constexpr const char* kStateName = "state.json";
constexpr const char* kPeersName = "peers";
constexpr const char* kTemporarySuffix = ".new";  // One writer holds the lock: one name is enough.
constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

using Kind = StateFailure::Kind;

/// `path` as an argument in a command that is shown to a person.
std::string quoted(const std::string& path) {
  if (path.find_first_of(" '\"\\$`&;<>|*?()[]{}~#!\t\n") == std::string::npos) return path;
  std::string out = "'";
  for (const char c : path) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

StateFailure failed(const std::string& what, int error) {
  const bool is_denied = error == EACCES || error == EPERM;
  return {is_denied ? Kind::kPermission : Kind::kDisk,
          what + ": " + std::error_code(error, std::generic_category()).message()};
}

/// Makes `path` and what is missing above it.
StateResult<void> make_folders(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), kFolderMode) != 0 && errno != EEXIST) {
      const int error = errno;
      struct stat info {};  // A read-only file system says EROFS even where the folder exists.
      if (::stat(part.c_str(), &info) != 0) return failed("cannot make the folder " + part, error);
    }
    if (end == std::string::npos) return {};
  }
}

StateResult<void> check_folder(const std::string& path, int folder) {
  struct stat info {};
  if (::fstat(folder, &info) != 0) return failed(path, errno);
  if (info.st_uid != ::geteuid()) {
    return StateFailure{Kind::kPermission,
                        path + " belongs to user " + std::to_string(info.st_uid) +
                            ", and this program runs as user " + std::to_string(::geteuid()) +
                            ". Use the folder's owner, or another folder with --state"};
  }
  if ((info.st_mode & 07777) != kFolderMode && ::fchmod(folder, kFolderMode) != 0) {
    return failed("cannot make " + path + " private to its owner", errno);
  }
  return {};
}

std::string holder_of(int lock) {
  std::array<char, 16> text{};
  const ssize_t size = ::pread(lock, text.data(), text.size() - 1, 0);
  const int pid = size > 0 ? std::atoi(text.data()) : 0;
  return pid > 0 ? "another agent (process " + std::to_string(pid) + ")" : "another agent";
}

StateResult<Descriptor> take_lock(const std::string& path, int folder) {
  Descriptor lock(::openat(folder, kLockName,
                           O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kFileMode));
  if (!lock) return failed("cannot open " + path + "/" + kLockName, errno);
  if (::flock(lock.number(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed("cannot lock " + path + "/" + kLockName, errno);
    return StateFailure{Kind::kBusy, holder_of(lock.number()) + " already uses " + path +
                                         ". Stop it first, or give this one a folder with --state"};
  }
  // For the message above only; the lock itself is the kernel's, and ends with the process.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.number(), 0) != 0 ||
      ::pwrite(lock.number(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return failed("cannot write " + path + "/" + kLockName, errno);
  }
  return lock;
}

StateResult<void> check_file(const std::string& file, const struct stat& info) {
  if (!S_ISREG(info.st_mode)) return StateFailure{Kind::kCorrupt, file + " is not a regular file"};
  if (info.st_uid != ::geteuid()) {
    return StateFailure{Kind::kPermission, file +
                                               " belongs to another user. Repair it with: chown " +
                                               std::to_string(::geteuid()) + " " + quoted(file)};
  }
  if ((info.st_mode & 077) != 0) {
    return StateFailure{Kind::kPermission, "other users may read or change " + file +
                                               ". Repair it with: chmod 600 " + quoted(file)};
  }
  return {};
}

}  // namespace

std::string default_state_path() {
  const char* given = std::getenv("OPENP2P_STATE");
  if (given != nullptr && given[0] != '\0') return given;
  if (::geteuid() == 0) return "/var/lib/openp2p";
  // The XDG base directory specification: relative paths in the variable are to be ignored.
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::string(data) + "/openp2p";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.local/share/openp2p";
  const struct passwd* user = ::getpwuid(::geteuid());
  return std::string(user != nullptr ? user->pw_dir : "") + "/.local/share/openp2p";
}

StateFolder::StateFolder(std::string path, Descriptor folder, Descriptor lock)
    : path_(std::move(path)), folder_(std::move(folder)), lock_(std::move(lock)) {}

StateResult<std::unique_ptr<StateFolder>> StateFolder::open(const std::string& path) {
  if (path.empty()) return StateFailure{Kind::kDisk, "the state folder has no name"};
  if (const auto made = make_folders(path); !made) return made.error();
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return failed("cannot open the folder " + path, errno);
  if (const auto good = check_folder(path, folder.number()); !good) return good.error();
  auto lock = take_lock(path, folder.number());
  if (!lock) return lock.error();
  return std::unique_ptr<StateFolder>(new StateFolder(path, std::move(folder), std::move(*lock)));
}

StateResult<std::optional<std::string>> StateFolder::read(const char* name,
                                                          std::size_t bytes_max) const {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  Descriptor opened(
      ::openat(folder_.number(), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!opened && errno == ENOENT) return std::optional<std::string>();
  if (!opened && errno == ELOOP) {
    return StateFailure{Kind::kCorrupt, file(name) + " is a symbolic link, which is not followed"};
  }
  if (!opened) return failed("cannot open " + file(name), errno);
  struct stat info {};
  if (::fstat(opened.number(), &info) != 0) return failed(file(name), errno);
  if (const auto good = check_file(file(name), info); !good) return good.error();
  // One more, so that the caller sees "too large".
  const auto size_told = static_cast<std::size_t>(std::max<off_t>(info.st_size, 0));
  std::string content(std::min(bytes_max, size_told) + 1, '\0');
  std::size_t size = 0;
  while (size < content.size()) {
    const ssize_t got = ::read(opened.number(), content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("cannot read " + file(name), errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  content.resize(size);
  return std::optional(std::move(content));
}

StateResult<void> StateFolder::write(const char* name, ByteView content) {
  const auto done =
      replace_file({folder_.number(), name, std::string(name) + kTemporarySuffix}, content);
  if (done) return {};
  return failed("cannot write " + file(name) + " (what was there before is unchanged)",
                done.error().value());
}

StateResult<std::optional<IdentityKey>> StateFolder::load_key() const {
  auto content = read(kKeyName, IdentityKey::kSeedSize);
  if (!content) return content.error();
  if (!*content) return std::optional<IdentityKey>();
  std::string& seed = **content;
  if (seed.size() != IdentityKey::kSeedSize) {
    return StateFailure{Kind::kCorrupt,
                        file(kKeyName) +
                            " is not a key: it does not have 32 bytes. Restore it from "
                            "a backup, or join anew as another node after: rm " +
                            quoted(file(kKeyName)) + " " + quoted(file(kStateName))};
  }
  const IdentityKey key(as_bytes(seed).first<IdentityKey::kSeedSize>());
  wipe(std::as_writable_bytes(std::span(seed)));
  return std::optional(key);
}

StateResult<void> StateFolder::store_key(const IdentityKey& key) {
  struct stat info {};
  const bool is_free = ::fstatat(folder_.number(), kKeyName, &info, AT_SYMLINK_NOFOLLOW) != 0;
  if (!is_free) return StateFailure{Kind::kCorrupt, file(kKeyName) + " is already there"};
  return write(kKeyName, key.seed());
}

StateResult<std::optional<AgentState>> StateFolder::load_state() const {
  const auto content = read(kStateName, kStateBytesMax);
  if (!content) return content.error();
  if (!*content) return std::optional<AgentState>();
  auto state = decode_state(**content, file(kStateName));
  if (!state) return state.error();
  return std::optional(std::move(*state));
}

StateResult<void> StateFolder::save_state(const AgentState& state) {
  const std::string text = encode_state(state);
  // What could not be read again must not replace what can.
  if (const auto read_back = decode_state(text, file(kStateName)); !read_back) {
    return StateFailure{Kind::kCorrupt, "not stored: " + read_back.error().text};
  }
  return write(kStateName, as_bytes(text));
}

StateResult<std::optional<Bytes>> StateFolder::load_peers() const {
  const auto content = read(kPeersName, PeerCache::kFileBytesMax);
  if (!content) return content.error();
  if (!*content) return std::optional<Bytes>();
  return std::optional(to_bytes(as_bytes(**content)));
}

StateResult<void> StateFolder::save_peers(ByteView peers) { return write(kPeersName, peers); }

}  // namespace openp2p::agent
