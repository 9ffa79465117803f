#include "server/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/file_replace.h"
#include "wire/join_token.h"

namespace openp2p::server {
namespace {

constexpr const char* kKeyName = "key";
constexpr const char* kLockName = "lock";
constexpr const char* kAddressesName = "addresses";
constexpr std::size_t kFileBytesMax = 4'096;  // A key has 32 bytes, addresses eight lines at most.

DataFailure failed(const std::string& what, int error) {
  std::string text = what + ": " + std::generic_category().message(error);
  if (error == EACCES || error == EPERM) text += " (is it another user's? choose one with --data)";
  return {text};
}

/// nullopt: there is none. Symbolic links are not followed.
DataResult<std::optional<std::string>> read_file(int folder, const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  Descriptor file(::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file && errno == ENOENT) return std::optional<std::string>();
  if (!file) return failed("cannot open " + path.string(), errno);
  std::array<char, kFileBytesMax> buffer;
  const ssize_t size = ::read(file.number(), buffer.data(), buffer.size());
  if (size < 0) return failed("cannot read " + path.string(), errno);
  return std::optional(std::string(buffer.data(), static_cast<std::size_t>(size)));
}

/// Commands run beside the server: each process has a temporary name of its own.
FilePlace place(int folder, const char* name) {
  return {folder, name, std::string(name) + ".new." + std::to_string(::getpid())};
}

}  // namespace

std::filesystem::path default_data_path() {
  if (::geteuid() == 0) return "/var/lib/openp2p-server";
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::filesystem::path(data) / "openp2p-server";
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".local/share/openp2p-server";
}

DataFolder::DataFolder(std::filesystem::path path, Descriptor folder)
    : path_(std::move(path)), folder_(std::move(folder)) {}

DataResult<std::unique_ptr<DataFolder>> DataFolder::open(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed("cannot make the folder " + path.string(), errno);
  }
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return failed("cannot open the folder " + path.string(), errno);
  struct stat info {};
  if (::fstat(folder.number(), &info) != 0) return failed(path.string(), errno);
  if (info.st_uid != ::geteuid()) {
    return DataFailure{"the folder " + path.string() + " belongs to user " +
                       std::to_string(info.st_uid) + " and this program runs as user " +
                       std::to_string(::geteuid()) + ". Run it as the folder's owner, or choose " +
                       "another with --data"};
  }
  if ((info.st_mode & 077) != 0 && ::fchmod(folder.number(), 0700) != 0) {
    return failed("cannot make " + path.string() + " private", errno);
  }
  return std::unique_ptr<DataFolder>(new DataFolder(path, std::move(folder)));
}

DataResult<void> DataFolder::lock() {
  const std::string where = (path_ / kLockName).string();
  Descriptor file(
      ::openat(folder_.number(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return failed("cannot open " + where, errno);
  if (::flock(file.number(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed("cannot lock " + where, errno);
    return DataFailure{"another openp2p-server runs with " + path_.string() +
                       ". Stop it first, or give this one another folder with --data"};
  }
  lock_ = std::move(file);
  return {};
}

DataResult<std::optional<IdentityKey>> DataFolder::load_key() const {
  auto content = read_file(folder_.number(), path_ / kKeyName);
  if (!content) return content.error();
  if (!*content) return std::optional<IdentityKey>();
  if ((*content)->size() != IdentityKey::kSeedSize) {
    return DataFailure{(path_ / kKeyName).string() +
                       " is damaged: it should have 32 bytes. Nothing was changed: restore it from "
                       "a backup, or move it away to make a new key (every node then has to join "
                       "again)"};
  }
  const ByteView seed = as_bytes(**content);
  std::optional<IdentityKey> key(IdentityKey(seed.first<IdentityKey::kSeedSize>()));
  wipe(std::as_writable_bytes(std::span(**content)));
  return key;
}

DataResult<IdentityKey> DataFolder::key(SecretSource& secrets) {
  auto loaded = load_key();
  if (!loaded) return loaded.error();
  if (*loaded) return std::move(**loaded);
  const IdentityKey made = IdentityKey::generate(secrets);
  const auto stored = create_file(place(folder_.number(), kKeyName), made.seed());
  // Another process may have made one meanwhile: then that is the key.
  if (!stored && stored.error() != std::errc::file_exists) {
    return failed("cannot store the key in " + path_.string(), stored.error().value());
  }
  loaded = load_key();
  if (!loaded) return loaded.error();
  if (!*loaded) return DataFailure{"the key in " + path_.string() + " vanished"};
  return std::move(**loaded);
}

DataResult<void> DataFolder::save_addresses(const std::vector<std::string>& addresses) {
  std::string text;
  for (const std::string& address : addresses) text += address + "\n";
  const auto stored = replace_file(place(folder_.number(), kAddressesName), as_bytes(text));
  if (stored) return {};
  return failed("cannot write " + (path_ / kAddressesName).string(), stored.error().value());
}

std::vector<std::string> DataFolder::load_addresses() const {
  std::vector<std::string> addresses;
  const auto content = read_file(folder_.number(), path_ / kAddressesName);
  if (!content || !*content) return addresses;
  std::istringstream lines(**content);
  for (std::string line; std::getline(lines, line);) {
    if (JoinToken::is_valid_address(line) && addresses.size() < JoinToken::kAddressesMax) {
      addresses.push_back(line);
    }
  }
  return addresses;
}

}  // namespace openp2p::server
