"""Floods while a download runs, and what idle programs cost."""

import os
import socket
import struct
import time

import pytest

from lab import wait_until
from lab_openp2p import MIB, Device, Pair, Server, status_number

FLOOD_DATAGRAMS = 20_000
GROWTH_KIB_MAX = 40 * 1024
# Young sessions still look for better paths, ever more rarely; and code of the start is resident for
# 20 s (net/code_pages.h).
SETTLE_SECONDS = 25
IDLE_SECONDS = 10
# 15 MiB are promised; libraries alone would take nearly as much, were their start-up code kept.
IDLE_RSS_KIB_MAX = 10 * 1024
IDLE_PRIVATE_KIB_MAX = 3 * 1024
# The promise is about one a second, and test/world/idle_test.cc holds it where time is virtual. Here
# only a program that spins is found, since phases and other load decide the rest.
IDLE_WAKEUPS_PER_S_MAX = 10


def initial(seed):
    """A QUIC version 1 Initial of 1,200 bytes with random ids, whose payload does not decrypt."""
    ids = os.urandom(16)
    header = b"\xc3" + struct.pack("!I", 1) + b"\x08" + ids[:8] + b"\x08" + ids[8:]
    body = os.urandom(1) * (1200 - len(header) - 3)
    return header + b"\x00" + struct.pack("!H", 0x4000 | len(body)) + body


def stun_request(seed):
    return b"\x00\x01\x00\x00\x21\x12\xa4\x42" + os.urandom(12)


def noise(seed):
    return os.urandom(1 + seed * 7 % 1400)


SHAPES = [initial, stun_request, noise]


def udp(source_port, target_port, payload):
    return struct.pack("!4H", source_port, target_port, 8 + len(payload), 0) + payload


def ipv4(source, target, payload):
    header = struct.pack("!2B3H2BH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0,
                         source, socket.inet_aton(target))
    return header + payload


def flood(node, address, port):
    """Datagrams of all shapes from spoofed addresses, each from another one."""
    with node.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(FLOOD_DATAGRAMS):
            source = struct.pack("!I", 0x0A000000 + number * 53)  # 10.0.0.0/8
            payload = SHAPES[number % len(SHAPES)](number)
            raw.sendto(ipv4(source, address, udp(1024 + number, port, payload)), (address, 0))


def udp_port_of(device):
    """The agent's IPv4 UDP port."""
    text = device.host.run("ss", "-Hlun4p")
    line = next(line for line in text.splitlines() if f"pid={device.process.pid}," in line)
    return int(line.split()[3].rsplit(":", 1)[1])


@pytest.mark.parametrize("target", ["server", "agent"])
def test_flood_grows_nothing_and_stops_nothing(lab, target):
    """The agent's home has no NAT nor firewall, so that the flood reaches it."""
    pair = Pair(lab, ("none", "port_restricted"), size=64 * MIB)
    pair.forward_web()
    attacker = lab.server("attacker", addresses=("203.0.113.66",))
    if target == "server":
        address, port, process = pair.server.host.address, 27183, pair.server.process
    else:
        address, port, process = pair.nas.host.address, udp_port_of(pair.nas), pair.nas.process
    download = pair.download()
    download.read(8 * MIB)
    pids = [pair.server.process.pid, pair.nas.process.pid, pair.laptop.process.pid]
    before = {pid: status_number(pid, "VmRSS") for pid in pids}
    log_before = len(process.output())

    flood(attacker, address, port)

    assert download.finish() == pair.digest
    late = Device(lab.home().host("late"))
    late.up(pair.server.token)
    late.add_forward("web", "nas", "127.0.0.1:80", 8080)
    with late.host.connect("127.0.0.1", 8080, timeout=20) as connection:
        connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        assert connection.recv(7) == b"HTTP/1."
    for pid in pids:
        assert status_number(pid, "VmHWM") - before[pid] < GROWTH_KIB_MAX
    assert len(process.output()) - log_before < 20_000  # No line a datagram.


def test_real_clients_join_while_the_server_is_flooded(lab):
    server = Server(lab).start()
    attacker = lab.server("attacker", addresses=("203.0.113.66",))
    with attacker.inside():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    devices = [Device(lab.home().host(f"n{n}")) for n in range(3)]
    for device in devices:
        device.start(token=server.token)

    def send_more():
        for number in range(200):
            source = struct.pack("!I", 0x0B000000 + int.from_bytes(os.urandom(3), "big"))
            raw.sendto(ipv4(source, server.host.address, udp(4000, 27183, initial(number))),
                       (server.host.address, 0))
        return all("server.connected" in device.process.output() for device in devices)

    wait_until(send_more, 15, "all have joined")
    raw.close()
    assert status_number(server.process.pid, "VmHWM") < 128 * 1024


def test_idle_agent_costs_little(lab):
    """Two sessions, and nothing to do. Sanitizers multiply memory, so this is for other builds."""
    pair = Pair(lab)
    pair.laptop.add_forward("nas", "nas", "127.0.0.1:22", 2200)
    pair.laptop.wait_path("nas")
    pid = pair.laptop.process.pid
    settled = time.monotonic() + SETTLE_SECONDS
    wait_until(lambda: time.monotonic() > settled, 60, "the sessions have settled")
    before, started = status_number(pid, "voluntary_ctxt_switches"), time.monotonic()

    wait_until(lambda: time.monotonic() > started + IDLE_SECONDS, 60, "time has passed")

    switches = status_number(pid, "voluntary_ctxt_switches") - before
    assert switches / (time.monotonic() - started) <= IDLE_WAKEUPS_PER_S_MAX
    if b"__asan_init" not in open(f"/proc/{pid}/exe", "rb").read():
        assert pair.laptop.memory_kib() <= IDLE_RSS_KIB_MAX
        assert pair.laptop.memory_kib("RssAnon") <= IDLE_PRIVATE_KIB_MAX
