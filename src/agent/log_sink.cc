#include "agent/log_sink.h"

#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/ids.h"

namespace openp2p::agent {
namespace {

constexpr std::size_t kLineBytesMax = 2'000;  // The journal splits lines of more than 48 KiB.

/// systemd tells which socket or file its journal is; stderr may have been redirected since
/// (systemd.exec(5), JOURNAL_STREAM).
bool is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat info {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &info) != 0) return false;
  return std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) == stream;
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::off;
}

/// syslog(3)'s severities.
const char* journal_prefix(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "<7>";
    case LogLevel::kInfo:
      return "<6>";
    case LogLevel::kWarning:
      return "<4>";
    case LogLevel::kError:
      return "<3>";
  }
  return "";
}

/// One write() a line, so that lines of two processes never mix.
class StderrSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    [[maybe_unused]] const ssize_t size = ::write(STDERR_FILENO, text.data(), text.size());
  }
  void flush_() override {}
};

}  // namespace

struct StderrLog::State {
  State() : logger("openp2p", std::make_shared<StderrSink>()), is_journal(agent::is_journal()) {
    logger.set_level(spdlog::level::debug);
    auto format = std::make_unique<spdlog::pattern_formatter>(
        is_journal ? "%v" : "%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    logger.set_formatter(std::move(format));
  }

  spdlog::logger logger;
  bool is_journal;
};

StderrLog::StderrLog(LogLevel least) : least_(least), state_(std::make_unique<State>()) {}

StderrLog::~StderrLog() = default;

void StderrLog::write(LogLevel level, TimePoint /*now*/, std::string_view line) {
  if (!wants(level)) return;
  const std::string text = printable(line, kLineBytesMax);
  const std::string prefix = state_->is_journal ? journal_prefix(level) : "";
  state_->logger.log(level_of(level), spdlog::string_view_t(prefix + text));
}

}  // namespace openp2p::agent
