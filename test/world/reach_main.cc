// Measures how homes behind all kinds of NATs reach each other, in virtual time: docs/reach.md.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <thread>

#include "sim/log_recorder.h"
#include "test/world/reach.h"

namespace openp2p::test {
namespace {

std::optional<sim::NatKind> parse_kind(const std::string& text) {
  for (const sim::NatKind kind : sim::kNatKinds) {
    if (sim::nat_kind_text(kind) == text) return kind;
  }
  return std::nullopt;
}

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  names.reserve(sim::kNatKinds.size());
  for (const sim::NatKind kind : sim::kNatKinds) names.emplace_back(sim::nat_kind_text(kind));
  return names;
}

struct Request {
  Seeds seeds = {.count = 200};
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::string> kinds = kind_names();
  std::vector<std::string> to = {};
  bool has_mapping = false;
  bool is_json = false;
  bool has_log = false;
};

std::vector<ReachPair> pairs_of(const Request& request, bool has_mapping) {
  std::vector<ReachPair> pairs;
  for (const std::string& a : request.kinds) {
    for (const std::string& b : request.to.empty() ? request.kinds : request.to) {
      pairs.push_back({*parse_kind(a), *parse_kind(b), has_mapping});
    }
  }
  return pairs;
}

void run(const Request& request) {
  std::vector<ReachPair> pairs = pairs_of(request, /*has_mapping=*/false);
  if (request.has_mapping) {
    const std::vector<ReachPair> mapped = pairs_of(request, /*has_mapping=*/true);
    pairs.insert(pairs.end(), mapped.begin(), mapped.end());
  }
  sim::LogRecorder log_a, log_b;
  ReachConditions conditions;
  if (request.has_log) {
    conditions.log_a = Log(&log_a);
    conditions.log_b = Log(&log_b);
  }
  const unsigned threads = request.has_log ? 1 : request.threads;  // Which share the log.
  const std::vector<ReachCell> cells = measure_reach(pairs, request.seeds, threads, conditions);
  const std::string text = request.is_json ? reach_json(cells) : reach_text(cells);
  std::fputs(text.c_str(), stdout);
  if (request.has_log) std::fputs(("a:\n" + log_a.text() + "b:\n" + log_b.text()).c_str(), stderr);
}

}  // namespace
}  // namespace openp2p::test

int main(int argc, char** argv) {
  using namespace openp2p::test;
  Request request;
  CLI::App app("Measures which pairs of NATs reach each other directly, in virtual time");
  app.add_option("--seeds", request.seeds.count, "Runs a cell")->check(CLI::Range(1, 1'000'000));
  app.add_option("--first-seed", request.seeds.first, "To look at one run again");
  app.add_option("--threads", request.threads)->check(CLI::Range(1, 256));
  app.add_option("--kinds", request.kinds, "Only these NATs, named as in the table; on both sides")
      ->check(CLI::IsMember(kind_names()));
  app.add_option("--to", request.to, "Only these on the side that is called")
      ->check(CLI::IsMember(kind_names()));
  app.add_flag("--with-mapping", request.has_mapping,
               "Also where both routers grant port mappings");
  app.add_flag("--json", request.is_json, "A list of objects instead of lines");
  app.add_flag("--log", request.has_log, "Also what both nodes log, to stderr: for one run");
  CLI11_PARSE(app, argc, argv);
  run(request);
  return 0;
}
