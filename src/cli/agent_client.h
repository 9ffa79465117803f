#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace openp2p::cli {

/// How the person wants the answer, and of which agent.
struct QueryOptions {
  std::string state_path;  ///< The state folder of the agent that is asked.
  bool is_json = false;
};

/// One question to the running agent, and what every command does alike with its answer: with
/// --json the agent's own words go to stdout; failures go to stderr in words, and decide the exit
/// code.
class AgentClient {
 public:
  explicit AgentClient(QueryOptions options);

  using Show = std::function<void(const boost::json::object& answer)>;
  using Judge = std::function<int(const boost::json::object& answer)>;
  /// `show` prints the answer as text. `judge` gives the exit code where a good answer can be bad
  /// news.
  int ask(std::string_view method, std::string_view target, std::string_view body,
          Duration patience, const Show& show, const Judge& judge = {}) const;
  /// The same for each line of the answer; the exit code of the last one is the command's.
  int stream(std::string_view method, std::string_view target, std::string_view body,
             Duration patience, const Show& show, const Judge& judge) const;

 private:
  int fail(std::error_code error) const;
  int refused(std::string_view body) const;
  int report(int exit_code, std::string_view kind, const std::string& text) const;

  QueryOptions options_;
  std::string socket_path_;
};

/// A path segment of a URL (RFC 3986 section 3.3).
std::string percent_encoded(std::string_view text);

}  // namespace openp2p::cli
