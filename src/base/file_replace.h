#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"

/// Files that are written as a whole: whoever opens one finds all of the old content or all of the
/// new one, also after kill -9, on a full disk and after a power failure (written beside, synced,
/// renamed, and the folder synced). Errors are those of the system calls (generic category), and
/// leave no temporary file behind. Files are private to their owner (mode 0600), whatever the
/// umask.
///
/// Blocks while the disk writes. Threading: any; what must not be shared is FilePlace::temporary.
namespace openp2p {

struct FilePlace {
  int folder = -1;        ///< Open file descriptor.
  std::string name;       ///< In that folder.
  std::string temporary;  ///< Likewise, and no other writer's. What is there is removed.
};

/// Puts the content in place of what has that name, or of nothing.
Status replace_file(const FilePlace& place, ByteView content);
/// Puts it there only where nothing has that name; else errc::file_exists.
Status create_file(const FilePlace& place, ByteView content);

}  // namespace openp2p
