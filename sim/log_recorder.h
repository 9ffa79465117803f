#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "base/log.h"

namespace openp2p::sim {

/// Keeps the last log lines of simulated parties with their virtual times, for the message of a
/// failing test: `EXPECT_TRUE(done) << recorder.text();`
class LogRecorder final : public LogSink {
 public:
  static constexpr std::size_t kLinesMax = 1'000;  ///< What a person will read; older ones go.

  explicit LogRecorder(LogLevel least = LogLevel::kDebug) : least_(least) {}

  bool wants(LogLevel level) const override { return level >= least_; }
  void write(LogLevel level, TimePoint now, std::string_view line) override;

  const std::deque<std::string>& lines() const { return lines_; }
  bool contains(std::string_view text) const;  ///< In one of the lines.
  std::string text() const;                    ///< All lines.

 private:
  const LogLevel least_;
  std::deque<std::string> lines_;
};

}  // namespace openp2p::sim
