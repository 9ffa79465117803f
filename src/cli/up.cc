#include "cli/up.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "agent/config_text.h"
#include "base/ids.h"
#include "cli/exit_code.h"
#include "cli/import.h"
#include "cli/table.h"
#include "forward/destination.h"

namespace openp2p::cli {
namespace {

/// What the original lends, once its user agreed.
constexpr unsigned kShareDefaultMbit = 10;

constexpr const char* kAccountToken =
    "this is an account token of the original OpenP2P, which no server of this program knows. Get "
    "a "
    "join token on your server with `openp2p-server token new --user EMAIL`, then: openp2p up "
    "--token TOKEN";

/// Up to a join token's largest size, and one byte, so that more is noticed.
Result<std::string> read_some(int file) {
  std::string text(JoinToken::kTextBytesMax + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::error_code(errno, std::system_category());
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

Result<std::string> read_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::error_code(errno, std::system_category());
  auto text = read_some(file);
  ::close(file);
  return text;
}

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool is_account_token(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

/// The token's text from wherever it comes; empty: none. False: said why.
bool find_token(const UpOptions& options, std::string& text) {
  Result<std::string> found = options.token;
  std::string source = "the command line";
  if (options.reads_token) {
    found = read_some(STDIN_FILENO);
    source = "stdin";
  } else if (!options.token_file.empty()) {
    found = read_file(options.token_file);
    source = options.token_file;
  } else if (const char* variable = std::getenv("OPENP2P_TOKEN"); variable != nullptr) {
    if (options.token.empty()) found = std::string(variable);
  }
  if (!found) {
    print_error("cannot read the join token from " + source + ": " + found.error().message());
    return false;
  }
  text = trimmed(*found);
  const bool is_missing = text.empty() && (options.reads_token || !options.token_file.empty());
  if (is_missing) print_error("there is no join token in " + source);
  return !is_missing;
}

bool put_token(const UpOptions& options, agent::AgentOptions& out) {
  std::string text;
  if (!find_token(options, text)) return false;
  if (text.empty()) return true;
  if (is_account_token(text)) {
    print_error(kAccountToken);
    return has_state(options.state_path);  // Who has joined before needs no token.
  }
  auto token = JoinToken::parse(text);
  if (!token) {
    print_error("the join token cannot be used: " + token.error().message() +
                ". Copy it whole, as `openp2p-server token new` printed it");
    return false;
  }
  out.join_token = std::move(*token);
  return true;
}

std::optional<LogLevel> log_level(const std::string& text) {
  if (text == "debug") return LogLevel::kDebug;
  if (text == "info") return LogLevel::kInfo;
  if (text == "warning") return LogLevel::kWarning;
  if (text == "error") return LogLevel::kError;
  return std::nullopt;
}

bool put_accepts(const UpOptions& options, agent::AgentOptions& out) {
  if (options.accepts.empty()) return true;
  if (options.accepts == std::vector<std::string>{"none"}) {
    out.accepts.emplace();
    return true;
  }
  for (const std::string& accept : options.accepts) {
    if (forward::parse_destination(accept)) continue;
    print_error("--accept " + accept + " is not HOST:PORT (an IPv6 host in brackets)");
    return false;
  }
  out.accepts = options.accepts;
  return true;
}

bool put_methods(const UpOptions& options, agent::AgentOptions& out) {
  const bool is_taking = options.no_methods.empty();
  const std::vector<std::string>& names = is_taking ? options.methods : options.no_methods;
  if (names.empty()) return true;
  const auto all = path::MethodSet::all();
  if (is_taking && names == std::vector<std::string>{"all"}) {
    out.methods = all;
    return true;
  }
  path::MethodSet methods = is_taking ? path::MethodSet::none() : all;
  for (const std::string& name : names) {
    const auto method = path::parse_method(name);
    if (!method) {
      print_error("there is no method " + name +
                  "; there are: " + fmt::format("{}", fmt::join(path::method_texts(all), ", ")));
      return false;
    }
    methods = is_taking ? methods.with(*method) : methods.without(*method);
  }
  out.methods = methods;
  return true;
}

/// What a person says who is asked whether to share; nullopt: nobody is there to be asked.
std::optional<unsigned> ask_share() {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) return std::nullopt;
  std::fprintf(stderr,
               "Where two devices cannot reach each other directly, another node may carry their\n"
               "encrypted traffic. Who lends some bandwidth for that may borrow it, too. A lender\n"
               "sees who and how much, and never what.\n"
               "Lend up to %u Mbit/s? [y/N, or another number of Mbit/s] ",
               kShareDefaultMbit);
  std::array<char, 32> line{};
  if (std::fgets(line.data(), static_cast<int>(line.size()), stdin) == nullptr) return 0;
  const std::string answer = trimmed(line.data());
  if (answer == "y" || answer == "Y" || answer == "yes") return kShareDefaultMbit;
  unsigned mbit = 0;
  const auto [end, error] = std::from_chars(answer.data(), answer.data() + answer.size(), mbit);
  const bool is_number = error == std::errc() && end == answer.data() + answer.size();
  return is_number ? std::min(mbit, agent::kShareMbitMax) : 0;
}

bool put_plain(const UpOptions& options, agent::AgentOptions& out) {
  out.state_path = options.state_path;
  out.accepts_lan = options.accepts_lan;
  out.share_mbit = options.share_mbit;
  out.avoids_strangers = options.avoids_strangers;
  out.discovers_lan = options.discovers_lan;
  out.relays_own_nodes = options.relays_own_nodes;
  out.forwards = options.forwards;
  if (options.port) out.port = static_cast<std::uint16_t>(*options.port);
  const char* name = std::getenv("OPENP2P_NODE");
  if (name != nullptr && name[0] != '\0') out.name = name;
  if (!options.name.empty()) out.name = options.name;
  if (out.name && !is_valid_name(*out.name)) {
    print_error("a node's name is 1 to 63 plain characters, without / : @ , and quotes");
    return false;
  }
  out.log_level = log_level(options.log_level).value_or(LogLevel::kInfo);
  return true;
}

}  // namespace

int up(const UpOptions& options, RunAgent run_agent) {
  agent::AgentOptions out;
  if (!put_plain(options, out) || !put_accepts(options, out) || !put_methods(options, out)) {
    return kExitUsage;
  }
  if (!import_original(options, out)) return kExitFailed;
  if (!put_token(options, out)) return kExitUsage;
  const bool is_first = out.join_token && !has_state(options.state_path);
  if (is_first && !out.share_mbit) out.share_mbit = ask_share();
  // Who watched the agent's lines through a pipe may go; the agent stays.
  ::signal(SIGPIPE, SIG_IGN);
  return run_agent(out);
}

}  // namespace openp2p::cli
