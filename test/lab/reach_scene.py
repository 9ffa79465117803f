"""One cell of the reach matrix, with whole programs: do two homes of given kinds connect directly?

    with Lab("cell") as lab:
        cell = run_cell(lab, "port-restricted", "symmetric, random ports")
        cell["direct"], cell["method"], cell["t_s"]

By hand: reach_scene.py "full cone" "double NAT" prints the cell as JSON.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import NATBOX_KINDS, Lab, LabError, main_in_lab, program  # noqa: E402
from lab_openp2p import Device, Server  # noqa: E402
from lab_process import POLL_SECONDS  # noqa: E402

WAIT_SECONDS = 25
PINGS = 4  # Of one ping command: it ends by itself, and is repeated for as long as there is time.
PASSING = ("", "none", "checking", "waiting-for-retry")  # Reason codes that explain no failure.
RELAYED = "relay"  # How paths begin that are not direct.


def make_homes(lab, kinds, port_mapping, delay_ms, loss, seed):
    """The two homes, behind natbox, each with a line of `delay_ms` and `loss` in each direction."""
    for kind in kinds:
        if kind not in NATBOX_KINDS:
            raise LabError(f"no such NAT: {kind}; there are: {', '.join(NATBOX_KINDS)}")
    return [
        lab.natbox_home(kind, port_mapping=maps and kind != "none", delay_ms=delay_ms, loss=loss,
                        seed=2 * seed + number)
        for number, (kind, maps) in enumerate(zip(kinds, port_mapping))
    ]


class Attempt:
    """What `openp2p ping` of a peer leads to, watched until there is a direct path."""

    def __init__(self, device, peer):
        self.device, self.peer = device, peer
        self.started = time.monotonic()
        self.direct_after = self.reason_after = None
        self.reason = self.reason_code = self.method = self.path = ""
        self._ping = None

    def run(self, wait_s):
        try:
            while time.monotonic() - self.started < wait_s and self.direct_after is None:
                self._keep_pinging()
                self._look()
                time.sleep(POLL_SECONDS)
        finally:
            if self._ping.poll() is None:
                self._ping.kill()
            self._ping.wait()
        return self

    def _keep_pinging(self):
        if self._ping is not None and self._ping.poll() is None:
            return
        command = [program("openp2p"), "ping", self.peer, "-c", PINGS, "--json",
                   "--state", self.device.state]
        self._ping = subprocess.Popen(self.device.host.command(command), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)

    def _look(self):
        seen = self.device.peer(self.peer)
        elapsed = time.monotonic() - self.started
        code = seen.get("reason_code", "")
        if (code not in PASSING or self.reason_code in PASSING) and seen["reason"] != self.reason:
            self.reason, self.reason_code, self.reason_after = seen["reason"], code, elapsed
        self.path = seen["path"]
        self.method = seen.get("method", "") or self.path
        if self.path and not self.path.startswith(RELAYED):
            self.direct_after = elapsed


def join(server, homes, up_words):
    """The devices `a` and `b`, or None and why one does not come on line."""
    devices = [Device(home.host(name), name) for home, name in zip(homes, "ab")]
    for device in devices:
        device.start(*up_words, token=server.token)
    for device in devices:
        try:
            device.wait_connected(WAIT_SECONDS)
        except (LabError, TimeoutError):
            return None, f"{device.name} does not reach the server"
    return devices, ""


def packets_of(devices):
    """IP packets and others that the devices sent so far."""
    return sum(device.host.packets_sent("eth0") for device in devices)


def run_cell(lab, a, b, port_mapping=(False, False), delay_ms=25, loss=0.01, seed=1,
             wait_s=WAIT_SECONDS, up_words=()):
    """Builds the scene in an empty lab, tries once, from `b` to `a`, and returns the cell's values.

    up_words: more options of both devices' `openp2p up`.
    direct: whether there was a direct path within wait_s; t_s: after how long (None: never).
    reason: why there is none; reason_code: for programs; t_reason_s: since when that is said.
    packets: what both devices sent from the ping to the end, traffic with the server included.
    conntrack_max: the most entries any NAT of the scene held since it was made.
    """
    server = Server(lab, lab.server(ipv6=True)).start()
    homes = make_homes(lab, (a, b), port_mapping, delay_ms, loss, seed)
    cell = {"a": a, "b": b, "where": "lab", "port_mapping": list(port_mapping), "seed": seed,
            "direct": False, "t_s": None, "method": "", "path": "", "reason": "", "reason_code": "",
            "t_reason_s": None, "packets": None, "conntrack_max": 0}
    devices, cell["reason"] = join(server, homes, up_words)
    if devices:
        before = packets_of(devices)
        attempt = Attempt(devices[1], "a").run(wait_s)
        is_direct = attempt.direct_after is not None
        cell |= {
            "direct": is_direct, "t_s": attempt.direct_after, "path": attempt.path,
            "method": attempt.method, "packets": packets_of(devices) - before,
            "reason": "" if is_direct else attempt.reason,
            "reason_code": "" if is_direct else attempt.reason_code,
            "t_reason_s": None if is_direct else attempt.reason_after,
        }
    cell["conntrack_max"] = max(home.conntrack_max() for home in homes)
    return cell


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("a", choices=NATBOX_KINDS)
    options.add_argument("b", choices=NATBOX_KINDS)
    options.add_argument("--port-mapping", choices=("none", "a", "b", "both"), default="none")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--up", default="", help="more words for both `openp2p up`")
    options.add_argument("--wait", type=float, default=WAIT_SECONDS, help="seconds")
    words = options.parse_args()
    maps = tuple(words.port_mapping in (side, "both") for side in "ab")
    with Lab("reach") as lab:
        cell = run_cell(lab, words.a, words.b, maps, seed=words.seed, wait_s=words.wait,
                        up_words=words.up.split())
    print(json.dumps(cell))
    return 0


if __name__ == "__main__":
    main_in_lab(main)
