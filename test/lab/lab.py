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
import ctypes
import ipaddress
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS_ROOT = pathlib.Path(os.environ.get("OPENP2P_TOOLS_ROOT", ROOT / "build" / "tools-root"))
RUN = pathlib.Path("/run/openp2p-lab")
ENTERED = "OPENP2P_LAB_ENTERED"
COMMAND_TIMEOUT = 30  # Seconds for one ip, nft or tc call: they end at once or are stuck.
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 8000

NAT_KINDS = ("none", "full_cone", "address_restricted", "port_restricted", "symmetric", "firewall")


class LabError(Exception):
    """The lab itself, not the program under test, could not do something."""


# --- The namespaces around everything -----------------------------------------------------------


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


# --- Small tools --------------------------------------------------------------------------------


def call(argv, **options):
    """Runs a short command to its end and returns its output; a failure is a LabError."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_until(condition, timeout, what):
    """Polls until condition() is truthy and returns that value; TimeoutError names `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(POLL_SECONDS)


def tool(name):
    """Path of a program: from the packages that tools/unpack.sh unpacked, or from the system."""
    found = shutil.which(name, path=str(TOOLS_ROOT / "run")) or shutil.which(name, path=search_path())
    if found is None:
        raise LabError(f"{name} is missing: run ./dev test once, or {ROOT}/tools/unpack.sh")
    return found


def program(name):
    """Path of a program of ours, in the build folder OPENP2P_BUILD (build/dev when not set)."""
    build = pathlib.Path(os.environ.get("OPENP2P_BUILD", ROOT / "build" / "dev"))
    path = build / "src" / "cli" / name
    if not path.exists():
        raise LabError(f"{path} is missing: run ./dev build")
    return str(path)


def search_path():
    """Where administrators' tools are too; a user's own PATH often lacks the sbin folders."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


_libc = ctypes.CDLL(None, use_errno=True)


def _set_namespace(descriptor):
    if _libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


_recent = []  # The logs of the last lab, for the report of a failed test.


def recent_logs():
    return [(path.name, tail(path)) for path in _recent if path.exists()]


def tail(path, limit=LOG_TAIL_BYTES):
    with open(path, "rb") as log:
        log.seek(max(0, path.stat().st_size - limit))
        return log.read().decode(errors="replace")


# --- Processes ----------------------------------------------------------------------------------


class Process:
    """A program running in a node. Its output, both streams in order, is the file `log`."""

    def __init__(self, node, argv, name, log, **options):
        self.name, self.argv, self.log = name, [str(word) for word in argv], log
        self._read = 0
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                node.command(self.argv), stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options,
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def stdin(self):
        return self._process.stdin

    def is_running(self):
        return self._process.poll() is None

    def output(self):
        return self.log.read_text(errors="replace")

    def wait_for_line(self, pattern, timeout):
        """The match of the first line, after those already matched, in which `pattern` is found."""
        expression = re.compile(pattern)

        def find():
            ended = not self.is_running()  # Before the look, so that last words are not missed.
            text = self.output()
            for line in re.finditer(r"[^\n]*\n", text[self._read :]):
                match = expression.search(line.group())
                if match:
                    self._read += line.end()
                    return match
            if ended:
                raise LabError(f"{self.name} ended without {pattern!r}:\n{tail(self.log)}")
            return None

        try:
            return wait_until(find, timeout, f"{self.name} says {pattern!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said:\n{tail(self.log)}") from None

    def wait(self, timeout):
        """Waits for the end; returns the exit code, negative for a signal."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout} s:\n{tail(self.log)}") from None

    def signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        return self.wait(COMMAND_TIMEOUT)

    def terminate(self, timeout=10):
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def _end(self):
        """Its whole session, when the lab goes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(COMMAND_TIMEOUT)
        if self._process.stdin:
            self._process.stdin.close()


# --- Nodes --------------------------------------------------------------------------------------


class Node:
    """One network namespace."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.namespace = f"{lab.prefix}-{name}"
        call(["ip", "netns", "add", self.namespace])
        self.path = f"/run/netns/{self.namespace}"
        self.run("ip", "link", "set", "lo", "up")

    def command(self, argv):
        """argv as run from outside the namespace; the process id stays that of the program."""
        return ["nsenter", f"--net={self.path}", "--", *[str(word) for word in argv]]

    def run(self, *argv, **options):
        """Runs a short command in the node and returns its output."""
        return call(self.command(argv), **options)

    def start(self, argv, name=None, env=None, cwd=None, stdin=subprocess.DEVNULL):
        """Starts a program; what still runs is killed when the lab goes."""
        return self.lab._start(self, argv, name, env=env, cwd=cwd, stdin=stdin)

    @contextlib.contextmanager
    def inside(self):
        """Within it this thread is in the node's network; what is opened there stays there."""
        with open("/proc/thread-self/ns/net") as before, open(self.path) as there:
            _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def udp_socket(self, address="0.0.0.0", port=0, timeout=5):
        """A bound UDP socket of the test in this node."""
        return self._socket(socket.SOCK_DGRAM, address, port, timeout)

    def tcp_listener(self, address="0.0.0.0", port=0, timeout=5):
        listener = self._socket(socket.SOCK_STREAM, address, port, timeout)
        listener.listen()
        return listener

    def connect(self, address, port, timeout=5):
        """A TCP connection of the test from this node."""
        with self.inside():
            return socket.create_connection((address, port), timeout)

    def _socket(self, kind, address, port, timeout):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside():
            made = self.lab._cleanup.enter_context(socket.socket(family, kind))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(timeout)
        made.bind((address, port))
        return made

    def sysctl(self, key, value):
        """key with slashes or dots, below net."""
        path = pathlib.Path("/proc/sys") / key.replace(".", "/")
        with self.inside():
            path.write_text(str(value))

    def link_up(self, interface):
        self.run("ip", "link", "set", interface, "up")

    def link_down(self, interface):
        self.run("ip", "link", "set", interface, "down")

    def shape(self, interface, rate_mbit=None, delay_ms=None):
        """Limits what leaves by the interface. Delay needs the kernel's netem, which not all have."""
        if rate_mbit and delay_ms:
            raise LabError("shape: rate and delay on one interface exclude each other")
        if rate_mbit:
            what = ["tbf", "rate", f"{rate_mbit}mbit", "burst", "128kb", "latency", "50ms"]
        elif delay_ms:
            what = ["netem", "delay", f"{delay_ms}ms"]
        else:
            self.run("tc", "qdisc", "del", "dev", interface, "root")
            return
        self.run("tc", "qdisc", "replace", "dev", interface, "root", *what)

    def set_mtu(self, interface, mtu):
        self.run("ip", "link", "set", interface, "mtu", str(mtu))

    def nft(self, rules):
        """Loads rules in nft's own language."""
        self.run(tool("nft"), "-f", "-", input=rules)

    def conntrack_count(self):
        with self.inside():
            return int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())

    def conntrack(self):
        """The NAT's entries, one line each; an empty list where the kernel has no such file."""
        path = pathlib.Path("/proc/thread-self/net/nf_conntrack")
        with self.inside():
            return path.read_text().splitlines() if path.exists() else []


class Host(Node):
    """A device. `address` (and `address6`, if IPv6 is on) is its first address."""

    address = None
    address6 = None


# The router's rules. Linux's masquerade keeps the source port while no other flow holds it, so one
# socket shows the same address to everybody: endpoint-independent mapping (RFC 4787 REQ-1). Replies
# come in by connection tracking, which is address- and port-dependent filtering. Unsolicited packets
# must be dropped in `input`, before they are confirmed: an entry of their own would take the port,
# and the answer of the host behind would leave from another one.
_ROUTER_FILTER = """
table inet filter {{
  # Group membership reports would be counted among the NAT's entries.
  chain sent {{
    type filter hook output priority raw; policy accept;
    ip protocol igmp notrack
  }}
  chain received {{
    type filter hook prerouting priority raw; policy accept;
    ip protocol igmp notrack
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto ipv6-icmp accept
    iifname "wan" ct state new {unsolicited}
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" ct status dnat accept
    iifname "wan" {unsolicited}
  }}
}}
"""
_MASQUERADE = """
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" masquerade {flags}
  }}
}}
"""
_FULL_CONE = """
table ip cone {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" meta l4proto {{ tcp, udp }} dnat to {host}
  }}
}}
"""
# Whom the host has sent to may send back, from any port.
_ADDRESS_RESTRICTED = """
table ip cone {{
  set known {{ type ipv4_addr; flags dynamic,timeout; timeout 2m; size 4096; }}
  chain forward {{
    type filter hook forward priority 1; policy accept;
    oifname "wan" update @known {{ ip daddr }}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" ip saddr @known meta l4proto {{ tcp, udp }} dnat to {host}
  }}
}}
"""
# In the core: the interfaces whose packets vanish.
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


class Home:
    """A router with its NAT, and the hosts behind it on one LAN.

    nat: one of NAT_KINDS, in STUN's old words:
      none                no router function but routing; hosts have public addresses
      firewall            public addresses, but only answers come in
      full_cone           endpoint-independent mapping and filtering, to the first host
      address_restricted  endpoint-independent mapping, address-dependent filtering, first host
      port_restricted     endpoint-independent mapping, address and port-dependent filtering
      symmetric           a random port for every destination
    The two "first host" kinds forward everything to the address the first host will get.
    """

    def __init__(self, lab, number, nat, wan_address, lan, ipv6, unsolicited):
        if nat not in NAT_KINDS:
            raise LabError(f"no such NAT: {nat}")
        self.lab, self.number, self.nat, self.wan_address = lab, number, nat, wan_address
        self.lan = ipaddress.ip_network(lan)
        self.lan6 = ipaddress.ip_network(f"2001:db8:{number:x}::/64") if ipv6 else None
        self.hosts = []
        self.router = Node(lab, f"router{number}")
        lab._attach(self.router, wan_address, self._routed())
        self._make_lan()
        self._make_nat(unsolicited)

    def _routed(self):
        """What the core sends to this router besides its own address."""
        routed = [str(self.lan)] if self.nat in ("none", "firewall") else []
        return routed + ([str(self.lan6)] if self.lan6 else [])

    def _make_lan(self):
        router = self.router
        router.run("ip", "link", "add", "lan", "type", "bridge")
        router.run("ip", "address", "add", f"{self.lan[1]}/{self.lan.prefixlen}", "dev", "lan")
        if self.lan6:
            router.run("ip", "address", "add", f"{self.lan6[1]}/64", "dev", "lan", "nodad")
        router.link_up("lan")
        # Where Docker has loaded br_netfilter, the LAN's own traffic would pass the router's rules.
        if pathlib.Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
            router.sysctl("net.bridge.bridge-nf-call-iptables", 0)
            router.sysctl("net.bridge.bridge-nf-call-ip6tables", 0)

    def _make_nat(self, unsolicited):
        rules = ""
        if self.nat != "none":
            rules += _ROUTER_FILTER.format(unsolicited=unsolicited)
        if self.nat not in ("none", "firewall"):
            flags = "random,fully-random" if self.nat == "symmetric" else ""
            rules += _MASQUERADE.format(flags=flags)
        if self.nat == "full_cone":
            rules += _FULL_CONE.format(host=self.lan[10])
        if self.nat == "address_restricted":
            rules += _ADDRESS_RESTRICTED.format(host=self.lan[10])
        if rules:
            self.router.nft(rules)

    def host(self, name):
        """A new device on the LAN: the first is .10, the next .11."""
        index = 10 + len(self.hosts)
        host = Host(self.lab, name)
        host.address = str(self.lan[index])
        port = f"p{index}"
        self.lab._veth(host, "eth0", self.router, port)
        self.router.run("ip", "link", "set", port, "master", "lan")
        host.run("ip", "address", "add", f"{host.address}/{self.lan.prefixlen}", "dev", "eth0")
        host.run("ip", "route", "add", "default", "via", str(self.lan[1]))
        if self.lan6:
            host.address6 = str(self.lan6[index])
            host.run("ip", "address", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
            host.run("ip", "route", "add", "default", "via", str(self.lan6[1]))
        self.hosts.append(host)
        return host

    def set_udp_timeout(self, seconds):
        """How long the NAT keeps an idle UDP mapping, before and after an answer."""
        for key in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
            self.router.sysctl(f"net.netfilter.{key}", seconds)

    def forget(self):
        """Drops every mapping, as a router does that restarts."""
        # Deleting and adding the address flushes masqueraded flows: the kernel drops them when
        # the interface's address goes.
        self.router.run("ip", "link", "set", "wan", "down")
        self.router.run("ip", "link", "set", "wan", "up")
        self.lab._route_site(self.router)
        self.lab._route_default(self.router)

    def disconnect(self):
        """Takes the home off the internet: packets vanish, no interface goes down."""
        self.lab.core.nft(f"add element inet cut off {{ \"to-{self.router.name}\" }}")

    def reconnect(self):
        self.lab.core.nft(f"delete element inet cut off {{ \"to-{self.router.name}\" }}")

    def shape(self, rate_mbit=None, delay_ms=None):
        """The home's internet connection, both directions."""
        self.router.shape("wan", rate_mbit, delay_ms)
        self.lab.core.shape(f"to-{self.router.name}", rate_mbit, delay_ms)


# --- The lab ------------------------------------------------------------------------------------


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
        _recent.clear()
        self.core = Node(self, "core")
        self._enable_forwarding(self.core)
        self.core.nft(_CUT)

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

    def home(self, nat="port_restricted", lan=None, ipv6=False, unsolicited="drop"):
        """A home. unsolicited: what happens to packets nobody asked for, `drop` or `reject`."""
        self._homes += 1
        number = self._homes
        if nat in ("none", "firewall"):
            lan = lan or f"192.0.2.{16 * number}/28"
        lan = lan or f"192.168.{number}.0/24"
        return Home(self, number, nat, f"198.51.100.{number}", lan, ipv6, unsolicited)

    def path(self, name):
        """A file of this lab."""
        return self.folder / name

    def sshd(self, host, port=22, **options):
        import lab_services

        return lab_services.start_sshd(self, host, port, **options)

    def web_server(self, host, folder, port=80):
        import lab_services

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

    def _route_default(self, node):
        node.run("ip", "route", "replace", "default", "via", CORE_ADDRESS, "dev", "wan", "onlink",
                 "src", self._sites[node.name][0])
        node.run("ip", "-6", "address", "replace", "fe80::2/64", "dev", "wan", "nodad")
        node.run("ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "wan")

    def _route_site(self, node):
        interface = f"to-{node.name}"
        core = self.core
        core.run("ip", "address", "replace", f"{CORE_ADDRESS}/32", "dev", interface)
        core.run("ip", "-6", "address", "replace", "fe80::1/64", "dev", interface, "nodad")
        address, routed = self._sites[node.name]
        core.run("ip", "route", "replace", f"{address}/32", "dev", interface)
        for prefix in routed:
            if ":" in prefix:
                core.run("ip", "-6", "route", "replace", prefix, "via", "fe80::2", "dev", interface)
            else:
                core.run("ip", "route", "replace", prefix, "via", address, "dev", interface, "onlink")

    def _enable_forwarding(self, node):
        node.sysctl("net.ipv4.ip_forward", 1)
        node.sysctl("net.ipv6.conf.all.forwarding", 1)


CORE_ADDRESS = "198.18.0.1"  # RFC 2544: never a host's.
