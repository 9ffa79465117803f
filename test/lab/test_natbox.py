"""natbox: each NAT behaves as it is named and each line as it was asked, to real programs."""

import contextlib
import errno
import hashlib
import os
import socket
import struct
import threading
import time

import pytest

import lab as lab_module
from lab import NATBOX_KINDS, LabError, wait_until

SERVER, OTHER_SERVER = "203.0.113.1", "203.0.113.2"
STUN_PORT = 3478
TIMEOUT = 40  # Seconds; natdiscovery waits 3 s for each answer that a NAT keeps out.
ONE, PORT_DEPENDENT, ADDRESS_DEPENDENT = (
    "Endpoint Independent", "Address and Port Dependent", "Address Dependent")
IP_RECVERR, IP_MTU_DISCOVER, PMTUDISC_DO, PMTUDISC_PROBE = 11, 10, 2, 3

# What turnutils_natdiscovery calls mapping and filtering. A NAT that preserves ports shows the same
# one to everybody for as long as it is free.
NAMES = {
    "none": (ONE, ONE),
    "full cone": (ONE, ONE),
    "address-restricted": (ONE, ADDRESS_DEPENDENT),
    "port-restricted": (ONE, PORT_DEPENDENT),
    "symmetric, random ports": (PORT_DEPENDENT, PORT_DEPENDENT),
    "symmetric, sequential ports": (PORT_DEPENDENT, PORT_DEPENDENT),
    "symmetric, blocks of 1024 ports": (PORT_DEPENDENT, PORT_DEPENDENT),
    "symmetric, ports preserved": (ONE, PORT_DEPENDENT),
    "double NAT": (ONE, PORT_DEPENDENT),
    "IPv6 firewall": (PORT_DEPENDENT, PORT_DEPENDENT),
}


def receives(receiver, sender, target, timeout=0.2):
    """Whether a datagram from `sender` to `target` arrives at `receiver`."""
    sender.sendto(b"knock", target)
    receiver.settimeout(timeout)
    try:
        receiver.recvfrom(100)
        return True
    except TimeoutError:
        return False


def mapped(inner, outer):
    """Where a datagram from `inner` to `outer` seems to come from."""
    inner.sendto(b"probe", outer.getsockname())
    return outer.recvfrom(100)[1]


def meet(inner, outer):
    """Lets the first datagrams through, with which neighbours find each other, whatever is lost."""
    outer.settimeout(0.1)

    def is_through():
        inner.sendto(b"hello", outer.getsockname())
        with contextlib.suppress(TimeoutError):
            return outer.recv(100)
        return None

    wait_until(is_through, 10, "the first datagram")
    drain(outer, 0.1)


def drain(receiver, timeout):
    """All datagrams that arrive until it is quiet for so long."""
    receiver.settimeout(timeout)
    received = []
    with contextlib.suppress(TimeoutError):
        while True:
            received.append(receiver.recv(2000))
    return received


def test_natdiscovery_names_each_kind(lab):
    """All at once, each client in a home of its own: what one opens, another would see."""
    service = lab.server().start(
        [lab_module.program("openp2p-server"), "run", "--data", lab.path("data"),
         "--listen", f"{SERVER}:{STUN_PORT}", "--listen", f"{OTHER_SERVER}:{STUN_PORT}",
         "--stun-port", STUN_PORT + 1], name="server")
    service.wait_for_line(r"server\.started", timeout=20)
    clients = {}
    for kind in NAMES:
        for what in ("-m", "-f"):
            host = lab.natbox_home(kind).host(f"{len(clients)}")
            argv = [lab_module.tool("turnutils_natdiscovery"), what, "-L", host.address, SERVER]
            clients[kind, what] = host.start(argv)

    for client in clients.values():
        client.wait(TIMEOUT)

    found = {}
    for kind in NAMES:
        mapping, filtering = (clients[kind, what].output() for what in ("-m", "-f"))
        found[kind] = tuple(
            name if f"NAT with {name} {which}!" in text else text
            for name, which, text in zip(NAMES[kind], ("Mapping", "Filtering"),
                                         (mapping, filtering)))
        assert ("No NAT!" in mapping) == (kind == "none")
    assert found == NAMES


