"""Measuring on Linux: throughput by iperf3, the processor's time, one process's memory and rest."""

import contextlib
import json
import os
import pathlib
import statistics
import time

from bench_scene import probe_program
from lab import LabError, tool

GB = 1e9
TICKS = os.sysconf("SC_CLK_TCK")
# /proc/stat, first line: user nice system idle iowait irq softirq steal. All but the idle ones, and
# but what the hypervisor took.
BUSY_FIELDS = (0, 1, 2, 5, 6)
QUIET_SHARE = 0.05  # Of all processors: more for others disturbs a measurement.
QUIET_SAMPLE_SECONDS = 0.25
IPERF_TRIES = 3
IPERF_GRACE_SECONDS = 30


def busy_seconds():
    """What all processors of the machine did since it started, for whomever."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[i]) for i in BUSY_FIELDS) / TICKS


def own_seconds():
    """What the lab's processes used, those included that ended: no other is in its /proc."""
    ticks = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It ended just now: then its parent has its time.
            fields = stat.read_text().rsplit(")", 1)[1].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


class Usage:
    """From its making to stop(): what the machine did, and what share of it was not for us."""

    def __init__(self):
        self._busy, self._own, self._start = busy_seconds(), own_seconds(), time.monotonic()

    def stop(self):
        self.busy_seconds = busy_seconds() - self._busy
        others = self.busy_seconds - (own_seconds() - self._own)
        self.others_share = others / (time.monotonic() - self._start) / os.cpu_count()
        return self


def wait_for_quiet(timeout):
    """Waits until nothing else runs, or the timeout."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        usage = Usage()
        time.sleep(QUIET_SAMPLE_SECONDS)
        if usage.stop().others_share <= QUIET_SHARE:
            return


class Transfer:
    """What one iperf3 run gave."""

    def __init__(self, received, usage):
        self.gbit = received["bits_per_second"] / GB
        self.cpu_s_per_gb = usage.busy_seconds * GB / received["bytes"]
        self.others_share = usage.others_share


def transfer(host, target, connections, seconds):
    """One iperf3 run to HOST:PORT; its speed is what the receiver got."""
    address, port = target.rsplit(":", 1)
    argv = [tool("iperf3"), "-c", address, "-p", port, "-P", connections, "-t", seconds, "-J"]
    for _ in range(IPERF_TRIES):
        usage = Usage()
        process = host.start(argv, name=f"iperf3-{time.monotonic_ns()}")
        code = process.wait(seconds + IPERF_GRACE_SECONDS)
        usage.stop()
        report = json.loads(process.output())
        if code == 0 and "error" not in report:
            return Transfer(report["end"]["sum_received"], usage)
        # The server may not have seen the end of the run before through a tunnel.
        time.sleep(1)
    raise LabError(f"iperf3 to {target}: {report.get('error')}")


def _probe(host, *words, processors=None):
    prefix = ["taskset", "-c", processors] if processors is not None else []
    return host.run(*prefix, probe_program(), *words)


def round_trips(host, ways, message_bytes, rounds):
    """Name -> [10 %, median, 90 %] in microseconds, of as many round trips, taken in turn."""
    lines = _probe(host, "rtt", message_bytes, rounds, *ways.values()).splitlines()
    return {name: [float(word) for word in line.split()[1:]]
            for name, line in zip(ways, lines, strict=True)}


def short_connections(host, target, message_bytes, count, at_once, processors):
    """Connections a second: open, send, receive, close."""
    return float(_probe(host, "connect", message_bytes, count, at_once, target,
                        processors=processors))


def _tasks(pid):
    return list(pathlib.Path(f"/proc/{pid}/task").iterdir())


def pin(pid, processors):
    """Keeps all threads of a process on these processors."""
    for task in _tasks(pid):
        os.sched_setaffinity(int(task.name), processors)


def _wakeups(pid):
    total = 0
    for task in _tasks(pid):
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def wakeups_per_second(pid, seconds):
    before, start = _wakeups(pid), time.monotonic()
    time.sleep(seconds)
    return (_wakeups(pid) - before) / (time.monotonic() - start)


def ratio(ours, theirs):
    """The median of the rounds' own ratios: what slows a whole round falls out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
