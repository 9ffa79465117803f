#include "base/file_replace.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/descriptor.h"

namespace openp2p {
namespace {

constexpr mode_t kFileMode = 0600;

std::error_code last_error() { return {errno, std::generic_category()}; }

Status write_all(int file, ByteView content) {
  while (!content.empty()) {
    const ssize_t size = ::write(file, content.data(), content.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return last_error();
    content = content.subspan(static_cast<std::size_t>(size));
  }
  return {};
}

Status write_temporary(const FilePlace& place, ByteView content) {
  const char* name = place.temporary.c_str();
  // What a killed process left, or a trap: O_EXCL then neither follows a link nor opens what is
  // there.
  if (::unlinkat(place.folder, name, 0) != 0 && errno != ENOENT) return last_error();
  const Descriptor file(::openat(place.folder, name,
                                 O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!file) return last_error();
  if (::fchmod(file.number(), kFileMode) != 0) return last_error();  // Whatever the umask was.
  if (auto written = write_all(file.number(), content); !written) return written;
  if (::fsync(file.number()) != 0) return last_error();
  return {};
}

Status sync_folder(int folder) {
  if (::fsync(folder) != 0) return last_error();
  return {};
}

void remove_temporary(const FilePlace& place) {
  ::unlinkat(place.folder, place.temporary.c_str(), 0);
}

}  // namespace

Status replace_file(const FilePlace& place, ByteView content) {
  Status done = write_temporary(place, content);
  if (done && ::renameat(place.folder, place.temporary.c_str(), place.folder, place.name.c_str())) {
    done = last_error();
  }
  if (done) return sync_folder(place.folder);
  remove_temporary(place);
  return done;
}

Status create_file(const FilePlace& place, ByteView content) {
  Status done = write_temporary(place, content);
  // A link, not a rename: it never replaces what another process put there meanwhile.
  if (done &&
      ::linkat(place.folder, place.temporary.c_str(), place.folder, place.name.c_str(), 0)) {
    done = last_error();
  }
  remove_temporary(place);
  if (!done) return done;
  return sync_folder(place.folder);
}

}  // namespace openp2p
