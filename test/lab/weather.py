"""A download while its paths come, go, black-hole, change address and lose: one run a seed.

    test/lab/weather.py --runs 20 --seed 1     # a table, as in docs/relay.md

Two homes behind NATs and lines with delay, a node with a public address that may relay, and the
server, which may too. The nas sends at an even pace, so that every silence at the laptop is the
network's; whatever strikes, the laptop has to get each byte once and in order.
"""

import argparse
import contextlib
import dataclasses
import datetime
import hashlib
import pathlib
import random
import re
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import Lab, LabError, main_in_lab, wait_until  # noqa: E402
from lab_openp2p import Device, Server  # noqa: E402

KINDS = ("symmetric", "port_restricted")
BYTES_PER_SECOND = 500_000
PIECE_SECONDS = 0.01
PIECE = bytes(int(BYTES_PER_SECOND * PIECE_SECONDS))
LINE_MBIT = 50
SERVER_MBIT = 100
LOCAL_PORT, SERVICE_PORT = 8080, 80
CALM_SECONDS = 1.5  # After each strike: what it does to delivery shows by then.
FED_SECONDS = 0.1  # Who got something so lately is not waiting.
MOVE_PATIENCE = 25  # Seconds: while relayed, a direct path is looked for after 5 s, 10, 20.
HEALING_PATIENCE = 30
FINISH_PATIENCE = 90
# What one strike is to delivery.
MOVE, LOSS, OTHER = "planned move", "unplanned loss", "none of its paths"

_NO_DIRECT = """
table inet between {{
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname {{ {homes} }} oifname {{ {homes} }} drop
  }}
}}
"""
_PATH_LINE = re.compile(r"^(\S+)Z \w+ peer\.path peer=\S+ path=(\S+) relayed=(\w+)", re.MULTILINE)


class Film:
    """What the nas sends to whoever connects: pieces at an even pace, and nothing else."""

    def __init__(self, host, seconds, seed):
        self._listener = host.tcp_listener("127.0.0.1", SERVICE_PORT, timeout=20)
        self._pieces = int(seconds / PIECE_SECONDS)
        self._random = random.Random(seed)
        self._sent = hashlib.sha256()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        # Whatever ends it early, the laptop's digest tells.
        with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
            connection.settimeout(FINISH_PATIENCE)
            started = time.monotonic()
            for number in range(self._pieces):
                piece = self._random.randbytes(len(PIECE))
                self._sent.update(piece)
                ahead = started + number * PIECE_SECONDS - time.monotonic()
                if ahead > 0:
                    threading.Event().wait(ahead)
                connection.sendall(piece)

    def digest(self):
        self._thread.join(FINISH_PATIENCE)
        return self._sent.hexdigest()


class Viewer:
    """Reads all of it at the laptop, and remembers when something came."""

    def __init__(self, host):
        self._socket = host.connect("127.0.0.1", LOCAL_PORT, timeout=FINISH_PATIENCE)
        self.at, self.received, self.error = [time.time()], 0, None
        self._digest = hashlib.sha256()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            with self._socket:
                while data := self._socket.recv(1 << 16):
                    self.at.append(time.time())
                    self._digest.update(data)
                    self.received += len(data)
        except OSError as error:
            self.error = error

    def is_done(self):
        return not self._thread.is_alive()

    def digest(self):
        self._thread.join(FINISH_PATIENCE)
        return self._digest.hexdigest()

    def is_fed(self):
        return time.time() - self.at[-1] < FED_SECONDS

    def silence(self, begin, end, is_whole=False):
        """The longest time without a byte of which a part lies within, or all of it, in seconds."""
        at = [*self.at, end]
        pauses = [min(b, end) - a for a, b in zip(at, at[1:])
                  if a < end and b > begin and (a >= begin or not is_whole)]
        return max(pauses, default=0.0)


@dataclasses.dataclass
class Strike:
    """What happened, and what the laptop noticed of it."""
    seed: int
    what: str
    kind: str
    loss: float  # Of one line, each way, at that moment.
    rtt: float
    before: float  # The longest silence just before: what the line and this machine do anyway.
    gap: float     # Seconds of silence, without those in which no way existed.

    @property
    def counted(self):
        """What is no longer than a round trip more than before is no gap."""
        return self.gap if self.gap > self.rtt + self.before else 0.0


