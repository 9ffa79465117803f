#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "base/time.h"

namespace openp2p {

/// error: a part of the program stops. warning: an operator must act. info: rare, and no peer can
/// make it repeat. debug: for developers, per capability.
enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Where log lines go. The programs give an spdlog one; tests and the simulator their own.
/// Threading: called on the thread that owns the machine.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual bool wants(LogLevel level) const = 0;
  virtual void write(LogLevel level, TimePoint now, std::string_view line) = 0;
};

/// What machines hold: a handle, empty by default. A line is an event and fields:
/// `log.info(now, "path.selected peer={} rtt_us={}", ...)`. Never keys, tokens or payloads.
class Log {
 public:
  Log() = default;
  explicit Log(LogSink* sink) : sink_(sink) {}

  template <class... Args>
  void debug(TimePoint now, fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kDebug, now, form, std::forward<Args>(args)...);
  }
  template <class... Args>
  void info(TimePoint now, fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kInfo, now, form, std::forward<Args>(args)...);
  }
  template <class... Args>
  void warning(TimePoint now, fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kWarning, now, form, std::forward<Args>(args)...);
  }
  template <class... Args>
  void error(TimePoint now, fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kError, now, form, std::forward<Args>(args)...);
  }

 private:
  template <class... Args>
  void write(LogLevel level, TimePoint now, fmt::format_string<Args...> form,
             Args&&... args) const {
    if (sink_ == nullptr || !sink_->wants(level)) return;
    sink_->write(level, now, fmt::format(form, std::forward<Args>(args)...));
  }

  LogSink* sink_ = nullptr;
};

}  // namespace openp2p
