"""A small internet in network namespaces, for whole programs.

The process that uses it first calls enter(), which runs it again inside namespaces of its own
(user where it is not root, mount, network, process ids). Everything made in there ends with that
process, however it ends: the kernel kills what it started and drops the namespaces. Nothing can
reach the real network: the only way out of a node is the core.

        server 203.0.113.1, .2 ---+
                                core (routes, forwards, nothing else)
        home1's router 198.51.100.1 ---+--- home2's router 198.51.100.2
             |  NAT                             |  NAT
          192.168.1.10, .11 ..               192.168.2.10 ..

    with Lab("example") as lab:
        server = lab.server()
        home = lab.home(nat="port_restricted")
        alice = home.host("alice")
        process = alice.start(["openp2p", "up"], name="alice-up")
        process.wait_for_line("ready", timeout=10)

Each node is one network namespace. Sockets of the test itself can live in a node
(`alice.udp_socket()`), since a socket stays in the namespace it was made in.
"""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

import lab_process
import lab_services
from lab_home import NAT_KINDS, Home
from lab_natbox import NATBOX_KINDS, Carrier, LinedHome, NatboxHome
from lab_node import Host, Node
from lab_process import LabError, Process, call, program, search_path, tool, wait_until

__all__ = [
    "NATBOX_KINDS", "NAT_KINDS", "Carrier", "Home", "Host", "Lab", "LabError", "LinedHome",
    "NatboxHome", "Node", "Process", "call", "enter", "is_entered", "main_in_lab", "program", "recent_logs", "tool",
    "wait_until",
]

RUN = pathlib.Path("/run/openp2p-lab")
ENTERED = "OPENP2P_LAB_ENTERED"
CORE_ADDRESS = "198.18.0.1"  # RFC 2544: never a host's.


def is_entered():
    return os.environ.get(ENTERED) == "1"


def enter(argv):
    """Runs argv instead of this process, inside fresh namespaces. Returns only by an exception."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        raise LabError(
            "the lab needs namespaces, and this machine refuses them: "
            f"{probe.stderr.strip()}. Run as root, or allow user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1)."
        )
    # The shell is process 1: it reaps orphans, which the program need not know about.
    setup = (
        "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns /run/openp2p-lab && "
        'ip link set lo up && { "$@"; exit $?; }'
    )
    environment = {**os.environ, ENTERED: "1", "PATH": search_path()}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], [*command, "sh", "-c", setup, "lab", *argv], environment)


def main_in_lab(main):
    """For a script: `if __name__ == "__main__": main_in_lab(main)`. Exits with main's value."""
    if not is_entered():
        try:
            enter([sys.executable, *sys.argv])
        except LabError as error:
            sys.exit(str(error))
    sys.exit(main())


_recent = []  # The logs of the last lab, for the report of a failed test.


def recent_logs():
    return [(path.name, lab_process.tail(path)) for path in _recent if path.exists()]


# In the core, and in carriers: the interfaces whose packets vanish.
_CUT = """
table inet cut {
  set off { type ifname; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname @off drop
    oifname @off drop
  }
}
"""


# The internet is several routers long, and the core is one: what ends on its way there ends here.
# An opener (hop limit 3) passes a home's router and a carrier's, and reaches nobody else's.
CORE_HOPS = 4
_LONG_WAY = f"""
table inet way {{
  chain arrived {{
    type filter hook prerouting priority mangle; policy accept;
    ip ttl <= {CORE_HOPS} ip ttl set 1
    ip6 hoplimit <= {CORE_HOPS} ip6 hoplimit set 1
  }}
}}
"""


