"""One relay process on one core against a bare UDP forwarder: `./dev bench relay`.

    source and sink 10.0.0.1 ---- veth ---- 10.0.0.2 relay or bare forwarder

The relay opens and seals each datagram once; the bare forwarder receives and sends in the same trains
(recvmmsg with GRO, sendmsg with GSO), and does nothing between. Both have a core to themselves, the ends
share the others, and what counts is what each hands on in a second of its own processor time: so other
programs on the machine, and ends that cannot keep up, change little. See docs/relay.md.
"""

import json
import os
import pathlib
import statistics
import time

from bench_command import Plan, make_parser, run_benchmark, say
import bench_measure as measure
from lab import Lab, LabError, main_in_lab, program

RELAY_PORT, BARE_PORT, IDLE_PORT = 5601, 5602, 5603
PAYLOAD_BYTES = 1300
IDLE_ALLOCATIONS = 10_000
IDLE_PER_SESSION_PAIR = 1_000
IDLE_CAP = 100_000_000
SINK_NICENESS = 19  # What the sink loses has been handed on; the source has to be faster than the relay.
WARM_UP_SECONDS = 1.5  # The relay's path is measured up to its size, and caches settle.
START_TIMEOUT = 20


class RelayPlan(Plan):
    def __init__(self, options):
        super().__init__(options)
        self.seconds = 1 if self.quick else 3


def bench(*words):
    return [program("relay_bench", "bench"), *words]


class Forwarder:
    """The relay or the bare one, on a core of its own."""

    def __init__(self, host, processor, kind, port, *words):
        self.kind, self.at = kind, f"{host.address}:{port}"
        self.process = host.start(["taskset", "-c", processor, *bench(kind, self.at, *words)],
                                  name=f"{kind}-{port}")
        self.process.wait_for_line(r"^\{.*\}$", START_TIMEOUT)

    def counts(self):
        """What it printed last."""
        whole = self.process.output().rsplit("\n", 1)[0]
        return json.loads(whole.rsplit("\n", 1)[-1])

    def memory_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise LabError("no RssAnon")


def run(host, forwarder, processors, plan, number):
    """What the forwarder did while its source sent as fast as it can."""
    ends = [host.start(["taskset", "-c", processors, "nice", "-n", niceness,
                        *bench(what, forwarder.at, forwarder.kind, PAYLOAD_BYTES, number)],
                       name=f"{what}-{forwarder.kind}-{time.monotonic_ns()}")
            for what, niceness in (("sink", SINK_NICENESS), ("source", 0))]
    wait(forwarder, WARM_UP_SECONDS)
    usage = measure.Usage()
    first, last = wait(forwarder, plan.seconds)
    usage.stop()
    for end in ends:
        if not end.is_running():
            raise LabError(f"an end gave up: {end.output().strip()}")
        end.kill()
    cpu, elapsed = last["cpu"] - first["cpu"], last["at"] - first["at"]
    result = {
        "pps": (last["datagrams"] - first["datagrams"]) / cpu,
        "gbit": (last["bytes"] - first["bytes"]) * 8 / cpu / measure.GB,
        "share": cpu / elapsed,
    }
    say(f"   {forwarder.kind:<6} {result['gbit']:6.2f} Gbit/s  {result['pps'] / 1e3:7.0f} kpps"
        f"  at {result['share']:.0%} of its core; others {usage.others_share:.0%}")
    return result


def wait(forwarder, seconds):
    """The counts before and after."""
    first = last = forwarder.counts()
    while last["at"] - first["at"] < seconds:
        time.sleep(0.05)
        last = forwarder.counts()
    return first, last


def measure_speed(lab, plan):
    left, right = lab.pair(("relay-left", "relay-right"))
    processors = sorted(os.sched_getaffinity(0))
    others = ",".join(str(each) for each in processors[1:]) or str(processors[0])
    relay = Forwarder(right, processors[0], "relay", RELAY_PORT)
    bare = Forwarder(right, processors[0], "bare", BARE_PORT)
    say(f"relay and bare forwarder in turn: {plan.rounds} x {plan.seconds} s, datagrams of"
        f" {PAYLOAD_BYTES} bytes")
    runs = {"relay": [], "bare": []}
    for number in range(1, plan.rounds + 1):
        measure.wait_for_quiet(plan.quiet_timeout)
        for each in (bare, relay):
            runs[each.kind].append(run(left, each, others, plan, number))
    gbit = {kind: [each["gbit"] for each in those] for kind, those in runs.items()}
    pps = {kind: [each["pps"] for each in those] for kind, those in runs.items()}
    return {
        "relay_gbit": round(statistics.median(gbit["relay"]), 2),
        "bare_gbit": round(statistics.median(gbit["bare"]), 2),
        "ratio_bare_pps": round(measure.ratio(pps["relay"], pps["bare"]), 3),
        "ratio_bare_gbit": round(measure.ratio(gbit["relay"], gbit["bare"]), 3),
    }


def measure_idle(lab):
    """What 10,000 allocations that carry nothing take, and the sessions that they came over."""
    left, right = lab.pair(("idle-left", "idle-right"))
    relay = Forwarder(right, 0, "relay", IDLE_PORT, IDLE_CAP)
    before = relay.memory_bytes()
    left.start(bench("idle", relay.at, IDLE_ALLOCATIONS), name="idle-ends")
    deadline = time.monotonic() + START_TIMEOUT
    while relay.counts()["allocations"] < IDLE_ALLOCATIONS:
        if time.monotonic() > deadline:
            raise LabError(f"only {relay.counts()['allocations']} allocations came")
        time.sleep(0.1)
    wait(relay, 2)
    grown = relay.memory_bytes() - before
    sessions = 2 * IDLE_ALLOCATIONS // IDLE_PER_SESSION_PAIR
    say(f"idle: {IDLE_ALLOCATIONS} allocations over {sessions} sessions take {grown / 2**20:.1f} MiB"
        " together with these sessions")
    return {"idle_allocation_bytes": round(grown / IDLE_ALLOCATIONS), "idle_sessions": sessions}


def measure_all(options):
    with Lab("bench-relay") as lab:
        results = measure_speed(lab, RelayPlan(options))
    with Lab("bench-relay-idle") as lab:
        results |= measure_idle(lab)
    for name, value in results.items():
        say(f"{name:<24} {value}")
    return results


def main():
    parser = make_parser(__doc__.split("\n", 1)[0])
    return run_benchmark(measure_all, parser.parse_args())


if __name__ == "__main__":
    main_in_lab(main)
