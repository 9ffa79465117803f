"""Homes behind natbox: the simulator's NAT and its line, applied to real packets.

    home = lab.natbox_home("symmetric, random ports", delay_ms=25, loss=0.01)
    host = home.host("alice")
    home.counters()["udp"]["flows_peak"]

The router routes between LAN and `wan`, the inside one of natbox's TUN devices; the outside one is
in the core, or in a carrier's network. Both end with natbox, which ends with the lab.
"""

import json
import os
import signal
import socket

from lab_home import Home
from lab_node import Node
from lab_process import LabError, program, wait_until

# The names of sim/nat_kind.h.
NATBOX_KINDS = (
    "none",
    "full cone",
    "address-restricted",
    "port-restricted",
    "symmetric, random ports",
    "symmetric, sequential ports",
    "symmetric, blocks of 1024 ports",
    "symmetric, ports preserved",
    "double NAT",
    "UDP blocked",
    "IPv6 firewall",
)
START_TIMEOUT = 10


class Natbox:
    """One natbox between two nodes: `wan` in the inside one, `to-INSIDE` in the outside one."""

    def __init__(self, lab, kind, inside, outside, addresses, reporters, options):
        self.lab, self.inside, self.outside = lab, inside, outside
        self._kind, self._reporters, self._options = kind, reporters, options
        self.device = f"to-{inside.name}"
        self._counters = lab.path(f"natbox-{inside.name}.json")
        self._control = lab.socket_path(inside.name)
        self.start(addresses)

    def start(self, addresses):
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise LabError("natbox needs /dev/net/tun, which is missing or not for everybody here: as "
                           "root, modprobe tun && chmod 666 /dev/net/tun")
        self._counters.unlink(missing_ok=True)
        self.process = self.inside.start(self._command(addresses), name=f"natbox-{self.inside.name}")
        self.process.wait_for_line("^ready", timeout=START_TIMEOUT)
        self.inside.link_up("wan")
        self.outside.link_up(self.device)
        for version in ("-4", "-6"):
            self.inside.run("ip", version, "route", "replace", "default", "dev", "wan")

    def _command(self, addresses):
        # Router and natbox are one box, and the router counts as its hop.
        argv = [program("natbox", "test/lab"), "--kind", self._kind, "--no-hop", "--inside", "wan",
                "--outside", self.device, "--outside-namespace", self.outside.path,
                "--counters", self._counters, "--control", self._control]
        for address in addresses:
            argv += ["--external", address]
        for address in self._reporters:
            argv += ["--router", address]
        for name, value in self._options.items():
            argv.append(f"--{name.replace('_', '-')}")
            if value is not True:
                argv += value if isinstance(value, list) else [value]
        return argv

    def route_to(self, prefix):
        """Lets the outside reach `prefix` through it."""
        version = "-6" if ":" in prefix else "-4"
        self.outside.run("ip", version, "route", "replace", prefix, "dev", self.device)

    def reset(self):
        """A reboot: every mapping is lost."""
        self.process.signal(signal.SIGHUP)

    def change_line(self, **changes):
        """loss=0.1 (each direction), delay_ms=20, black_hole=True: from now on."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
            caller.settimeout(START_TIMEOUT)
            # For the answer. A file: names without one end at the network namespace.
            own_name = self._control.with_suffix(".caller")
            own_name.unlink(missing_ok=True)
            caller.bind(str(own_name))
            caller.sendto(json.dumps(changes).encode(), str(self._control))
            answer = caller.recv(1000).decode()
        if answer != "ok":
            raise LabError(f"{self.process.name}, told {changes}: {answer}")

    def counters(self):
        before = self._written()
        self.process.signal(signal.SIGUSR1)
        wait_until(lambda: self._written() > before, START_TIMEOUT, "natbox writes its counters")
        return json.loads(self._counters.read_text())

    def _written(self):
        if not self.process.is_running():
            raise LabError(f"{self.process.name} ended: {self.process.output()}")
        return json.loads(self._counters.read_text())["written"] if self._counters.exists() else 0


class Carrier:
    """A carrier that gives homes addresses of RFC 6598 and has few public ones (RFC 6888)."""

    def __init__(self, lab, number, options):
        self.lab, self.number = lab, number
        self.address = f"198.51.100.{100 + number}"
        self.node = Node(lab, f"carrier{number}")
        lab._enable_forwarding(self.node)
        lab._make_switch(self.node)
        self.node.run("ip", "address", "add", f"100.{63 + number}.0.1/32", "dev", "lo")
        self.natbox = Natbox(lab, "carrier", self.node, lab.core, [self.address],
                             [f"100.{63 + number}.0.2"], {"seed": 1000 + number, **options})
        lab._address_core(self.natbox.device)
        self.natbox.route_to(f"{self.address}/32")

    def home_address(self, number):
        return f"100.{63 + self.number}.1.{number}"


class NatboxHome(Home):
    """A home whose NAT and line are natbox's. Behaves as Home does, and counts what its NAT holds.

    A double NAT's carrier is its own unless one is given, which homes may share. With port mapping
    the router serves PCP: natbox does, in the tables of its NAT.
    """

    def __init__(self, lab, number, kind, lan, ipv6, carrier, port_mapping, options):
        if kind not in NATBOX_KINDS:
            raise LabError(f"no such NAT: {kind}")
        if kind == "double NAT":
            carrier = carrier or lab.carrier()
        if carrier and (ipv6 or kind == "none"):
            raise LabError("carriers here carry IPv4 of translating homes alone")
        if port_mapping and kind == "none":
            raise LabError("a router without NAT has no ports to map")
        self.carrier, self.natbox, self._maps_ports = carrier, None, port_mapping
        self._options = {"seed": number, **options}
        address = carrier.home_address(number) if carrier else f"198.51.100.{number}"
        super().__init__(lab, number, kind, address, lan, ipv6 or kind == "IPv6 firewall", "drop")

    def _connect(self, unsolicited):
        self.lab._enable_forwarding(self.router)
        # Not the router's own addresses: it would drop what comes in from them as forged.
        reporters = [self.wan_address] + ([str(self.lan6[2])] if self.lan6 else [])
        outside = self.carrier.node if self.carrier else self.lab.core
        routers = [str(self.lan[1])] + ([str(self.lan6[1])] if self.lan6 else [])
        options = {**self._options, **({"pcp": routers} if self._maps_ports else {})}
        self.natbox = Natbox(self.lab, self.nat, self.router, outside, self._external(), reporters,
                             options)
        self._route()

    def _external(self):
        return [] if self.nat == "none" else [self.wan_address]

    def _route(self):
        if not self.carrier:
            self.lab._address_core(self.natbox.device)
        for prefix in [*(f"{address}/32" for address in self._external()), *self._routed()]:
            self.natbox.route_to(prefix)

    def outside_address(self, host):
        return self.carrier.address if self.carrier else super().outside_address(host)

    def counters(self):
        """natbox's: mappings, flows, drops by their reason."""
        return self.natbox.counters()

    def conntrack_max(self):
        """The most flows the home's NAT held at once, or its carrier's if these are more."""
        return max(box.counters()["flows_peak"] for box in self._boxes())

    def conntrack_now(self):
        """How many flows they hold now: the most of one of both."""
        return max(box.counters()["flows"] for box in self._boxes())

    def _boxes(self):
        return [self.natbox] + ([self.carrier.natbox] if self.carrier else [])

    def forget(self):
        self.natbox.reset()

    def move(self, wan_address):
        """Restarts natbox with another address: every mapping is lost, and counters begin anew."""
        self.natbox.process.terminate()
        self.wan_address = wan_address
        self.natbox.start(self._external())
        self._route()

    def disconnect(self):
        self._cut("add")

    def reconnect(self):
        self._cut("delete")

    def _cut(self, verb):
        self.natbox.outside.nft(f'{verb} element inet cut off {{ "{self.natbox.device}" }}')

    def start_port_mapping(self):
        raise LabError("give natbox_home port_mapping=True instead")

    def set_udp_timeout(self, seconds):
        raise LabError("give natbox_home timeout_s instead")

    def shape(self, rate_mbit=None, delay_ms=None):
        raise LabError("give natbox_home rate_mbit or delay_ms instead")


