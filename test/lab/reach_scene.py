"""One cell of the reach matrix, with whole programs: do two homes of given kinds connect directly?

    with Lab("cell") as lab:
        cell = run_cell(lab, "port-restricted", "symmetric, random ports")
        cell["direct"], cell["method"], cell["t_s"]

By hand: reach_scene.py "full cone" "double NAT" prints the cell as JSON.
"""

import argparse
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import NATBOX_KINDS, Lab, LabError, main_in_lab, program, recent_logs, wait_until  # noqa: E402
from lab_openp2p import Device, Server  # noqa: E402
from lab_process import POLL_SECONDS  # noqa: E402

JOIN_SECONDS = 25
# As in virtual time: so long NATs are measured before anybody wishes for anything.
SETTLING_SECONDS = 8
WAIT_SECONDS = 25
FINAL_SECONDS = 1.5  # A final reason that is said for so long is not taken back.
LINE_DELAY_MS, LINE_LOSS = 25, 0.005  # Of each home's line, each way.
PINGS = 4  # Of one ping command: it ends by itself, and is repeated for as long as there is time.
PASSING = ("", "none", "checking", "waiting-for-retry")  # Reason codes that explain no failure.
# Codes of what the NATs are like, or of a search that comes again only after minutes.
FINAL = ("both-random", "block-missed", "udp-blocked-here", "udp-blocked-there", "udp-blocked-both",
         "tcp-blocked", "methods-disabled")
RELAYED = "relay"  # How paths begin that are not direct.
# What says that a node knows its NAT: filtering comes last, and never where UDP is blocked.
MEASURED = r"nat\.profile mapping=\S+ (filtering=(?!unknown)|.*blocked=true)"
# Mappings are known long before, after a few round trips.
MAPPED = r"nat\.profile (mapping=(?!unknown)|.*blocked=true)"


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


class LocalApi(http.client.HTTPConnection):
    """A node's local API. Asking it costs far less than a command, so clocks stay honest."""

    def __init__(self, device):
        super().__init__("localhost", timeout=10)
        self._path = str(device.state / "agent.sock")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def peer(self, name):
        self.request("GET", f"/v1/peers/{name}")
        answer = json.loads(self.getresponse().read())
        self.close()
        return answer["peer"]


class Side:
    """One of the two nodes during an attempt, seen through its local API."""

    def __init__(self, device, peer, started):
        self._api, self._peer, self._started = LocalApi(device), peer, started
        self.path = self.method = self.reason = self.reason_code = ""
        self.direct_after = self.candidates_after = self.reason_after = None

    def look(self):
        seen = self._api.peer(self._peer)
        self._elapsed = time.monotonic() - self._started
        self.path = seen["path"]
        self.method = seen["method"] or self.path
        self._note_reason(seen["reason"], seen["reason_code"])
        if self.candidates_after is None:
            self.candidates_after = self._first(seen, "candidate")
        if self.direct_after is None and self.path and not self.path.startswith(RELAYED):
            self.direct_after = self._first(seen, "path-selected") or self._elapsed

    def is_final(self):
        """Whether there is no use in waiting for a path any longer."""
        return self.reason_code in FINAL and self._elapsed - self.reason_after > FINAL_SECONDS

    def _note_reason(self, reason, code):
        if code in PASSING and self.reason_code not in PASSING:
            return
        if code not in FINAL or code != self.reason_code:
            self.reason_after = self._elapsed
        self.reason, self.reason_code = reason, code

    def _first(self, seen, event):
        """After how long such an event came first, since the attempt began."""
        times = [self._elapsed - entry["ago_us"] / 1e6 for entry in seen["timeline"]
                 if entry["event"] == event]
        return min((at for at in times if at > 0), default=None)


