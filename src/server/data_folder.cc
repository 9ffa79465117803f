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

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

/// 0 or the error number. What was there under that name, left by a killed process, is replaced.
int write_new(int folder, const std::string& name, ByteView content) {
  ::unlinkat(folder, name.c_str(), 0);
  Descriptor file(
      ::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return errno;
  while (!content.empty()) {
    const ssize_t size = ::write(file.get(), content.data(), content.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    content = content.subspan(static_cast<std::size_t>(size));
  }
  return ::fsync(file.get()) == 0 ? 0 : errno;
}

/// nullopt: there is none. Symbolic links are not followed.
DataResult<std::optional<std::string>> read_file(int folder, const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  Descriptor file(::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0 && errno == ENOENT) return std::optional<std::string>();
  if (file.get() < 0) return failed("cannot open " + path.string(), errno);
  std::array<char, kFileBytesMax> buffer;
  const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
  if (size < 0) return failed("cannot read " + path.string(), errno);
  return std::optional(std::string(buffer.data(), static_cast<std::size_t>(size)));
}

std::string temporary_name(const char* name) {
  return std::string(name) + ".new." + std::to_string(::getpid());
}

}  // namespace

std::filesystem::path default_data_path() {
  if (::geteuid() == 0) return "/var/lib/openp2p-server";
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::filesystem::path(data) / "openp2p-server";
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".local/share/openp2p-server";
}

DataFolder::DataFolder(std::filesystem::path path, int folder)
    : path_(std::move(path)), folder_(folder) {}

DataFolder::~DataFolder() {
  if (lock_ >= 0) ::close(lock_);
  ::close(folder_);
}

DataResult<std::unique_ptr<DataFolder>> DataFolder::open(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed("cannot make the folder " + path.string(), errno);
  }
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return failed("cannot open the folder " + path.string(), errno);
  struct stat info {};
  if (::fstat(folder.get(), &info) != 0) return failed(path.string(), errno);
  if (info.st_uid != ::geteuid()) {
    return DataFailure{"the folder " + path.string() + " belongs to user " +
                       std::to_string(info.st_uid) + " and this program runs as user " +
                       std::to_string(::geteuid()) + ". Run it as the folder's owner, or choose " +
                       "another with --data"};
  }
  if ((info.st_mode & 077) != 0 && ::fchmod(folder.get(), 0700) != 0) {
    return failed("cannot make " + path.string() + " private", errno);
  }
  return std::unique_ptr<DataFolder>(new DataFolder(path, folder.release()));
}

DataResult<void> DataFolder::lock() {
  const std::string where = (path_ / kLockName).string();
  Descriptor file(::openat(folder_, kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return failed("cannot open " + where, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed("cannot lock " + where, errno);
    return DataFailure{"another openp2p-server runs with " + path_.string() +
                       ". Stop it first, or give this one another folder with --data"};
  }
  lock_ = file.release();
  return {};
}

DataResult<std::optional<IdentityKey>> DataFolder::load_key() const {
  auto content = read_file(folder_, path_ / kKeyName);
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
  const std::string temporary = temporary_name(kKeyName);
  int error = write_new(folder_, temporary, made.seed());
  // A link, not a rename: it never replaces a key that another process made meanwhile.
  if (error == 0 && ::linkat(folder_, temporary.c_str(), folder_, kKeyName, 0) != 0) error = errno;
  ::unlinkat(folder_, temporary.c_str(), 0);
  if (error != 0 && error != EEXIST)
    return failed("cannot store the key in " + path_.string(), error);
  if (::fsync(folder_) != 0) return failed("cannot store the key in " + path_.string(), errno);
  loaded = load_key();
  if (!loaded) return loaded.error();
  if (!*loaded) return DataFailure{"the key in " + path_.string() + " vanished"};
  return std::move(**loaded);
}

DataResult<void> DataFolder::save_addresses(const std::vector<std::string>& addresses) {
  std::string text;
  for (const std::string& address : addresses) text += address + "\n";
  const std::string temporary = temporary_name(kAddressesName);
  int error = write_new(folder_, temporary, as_bytes(text));
  if (error == 0 && ::renameat(folder_, temporary.c_str(), folder_, kAddressesName) != 0) {
    error = errno;
  }
  if (error == 0 && ::fsync(folder_) != 0) error = errno;
  if (error == 0) return {};
  ::unlinkat(folder_, temporary.c_str(), 0);
  return failed("cannot write " + (path_ / kAddressesName).string(), error);
}

std::vector<std::string> DataFolder::load_addresses() const {
  std::vector<std::string> addresses;
  const auto content = read_file(folder_, path_ / kAddressesName);
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