class Weather:
    """The scene of one seed, and what may strike it."""

    def __init__(self, lab, seed, seconds):
        self.lab, self.seed, self.random = lab, seed, random.Random(seed)
        self.seconds, self.strikes, self.loss = seconds, [], 0.0
        delays = [self.random.randrange(10, 41) for _ in range(3)]
        kinds = [self.random.choice(KINDS) for _ in range(2)]
        self.server = Server(lab)
        self.server.start("--relay", str(SERVER_MBIT))
        self.homes = [lab.lined_home(kind, delay_ms=delay, rate_mbit=LINE_MBIT, seed=seed)
                      for kind, delay in zip(kinds, delays)]
        self.cafe = lab.lined_home("port_restricted", delay_ms=delays[2], rate_mbit=LINE_MBIT)
        self.rtt = 2 * (delays[0] + max(delays[1:])) / 1000
        self.nas = Device(self.homes[0].host("nas"))
        self.laptop = Device(self.homes[1].host("laptop"))
        self.gate = Device(lab.home(nat="none").host("gate"))
        self.is_direct_cut, self.is_in_cafe = False, None
        self.addresses = iter(range(150, 250))
        for device in (self.nas, self.laptop, self.gate):
            device.up(self.server.token)
        self.about = (f"seed {seed}: {kinds[0]} x {kinds[1]}, "
                      f"one way {delays[0]} and {delays[1]} ms")

    # --- What is seen ---

    def path(self):
        """When the laptop chose its path, and whether it is relayed; the last one."""
        found = _PATH_LINE.findall(self.laptop.process.output())
        if not found:
            return 0.0, None
        at, _, is_relayed = found[-1]
        moment = datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.timezone.utc)
        return moment.timestamp(), is_relayed == "true"

    def is_direct(self):
        return self.path()[1] is False and bool(self.laptop.peer("nas")["path"])

    def relay(self):
        return self.laptop.peer("nas")["relay"]

    def _all_friendly(self):
        return all(home.nat == "port_restricted" for home in self._used())

    def _used(self):
        return [self.homes[0], self.cafe if self.is_in_cafe else self.homes[1]]

    # --- What strikes ---

    def choices(self):
        """Those that mean something now, as (name, kind, call)."""
        is_direct, is_gate_up = self.is_direct(), self.gate.process.is_running()
        relay = "" if is_direct else self.relay()
        found = [("a line loses", OTHER, self.lose), ("a line is silent", LOSS, self.black_hole),
                 ("a router's address changes", LOSS, self.readdress)]
        if not self.is_in_cafe:
            found.append(("the laptop is carried away", LOSS, self.carry))
        if is_direct:
            found += [("the direct path dies", LOSS, self.cut_direct),
                      ("NATs become unfriendly", OTHER, self.estrange)]
        elif self.is_direct_cut and self._all_friendly():
            found.append(("a direct path comes back", MOVE, self.allow_direct))
        elif not self._all_friendly():
            found.append(("NATs become friendly", MOVE, self.befriend))
        if is_gate_up:
            kind = LOSS if relay == "gate" else OTHER
            found.append(("a relay is killed", kind, self.kill_gate))
        else:
            found.append(("a relay is back", OTHER, self.start_gate))
        if self.server.process.is_running() and (is_direct or relay == "gate"):
            found.append(("the server restarts", OTHER, self.restart_server))
        return found

    def choose(self):
        """Moves are what is rarest and matters most."""
        of_kind = {}
        for choice in self.choices():
            of_kind.setdefault(choice[1], []).append(choice)
        kinds = list(of_kind)
        weights = [{MOVE: 5, LOSS: 3, OTHER: 2}[kind] for kind in kinds]
        return self.random.choice(of_kind[self.random.choices(kinds, weights)[0]])

    def strike(self):
        what, kind, call = self.choose()
        self.measure_rtt()
        began, loss = time.time(), self.loss
        before = self.viewer.silence(began - CALM_SECONDS, began, is_whole=True)
        outage = call() or 0.0
        is_moved = True
        if kind == MOVE:
            is_moved = self._try(self.is_direct, MOVE_PATIENCE)
            began = max(began, self.path()[0] - CALM_SECONDS)
        self._wait(CALM_SECONDS)
        self._try(self.viewer.is_fed, HEALING_PATIENCE)
        if self.viewer.is_done():
            return  # There was nothing left to deliver.
        gap = max(0.0, self.viewer.silence(began, time.time()) - outage)
        kind = kind if is_moved else OTHER
        self.strikes.append(Strike(self.seed, what if is_moved else f"{what}: in vain", kind,
                                   max(loss, self.loss), self.rtt, before, gap))

    def measure_rtt(self):
        delays = [home.delay_ms for home in self._used()]
        self.rtt = 2 * sum(delays) / 1000

    def lose(self):
        self.loss = self.random.choice((0.0, 0.01, 0.03, 0.1))  # 0 to 20 % over both lines.
        for home in (*self.homes, self.cafe):
            home.natbox.change_line(loss=self.loss)

    def black_hole(self):
        home = self.random.choice(self._used())
        seconds = self.random.uniform(0.3, 3)
        home.natbox.change_line(black_hole=True)
        began = time.time()
        self._wait(seconds)
        home.natbox.change_line(black_hole=False)
        return time.time() - began

    def readdress(self):
        self.random.choice(self._used()).move(f"198.51.100.{next(self.addresses)}")

    def carry(self):
        self.laptop.host.link_down("eth0")
        began = time.time()
        self.cafe.adopt(self.laptop.host, "eth1")
        self.is_in_cafe = True
        return time.time() - began

    def cut_direct(self):
        homes = ", ".join(f'"{home.natbox.device}"' for home in (*self.homes, self.cafe))
        self.lab.core.nft(_NO_DIRECT.format(homes=homes))
        self.is_direct_cut = True

    def allow_direct(self):
        self.lab.core.nft("delete table inet between")
        self.is_direct_cut = False

    def befriend(self):
        for home in self._used():
            home.change_nat("port_restricted")
        if self.is_direct_cut:
            self.allow_direct()

    def estrange(self):
        """Mappings that are there stay: it shows at the next change of an address."""
        for home in self._used():
            home.change_nat("symmetric")

    def kill_gate(self):
        self.gate.process.kill()

    def start_gate(self):
        self.gate.start()

    def restart_server(self):
        self.server.process.kill()
        self.server.start("--relay", str(SERVER_MBIT))

    # --- The run ---

    def run(self):
        """Every strike, then fair weather to the end. Returns whether all arrived as it was sent."""
        film = Film(self.nas.host, self.seconds, self.seed)
        self.laptop.add_forward("film", "nas", f"127.0.0.1:{SERVICE_PORT}", LOCAL_PORT)
        self.viewer = Viewer(self.laptop.host)
        wait_until(lambda: self.viewer.received > 0, HEALING_PATIENCE, "the first byte")
        end = time.monotonic() + self.seconds
        while time.monotonic() < end - CALM_SECONDS and not self.viewer.is_done():
            self._wait(self.random.uniform(0.5, 2))
            self.strike()
        for home in (*self.homes, self.cafe):
            home.natbox.change_line(loss=0, black_hole=False)
        return self.viewer.digest() == film.digest() and self.viewer.error is None

    def _try(self, condition, patience):
        try:
            return bool(wait_until(lambda: condition() or self.viewer.is_done(), patience, ""))
        except TimeoutError:
            return False

    def _wait(self, seconds):
        threading.Event().wait(seconds)


