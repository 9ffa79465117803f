#include "net/http_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "net/http_message.h"

namespace openp2p::net {
namespace {

constexpr int kBacklogMax = 16;  // People's commands; a connection more waits in connect().

std::error_code last_error() { return {errno, std::system_category()}; }

/// sun_path has 108 bytes, and home folders can be deeper. So sockets are named through a
/// descriptor of their folder, which is short; on systems without /proc the path itself has to fit.
class SocketName {
 public:
  static Result<SocketName> of(const std::string& path);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t size() const { return sizeof address_; }
  int folder() const { return folder_.number(); }

 private:
  Descriptor folder_;
  sockaddr_un address_{};
};

Result<SocketName> SocketName::of(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  SocketName result;
  result.folder_ = Descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!result.folder_) return last_error();
  std::string text = path;
  if (text.size() >= sizeof result.address_.sun_path) {
    text = "/proc/self/fd/" + std::to_string(result.folder()) + "/" + name;
  }
  if (text.size() >= sizeof result.address_.sun_path) return HttpError::kPathTooLong;
  result.address_.sun_family = AF_UNIX;
  std::memcpy(result.address_.sun_path, text.c_str(), text.size() + 1);
  return result;
}

/// 0, or the error number.
int connect_to(int socket, const SocketName& name) {
  return ::connect(socket, name.get(), name.size()) == 0 ? 0 : errno;
}

Status check_folder(int folder) {
  struct stat info {};
  if (::fstat(folder, &info) != 0) return last_error();
  const bool is_private = info.st_uid == ::geteuid() && (info.st_mode & 077) == 0;
  if (!is_private) return HttpError::kFolderNotPrivate;
  return {};
}

/// Makes way for bind(): removes a socket that nobody listens on, and nothing else.
Status remove_stale(const std::string& path, const SocketName& name) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return last_error();
  }
  if (!S_ISSOCK(info.st_mode)) return std::make_error_code(std::errc::file_exists);
  // Non-blocking, so that a live process with a full backlog (EAGAIN) does not hold this one up.
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return last_error();
  const int error = connect_to(probe.number(), name);
  if (error == 0 || error == EAGAIN) return HttpError::kAlreadyRunning;
  if (error != ECONNREFUSED) return std::error_code(error, std::system_category());
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return last_error();
  return {};
}

}  // namespace

Result<Descriptor> listen_unix(const std::string& path) {
  const auto name = SocketName::of(path);
  if (!name) return name.error();
  if (const auto good = check_folder(name->folder()); !good) return good.error();
  if (const auto free = remove_stale(path, *name); !free) return free.error();
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return last_error();
  // Linux gives the socket's mode to the file that bind() makes, so there is no moment in which it
  // is wider; elsewhere the folder protects it until chmod().
  ::fchmod(socket.number(), 0600);
  if (::bind(socket.number(), name->get(), name->size()) != 0) return last_error();
  if (::chmod(path.c_str(), 0600) != 0) return last_error();
  if (::listen(socket.number(), kBacklogMax) != 0) return last_error();
  return socket;
}

Result<Descriptor> connect_unix(const std::string& path) {
  const auto name = SocketName::of(path);
  int error = name ? 0 : name.error().value();
  if (!name && name.error().category() != std::system_category()) return name.error();
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return last_error();
  if (error == 0) error = connect_to(socket.number(), *name);
  if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) return HttpError::kNotRunning;
  if (error == EACCES || error == EPERM) return HttpError::kNotPermitted;
  if (error != 0) return std::error_code(error, std::system_category());
  if (::geteuid() != 0 && !is_peer_permitted(socket.number())) return HttpError::kNotPermitted;
  return socket;
}

bool is_peer_permitted(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

void remove_unix(const std::string& path) { ::unlink(path.c_str()); }

}  // namespace openp2p::net