def ports_seen(lab, server, kind, count=8):
    home = lab.natbox_home(kind)
    host = home.host(f"h{home.number}").udp_socket(port=5000)
    return [mapped(host, server.udp_socket(SERVER))[1] for _ in range(count)]


def test_symmetric_nats_allocate_as_named(lab):
    server = lab.server()
    ports = {kind: ports_seen(lab, server, kind) for kind in NATBOX_KINDS if "symmetric" in kind}

    steps = {kind: {b - a for a, b in zip(seen, seen[1:])} for kind, seen in ports.items()}
    assert steps["symmetric, sequential ports"] == {1}
    assert steps["symmetric, ports preserved"] == {0}
    for kind in ("symmetric, random ports", "symmetric, blocks of 1024 ports"):
        assert len(set(ports[kind])) == 8
    blocks = ports["symmetric, blocks of 1024 ports"]
    assert max(blocks) - min(blocks) < 1024
    assert max(ports["symmetric, random ports"]) - min(ports["symmetric, random ports"]) > 1024


def test_early_probe_moves_a_preserving_nat(lab):
    server = lab.server()
    early, other = server.udp_socket(SERVER), server.udp_socket(SERVER)
    home = lab.natbox_home("symmetric, ports preserved")
    host = home.host("alice").udp_socket(port=5000)
    assert mapped(host, other)[1] == 5000

    assert not receives(host, early, (home.wan_address, 5000))

    assert mapped(host, early)[1] != 5000


def test_blocked_udp_lets_tcp_pass(lab):
    server = lab.server()
    listener, outer = server.tcp_listener(SERVER), server.udp_socket(SERVER)
    home = lab.natbox_home("UDP blocked")
    alice = home.host("alice")

    assert not receives(outer, alice.udp_socket(), outer.getsockname())
    with alice.connect(*listener.getsockname()) as connection:
        accepted, seen = listener.accept()
        with accepted:
            connection.sendall(b"over TCP")
            assert accepted.recv(100) == b"over TCP"
        assert seen[0] == home.wan_address
    wait_until(lambda: home.counters()["dropped"]["UDP blocked"] == 1, 5, "the drop is counted")


def test_ipv6_is_filtered_but_not_translated(lab):
    server = lab.server(ipv6=True)
    asked, stranger = server.udp_socket(server.address6), server.udp_socket(server.address6)
    alice = lab.natbox_home("IPv6 firewall").host("alice")
    host = alice.udp_socket(alice.address6, port=5000)

    seen = mapped(host, asked)

    assert seen[:2] == (alice.address6, 5000)
    assert not receives(host, stranger, seen)
    assert receives(host, asked, seen)


def test_homes_of_one_carrier_share_its_address_and_reach_each_other(lab):
    outer = lab.server().udp_socket(SERVER)
    carrier = lab.carrier()
    homes = [lab.natbox_home("double NAT", carrier=carrier) for _ in range(2)]
    one, two = (home.host(f"h{home.number}").udp_socket(port=5000) for home in homes)

    seen = [mapped(each, outer) for each in (one, two)]

    assert {address for address, _ in seen} == {carrier.address}
    assert not receives(two, one, seen[1])  # The home's own NAT: it opens ours, not theirs.
    assert receives(one, two, seen[0])
    assert receives(two, one, seen[1])


def test_delay_is_that_of_both_directions(lab):
    outer = lab.server().udp_socket(SERVER)
    host = lab.natbox_home("port-restricted", delay_ms=25).host("alice").udp_socket()
    times = []
    for _ in range(9):
        started = time.monotonic()
        seen = mapped(host, outer)
        there = time.monotonic()
        assert receives(host, outer, seen, timeout=1)
        times.append((there - started, time.monotonic() - there))

    for one_way in zip(*times):
        assert min(one_way) >= 0.025
        assert sorted(one_way)[4] < 0.032, one_way