def run_seed(seed, seconds):
    """One run, which is returned; a LabError tells how it failed."""
    with Lab(f"weather-{seed}") as lab:
        weather = Weather(lab, seed, seconds)
        if not weather.run():
            told = "\n".join(map(str, weather.strikes))
            raise LabError(f"{weather.about}: what arrived is not what was sent, after "
                           f"{weather.viewer.received} bytes: {weather.viewer.error}\n{told}")
        return weather


def median(strikes):
    return statistics.median(s.counted for s in strikes) if strikes else 0.0


def table(strikes):
    """What each kind of strike cost, in Markdown."""
    lines = ["| what happened | times | median gap | longest gap |", "|---|---|---|---|"]
    groups = [(kind, [s for s in strikes if s.kind == kind]) for kind in (MOVE, LOSS, OTHER)]
    for kind, all_of_kind in groups:
        lines.append(_row(f"**{kind}**", all_of_kind))
        for what in sorted({s.what for s in all_of_kind}):
            lines.append(_row(what, [s for s in all_of_kind if s.what == what]))
    return "\n".join(lines)


def _row(name, strikes):
    if not strikes:
        return f"| {name} | 0 | | |"
    longest = max(s.counted for s in strikes)
    return f"| {name} | {len(strikes)} | {median(strikes):.2f} s | {longest:.2f} s |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seconds", type=float, default=30, help="what one download takes at least")
    options = parser.parse_args()
    strikes, failed = [], 0
    for seed in range(options.seed, options.seed + options.runs):
        try:
            weather = run_seed(seed, options.seconds)
        except (LabError, TimeoutError) as error:
            print(f"seed {seed}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        strikes += weather.strikes
        print(weather.about, flush=True)
        for s in weather.strikes:
            print(f"   {s.kind}: {s.what}; gap {s.gap * 1000:.0f} ms, round trip "
                  f"{s.rtt * 1000:.0f} ms, before {s.before * 1000:.0f} ms, loss {s.loss:.0%}",
                  flush=True)
    print(f"\n{options.runs - failed} of {options.runs} downloads intact\n\n{table(strikes)}")
    return 1 if failed else 0


if __name__ == "__main__":
    main_in_lab(main)
