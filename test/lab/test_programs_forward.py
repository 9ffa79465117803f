"""Forwards, used by programs that know nothing of us, through homes with NATs."""

import concurrent.futures
import json
import socket
import time

import pytest

from lab import call, wait_until
from lab_openp2p import MIB, Device, Pair, Server, run_command, sha256

CONNECTIONS = 300


@pytest.fixture
def pair(lab):
    return Pair(lab)


def forward_to(pair, listener, name="raw", listen=7000):
    """A forward to a listener of the test on the nas."""
    pair.laptop.add_forward(name, "nas", f"127.0.0.1:{listener.getsockname()[1]}", listen)


def refused(pair, port):
    """How a connection to the laptop's port fails, and after how many seconds."""
    started = time.monotonic()
    try:
        with pair.laptop.host.connect("127.0.0.1", port, timeout=20) as connection:
            return connection.recv(1), time.monotonic() - started
    except ConnectionResetError as error:
        return error, time.monotonic() - started


def assert_reset_at_once(pair, port):
    how, seconds = refused(pair, port)
    assert isinstance(how, ConnectionResetError), how
    assert seconds < 3


def test_ssh_login_and_http_download(lab):
    pair = Pair(lab, size=16 * MIB)
    sshd = lab.sshd(pair.nas.host, port=22)
    pair.forward_web()
    pair.laptop.add_forward("ssh", "nas", "localhost:22", 2222)

    said = pair.laptop.host.run(*sshd.client("127.0.0.1", 2222, "id -un; cat"), input="through it\n")
    copy = lab.path("copy.bin")
    pair.laptop.host.run("curl", "-sSf", "-o", copy, "http://127.0.0.1:8080/file.bin")

    assert said == "lab\nthrough it\n"
    assert sha256(copy) == pair.digest
    web = pair.laptop.forward("web")
    assert web["bytes_received"] >= 16 * MIB
    assert (web["state"], web["connections_total"], web["connections_failed"]) == ("connected", 1, 0)


def test_hundreds_of_connections_at_once(pair):
    listener = pair.nas.host.tcp_listener("127.0.0.1")
    listener.listen(CONNECTIONS)
    forward_to(pair, listener)
    ours = [pair.laptop.host.connect("127.0.0.1", 7000, timeout=20) for _ in range(CONNECTIONS)]
    theirs = [listener.accept()[0] for _ in ours]

    for number, connection in enumerate(ours):
        connection.sendall(number.to_bytes(4, "big"))
    for connection in theirs:
        connection.settimeout(20)
        connection.sendall(connection.recv(4, socket.MSG_WAITALL)[::-1])

    for number, connection in enumerate(ours):
        assert connection.recv(4, socket.MSG_WAITALL) == number.to_bytes(4, "little")
    assert pair.laptop.forward("raw")["connections_now"] == CONNECTIONS
    for connection in ours + theirs:
        connection.close()
    pair.laptop.wait_forward("raw", lambda f: f["connections_now"] == 0, 10, "is unused")
    assert pair.laptop.forward("raw")["connections_failed"] == 0


def test_half_close_works_both_ways(pair):
    listener = pair.nas.host.tcp_listener("127.0.0.1")
    forward_to(pair, listener)

    for closes_first in ("local", "remote"):
        local = pair.laptop.host.connect("127.0.0.1", 7000, timeout=20)
        remote, _ = listener.accept()
        remote.settimeout(20)
        first, second = (local, remote) if closes_first == "local" else (remote, local)
        first.sendall(b"question")
        first.shutdown(socket.SHUT_WR)
        assert second.recv(100, socket.MSG_WAITALL) == b"question"  # Up to the end of the stream.
        for _ in range(3):
            second.sendall(b"answer")
            assert first.recv(6, socket.MSG_WAITALL) == b"answer"
        second.shutdown(socket.SHUT_WR)
        assert first.recv(1) == b""
        local.close()
        remote.close()

    pair.laptop.wait_forward("raw", lambda f: f["connections_now"] == 0, 10, "is unused")


def test_a_slow_reader_slows_only_itself(lab):
    pair = Pair(lab, size=32 * MIB)
    pair.forward_web()
    slow = pair.download()
    slow.read(MIB)

    assert pair.download().finish() == pair.digest
    assert slow.finish() == pair.digest


