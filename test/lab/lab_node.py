"""One network namespace: what runs in it, its sockets, its links."""

import contextlib
import ctypes
import json
import os
import pathlib
import socket
import subprocess

from lab_process import LabError, call, tool

_libc = ctypes.CDLL(None, use_errno=True)


def _set_namespace(descriptor):
    if _libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


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
        if kind == socket.SOCK_STREAM:  # Of UDP the system would give one free port to two sockets.
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

    def packets_sent(self, interface):
        """How many packets left by the interface so far."""
        link = json.loads(self.run("ip", "-json", "-statistics", "link", "show", interface))[0]
        return link["stats64"]["tx"]["packets"]

    def set_mtu(self, interface, mtu):
        self.run("ip", "link", "set", interface, "mtu", str(mtu))

    def nft(self, rules):
        """Loads rules in nft's own language."""
        self.run(tool("nft"), "-f", "-", input=rules)

    def conntrack(self):
        """The NAT's live entries, one line each; None where the kernel does not list them."""
        with self.inside():
            path = pathlib.Path("/proc/thread-self/net/nf_conntrack")
            return path.read_text().splitlines() if path.exists() else None

    def conntrack_count(self):
        """How many there are. Without the list, those that expired lately may be among them."""
        entries = self.conntrack()
        if entries is not None:
            return len(entries)
        return self.conntrack_total()

    def conntrack_total(self):
        """The kernel's own count, with those that expired and are not collected yet."""
        with self.inside():
            return int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


class Host(Node):
    """A device. `address` (and `address6`, if IPv6 is on) is its first address."""

    address = None
    address6 = None
