"""Sealed datagrams against a QUIC stream of the same session, and UDP forwards: `./dev bench udp`.

See docs/benchmarks.md for what is measured, how, and the results.
"""

import json
import statistics

from bench_command import Plan, make_parser, run_benchmark, say, summary
import bench_measure as measure
from bench_scene import Scene
from lab import Lab, main_in_lab, program, tool

SEALED_PORT = 5501
SEALED_PAYLOAD_BYTES = 1300
DATAGRAM_BYTES = 1200
IPERF_PORT, ECHO_PORT = 5201, 5203
FORWARD_IPERF_PORT, FORWARD_ECHO_PORT = 5501, 5503
SOCKET_BYTES = "4M"  # Of iperf3's own sockets: what they lose is not the forward's.
ECHO_BYTES = 64
START_TIMEOUT = 20


class UdpPlan(Plan):
    def __init__(self, options):
        super().__init__(options)
        self.parts = options.only or tuple(PARTS)
        self.run_ms = 500 if self.quick else 2000
        self.seconds = 2 if self.quick else 5
        self.echoes = 2000 if self.quick else 10000


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


def measure_forward(lab, plan):
    """iperf3 and an echo through a UDP forward between two agents on one wire."""
    scene = Scene(lab)
    scene.server.start()
    for agent in scene.agents:
        agent.up(scene.server.token)
    left, right = scene.left_agent, scene.right
    left.add_forward("iperf", "right", f"127.0.0.1:{IPERF_PORT}", FORWARD_IPERF_PORT,
                     "--tcp", "--udp")
    left.add_forward("echo", "right", f"127.0.0.1:{ECHO_PORT}", FORWARD_ECHO_PORT, "--udp")
    left.wait_path("right", START_TIMEOUT)
    right.start([tool("iperf3"), "-s", "-p", IPERF_PORT], name="iperf3-server")
    right.start([program("datagram_probe", "bench"), "serve", ECHO_PORT], name="echo").wait_for_line(
        "listening", START_TIMEOUT)
    return measure_loss(scene, plan) | measure_echo(scene, plan)


def measure_loss(scene, plan):
    say(f"loss: {plan.rounds} x {plan.seconds} s, {DATAGRAM_BYTES} bytes each, offered 1 Gbit/s")
    runs = []
    for _ in range(plan.rounds):
        measure.wait_for_quiet(plan.quiet_timeout)
        usage = measure.Usage()
        report = json.loads(scene.left.run(
            tool("iperf3"), "-c", "127.0.0.1", "-p", FORWARD_IPERF_PORT, "-u", "-b", "1G",
            "-l", DATAGRAM_BYTES, "-w", SOCKET_BYTES, "-t", plan.seconds, "-J"))
        usage.stop()
        end = report["end"]["sum"]
        sent = report["end"].get("sum_sent", end)
        run = {"lost": end["lost_packets"] / max(end["packets"], 1),
               "gbit": sent["bits_per_second"] / measure.GB}
        say(f"   {run['gbit']:.2f} Gbit/s offered, {end['lost_packets']} of {end['packets']} lost"
            f" ({run['lost']:.3%}), {usage.busy_seconds:.1f} CPU s,"
            f" others {usage.others_share:.0%}")
        runs.append(run)
    forward = scene.left_agent.forward("iperf")
    say(f"   dropped by the forward's near side: {forward['datagrams_dropped']}")
    return {"udp_loss_at_1gbit": round(statistics.median(run["lost"] for run in runs), 5)}


def measure_echo(scene, plan):
    say(f"echo: {ECHO_BYTES} bytes, {plan.rounds} x {plan.echoes} round trips with each in turn")
    ways = {"plain UDP": f"{scene.right.address}:{ECHO_PORT}",
            "openp2p": f"127.0.0.1:{FORWARD_ECHO_PORT}"}
    added = []
    for _ in range(plan.rounds):
        measure.wait_for_quiet(plan.quiet_timeout)
        lines = scene.left.run(program("datagram_probe", "bench"), "rtt", ECHO_BYTES, plan.echoes,
                               *ways.values()).splitlines()
        times = {}
        for name, line in zip(ways, lines, strict=True):
            lost, *times[name] = (float(word) for word in line.split())
            low, middle, high = times[name]
            say(f"   {name:<10} {middle:7.1f} us  (10 %: {low:.1f}, 90 %: {high:.1f}),"
                f" {lost:.0f} lost")
        added.append(times["openp2p"][1] - times["plain UDP"][1])
    say(f"   added, min / median / max: {summary(added, 1)} us")
    return {"echo_added_us_median": round(statistics.median(added), 1)}


PARTS = {"sealed": measure_sealed, "forward": measure_forward}


def run(options):
    plan = UdpPlan(options)
    results = {}
    for part in plan.parts:
        with Lab(f"bench-{part}") as lab:
            results |= PARTS[part](lab, plan)
    return results


def main():
    return run_benchmark(run, make_parser(__doc__, PARTS).parse_args())


if __name__ == "__main__":
    main_in_lab(main)
