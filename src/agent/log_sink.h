#pragma once

#include <memory>

#include "base/log.h"

namespace openp2p::agent {

/// Log lines on stderr, one a line: "2026-01-31T12:00:00.123Z info path.selected peer=...". Where
/// stderr is the journal of systemd, which stamps lines itself, the time is left out and the level
/// stands in front as "<6>" (sd-daemon(3)), so that the journal knows it.
///
/// What cannot be written is dropped. Control characters in lines become '?'. Uses an spdlog logger
/// of its own, neither its registry nor its default logger.
class StderrLog final : public LogSink {
 public:
  explicit StderrLog(LogLevel least);
  ~StderrLog() override;

  bool wants(LogLevel level) const override { return level >= least_; }
  /// The time shown is the wall clock's: `now` has no meaning outside this process.
  void write(LogLevel level, TimePoint now, std::string_view line) override;

 private:
  struct State;
  LogLevel least_;
  std::unique_ptr<State> state_;
};

}  // namespace openp2p::agent