class Attempt:
    """What `openp2p ping` of the second device by the first leads to, watched on both."""

    def __init__(self, devices):
        self._device, self._peer = devices[0], devices[1].name
        self._started = time.monotonic()
        self.asker = Side(devices[0], devices[1].name, self._started)
        self.asked = Side(devices[1], devices[0].name, self._started)
        self.is_direct = False
        self._ping = None

    def run(self, wait_s):
        try:
            while time.monotonic() - self._started < wait_s:
                self._keep_pinging()
                if self._look():
                    break
                time.sleep(POLL_SECONDS)
        finally:
            if self._ping.poll() is None:
                self._ping.kill()
            self._ping.wait()
        return self

    @property
    def direct_after(self):
        """Seconds from the wish until both sides have a path."""
        return max(self.asker.direct_after, self.asked.direct_after)

    @property
    def searched_for(self):
        """The same, since both sides have each other's candidates."""
        known = [side.candidates_after for side in (self.asker, self.asked)]
        return self.direct_after - max(at or 0 for at in known)

    def _keep_pinging(self):
        if self._ping is not None and self._ping.poll() is None:
            return
        command = [program("openp2p"), "ping", self._peer, "-c", PINGS, "--json",
                   "--state", self._device.state]
        self._ping = subprocess.Popen(self._device.host.command(command),
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _look(self):
        """True: this is how it ends."""
        self.asker.look()
        self.asked.look()
        self.is_direct = None not in (self.asker.direct_after, self.asked.direct_after)
        return self.is_direct or (self.asker.is_final() and self.asker.direct_after is None)


def join(server, homes, up_words=()):
    """The devices `a` and `b`, or None and why one does not come on line."""
    devices = [Device(home.host(name), name) for home, name in zip(homes, "ab")]
    for device in devices:
        device.start("--log-level", "debug", *up_words, token=server.token)
    for device in devices:
        try:
            device.wait_connected(JOIN_SECONDS)
        except (LabError, TimeoutError):
            return None, f"{device.name} does not reach the server"
    return devices, ""


def settle(devices, measured=MEASURED):
    """Waits until both know each other and their NATs, as far as they ever will."""
    started = time.monotonic()
    for device, peer in zip(devices, reversed(devices)):
        wait_until(lambda: any(p["name"] == peer.name and p["online"]
                               for p in device.json("peers")["peers"]),
                   JOIN_SECONDS, f"{device.name} knows {peer.name}")
        try:
            device.process.wait_for_line(measured, max(started + SETTLING_SECONDS - time.monotonic(), 0))
        except TimeoutError:
            continue  # Few answers came through; people would not wait any longer either.


def packets_of(devices):
    """IP packets and others that the devices sent so far."""
    return sum(device.host.packets_sent("eth0") for device in devices)


def run_homes(server, homes, wait_s=WAIT_SECONDS, up_words=(), measured=MEASURED):
    """Puts one device into each of two homes, tries once, from the first to the second; returns:

    direct: whether both had a direct path within wait_s; wish_s: after how long (None: never).
    t_s: the same, since both had each other's candidates.
    reason: why there is none; reason_code: for programs; t_reason_s: since when that is said.
    packets: what both devices sent from the ping to the end, traffic with the server included.
    conntrack_max: the most entries that any NAT of the scene held more than before the ping.

    up_words: more options of both devices' `openp2p up`. measured: the log line to settle for.
    """
    found = {"direct": False, "t_s": None, "wish_s": None, "method": "", "path": "", "reason": "",
             "reason_code": "", "t_reason_s": None, "packets": None, "conntrack_max": 0}
    devices, found["reason"] = join(server, homes, up_words)
    if not devices:
        return found
    settle(devices, measured)
    packets, entries = packets_of(devices), [home.conntrack_now() for home in homes]
    attempt = Attempt(devices).run(wait_s)
    found["direct"] = attempt.is_direct
    found["packets"] = packets_of(devices) - packets
    found["conntrack_max"] = max(max(home.conntrack_max() - before, 0)
                                 for home, before in zip(homes, entries))
    if attempt.is_direct:
        found |= {"t_s": attempt.searched_for, "wish_s": attempt.direct_after,
                  "path": attempt.asker.path, "method": attempt.asker.method}
    else:
        found |= {"reason": attempt.asker.reason, "reason_code": attempt.asker.reason_code,
                  "t_reason_s": attempt.asker.reason_after}
    return found


def run_cell(lab, a, b, port_mapping=(False, False), delay_ms=LINE_DELAY_MS, loss=LINE_LOSS, seed=1,
             **options):
    """Builds the scene in an empty lab; returns the cell's values. options: run_homes's."""
    server = Server(lab, lab.server(ipv6=True)).start()
    homes = make_homes(lab, (a, b), port_mapping, delay_ms, loss, seed)
    scene = {"a": a, "b": b, "where": "lab", "port_mapping": list(port_mapping), "seed": seed}
    return scene | run_homes(server, homes, **options)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("a", choices=NATBOX_KINDS)
    options.add_argument("b", choices=NATBOX_KINDS)
    options.add_argument("--port-mapping", choices=("none", "a", "b", "both"), default="none")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--up", default="", help="more words for both `openp2p up`")
    options.add_argument("--wait", type=float, default=WAIT_SECONDS, help="seconds")
    options.add_argument("--logs", action="store_true", help="what programs said, too")
    words = options.parse_args()
    maps = tuple(words.port_mapping in (side, "both") for side in "ab")
    with Lab("reach") as lab:
        cell = run_cell(lab, words.a, words.b, maps, seed=words.seed, wait_s=words.wait,
                        up_words=words.up.split())
        if words.logs:
            for name, text in recent_logs():
                print(f"== {name}", text, sep="\n", file=sys.stderr)
    print(json.dumps(cell))
    return 0


if __name__ == "__main__":
    main_in_lab(main)
