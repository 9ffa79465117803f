"""Which pairs of NATs reach each other directly: `./dev reach`.

Measures every pair in virtual time with the program openp2p_reach, with --lab also with real programs
behind natbox, and puts the tables into docs/reach.md. With --json it prints the cells instead.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reach.md"
LAB_RUNS = ROOT / "build" / "reach-lab.json"
LAB_ENTERED = "OPENP2P_LAB_ENTERED"  # As in lab.py: a run enters namespaces of its own.
LAB_RUN_SECONDS = 120  # One that has no path gives up after half of it.
# Of two cores a run needs a tenth, and most of that before the clock runs.
LAB_JOBS = 4
BEGIN, END = "<!-- results: written by ./dev reach -->", "<!-- end of results -->"
CLAIMED = "birthday"  # Where 99.9 % is claimed, 200 runs could not tell.
CLAIMED_SEEDS = 2000


def say(text):
    print(text, file=sys.stderr, flush=True)


def simulate(options, *words):
    program = pathlib.Path(os.environ["OPENP2P_BUILD"]) / "test" / "world" / "openp2p_reach"
    if options.kinds:
        words = ("--kinds", *options.kinds, *words)
    done = subprocess.run([program, "--json", *map(str, words)], check=True, text=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def simulated_cells(options):
    say(f"simulating every pair, {options.seeds} runs a cell")
    cells = simulate(options, "--seeds", options.seeds, "--with-mapping")
    if options.seeds >= CLAIMED_SEEDS or options.quick:
        return cells
    for number, cell in enumerate(cells):
        if cell["method"] != CLAIMED or cell["mapping"]:
            continue
        say(f"again with {CLAIMED_SEEDS} runs: {cell['a']} -> {cell['b']}")
        options_of_pair = argparse.Namespace(kinds=[cell["a"]])
        cells[number] = simulate(options_of_pair, "--to", cell["b"], "--seeds", CLAIMED_SEEDS)[0]
    return cells


def quantile(values, share):
    values = sorted(values)
    return values[min(int(share * len(values)), len(values) - 1)] if values else 0


def most_frequent(values):
    return statistics.mode(values) if values else ""


def lab_cell(pair, runs):
    """The runs of one cell, put together as openp2p_reach does."""
    direct = [run for run in runs if run["direct"]]

    def of_direct(value, share):
        return quantile([run[value] for run in direct], share)

    return {
        "a": pair[0], "b": pair[1], "mapping": False, "where": "lab", "runs": len(runs),
        "direct_rate": len(direct) / len(runs),
        "reason": most_frequent([run["reason_code"] or run["reason"]
                                 for run in runs if not run["direct"]]),
        "told_p95_s": quantile([run["t_reason_s"] for run in runs if run["t_reason_s"]], 0.95),
        "t_median_s": of_direct("t_s", 0.5), "t_p95_s": of_direct("t_s", 0.95),
        "wish_median_s": of_direct("wish_s", 0.5), "wish_p95_s": of_direct("wish_s", 0.95),
        "packets_median": of_direct("packets", 0.5), "packets_p95": of_direct("packets", 0.95),
        "conntrack_max": max(run["conntrack_max"] for run in runs),
        "method": most_frequent([run["method"] for run in direct]),
    }


class LabRuns:
    """The runs with real programs. Each is a lab of its own, in a process of its own, and is in the
    file LAB_RUNS as soon as it is over, so that --resume goes on where an earlier call ended."""

    def __init__(self, options):
        self._options, self._lock = options, threading.Lock()
        self._runs, self._failed = [], 0
        if options.resume and LAB_RUNS.exists():
            self._runs = json.loads(LAB_RUNS.read_text())

    def cells(self):
        sys.path.insert(0, str(ROOT / "test" / "lab"))
        from lab_natbox import NATBOX_KINDS

        kinds = self._options.kinds or NATBOX_KINDS
        pairs = list(itertools.product(kinds, kinds))
        self._make_missing(pairs)
        if self._failed:
            say(f"{self._failed} runs failed; --resume repeats these alone")
        by_pair = {pair: [run for run in self._runs if (run["a"], run["b"]) == pair]
                   for pair in pairs}
        return [lab_cell(pair, runs) for pair, runs in by_pair.items() if runs]

    def _make_missing(self, pairs):
        made = {(run["a"], run["b"], run["seed"]) for run in self._runs}
        # Every cell once before any cell twice: what is interrupted is a whole table.
        wanted = [(*pair, seed) for seed in range(1, self._options.runs + 1) for pair in pairs]
        missing = [key for key in wanted if key not in made]
        say(f"in the lab: {len(missing)} runs, {self._options.jobs} at a time")
        with concurrent.futures.ThreadPoolExecutor(self._options.jobs) as pool:
            for number, _ in enumerate(pool.map(self._make, missing), start=1):
                if number % 50 == 0:
                    say(f"in the lab: {number} of {len(missing)} runs are made")

    def _make(self, key):
        a, b, seed = key
        command = [sys.executable, ROOT / "test" / "lab" / "reach_scene.py", a, b, "--seed", seed]
        environment = {name: value for name, value in os.environ.items() if name != LAB_ENTERED}
        try:
            done = subprocess.run(list(map(str, command)), check=True, text=True,
                                  env=environment, timeout=LAB_RUN_SECONDS, capture_output=True)
            run = json.loads(done.stdout)
        except (subprocess.SubprocessError, json.JSONDecodeError) as error:
            said = getattr(error, "stderr", None) or ""
            say(f"lab: {a} -> {b}, seed {seed}: {error}\n{said[-2000:]}")
            with self._lock:
                self._failed += 1
            return
        with self._lock:
            self._runs.append(run)
            unfinished = LAB_RUNS.with_suffix(".new")
            unfinished.write_text(json.dumps(self._runs, indent=1))
            unfinished.replace(LAB_RUNS)


def rate_text(cell):
    if cell["direct_rate"] == 0:
        return f"no: {cell['reason']}"
    rate = 100 * cell["direct_rate"]
    return f"{cell['method']}, {'100' if rate == 100 else f'{rate:.2f}'} %"


def time_text(cell):
    if cell["direct_rate"] == 0:
        return "-"
    return f"{cell['t_median_s']:.2f} / {cell['t_p95_s']:.2f}"


def cost_text(cell):
    packets = cell["packets_median"] if cell["direct_rate"] else "-"
    return f"{packets} / {cell['conntrack_max']}"


def table(cells, text):
    columns = list(dict.fromkeys(cell["b"] for cell in cells))
    rows = list(dict.fromkeys(cell["a"] for cell in cells))
    by_pair = {(cell["a"], cell["b"]): cell for cell in cells}
    lines = ["| from \\ to | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for a in rows:
        values = [text(by_pair[a, b]) if (a, b) in by_pair else "" for b in columns]
        lines.append(f"| **{a}** | " + " | ".join(values) + " |")
    return "\n".join(lines)


def section(title, cells):
    if not cells:
        return ""
    runs = sorted({cell["runs"] for cell in cells})
    return "\n\n".join([
        f"### {title}",
        "Method and share of runs with a direct path, of " +
        " or ".join(f"{count:,}" for count in runs) + " runs a cell:",
        table(cells, rate_text),
        "Seconds until both sides have a path: median / 95th percentile:",
        table(cells, time_text),
        "Packets that both hosts sent until then (median) / most entries that one router's connection "
        "tracker got:",
        table(cells, cost_text),
    ]) + "\n"


def results(cells):
    def some(where, mapping):
        return [cell for cell in cells if cell["where"] == where and cell["mapping"] == mapping]

    return "\n".join(filter(None, [
        section("In virtual time", some("sim", False)),
        section("In virtual time, where both routers grant port mappings", some("sim", True)),
        section("Real programs behind natbox", some("lab", False)),
    ]))


def write_page(cells):
    text = PAGE.read_text() if PAGE.exists() else f"# Reach\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        sys.exit(f"{PAGE} has no place for results: a line {BEGIN!r} and a line {END!r}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{results(cells)}\n{END}{after}")
    say(f"written: {PAGE}")


def parse_options():
    parser = argparse.ArgumentParser(prog="dev reach", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the cells; docs stay as they are")
    parser.add_argument("--lab", action="store_true", help="real programs, too")
    parser.add_argument("--seeds", type=int, default=200, help="simulated runs a cell")
    parser.add_argument("--runs", type=int, default=3, help="runs a cell in the lab")
    parser.add_argument("--jobs", type=int, default=LAB_JOBS, help="lab runs at a time")
    parser.add_argument("--resume", action="store_true",
                        help=f"keep the lab runs that {LAB_RUNS.relative_to(ROOT)} has")
    parser.add_argument("--no-sim", action="store_true", help="nothing in virtual time")
    parser.add_argument("--kinds", nargs="+", metavar="NAT", help="only these NATs")
    parser.add_argument("--quick", action="store_true",
                        help=f"no cell with {CLAIMED_SEEDS:,} runs")
    return parser.parse_args()


def main():
    options = parse_options()
    cells = [] if options.no_sim else simulated_cells(options)
    if options.lab:
        cells += LabRuns(options).cells()
    if options.json:
        print(json.dumps(cells, indent=1))
    else:
        write_page(cells)
    return 0


if __name__ == "__main__":
    if "--lab" in sys.argv:
        # Within namespaces, so that nothing of a run is left, however this process ends.
        sys.path.insert(0, str(ROOT / "test" / "lab"))
        from lab import main_in_lab

        main_in_lab(main)
    sys.exit(main())