def test_refused_destination_resets_and_says_why(pair):
    pair.laptop.add_forward("dead", "nas", "127.0.0.1:9", 9000)
    pair.laptop.wait_path("nas")

    assert_reset_at_once(pair, 9000)

    dead = pair.laptop.forward("dead")
    assert "refused" in dead["reason"]
    assert dead["connections_failed"] == 1
    assert dead["reason"] in pair.laptop.run("forward", "list")


def test_unknown_name_resets_and_says_why(pair):
    pair.laptop.add_forward("lost", "nas", "no-such-host.invalid:80", 9000)
    pair.laptop.wait_path("nas")

    how, seconds = refused(pair, 9000)

    assert isinstance(how, ConnectionResetError)
    assert seconds < 20  # As long as the system's resolver takes.
    assert pair.laptop.forward("lost")["reason"]


def test_hosts_behind_a_peer_need_its_permission(lab):
    pair = Pair(lab)
    printer = pair.nas_home.host("printer")
    listener = printer.tcp_listener(printer.address, 631)
    destination = f"{printer.address}:631"
    pair.laptop.add_forward("printer", "nas", destination, 6310)
    pair.laptop.wait_path("nas")

    assert_reset_at_once(pair, 6310)

    shown = pair.laptop.forward("printer")
    command = f"openp2p up --accept {destination}"
    assert command in shown["hint"], shown
    assert command in pair.laptop.run("forward", "list")
    for permission in (["--accept", destination], ["--accept", "none", "--accept-lan"]):
        assert pair.nas.process.terminate() == 0
        pair.nas.up(None, *permission)
        with pair.laptop.host.connect("127.0.0.1", 6310, timeout=20) as connection:
            connection.sendall(b"page")
            with listener.accept()[0] as served:
                served.settimeout(10)
                assert served.recv(4) == b"page"
    assert pair.nas.process.terminate() == 0
    pair.nas.up(None, "--no-accept-lan")
    pair.laptop.wait_path("nas")
    assert_reset_at_once(pair, 6310)


def test_unreachable_destination_resets_and_says_why(lab):
    pair = Pair(lab)
    pair.nas.process.terminate()
    pair.nas.up(None, "--accept-lan")
    pair.nas.host.run("ip", "route", "add", "unreachable", "10.99.0.0/16")
    pair.laptop.add_forward("far", "nas", "10.99.0.1:80", 9000)
    pair.laptop.wait_path("nas")

    assert_reset_at_once(pair, 9000)

    assert "reach" in pair.laptop.forward("far")["reason"]


@pytest.fixture
def two_stacks(lab):
    """A name with an IPv6 and an IPv4 address; what /etc/hosts says of localhost differs."""
    hosts = lab.path("hosts")
    hosts.write_text("127.0.0.1 localhost\n::1 two-stacks\n127.0.0.1 two-stacks\n")
    hosts.chmod(0o644)
    call(["mount", "--bind", hosts, "/etc/hosts"])
    yield "two-stacks"
    call(["umount", "/etc/hosts"])


def test_names_and_ipv6_destinations(lab, two_stacks):
    pair = Pair(lab, ipv6=True)
    six = pair.nas.host.tcp_listener("::1", 7001)
    four = pair.nas.host.tcp_listener("127.0.0.1", 7002)
    own = pair.nas.host.tcp_listener(pair.nas.host.address6, 7003)
    destinations = {
        7001: ("[::1]:7001", six),
        7002: ("localhost:7002", four),
        7003: (f"[{pair.nas.host.address6}]:7003", own),
        7004: (f"{two_stacks}:7001", six),  # Each listens on one of the name's addresses only.
        7005: (f"{two_stacks}:7002", four),
    }

    for listen, (destination, listener) in destinations.items():
        pair.laptop.add_forward(f"f{listen}", "nas", destination, listen)
        with pair.laptop.host.connect("127.0.0.1", listen, timeout=20) as connection:
            connection.sendall(b"hello")
            with listener.accept()[0] as served:
                served.settimeout(10)
                assert served.recv(5) == b"hello", destination