class LinedHome(Home):
    """A home behind the kernel's NAT whose line to the internet is natbox's.

    So the NAT can change while what it holds stays (change_nat), the address while the agent runs
    (move), and the line at any time (natbox.change_line).
    """

    def __init__(self, lab, number, nat, lan, options):
        self.natbox, self._options = None, {"seed": number, **options}
        self.delay_ms = options.get("delay_ms", 0)  # One way.
        super().__init__(lab, number, nat, f"198.51.100.{number}", lan, ipv6=False,
                         unsolicited="drop")

    def _connect(self, unsolicited):
        self.lab._enable_forwarding(self.router)
        self.natbox = Natbox(self.lab, "none", self.router, self.lab.core, [], [self.wan_address],
                             self._options)
        self.lab._address_core(self.natbox.device)
        self._address(self.wan_address)
        self._make_nat(unsolicited)

    def _address(self, address):
        self.router.run("ip", "address", "add", f"{address}/32", "dev", "wan")
        self.router.run("ip", "route", "replace", "default", "dev", "wan", "src", address)
        self.natbox.route_to(f"{address}/32")

    def move(self, wan_address):
        """The kernel drops the flows masqueraded to the address that goes."""
        old, self.wan_address = self.wan_address, wan_address
        self._address(wan_address)
        self.router.run("ip", "address", "del", f"{old}/32", "dev", "wan")
        self.lab.core.run("ip", "route", "del", f"{old}/32")

    def shape(self, rate_mbit=None, delay_ms=None):
        raise LabError("use natbox.change_line() instead")
