"""Relays: real programs between networks that allow no direct path, and what the relay can see.

OPENP2P_RELAY_MIB=1024 makes the large download as large as that.
"""

import os
import time

from lab import wait_until
from lab_capture import Capture
from lab_openp2p import MIB, Device, Pair, Server

MARKER = b"this sentence stands in the file and must not stand on the wire. "
HARD = ("symmetric", "symmetric")
LARGE_MIB = int(os.environ.get("OPENP2P_RELAY_MIB", 64))
LARGE_TIMEOUT = 30 + LARGE_MIB  # Seconds: 8 Mbit/s, on the worst of machines.
NO_TCP = """
table inet udp_only {
  chain forward {
    type filter hook forward priority -1; policy accept;
    meta l4proto 6 drop
  }
}
"""


class RelayedPair:
    """nas and laptop behind random symmetric NATs; `relay` is a public host, if there is one."""

    def __init__(self, lab, server_relay=None, has_own_relay=False, size=0, nats=HARD):
        self.lab = lab
        self.server = Server(lab)
        self.server.start(*(("--relay", str(server_relay)) if server_relay else ()))
        self.homes = [lab.home(nat=nat) for nat in nats]
        self.nas, self.laptop = (Device(home.host(name))
                                 for home, name in zip(self.homes, ("nas", "laptop")))
        self.relay = Device(lab.home(nat="none").host("relay")) if has_own_relay else None
        devices = [self.nas, self.laptop] + ([self.relay] if self.relay else [])
        for device in devices:
            device.up(self.server.token)
        if size:
            Pair.serve(self, size)

    def forward_web(self):
        self.laptop.add_forward("web", "nas", "127.0.0.1:80", 8080)

    def download(self):
        return Pair.download(self)


def test_a_server_relays_where_its_operator_says_so(lab):
    pair = RelayedPair(lab, server_relay=1000, size=16 * MIB)
    pair.forward_web()

    assert pair.download().finish() == pair.digest
    assert pair.laptop.peer("nas")["path"].startswith("relayed")
    wait_until(lambda: pair.laptop.peer("nas")["reason_code"] == "both-random", 15,
               "it is said why there is no direct path")


def test_a_node_of_the_same_network_relays_by_itself(lab):
    pair = RelayedPair(lab, has_own_relay=True, size=16 * MIB)
    pair.forward_web()

    assert pair.download().finish() == pair.digest
    assert "relay" in pair.laptop.peer("nas")["path"]


def test_a_large_download_through_a_relay_by_udp_alone(lab):
    pair = RelayedPair(lab, has_own_relay=True, size=LARGE_MIB * MIB)
    for home in pair.homes:
        home.router.nft(NO_TCP)
    pair.forward_web()

    started = time.monotonic()
    assert pair.download().finish(timeout=LARGE_TIMEOUT) == pair.digest
    seconds = time.monotonic() - started

    print(f"{LARGE_MIB} MiB in {seconds:.1f} s: {LARGE_MIB * MIB * 8 / seconds / 1e6:.0f} Mbit/s")
    assert pair.laptop.peer("nas")["path"] == "relayed by relay (own node)"


def test_a_relay_sees_neither_data_nor_inner_headers(lab):
    pair = RelayedPair(lab, has_own_relay=True)
    www = lab.path("www")
    www.mkdir()
    (www / "file.bin").write_bytes(MARKER * (16 * MIB // len(MARKER)))
    lab.web_server(pair.nas.host, www, port=80)
    pair.forward_web()
    pair.download().finish()

    with Capture(pair.relay.host, "eth0") as capture:
        pair.download().finish()

    large = [payload for payload in capture.payloads if len(payload) >= 200]
    assert sum(map(len, large)) > 8 * MIB, "the relay carried the download"
    assert len(large) > 200
    assert not any(MARKER[:20] in payload for payload in capture.payloads)
    # A sealed datagram shows 13 bytes: first byte, id, counter. Behind them every position takes
    # all values; an inner header (channel, connection id) would repeat itself.
    for position in range(13, 64):
        values = {payload[position] for payload in large}
        assert len(values) > 80, f"byte {position} has only {len(values)} values"


def test_a_session_moves_between_relay_and_direct_path_under_a_download(lab):
    pair = RelayedPair(lab, server_relay=100, has_own_relay=True, size=64 * MIB)
    pair.forward_web()
    download = pair.download()
    download.read(4 * MIB)
    assert pair.laptop.peer("nas")["path"].startswith("relayed")

    for home in pair.homes:
        home.change_nat("port_restricted")
    wait_until(lambda: "direct" in pair.laptop.peer("nas")["path"], 90, "the session has gone direct")
    download.read(8 * MIB)
    pair.relay.process.kill()

    assert download.finish(timeout=90) == pair.digest
    assert "direct" in pair.laptop.peer("nas")["path"]


def test_a_killed_relay_is_replaced(lab):
    pair = RelayedPair(lab, server_relay=100, has_own_relay=True, size=32 * MIB)
    pair.forward_web()
    download = pair.download()
    download.read(4 * MIB)

    pair.relay.process.kill()

    assert download.finish(timeout=90) == pair.digest
    assert pair.laptop.peer("nas")["path"].startswith("relayed")