class Lab:
    """The core and what hangs on it. Use it as a context manager."""

    _count = 0

    def __init__(self, name="lab", folder=None):
        if not is_entered():
            raise LabError("call lab.enter() first: a lab lives in namespaces of its own")
        Lab._count += 1
        self.prefix = f"lab{Lab._count}"
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        self.folder = pathlib.Path(folder) if folder else RUN / f"{self.prefix}-{safe}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._cleanup = contextlib.ExitStack()
        self._nodes, self._processes, self._homes, self._sites = [], [], 0, {}
        self._carriers = 0
        _recent.clear()
        self.core = Node(self, "core")
        self._enable_forwarding(self.core)
        self._make_switch(self.core)
        self.core.nft(_LONG_WAY)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in self._processes:
            process._end()
        self._cleanup.close()
        for path in sorted(pathlib.Path("/run/netns").glob(f"{self.prefix}-*")):
            call(["ip", "netns", "delete", path.name])

    def server(self, name="server", addresses=("203.0.113.1", "203.0.113.2"), ipv6=False):
        """A host on the internet, with public addresses and no NAT."""
        host = Host(self, name)
        host.address, host.addresses = addresses[0], tuple(addresses)
        self._attach(host, addresses[0], addresses[1:])
        for address in addresses[1:]:
            host.run("ip", "address", "add", f"{address}/32", "dev", "wan")
        if ipv6:
            host.address6 = f"2001:db8:ffff::{len(self._sites):x}"
            host.run("ip", "address", "add", f"{host.address6}/128", "dev", "wan", "nodad")
            self._sites[host.name][1].append(f"{host.address6}/128")
            self._route_site(host)
        return host

    def home(self, nat="port_restricted", lan=None, ipv6=False, unsolicited="drop",
             port_mapping=False):
        """A home behind the kernel's NAT.

        unsolicited: what happens to packets nobody asked for, `drop` or `reject`.
        port_mapping: its router runs miniupnpd (UPnP IGD, NAT-PMP, PCP).
        """
        number, lan = self._new_home(nat in ("none", "firewall"), lan)
        # miniupnpd maps no ports of what RFC 6890 sets aside, as for documentation.
        wan_address = f"11.51.100.{number}" if port_mapping else f"198.51.100.{number}"
        home = Home(self, number, nat, wan_address, lan, ipv6, unsolicited)
        if port_mapping:
            home.start_port_mapping()
        return home

    def natbox_home(self, kind, lan=None, ipv6=False, carrier=None, port_mapping=False, **options):
        """A home behind one of the simulator's NATs and its line; see NatboxHome.

        kind: one of NATBOX_KINDS. options: natbox's, e.g. delay_ms=25, loss=0.01 (each direction),
        jitter_ms, reordering, duplication, rate_mbit, mtu, seed, udp="reject".
        """
        number, lan = self._new_home(kind == "none", lan)
        return NatboxHome(self, number, kind, lan, ipv6, carrier, port_mapping, options)

    def lined_home(self, nat="port_restricted", lan=None, **options):
        """A home behind the kernel's NAT and natbox's line; options as natbox_home's of the line."""
        number, lan = self._new_home(nat in ("none", "firewall"), lan)
        return LinedHome(self, number, nat, lan, options)

    def carrier(self, **options):
        """A carrier with a NAT of its own (RFC 6888), for natbox_home("double NAT", carrier=..)."""
        self._carriers += 1
        return Carrier(self, self._carriers, options)

    def _new_home(self, is_public, lan):
        self._homes += 1
        number = self._homes
        if is_public:
            lan = lan or f"192.0.2.{16 * number}/28"
        return number, lan or f"192.168.{number}.0/24"

    def pair(self, names=("left", "right")):
        """Two hosts on one wire of MTU 1500, with nothing in between: for measuring speed."""
        hosts = [Host(self, name) for name in names]
        self._veth(hosts[0], "wire", hosts[1], "wire")
        for number, host in enumerate(hosts, start=1):
            host.address = f"10.0.0.{number}"
            host.addresses = (host.address,)
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "wire")
        return hosts

    def path(self, name):
        """A file of this lab."""
        return self.folder / name

    def socket_path(self, name):
        """A Unix socket of this lab: its path has 107 bytes at most (unix(7)), so it is short."""
        return RUN / f"{self.prefix}-{name}.sock"

    def sshd(self, host, port=2222):
        """An OpenSSH server on the host; see SshServer for how to log in."""
        return lab_services.start_sshd(self, host, port)

    def web_server(self, host, folder, port=8080):
        """A stock web server on the host."""
        return lab_services.start_web_server(self, host, folder, port)

    def _start(self, node, argv, name, env=None, cwd=None, stdin=subprocess.DEVNULL):
        name = name or f"{node.name}-{pathlib.Path(str(argv[0])).name}-{len(self._processes)}"
        log = self.folder / f"{name}.log"
        process = Process(node, argv, name, log, env=env, cwd=cwd, stdin=stdin)
        self._processes.append(process)
        if log not in _recent:
            _recent.append(log)
        return process

    def _veth(self, one, one_name, other, other_name):
        call(["ip", "link", "add", one_name, "netns", one.namespace, "type", "veth",
              "peer", "name", other_name, "netns", other.namespace])
        one.link_up(one_name)
        other.link_up(other_name)

    def _attach(self, node, address, routed):
        """Connects a node's `wan` to the core, which routes `address` and `routed` to it."""
        self._veth(node, "wan", self.core, f"to-{node.name}")
        self._enable_forwarding(node)
        node.run("ip", "address", "add", f"{address}/32", "dev", "wan")
        node.run("ip", "address", "add", "fe80::2/64", "dev", "wan", "nodad")
        self._sites[node.name] = (address, list(routed))
        self._route_site(node)
        self._route_default(node)

    def _readdress(self, node, address):
        """Replaces a node's address on `wan`. The kernel drops the flows masqueraded to the old one."""
        old, routed = self._sites[node.name]
        node.run("ip", "address", "add", f"{address}/32", "dev", "wan")
        self._sites[node.name] = (address, routed)
        self._route_default(node)
        node.run("ip", "address", "del", f"{old}/32", "dev", "wan")
        self.core.run("ip", "route", "del", f"{old}/32")
        self._route_site(node)

    def _route_default(self, node):
        node.run("ip", "route", "replace", "default", "via", CORE_ADDRESS, "dev", "wan", "onlink",
                 "src", self._sites[node.name][0])
        node.run("ip", "-6", "address", "replace", "fe80::2/64", "dev", "wan", "nodad")
        node.run("ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "wan")

    def _route_site(self, node):
        interface = f"to-{node.name}"
        core = self.core
        self._address_core(interface)
        core.run("ip", "-6", "address", "replace", "fe80::1/64", "dev", interface, "nodad")
        address, routed = self._sites[node.name]
        core.run("ip", "route", "replace", f"{address}/32", "dev", interface)
        for prefix in routed:
            if ":" in prefix:
                core.run("ip", "-6", "route", "replace", prefix, "via", "fe80::2", "dev", interface)
            else:
                core.run("ip", "route", "replace", prefix, "via", address, "dev", interface, "onlink")

    def _address_core(self, interface):
        """So that the core's own ICMP errors have a source on every interface."""
        self.core.run("ip", "address", "replace", f"{CORE_ADDRESS}/32", "dev", interface)

    def _make_switch(self, node):
        """Lets homes be cut off that hang on this node."""
        node.nft(_CUT)

    def _enable_forwarding(self, node):
        node.sysctl("net.ipv4.ip_forward", 1)
        node.sysctl("net.ipv6.conf.all.forwarding", 1)
