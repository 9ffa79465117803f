#include "cli/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/original_config.h"
#include "cli/table.h"

namespace openp2p::cli {
namespace {

struct FileText {
  int error = 0;
  bool is_own = false;  ///< A regular file of this user.
  std::string text;
};

FileText read_bounded(const std::string& path) {
  FileText result;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) {
    result.error = errno;
    return result;
  }
  struct stat info {};
  result.is_own = ::fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid();
  result.text.resize(agent::kOriginalBytesMax + 1);  // One more: the reader sees "too large".
  std::size_t size = 0;
  while (size < result.text.size()) {
    const ssize_t got = ::read(file, result.text.data() + size, result.text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) result.error = errno;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  result.text.resize(size);
  ::close(file);
  return result;
}

void take(const UpOptions& options, const agent::OriginalConfig& config, const std::string& path,
          agent::AgentOptions& out) {
  print_error("taking over " + path + " of the original OpenP2P:");
  take_import(agent::import_original_config(config, options.listens_on_all), out);
}

bool import_given(const UpOptions& options, agent::AgentOptions& out) {
  const FileText file = read_bounded(options.import_file);
  if (file.error != 0) {
    print_error("cannot read " + options.import_file + ": " +
                std::error_code(file.error, std::generic_category()).message());
    return false;
  }
  const auto config = agent::decode_original_config(file.text, options.import_file);
  if (config) {
    take(options, *config, options.import_file, out);
  } else {
    print_error(config.error().text);
  }
  return config.has_value();
}

}  // namespace

bool has_state(const std::string& state_path) {
  struct stat info {};
  return ::stat((state_path + "/state.json").c_str(), &info) == 0;
}

void take_import(const agent::OriginalImport& import, agent::AgentOptions& out) {
  if (!out.name) out.name = import.node_name;
  if (!out.port) out.port = import.port;
  if (!out.share_mbit) out.share_mbit = import.share_mbit;
  for (const agent::ForwardSpec& spec : import.forwards) {
    const bool is_given =
        std::any_of(out.forwards.begin(), out.forwards.end(),
                    [&](const agent::ForwardSpec& other) { return other.name == spec.name; });
    if (!is_given) out.forwards.push_back(spec);
  }
  for (const std::string& line : import.report) print_error("  " + line);
}

bool import_original(const UpOptions& options, agent::AgentOptions& out) {
  if (!options.import_file.empty()) return import_given(options, out);
  if (has_state(options.state_path)) return true;
  for (const std::string& path :
       {options.state_path + "/config.json", std::string("config.json")}) {
    const FileText file = read_bounded(path);
    if (file.error != 0 || !file.is_own) continue;
    // Nobody asked for it: many programs have a config.json, and one that is not ours is no error.
    const auto config = agent::decode_original_config(file.text, path);
    if (!config) continue;
    take(options, *config, path, out);
    return true;
  }
  return true;
}

}  // namespace openp2p::cli