def test_loss_duplication_and_reordering_are_as_asked(lab):
    outer = lab.server().udp_socket(SERVER)
    homes = {name: lab.natbox_home("full cone", **{name: 0.1}, **more)
             for name, more in (("loss", {}), ("duplication", {}),
                                ("reordering", {"reordering_delay_ms": 20}))}
    arrived, lost = {}, {}
    for name, home in homes.items():
        host = home.host(name).udp_socket()
        meet(host, outer)
        before = home.counters()["dropped"]["loss"]
        arrived[name] = []
        for first in range(0, 1000, 100):  # At a time what every queue on the way holds.
            for number in range(first, first + 100):
                host.sendto(number.to_bytes(4, "big"), outer.getsockname())
            arrived[name] += [int.from_bytes(data, "big") for data in drain(outer, 0.03)]
        lost[name] = home.counters()["dropped"]["loss"] - before

    # Within five standard deviations of what is expected; the draws are those of fixed seeds.
    assert abs(len(arrived["loss"]) - 900) < 48
    assert lost == {"loss": 1000 - len(arrived["loss"]), "duplication": 0, "reordering": 0}
    assert arrived["loss"] == sorted(arrived["loss"])
    assert abs(len(arrived["duplication"]) - 1100) < 48
    assert set(arrived["duplication"]) == set(range(1000))
    assert len(arrived["reordering"]) == 1000
    late = sum(a > b for a, b in zip(arrived["reordering"], arrived["reordering"][1:]))
    assert late > 0


def test_rate_and_jitter_hold(lab):
    outer = lab.server().udp_socket(SERVER)
    host = lab.natbox_home("none", rate_mbit=8, queue_bytes=20_000, jitter_ms=10).host("alice")
    sender = host.udp_socket()
    meet(sender, outer)
    started = time.monotonic()
    for _ in range(100):  # 100 kB at once: 20 kB wait, at a byte a microsecond; the rest is lost.
        sender.sendto(bytes(972), outer.getsockname())
    received = drain(outer, 0.1)

    assert 15 <= len(received) <= 40
    assert time.monotonic() - started > 0.1 + 0.018


def test_udp_above_its_rate_is_dropped_and_tcp_is_not(lab):
    server = lab.server()
    outer, listener = server.udp_socket(SERVER), server.tcp_listener(SERVER)
    home = lab.natbox_home("none", udp_rate_mbit=0.08, udp_burst_bytes=20_000)
    alice = home.host("alice")
    sender = alice.udp_socket()
    meet(sender, outer)

    for _ in range(100):  # 100 kB at once: 20 kB pass, and then 10 kB a second.
        sender.sendto(bytes(972), outer.getsockname())
    received = drain(outer, 0.1)

    assert 15 <= len(received) <= 25
    assert home.counters()["dropped"]["UDP policed"] == 100 - len(received)
    with alice.connect(*listener.getsockname()) as connection, listener.accept()[0] as accepted:
        connection.sendall(bytes(100_000))
        assert len(accepted.makefile("rb").read(100_000)) == 100_000


def test_mtu_is_told_or_not(lab):
    outer = lab.server().udp_socket(SERVER)
    told = lab.natbox_home("port-restricted", mtu=1300).host("told").udp_socket()
    silent = lab.natbox_home("port-restricted", mtu=1300, mtu_silent=True).host("silent").udp_socket()
    for sender in (told, silent):
        meet(sender, outer)
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)

    def is_refused():
        try:
            told.sendto(bytes(1400), outer.getsockname())
        except OSError as error:
            assert error.errno == errno.EMSGSIZE
            return True
        return False

    wait_until(is_refused, 5, "the ICMP error arrives")
    for _ in range(3):
        silent.sendto(bytes(1400), outer.getsockname())
    silent.sendto(b"small", outer.getsockname())
    assert drain(outer, 0.1) == [b"small"]


