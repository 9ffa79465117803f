#include <fmt/format.h>

#include "test/world/reach.h"

/// What was measured, for machines and for people.
namespace openp2p::test {
namespace {

/// Names, codes and methods are plain words of our own: nothing in them needs an escape.
std::string json_of(const ReachCell& cell) {
  return fmt::format(
      "{{\"a\": \"{}\", \"b\": \"{}\", \"mapping\": {}, \"where\": \"sim\", \"runs\": {}, "
      "\"direct_rate\": {:.4f}, \"reason\": \"{}\", \"told_p95_s\": {:.3f}, "
      "\"t_median_s\": {:.3f}, \"t_p95_s\": {:.3f}, \"wish_median_s\": {:.3f}, "
      "\"wish_p95_s\": {:.3f}, \"packets_median\": {}, \"packets_p95\": {}, "
      "\"conntrack_max\": {}, \"method\": \"{}\"}}",
      sim::nat_kind_text(cell.pair.a), sim::nat_kind_text(cell.pair.b), cell.pair.has_mapping,
      cell.runs, cell.direct_rate(), cell.reason, cell.told_p95_s, cell.t_median_s, cell.t_p95_s,
      cell.wish_median_s, cell.wish_p95_s, cell.packets_median, cell.packets_p95,
      cell.conntrack_max, cell.method);
}

std::string line_of(const ReachCell& cell) {
  const std::string who =
      fmt::format("{} -> {}{}", sim::nat_kind_text(cell.pair.a), sim::nat_kind_text(cell.pair.b),
                  cell.pair.has_mapping ? " (mapped)" : "");
  if (cell.direct == 0) return fmt::format("{:<70} not direct: {}", who, cell.reason);
  return fmt::format("{:<70} {:6.2f} % {:.3f} s {:.3f} s {:5} packets {:4} entries {}", who,
                     100 * cell.direct_rate(), cell.t_median_s, cell.t_p95_s, cell.packets_median,
                     cell.conntrack_max, cell.method);
}

}  // namespace

std::string reach_json(const std::vector<ReachCell>& cells) {
  std::string out = "[";
  for (const ReachCell& cell : cells) {
    out += out.size() == 1 ? "\n  " : ",\n  ";
    out += json_of(cell);
  }
  return out + "\n]\n";
}

std::string reach_text(const std::vector<ReachCell>& cells) {
  std::string out;
  for (const ReachCell& cell : cells) out += line_of(cell) + "\n";
  return out;
}

}  // namespace openp2p::test
