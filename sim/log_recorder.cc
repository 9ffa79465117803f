#include "sim/log_recorder.h"

#include <fmt/core.h>

#include <algorithm>

namespace openp2p::sim {
namespace {

char level_letter(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return 'D';
    case LogLevel::kInfo:
      return 'I';
    case LogLevel::kWarning:
      return 'W';
    case LogLevel::kError:
      return 'E';
  }
  return '?';
}

}  // namespace

void LogRecorder::write(LogLevel level, TimePoint now, std::string_view line) {
  const std::chrono::duration<double> seconds = now.time_since_epoch();
  if (lines_.size() == kLinesMax) lines_.pop_front();
  lines_.push_back(fmt::format("{:12.6f} {} {}", seconds.count(), level_letter(level), line));
}

bool LogRecorder::contains(std::string_view text) const {
  return std::ranges::any_of(
      lines_, [text](const std::string& line) { return line.find(text) != std::string::npos; });
}

std::string LogRecorder::text() const {
  std::string all;
  for (const std::string& line : lines_) all += line + '\n';
  return all;
}

}  // namespace openp2p::sim