def icmp_error(sender):
    """The ICMP type, code and reporter of the next error a socket with IP_RECVERR got."""
    def read():
        with contextlib.suppress(BlockingIOError):
            _, control, _, _ = sender.recvmsg(100, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            return next(data for _, kind, data in control if kind == IP_RECVERR)
        return None

    data = wait_until(read, 5, "an ICMP error")
    _, _, kind, code = struct.unpack("=IBBB", data[:7])
    return kind, code, socket.inet_ntoa(data[20:24])


def test_low_hop_limit_opens_the_nat_and_dies_on_the_way(lab):
    server = lab.server()
    outer = server.udp_socket(SERVER)
    home = lab.natbox_home("port-restricted")
    host = home.host("alice").udp_socket(port=5000)
    host.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    host.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)

    host.sendto(b"opener", outer.getsockname())

    # Its error came back through the NAT: it quotes a packet that nobody inside has sent so.
    assert icmp_error(host) == (11, 0, lab_module.CORE_ADDRESS)
    assert receives(host, outer, (home.wan_address, 5000))
    assert drain(outer, 0.05) == []


def test_ping_passes(lab):
    lab.server()
    alice = lab.natbox_home("symmetric, random ports").host("alice")
    alice.sysctl("net.ipv4.ping_group_range", "0 0")
    with alice.inside():
        ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    with ping:
        ping.settimeout(5)
        ping.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + b"payload", (SERVER, 0))
        answer, source = ping.recvfrom(100)
    assert (answer[0], answer[8:], source[0]) == (0, b"payload", SERVER)


def test_conntrack_entries_are_counted(lab):
    server = lab.server()
    targets = [server.udp_socket(SERVER).getsockname() for _ in range(30)]
    kernel, box, double = lab.home("symmetric"), lab.natbox_home("full cone"), \
        lab.natbox_home("double NAT")
    for home in (kernel, box, double):
        host = home.host(f"h{home.number}").udp_socket()
        for target in targets:
            host.sendto(b"count me", target)

    for home in (kernel, box, double):
        wait_until(lambda home=home: home.conntrack_max() >= 30, 5, "30 entries")
        assert home.conntrack_max() == 30

    assert box.counters()["udp"]["mappings"] == 1
    box.forget()
    wait_until(lambda: box.counters()["flows"] == 0, 5, "a reboot forgets")
    assert box.conntrack_max() == 30


def test_home_moves_vanishes_and_returns(lab):
    outer = lab.server().udp_socket(SERVER)
    home = lab.natbox_home("port-restricted")
    host = home.host("alice").udp_socket(port=5000)
    before = mapped(host, outer)

    home.disconnect()
    assert not receives(outer, host, outer.getsockname())
    home.reconnect()
    assert receives(host, outer, before)
    home.forget()
    assert not receives(host, outer, before)
    home.move("198.51.100.77")

    assert mapped(host, outer) == ("198.51.100.77", 5000)
    assert not receives(host, outer, before)


def test_download_survives_loss(lab):
    """20 MB through 1 % loss, both ways, of TCP's own repairs."""
    server = lab.server()
    listener = server.tcp_listener(SERVER, timeout=30)
    home = lab.natbox_home("symmetric, ports preserved", delay_ms=1, loss=0.01)
    data = os.urandom(1 << 20) * 20

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)
            connection.sendall(data)

    sender = threading.Thread(target=serve)
    sender.start()
    digest = hashlib.sha256()
    with home.host("alice").connect(*listener.getsockname(), timeout=30) as connection:
        while chunk := connection.recv(1 << 20):
            digest.update(chunk)
    sender.join()

    assert digest.digest() == hashlib.sha256(data).digest()
    counters = home.counters()
    assert counters["dropped"]["loss"] > 50
    assert counters["tcp"]["flows_peak"] == 1


def pcp_map(client, router, address, port, protocol=17, lifetime=600):
    """Asks for a port by PCP (RFC 6887); the external address and port."""
    packed = socket.inet_pton(socket.AF_INET6, address if ":" in address else f"::ffff:{address}")
    request = struct.pack("!BBHI16s12sB3xHH16s", 2, 1, 0, lifetime, packed, b"twelve bytes",
                          protocol, port, port, bytes(16))
    client.sendto(request, (router, 5351))
    answer = client.recv(1100)
    version, opcode, _, result = struct.unpack("!BBBB", answer[:4])
    assert (version, opcode, result) == (2, 0x81, 0)
    external = socket.inet_ntop(socket.AF_INET6, answer[44:60]).removeprefix("::ffff:")
    return external, struct.unpack("!H", answer[42:44])[0]


