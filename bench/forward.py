"""The forward against plain TCP and `ssh -L`, and what it costs: `./dev bench forward`.

See docs/benchmarks.md for what is measured, how, and the results.
"""

import os
import pathlib
import statistics
import time

from bench_command import Plan, make_parser, run_benchmark, say, summary
from bench_scene import Scene, program
from lab import Lab, main_in_lab

import bench_measure as measure

CONNECTIONS = (1, 4)
ECHO_BYTES = 64
REQUEST_BYTES = 1024
AT_ONCE = 16
NAMES = {"plain": "plain TCP", "ssh": "ssh -L", "ours": "openp2p"}
PARTS = ("idle", "throughput", "echo", "connections")


class ForwardPlan(Plan):
    def __init__(self, options):
        super().__init__(options)
        quick = self.quick
        self.parts = options.only or PARTS
        self.rounds_max = self.rounds * (1 if quick else 3)
        self.seconds = options.seconds or (2 if quick else 4)
        self.echoes = 3000 if quick else 10000
        self.short_connections = 2000 if quick else 5000
        self.settle_seconds, self.idle_seconds = (25, 5) if quick else (30, 20)


def measure_idle(scene, plan):
    """An agent with two sessions, to the server and to a peer, and nothing to do."""
    say(f"idle: {plan.settle_seconds + plan.idle_seconds} s")
    time.sleep(plan.settle_seconds)
    pid = scene.left_agent.process.pid
    wakeups = measure.wakeups_per_second(pid, plan.idle_seconds)
    resident = scene.left_agent.memory_kib()
    say(f"   {resident} KiB resident, {wakeups:.2f} wake-ups a second")
    return {"idle_rss_kib": resident, "idle_wakeups_per_s": round(wakeups, 2)}


def measure_throughput(scene, plan):
    for target in scene.ways.values():  # The first run of each pays for caches and windows.
        measure.transfer(scene.left, target, connections=1, seconds=1)
    rounds = []
    while not is_enough(rounds, plan):
        say(f"throughput: round {len(rounds) + 1}, {plan.seconds} s a run")
        measure.wait_for_quiet(plan.quiet_timeout)
        rounds.append(run_round(scene, plan))
    rounds.sort(key=disturbance)
    rounds = rounds[: plan.rounds]
    runs = {key: [each[key] for each in rounds] for key in rounds[0]}
    print_table(runs, disturbance(rounds[-1]))
    return throughput_results(runs)


def disturbance(runs):
    """The share of the machine that other programs had during the worst run of a round."""
    return max(run.others_share for run in runs.values())


def is_enough(rounds, plan):
    """Disturbed rounds are repeated, but not for ever: then the least disturbed ones count."""
    quiet = sum(disturbance(each) <= measure.QUIET_SHARE for each in rounds)
    return quiet >= plan.rounds or len(rounds) >= plan.rounds_max


def run_round(scene, plan):
    runs = {}
    for count in CONNECTIONS:
        for name, target in scene.ways.items():
            run = runs[name, count] = measure.transfer(scene.left, target, count, plan.seconds)
            say(f"   {NAMES[name]:<10} {count} x  {run.gbit:6.2f} Gbit/s  "
                f"{run.cpu_s_per_gb:.3f} CPU s/GB  (others: {run.others_share:4.0%})")
    return runs


def print_table(runs, others):
    say(f"\nother programs used up to {others:.0%} of the machine during these rounds")
    say("min / median / max   connections          Gbit/s                CPU s/GB")
    for count in CONNECTIONS:
        for name, title in NAMES.items():
            gbit, cpu = columns(runs[name, count])
            say(f"{title:<20} {count:>6}        {summary(gbit):<23}  {summary(cpu, 3)}")
    say()


def columns(runs):
    return [run.gbit for run in runs], [run.cpu_s_per_gb for run in runs]


def throughput_results(runs):
    gbit = {key: columns(value)[0] for key, value in runs.items()}
    cpu = {key: columns(value)[1] for key, value in runs.items()}
    median = statistics.median
    return {
        "gbit_1": round(median(gbit["ours", 1]), 2),
        "gbit_4": round(median(gbit["ours", 4]), 2),
        "cpu_s_per_gb_1": round(median(cpu["ours", 1]), 3),
        "ratio_ssh_1": round(measure.ratio(gbit["ours", 1], gbit["ssh", 1]), 3),
        "ratio_ssh_4": round(measure.ratio(gbit["ours", 4], gbit["ssh", 4]), 3),
        "ratio_plain_1": round(measure.ratio(gbit["ours", 1], gbit["plain", 1]), 3),
        "cpu_ratio_ssh_1": round(measure.ratio(cpu["ours", 1], cpu["ssh", 1]), 3),
    }


def measure_echo(scene, plan):
    say(f"echo: {ECHO_BYTES} bytes, {plan.rounds} x {plan.echoes} round trips with each in turn")
    added = []
    for _ in range(plan.rounds):
        measure.wait_for_quiet(plan.quiet_timeout)
        times = measure.round_trips(scene.left, scene.echo_ways, ECHO_BYTES, plan.echoes)
        added.append(times["ours"][1] - times["plain"][1])
        for name, (low, middle, high) in times.items():
            say(f"   {NAMES[name]:<10} {middle:7.1f} us  (10 %: {low:.1f}, 90 %: {high:.1f})")
    say(f"   added, min / median / max: {summary(added, 1)} us")
    return {"echo_added_us_median": round(statistics.median(added), 1)}


def measure_connections(scene, plan):
    """Both agents share one processor; the two ends of the connections have another."""
    processors = sorted(os.sched_getaffinity(0))
    agents, ends = {processors[0]}, processors[-1]
    measure.pin(scene.echo_server.pid, {ends})
    for agent in scene.agents:
        measure.pin(agent.process.pid, agents)
    say(f"short connections: {REQUEST_BYTES} bytes each way, both agents on one processor")
    rates = {}
    for at_once in (1, AT_ONCE):
        rates[at_once] = []
        for _ in range(plan.rounds):
            measure.wait_for_quiet(plan.quiet_timeout)
            rates[at_once].append(measure.short_connections(
                scene.left, scene.echo_ways["ours"], REQUEST_BYTES, plan.short_connections, at_once,
                ends))
        say(f"   {at_once:>2} at once, min / median / max: {summary(rates[at_once], 0)} a second")
    for agent in scene.agents:
        measure.pin(agent.process.pid, set(processors))
    return {"connections_per_s": round(statistics.median(rates[AT_ONCE]))}


def run(options):
    plan = ForwardPlan(options)
    results = {}
    with Lab("bench") as lab:
        scene = Scene(lab)
        scene.start_agents()
        if "idle" in plan.parts:
            results |= measure_idle(scene, plan)
        scene.start_others()
        if "throughput" in plan.parts:
            results |= measure_throughput(scene, plan)
        if "echo" in plan.parts:
            results |= measure_echo(scene, plan)
        if "connections" in plan.parts:
            results |= measure_connections(scene, plan)
    results["binary_bytes"] = pathlib.Path(program("openp2p")).stat().st_size
    say(f"openp2p is {results['binary_bytes'] / 1e6:.2f} MB")
    return results


def main():
    parser = make_parser(__doc__, PARTS)
    parser.add_argument("--seconds", type=int, help="of each throughput run")
    return run_benchmark(run, parser.parse_args())


if __name__ == "__main__":
    main_in_lab(main)
