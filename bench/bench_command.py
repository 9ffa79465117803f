"""What the benchmarks' commands share: their options, what they say, and how they end."""

import argparse
import json
import statistics

import bench_scene  # noqa: F401  It says where the lab is.
from lab import LabError

QUIET_TIMEOUT = 60  # Seconds to wait before a round for other programs to end.
ROUNDS = 5  # An odd number: a median is then a round's own.


def say(text=""):
    print(text, flush=True)


def summary(values, digits=2):
    """Least, median and most."""
    return " / ".join(f"{f(values):.{digits}f}" for f in (min, statistics.median, max))


class Plan:
    """How long each part takes; benchmarks add what is theirs."""

    def __init__(self, options):
        self.quick = options.quick
        self.rounds = options.rounds or (1 if self.quick else ROUNDS)
        self.quiet_timeout = 0 if self.quick else QUIET_TIMEOUT


def make_parser(about, parts=()):
    """With the options of every benchmark; `parts` can be chosen by name."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print the results as JSON, last")
    parser.add_argument("--quick", action="store_true", help="short and rough, for tuning")
    parser.add_argument("--rounds", type=int)
    if parts:
        parser.add_argument("--only", action="append", choices=tuple(parts), help="may be repeated")
    return parser


def run_benchmark(run, options):
    """Runs it in the lab; its results by name are printed where asked for. The exit code."""
    try:
        results = run(options)
    except (LabError, TimeoutError, OSError) as error:
        say(f"\nThe benchmark failed: {error}")
        return 1
    if options.json:
        say(json.dumps(results))
    return 0