def test_a_connection_waits_for_its_peer(lab):
    server = Server(lab).start()
    nas, laptop = (Device(lab.home().host(name)) for name in ("nas", "laptop"))
    laptop.up(server.token)
    laptop.add_forward("raw", "nas", "127.0.0.1:7000", 7000)
    waiting = laptop.host.connect("127.0.0.1", 7000, timeout=30)
    waiting.sendall(b"early")
    assert laptop.forward("raw")["state"] == "listening"
    assert "nas" in laptop.forward("raw")["reason"]
    listener = nas.host.tcp_listener("127.0.0.1", 7000, timeout=30)

    nas.up(server.token)

    served, _ = listener.accept()
    served.settimeout(10)
    assert served.recv(5) == b"early"


def test_port_in_use_is_told_and_works_later(pair):
    blocker = pair.laptop.host.tcp_listener("127.0.0.1", 7000)
    listener = pair.nas.host.tcp_listener("127.0.0.1", timeout=20)

    forward_to(pair, listener)

    shown = pair.laptop.forward("raw")
    assert shown["state"] == "failed"
    assert "127.0.0.1:7000" in shown["reason"]
    assert "another program" in shown["hint"]
    assert shown["hint"] in pair.laptop.run("forward", "list")
    blocker.close()
    pair.laptop.wait_forward("raw", lambda f: f["bound"] and f["state"] != "failed", 10, "listens")
    with pair.laptop.host.connect("127.0.0.1", 7000, timeout=20):
        listener.accept()[0].close()


def test_other_addresses_listen_only_when_asked(pair):
    neighbour = pair.laptop_home.host("neighbour")
    listener = pair.nas.host.tcp_listener("127.0.0.1", timeout=20)
    forward_to(pair, listener, "private", 7000)
    forward_to(pair, listener, "shared", "0.0.0.0:7001")

    with pytest.raises(ConnectionRefusedError):
        neighbour.connect(pair.laptop.host.address, 7000)
    with neighbour.connect(pair.laptop.host.address, 7001, timeout=20) as connection:
        connection.sendall(b"x")
        with listener.accept()[0] as served:
            served.settimeout(10)
            assert served.recv(1) == b"x"
    assert pair.laptop.forward("private")["bound"] == "127.0.0.1:7000"


def test_many_short_connections_leave_nothing(pair):
    listener = pair.nas.host.tcp_listener("127.0.0.1", timeout=20)
    listener.listen(64)
    forward_to(pair, listener)

    def serve():
        for _ in range(CONNECTIONS):
            with listener.accept()[0] as served:
                served.settimeout(10)
                served.sendall(served.recv(100))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        for number in range(CONNECTIONS):
            with pair.laptop.host.connect("127.0.0.1", 7000, timeout=20) as connection:
                connection.sendall(b"%d" % number)
                assert connection.recv(100) == b"%d" % number
        serving.result(timeout=20)

    for device in (pair.nas, pair.laptop):
        wait_until(lambda: connections_of(device) <= 4, 10, f"{device.name} has closed its sockets")


def connections_of(device):
    """How many TCP sockets are open in the device's agent."""
    done = run_command(device.host, ["ss", "-Htnp", "state", "connected"])
    return sum(f"pid={device.process.pid}," in line for line in done.out.splitlines())


def test_wrong_command_lines_are_refused_before_anything_happens(pair):
    wrong = [
        ["forward", "add", "x", "--peer", "nas", "--to", "127.0.0.1", "--listen", "1"],
        ["forward", "add", "x", "--peer", "nas", "--to", "127.0.0.1:0", "--listen", "1"],
        ["forward", "add", "x", "--peer", "nas", "--to", "127.0.0.1:80", "--listen", "99999"],
        ["forward", "add", "x", "--peer", "nas", "--to", "127.0.0.1:80"],
        ["forward", "frob"],
        ["status", "--frob"],
    ]

    for words in wrong:
        done = pair.laptop.attempt(*words)
        assert (done.code, bool(done.error)) == (2, True), (words, done)
    assert pair.laptop.json("forward", "list")["forwards"] == []
    missing = pair.laptop.attempt("forward", "remove", "x", "--json")
    assert missing.code == 1
    assert json.loads(missing.out or missing.error)["error"]["kind"] == "not_found"
