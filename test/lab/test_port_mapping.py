"""PortMapper against a real router's miniupnpd, and against gateways that lie.

Most of the time a mapper waits, so scenes that are about waiting stand side by side in one lab.
"""

import json
import os
import pathlib
import signal
import socket
import struct
import threading

import pytest

from lab_process import LabError, wait_until

SERVER = "203.0.113.1"
PORT = 4500
PROTOCOLS = ("PCP", "NAT-PMP", "UPnP")
CONNECT_TIMEOUT = 0.5


class Probe:
    """The program port_mapper_probe on a host; what it says, as Python values."""

    def __init__(self, host, lease_s=3600):
        build = pathlib.Path(os.environ.get("OPENP2P_BUILD", "build/dev"))
        path = build / "test" / "port_mapper_probe"
        if not path.exists():
            raise LabError(f"{path} is missing: run ./dev build")
        self.process = host.start([path, PORT, PORT, lease_s], name=f"probe-{host.name}")

    def said(self):
        """All complete lines so far."""
        return [json.loads(line) for line in self.process.output().split("\n")[:-1]]

    def wait_for(self, condition, timeout, what):
        """The first line, also of the past, for which condition holds."""
        def look():
            return next((line for line in self.said() if condition(line)), None)
        try:
            return wait_until(look, timeout, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said: {self.said()}") from None

    def wait_until_mapped(self, how, timeout=10, count=2):
        return self.wait_for(
            lambda line: len([m for m in line.get("mapped", []) if m["how"] == how]) >= count,
            timeout, f"{count} ports mapped by {how}")["mapped"]

    def wait_until_settled(self, timeout=15):
        return self.wait_for(lambda line: line.get("settled"), timeout, "all was asked")

    def wait_for_evidence(self, how, timeout=20):
        """The first line with a word about that protocol, which was asked to its end."""
        return self.wait_for(
            lambda line: any(said.startswith(f"{how}: ") for said in line.get("evidence", [])),
            timeout, f"a word about {how}")

    def stop(self):
        self.process.signal(signal.SIGTERM)
        assert self.process.wait(timeout=5) == 0


class Scene:
    """A home with miniupnpd that speaks one protocol, and a stranger outside."""

    def __init__(self, lab, only, server=None, **options):
        self.how = only
        self.server = server or lab.server(ipv6=options.get("ipv6", False))
        self.stranger = self.server.udp_socket(SERVER, timeout=CONNECT_TIMEOUT)
        self.home = lab.home("port_restricted", port_mapping=False, **options)
        # miniupnpd wants a public address.
        self.home.wan_address = f"11.51.100.{self.home.number}"
        lab._readdress(self.home.router, self.home.wan_address)
        self.settings = {"enable_upnp": "yes" if only == "UPnP" else "no",
                         "enable_natpmp": "no" if only == "UPnP" else "yes"}
        self.home.start_port_mapping(**self.settings)
        # miniupnpd always answers PCP where it does NAT-PMP, and in IPv6: its requests are version 2.
        unwanted = {"PCP": "", "NAT-PMP": "@th,64,8 2 drop", "UPnP": "drop"}[only]
        if unwanted:
            self.home.router.nft(f"""
                table inet only {{
                  chain input {{
                    type filter hook input priority -10; policy accept;
                    udp dport 5351 {unwanted}
                  }}
                }}
            """)
        self.host = self.home.host(f"alice{self.home.number}")
        self.socket = self.host.udp_socket(port=PORT, timeout=CONNECT_TIMEOUT)
        self.listener = self.host.tcp_listener(port=PORT, timeout=CONNECT_TIMEOUT)

    def is_reachable_by_udp(self, external):
        self.stranger.sendto(b"knock", external)
        try:
            while True:
                data, seen = self.socket.recvfrom(100)
                if data == b"knock":
                    break
            self.socket.sendto(b"yes", seen)
            return self.stranger.recvfrom(100) == (b"yes", external)
        except TimeoutError:
            return False

    def is_reachable_by_tcp(self, external):
        try:
            with self.server.connect(*external, timeout=CONNECT_TIMEOUT):
                self.listener.accept()[0].close()
                return True
        except OSError:
            return False

    def is_reachable(self, mapped):
        by = {m["transport"]: address_of(m["external"]) for m in mapped}
        return self.is_reachable_by_udp(by["udp"]) and self.is_reachable_by_tcp(by["tcp"])

    def crash(self):
        """miniupnpd dies and the router forgets, as if it had lost power."""
        self.home.port_mapping.kill()
        self.home.router.nft("flush chain inet mapping redirects\nflush chain inet mapping sources")
        for chain in ("pinholes",):
            self.home.router.nft(f"flush chain inet filter {chain}")
        self.home.lab.path(f"miniupnpd-{self.home.router.name}.leases").unlink(missing_ok=True)

    def restart(self):
        rules = self.home.router
        rules.nft("delete table inet mapping")
        self.home.start_port_mapping(**self.settings)


def address_of(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


@pytest.mark.parametrize("how", PROTOCOLS)
def test_maps_ports_that_strangers_reach_and_takes_them_back(lab, how):
    scene = Scene(lab, how)
    assert not scene.is_reachable_by_udp((scene.home.wan_address, PORT))
    probe = Probe(scene.host)

    mapped = probe.wait_until_mapped(how)

    assert {m["external"] for m in mapped} == {f"{scene.home.wan_address}:{PORT}"}
    assert {m["internal"] for m in mapped} == {f"{scene.host.address}:{PORT}"}
    assert all(m["public"] and m["lease_s"] == 3600 for m in mapped)
    assert scene.is_reachable(mapped)
    line = probe.said()[-1]["evidence"]
    assert f"{how}: mapped UDP {scene.home.wan_address}:{PORT} for 60 min" in line

    probe.stop()
    stranger = scene.server.udp_socket(SERVER, timeout=CONNECT_TIMEOUT)  # No flow is left for it.
    scene.stranger = stranger
    assert not scene.is_reachable_by_udp((scene.home.wan_address, PORT))
    assert not scene.is_reachable_by_tcp((scene.home.wan_address, PORT))


def side_by_side(lab, protocols):
    server = lab.server()
    return [Scene(lab, how, server) for how in protocols]


def test_renews_at_half_time(lab):
    scenes = side_by_side(lab, PROTOCOLS)
    probes = [Probe(scene.host, lease_s=20) for scene in scenes]
    for scene, probe in zip(scenes, probes):
        probe.wait_until_mapped(scene.how)
    before = [wait_until(lambda: lease_ends(scene), 5, "a lease is written down")
              for scene in scenes]

    for scene, ends in zip(scenes, before):
        wait_until(lambda: lease_ends(scene) not in ("", ends), 15, f"{scene.how} is renewed")

    for scene, probe in zip(scenes, probes):
        assert scene.is_reachable(probe.said()[-1]["mapped"]), scene.how


def lease_ends(scene):
    """The lease file says until when: renewed, when that moves."""
    leases = scene.home.lab.path(f"miniupnpd-{scene.home.router.name}.leases")
    return leases.read_text() if leases.exists() else ""


def test_remakes_mappings_when_the_router_announces_itself(lab):
    scenes = side_by_side(lab, ("PCP", "NAT-PMP"))
    probes = [Probe(scene.host) for scene in scenes]
    mapped = [probe.wait_until_mapped(scene.how) for scene, probe in zip(scenes, probes)]
    for scene, ports in zip(scenes, mapped):
        scene.crash()
        assert not scene.is_reachable_by_udp(address_of(ports[0]["external"])), scene.how

    wait_out_the_pace()
    for scene in scenes:
        scene.restart()

    for scene, ports in zip(scenes, mapped):
        wait_until(lambda: scene.is_reachable(ports), 12, f"{scene.how} maps the ports again")


def wait_out_the_pace():
    """A mapper asks again at most each ten seconds, whatever is announced."""
    threading.Event().wait(10)


def test_remakes_upnp_mappings_when_the_network_changes(lab):
    scene = Scene(lab, "UPnP")
    probe = Probe(scene.host)
    mapped = probe.wait_until_mapped("UPnP")
    scene.crash()
    scene.restart()

    probe.process.signal(signal.SIGUSR1)

    wait_until(lambda: scene.is_reachable(mapped), 20, "the ports are mapped again")


def test_opens_pinholes_in_an_ipv6_firewall(lab):
    scene = Scene(lab, "PCP", ipv6=True)
    socket6 = scene.host.udp_socket(scene.host.address6, port=PORT, timeout=CONNECT_TIMEOUT)
    outside = scene.server.udp_socket(scene.server.address6, timeout=CONNECT_TIMEOUT)
    probe = Probe(scene.host)

    mapped = probe.wait_until_mapped("PCP", count=4)

    assert f"[{scene.host.address6}]:{PORT}" in {m["external"] for m in mapped}
    outside.sendto(b"knock", (scene.host.address6, PORT))
    assert socket6.recvfrom(100)[0] == b"knock"


def test_opens_pinholes_by_upnp(lab):
    scene = Scene(lab, "UPnP", ipv6=True)
    socket6 = scene.host.udp_socket(scene.host.address6, port=PORT, timeout=CONNECT_TIMEOUT)
    outside = scene.server.udp_socket(scene.server.address6, timeout=CONNECT_TIMEOUT)
    probe = Probe(scene.host)

    probe.wait_until_mapped("UPnP", count=4)

    outside.sendto(b"knock", (scene.host.address6, PORT))
    assert socket6.recvfrom(100)[0] == b"knock"


def test_a_mapping_behind_another_nat_is_not_called_public(lab):
    home = lab.home("port_restricted")
    gateway = HostileGateway(home.router, str(home.lan[1]))
    gateway.serve_pcp(lambda request: pcp_answer(request, "100.64.0.7"))
    probe = Probe(home.host("alice"))

    mapped = probe.wait_until_mapped("PCP")

    assert not any(m["public"] for m in mapped)
    assert "PCP: mapped UDP 100.64.0.7:4500 for 60 min, but behind another NAT" in (
        probe.said()[-1]["evidence"])
    gateway.close()


# --- Gateways that lie ---------------------------------------------------------------------------

def pcp_answer(request, external, result=0, lifetime=3600):
    """The answer to a MAP request, 60 bytes."""
    head = struct.pack("!BBBBII", 2, 0x80 | request[1], 0, result, lifetime, 77) + bytes(12)
    address = bytes(10) + b"\xff\xff" + socket.inet_aton(external)
    return head + request[24:44] + address


class HostileGateway:
    """Servers on a router's own address, each on a thread; they end with close()."""

    def __init__(self, router, address):
        self.router, self.address = router, address
        self.requests = []
        self._ending = threading.Event()
        self._threads, self._sockets = [], []

    def serve_udp(self, port, answer):
        made = self._keep(self.router.udp_socket(port=port, timeout=0.2))
        def serve():
            while not self._ending.is_set():
                try:
                    data, peer = made.recvfrom(2000)
                    for reply in answer(data):
                        made.sendto(reply, peer)
                except TimeoutError:
                    continue
                except OSError:
                    return
        self._start(serve)

    def serve_pcp(self, answer):
        self.serve_udp(5351, lambda data: [answer(data)] if data[0] == 2 else [])

    def serve_ssdp(self, location, copies=1):
        answer = (f"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
                  f"LOCATION: {location}\r\n\r\n").encode()
        self.serve_udp(1900, lambda data: [answer] * copies)

    def serve_http(self, port, handle, address=None):
        """handle(connection, request) for each connection, with its first bytes."""
        listener = self._keep(self.router.tcp_listener(address or self.address, port, timeout=0.2))
        def talk(connection):
            with connection:
                connection.settimeout(5)
                try:
                    request = connection.recv(4000)
                    self.requests.append((port, request.split(b"\r\n")[0].decode()))
                    handle(connection, request)
                except OSError:
                    return
        def serve():
            while not self._ending.is_set():
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    continue
                except OSError:
                    return
                self._start(talk, connection)
        self._start(serve)

    def close(self):
        self._ending.set()
        for made in self._sockets:
            made.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _keep(self, made):
        self._sockets.append(made)
        return made

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def endless(head, piece=b"x" * 4096):
    """Sends until the other side hangs up."""
    def handle(connection, _request):
        connection.sendall(head)
        while True:
            connection.sendall(piece)
    return handle


def reply(body, status="200 OK", headers=""):
    def handle(connection, _request):
        connection.sendall(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
                           + body)
    return handle


def description(control):
    return (f"<root><device><serviceList><service><serviceType>"
            f"urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>{control}"
            f"</controlURL></service></serviceList></device></root>").encode()


def rss_kib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


ELSEWHERE = "10.99.99.99"
HTTP_CASES = {
    "endless head": endless(b"HTTP/1.1 200 OK\r\nX: "),
    "endless body": endless(b"HTTP/1.1 200 OK\r\n\r\n<root>"),
    "endless chunks": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                              b"1000\r\n" + b"y" * 4096 + b"\r\n"),
    "huge length": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 4294967295\r\n\r\n"),
    "garbage": lambda connection, _: connection.sendall(os.urandom(20000)),
    "silence": lambda connection, _: connection.recv(1),
    "redirect": reply(b"", "302 Found", f"Location: http://{ELSEWHERE}/evil.xml\r\n"),
    "control elsewhere": reply(description(f"http://{ELSEWHERE}:80/control")),
    "garbage elements": reply(b"<root>" + b"<a>" * 10000 + b"<![CDATA["),
    "control answers garbage": lambda connection, request: (
        reply(description("/control")) if request.startswith(b"GET") else reply(b"<x>" * 900)
    )(connection, request),
    "control answers without end": lambda connection, request: (
        reply(description("/control")) if request.startswith(b"GET")
        else endless(b"HTTP/1.1 200 OK\r\n\r\n<s:Envelope>")
    )(connection, request),
}


def home_with_gateway(lab):
    """A home whose router has a second address that nobody has to do with, and who serves there."""
    home = lab.home("port_restricted")
    home.router.run("ip", "address", "add", f"{ELSEWHERE}/32", "dev", "lo")
    gateway = HostileGateway(home.router, str(home.lan[1]))
    gateway.serve_http(80, reply(b"found"), address=ELSEWHERE)
    return home, gateway


def test_hostile_upnp_gateways_are_harmless(lab):
    met = []
    for case, handle in HTTP_CASES.items():
        home, gateway = home_with_gateway(lab)
        gateway.serve_ssdp(f"http://{home.lan[1]}:5000/desc.xml", copies=20)
        gateway.serve_http(5000, handle)
        met.append((case, gateway, Probe(home.host(f"alice{home.number}"))))

    for case, gateway, probe in met:
        line = probe.wait_for_evidence("UPnP")

        assert line["mapped"] == [], case
        assert gateway.requests, f"{case}: it was asked"
        elsewhere = [request for port, request in gateway.requests if port == 80]
        assert not elsewhere, f"{case}: nobody else was"
        assert rss_kib(probe.process) < 24 * 1024, case
        probe.stop()
        gateway.close()


LOCATIONS = {
    "address": f"http://{ELSEWHERE}:80/desc.xml", "name": "http://localhost:80/desc.xml",
    "scheme": "ftp://192.168.1.1/x", "port": "http://192.168.1.1:99999/",
    "header": "http://192.168.1.1:5000/a b\r\nX-Evil: 1", "long": "x" * 3000,
}


def test_descriptions_elsewhere_are_not_read(lab):
    met = []
    for case, location in LOCATIONS.items():
        home, gateway = home_with_gateway(lab)
        gateway.serve_ssdp(location)
        met.append((case, gateway, Probe(home.host(f"alice{home.number}"))))

    for case, gateway, probe in met:
        line = probe.wait_for_evidence("UPnP")

        assert "UPnP: the gateway does not answer" in line["evidence"], case
        assert gateway.requests == [], case
        gateway.close()


def test_answers_of_another_device_do_not_count(lab):
    home = lab.home("port_restricted")
    mallory = home.host("mallory")
    gateway = HostileGateway(mallory, mallory.address)
    gateway.serve_ssdp(f"http://{mallory.address}:5000/desc.xml")
    gateway.serve_http(5000, reply(description("/control")))
    probe = Probe(home.host("alice"))

    line = probe.wait_for_evidence("UPnP")

    assert line["mapped"] == [] and gateway.requests == []
    gateway.close()


def random_answers(data):
    return [os.urandom(size) for size in (0, 1, 2, 8, 11, 12, 16, 24, 60, 1100, 1400)] + [data]


def absurd_answers(data):
    if data[0] != 2:  # NAT-PMP: an external address of the loopback, a port of 0.
        return [struct.pack("!BBHI4s", 0, 128 | data[1], 0, 1, socket.inet_aton("127.0.0.1"))]
    return [pcp_answer(data, external) for external in ("127.0.0.1", "0.0.0.0", "224.0.0.1")]


def test_gateways_without_pcp_and_nat_pmp_or_hostile_ones_are_given_up(lab):
    """PCP is given up after half a minute, in all homes at once."""
    homes = [lab.home("port_restricted") for _ in range(3)]
    gateways = [HostileGateway(home.router, str(home.lan[1])) for home in homes[1:]]
    for gateway, answers in zip(gateways, (random_answers, absurd_answers)):
        gateway.serve_udp(5351, answers)
    silent, *lied_to = (Probe(home.host(f"alice{home.number}")) for home in homes)

    assert silent.wait_until_settled(timeout=60)["evidence"] == [
        f"PCP: the gateway {homes[0].lan[1]} does not answer",
        "NAT-PMP: the gateway does not answer",
        "UPnP: the gateway does not answer",
    ]
    silent.stop()
    for probe, gateway in zip(lied_to, gateways):
        line = probe.wait_until_settled(timeout=60)
        assert line["mapped"] == []
        assert len(line["evidence"]) >= 3
        probe.stop()
        gateway.close()


def test_the_thread_ends_with_its_conversation(lab):
    home = lab.home("port_restricted")
    gateway = HostileGateway(home.router, str(home.lan[1]))
    gateway.serve_ssdp(f"http://{home.lan[1]}:5000/desc.xml")
    gateway.serve_http(5000, HTTP_CASES["silence"])
    probe = Probe(home.host("alice"))
    wait_until(lambda: gateway.requests, 10, "the description is asked for")

    probe.stop()  # In the middle of an exchange: nothing holds the program.
    gateway.close()
