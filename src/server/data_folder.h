#pragma once

#include <boost/system/result.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/descriptor.h"

namespace openp2p::server {

/// Why something with the folder failed, as one sentence for people.
struct DataFailure {
  std::string text;
};
template <class T>
using DataResult = boost::system::result<T, DataFailure>;
[[noreturn]] inline void throw_exception_from_error(const DataFailure& failure,
                                                    const boost::source_location&) {
  throw std::runtime_error(failure.text);
}

/// /var/lib/openp2p-server for root; else $XDG_DATA_HOME/openp2p-server or
/// ~/.local/share/openp2p-server.
std::filesystem::path default_data_path();

/// The folder where a server keeps its key (0600) and its database. Mode 0700.
///
/// Commands open it beside a running server; only a server locks it. Files are written beside,
/// synced, and put in place at once, so that neither kill -9 nor a full disk leaves half a file.
/// Threading: one owner. Calls block for the disk.
class DataFolder {
 public:
  /// Makes the folder where it is missing.
  static DataResult<std::unique_ptr<DataFolder>> open(const std::filesystem::path& path);
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  /// For as long as this object lives. Fails where another server runs on the folder.
  DataResult<void> lock();
  /// The server's key, made at the first call ever. Two processes that make it at once get the
  /// same.
  DataResult<IdentityKey> key(SecretSource& secrets);

  /// Where nodes reach the server, as the last `run` was told: for tokens that a command makes.
  DataResult<void> save_addresses(const std::vector<std::string>& addresses);
  std::vector<std::string> load_addresses() const;  ///< Empty where there are none yet.

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path database() const { return path_ / "server.db"; }
  std::filesystem::path socket() const { return path_ / "server.sock"; }

 private:
  DataFolder(std::filesystem::path path, Descriptor folder);
  DataResult<std::optional<IdentityKey>> load_key() const;

  std::filesystem::path path_;
  Descriptor folder_;  ///< Files are opened relative to it.
  Descriptor lock_;
};

}  // namespace openp2p::server