@pytest.mark.parametrize("make", ["kernel", "natbox"])
def test_mapped_port_lets_strangers_in(lab, make):
    server = lab.server(ipv6=True)
    stranger, stranger6 = server.udp_socket(SERVER), server.udp_socket(server.address6)
    if make == "kernel":  # With miniupnpd.
        home = lab.home("symmetric", ipv6=True, port_mapping=True)
    else:
        home = lab.natbox_home("symmetric, random ports", ipv6=True, port_mapping=True)
    alice = home.host("alice")
    host, host6 = alice.udp_socket(port=5000), alice.udp_socket(alice.address6, port=5000)
    listener = alice.tcp_listener(port=5000)
    assert not receives(host, stranger, (home.wan_address, 5000))

    seen = pcp_map(host, str(home.lan[1]), alice.address, 5000)
    seen_tcp = pcp_map(host, str(home.lan[1]), alice.address, 5000, protocol=6)
    seen6 = pcp_map(host6, str(home.lan6[1]), alice.address6, 5000)

    assert seen == seen_tcp == (home.wan_address, 5000)
    assert seen6 == (alice.address6, 5000)
    assert receives(host, stranger, seen)
    assert receives(host6, stranger6, seen6)
    host.sendto(b"answer", stranger.getsockname())
    assert stranger.recvfrom(100) == (b"answer", seen)
    with server.connect(*seen_tcp) as connection:
        accepted = listener.accept()[0]
        with accepted:
            connection.sendall(b"hello")
            assert accepted.recv(100) == b"hello"


def test_miniupnpd_speaks_nat_pmp_and_upnp(lab):
    stranger = lab.server().udp_socket(SERVER)
    home = lab.home("symmetric", port_mapping=True)
    alice = home.host("alice")
    host = alice.udp_socket(port=5000)

    host.sendto(struct.pack("!BBHHHI", 0, 1, 0, 5000, 5000, 600), (str(home.lan[1]), 5351))
    _, opcode, result, _, _, external, _ = struct.unpack("!BBHIHHI", host.recv(100))
    description = alice.run("curl", "-sS", f"http://{home.lan[1]}:5000/rootDesc.xml")

    assert (opcode, result, external) == (129, 0, 5000)
    assert receives(host, stranger, (home.wan_address, 5000))
    assert "urn:schemas-upnp-org:service:WANIPConnection" in description
    assert home.conntrack_max() == 1, "what the router itself hears is not counted"


def test_box_ends_with_its_lab_and_bad_words_are_named():
    with lab_module.Lab("ends") as world:
        home = world.natbox_home("full cone")
        with pytest.raises(LabError, match="no such NAT: cone"):
            world.natbox_home("cone")
        with pytest.raises(LabError, match="--loss"):
            world.natbox_home("full cone", loss=2)
        process = home.natbox.process
        assert process.is_running()

    assert not process.is_running()


def test_a_line_changes_while_it_runs(lab):
    server = lab.server()
    outer = server.udp_socket(SERVER, timeout=5)
    home = lab.natbox_home("full cone")
    inner = home.host("alice").udp_socket(port=5000)
    meet(inner, outer)

    home.natbox.change_line(black_hole=True)
    assert not receives(outer, inner, outer.getsockname())
    home.natbox.change_line(black_hole=False, loss=1)
    assert not receives(outer, inner, outer.getsockname())
    home.natbox.change_line(loss=0, delay_ms=300)
    assert not receives(outer, inner, outer.getsockname(), timeout=0.2)
    assert drain(outer, 0.5) == [b"knock"]
    for wrong in ({"loss": 2}, {"delay_ms": -1}, {"black_hole": 1}, {"colour": "red"}):
        with pytest.raises(LabError, match="no such member"):
            home.natbox.change_line(**{"black_hole": True, **wrong})
    home.natbox.change_line(delay_ms=0)
    assert receives(outer, inner, outer.getsockname())  # What was refused changed nothing.
