"""Sealed datagrams against a QUIC stream of the same session, and UDP forwards: `./dev bench udp`.

See docs/benchmarks.md for what is measured, how, and the results.
"""

import argparse
import json
import statistics

import bench_measure as measure
from lab import Lab, LabError, main_in_lab, program

SEALED_PORT = 5501
SEALED_PAYLOAD_BYTES = 1300
START_TIMEOUT = 20
QUIET_TIMEOUT = 60  # Seconds to wait before a round for other programs to end.


class Plan:
    """How long each part takes."""

    def __init__(self, options):
        quick = options.quick
        self.parts = options.only or tuple(PARTS)
        self.rounds = options.rounds or (1 if quick else 5)
        self.run_ms = 500 if quick else 2000
        self.quiet_timeout = 0 if quick else QUIET_TIMEOUT


def say(text=""):
    print(text, flush=True)


def summary(values, digits=2):
    return " / ".join(f"{f(values):.{digits}f}" for f in (min, statistics.median, max))


def measure_sealed(lab, plan):
    """A stream and sealed datagrams in turn, in one session; what counts is what arrived."""
    say(f"sealed: {plan.rounds} x {plan.run_ms} ms each, payloads of {SEALED_PAYLOAD_BYTES} bytes")
    left, right = lab.pair(("sealed-left", "sealed-right"))
    at = f"{right.address}:{SEALED_PORT}"
    bench = program("sealed_bench", "bench")
    right.start([bench, "serve", at], name="sealed-serve").wait_for_line("listening", START_TIMEOUT)
    measure.wait_for_quiet(plan.quiet_timeout)
    drive = left.start([bench, "drive", at, plan.rounds, plan.run_ms, SEALED_PAYLOAD_BYTES],
                       name="sealed-drive")
    runs = [next_run(drive, plan) for _ in range(2 * plan.rounds)]
    stream, sealed = runs[0::2], runs[1::2]
    ratios = [b["gbit"] / a["gbit"] for a, b in zip(stream, sealed, strict=True)]
    say("min / median / max        Gbit/s               CPU s/GB, both ends")
    for title, those in (("stream", stream), ("sealed", sealed)):
        say(f"   {title:<20} {summary([run['gbit'] for run in those]):<20} "
            f"{summary([run['cpu'] for run in those], 3)}")
    say(f"   ratio                {summary(ratios, 3)}")
    return {
        "sealed_gbit": round(statistics.median(run["gbit"] for run in sealed), 2),
        "ratio_sealed_quic": round(statistics.median(ratios), 3),
    }


def next_run(drive, plan):
    timeout = START_TIMEOUT + 3 * plan.run_ms / 1000
    run = json.loads(drive.wait_for_line(r"^\{.*\}$", timeout).group())
    say(f"   {run['what']:<8} {run['gbit']:6.2f} Gbit/s  {run['cpu']:.3f} CPU s/GB"
        + (f"  {run['lost']:.1%} lost" if "lost" in run else ""))
    return run


PARTS = {"sealed": measure_sealed}


def run(options):
    plan = Plan(options)
    results = {}
    for part in plan.parts:
        with Lab(f"bench-{part}") as lab:
            results |= PARTS[part](lab, plan)
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the results as JSON, last")
    parser.add_argument("--quick", action="store_true", help="short and rough, for tuning")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", action="append", choices=tuple(PARTS), help="may be repeated")
    return parser.parse_args()


def main():
    options = arguments()
    try:
        results = run(options)
    except (LabError, TimeoutError, OSError) as error:
        say(f"\nThe benchmark failed: {error}")
        return 1
    if options.json:
        say(json.dumps(results))
    return 0


if __name__ == "__main__":
    main_in_lab(main)
