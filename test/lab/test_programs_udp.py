"""UDP forwards, used by programs that know nothing of us, through homes with NATs."""

import hashlib
import json
import os
import socket

import pytest

from lab import tool, wait_until
from lab_openp2p import Pair

DNS_PORT, LOCAL_DNS_PORT = 53, 5353
HANDSHAKE_BYTES, DATA_BYTES = 148, 1420  # WireGuard's first message, and a full one of its tunnel.


@pytest.fixture
def pair(lab):
    return Pair(lab)


def echo_service(pair, address="127.0.0.1"):
    """A socket on the nas that the test answers through; its port."""
    service = pair.nas.host.udp_socket(address)
    return service, service.getsockname()[1]


def client_of(pair, port, address="127.0.0.1"):
    client = pair.laptop.host.udp_socket(address, timeout=10)
    client.connect((address, port))
    return client


def send_until_heard(client, service, first):
    """The session may still be in the making: then the first datagram waits for it."""
    client.send(first)
    service.settimeout(20)
    return service.recvfrom(65535)


def test_a_dns_server_answers_dig_by_udp_and_tcp(lab, pair):
    zone = lab.path("dnsmasq.conf")
    zone.write_text(
        f"port={DNS_PORT}\nno-resolv\nno-hosts\nbind-interfaces\nlisten-address=127.0.0.1\n"
        "address=/printer.lab/192.0.2.7\nuser=root\ngroup=root\nlog-facility=-\n"
        + "".join(f"txt-record=big.lab,{'x' * 200}{number}\n" for number in range(6)))
    dnsmasq = pair.nas.host.start([tool("dnsmasq"), "--keep-in-foreground", f"--conf-file={zone}"],
                                  name="dnsmasq")
    dnsmasq.wait_for_line("started", timeout=10)
    pair.laptop.add_forward("dns", "nas", f"localhost:{DNS_PORT}", LOCAL_DNS_PORT, "--udp", "--tcp")

    def dig(*words):
        return pair.laptop.host.run("dig", "@127.0.0.1", "-p", str(LOCAL_DNS_PORT), "+short",
                                    "+time=10", "+tries=2", *words).splitlines()

    assert dig("printer.lab") == ["192.0.2.7"]
    assert dig("printer.lab", "+tcp") == ["192.0.2.7"]
    # A large answer is truncated by UDP, and asked for again by TCP at the same port.
    assert len(dig("big.lab", "TXT", "+bufsize=512")) == 6
    for _ in range(20):
        assert dig("printer.lab") == ["192.0.2.7"]

    forward = pair.laptop.forward("dns")
    assert forward["flows_total"] >= 22
    assert forward["connections_total"] >= 2
    assert (forward["flows_failed"], forward["datagrams_dropped"]) == (0, 0)


def test_a_tunnel_like_wireguard_works_through_it(pair):
    service, port = echo_service(pair)
    pair.laptop.add_forward("wg", "nas", f"127.0.0.1:{port}", 51820, "--udp")
    client = client_of(pair, 51820)

    handshake = os.urandom(HANDSHAKE_BYTES)
    got, back = send_until_heard(client, service, handshake)
    assert got == handshake
    service.sendto(os.urandom(92), back)
    assert len(client.recv(65535)) == 92

    for _ in range(100):
        data = os.urandom(DATA_BYTES)
        client.send(data)
        got, again = service.recvfrom(65535)
        assert (got, again) == (data, back)
        service.sendto(data[::-1], back)
        assert client.recv(65535) == data[::-1]


def test_the_largest_datagram_passes_both_ways(pair):
    service, port = echo_service(pair)
    pair.laptop.add_forward("large", "nas", f"127.0.0.1:{port}", 7000, "--udp")
    client = client_of(pair, 7000)
    _, back = send_until_heard(client, service, b"first")

    for size in (65507, 1473, 40000, 0, 65507):
        datagram = os.urandom(size)
        client.send(datagram)
        got, _ = service.recvfrom(65535)
        assert hashlib.sha256(got).digest() == hashlib.sha256(datagram).digest(), size
        service.sendto(datagram, back)
        assert client.recv(65535) == datagram, size

    assert pair.laptop.forward("large")["datagrams_dropped"] == 0


def test_clients_are_told_apart(pair):
    service, port = echo_service(pair)
    pair.laptop.add_forward("many", "nas", f"127.0.0.1:{port}", 7000, "--udp")
    clients = [client_of(pair, 7000) for _ in range(100)]
    send_until_heard(clients[0], service, b"first")

    for number, client in enumerate(clients):
        client.send(str(number).encode())
    for _ in clients:
        said, back = service.recvfrom(100)
        service.sendto(b"to " + said, back)

    for number, client in enumerate(clients):
        assert client.recv(100) == f"to {number}".encode()
    assert pair.laptop.forward("many")["flows_now"] == 100


def test_a_range_of_ports_and_its_answer_when_nobody_listens(pair):
    services = [pair.nas.host.udp_socket("127.0.0.1", 6000 + offset, timeout=20)
                for offset in range(3)]
    pair.laptop.add_forward("range", "nas", "127.0.0.1:6000", "5000-5003", "--udp")
    clients = [client_of(pair, 5000 + offset) for offset in range(4)]

    for offset, client in enumerate(clients):
        client.send(f"port {offset}".encode())

    for offset, service in enumerate(services):
        assert service.recv(100) == f"port {offset}".encode()
    forward = pair.laptop.wait_forward("range", lambda found: found["reason"], 20, "has a reason")
    assert "127.0.0.1:6003: connection refused" in forward["reason"]
    assert (forward["ports"], forward["protocols"]) == (4, ["udp"])


def test_iperf3_loses_nothing_at_a_modest_rate(pair):
    pair.nas.host.start([tool("iperf3"), "-s", "-p", 5201], name="iperf3")
    wait_until(lambda: pair.nas.host.run("ss", "-Hltn", "sport = :5201"), 10, "iperf3 listens")
    pair.laptop.add_forward("iperf", "nas", "127.0.0.1:5201", 5201, "--tcp", "--udp")

    report = json.loads(pair.laptop.host.run(
        tool("iperf3"), "-c", "127.0.0.1", "-p", "5201", "-u", "-b", "20M", "-l", "1200",
        "-w", "1M", "-t", "3", "-J"))

    total = report["end"]["sum"]
    assert total["packets"] > 5000
    assert total["lost_packets"] == 0


def test_the_local_program_may_use_ipv6(pair):
    service, port = echo_service(pair)
    pair.laptop.add_forward("six", "nas", f"127.0.0.1:{port}", "[::1]:7000", "--udp")
    with pair.laptop.host.inside():
        client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with client:
        client.settimeout(10)
        client.connect(("::1", 7000))
        got, back = send_until_heard(client, service, b"over six")
        service.sendto(b"answer", back)
        assert client.recv(100) == b"answer"
    assert got == b"over six"
