"""The server is away, or hard to reach: agents find it and each other all the same."""

import pytest

from lab import wait_until
from lab_openp2p import MIB, Device, Download, Server, Pair, make_file

ONLY_TCP_443 = """
table inet strict {
  chain forward {
    type filter hook forward priority -1; policy accept;
    oifname "wan" tcp dport 443 accept
    oifname "wan" ct state established accept
    oifname "wan" meta l4proto { 6, 17 } drop
  }
}
"""
BACK_TIMEOUT = 100  # Seconds: a lost server is dialled at most a minute apart, with jitter.


def one_lan(lab):
    home = lab.home(nat="symmetric")
    return [home, home]


def known_public_address(lab):
    return [lab.home(nat="full_cone"), lab.home(nat="symmetric")]


@pytest.mark.parametrize("homes", [one_lan, known_public_address])
def test_restarted_agents_meet_without_the_server(lab, homes):
    pair = Pair(lab, homes=homes(lab), size=4 * MIB)
    pair.forward_web()
    pair.check_download()
    pair.server.process.kill()
    for device in (pair.laptop, pair.nas):
        assert device.process.terminate() == 0

    for device in (pair.nas, pair.laptop):
        device.start()
        device.process.wait_for_line(r"agent\.started", timeout=20)

    peer = pair.check_download()
    assert peer["path"] and not peer["online"]
    assert pair.laptop.json("status")["server"]["state"] != "connected"

    pair.server.start()
    wait_until(lambda: pair.laptop.peer("nas")["online"], BACK_TIMEOUT, "the nas is online again")
    assert pair.check_download()["path"]


@pytest.mark.parametrize("is_enabled", [True, False])
def test_an_agent_at_another_port_is_found_by_multicast_where_enabled(lab, is_enabled):
    pair = Pair(lab, homes=one_lan(lab), size=MIB)
    pair.forward_web()
    pair.check_download()
    pair.server.process.kill()
    for device in (pair.laptop, pair.nas):
        assert device.process.terminate() == 0
    words = ["--lan-discovery"] if is_enabled else []

    pair.nas.start("--port", "40123", *words)
    pair.laptop.start(*words)
    for device in (pair.nas, pair.laptop):
        device.process.wait_for_line(r"agent\.started", timeout=20)

    if is_enabled:
        assert pair.check_download()["path"]
    else:
        failed = pair.laptop.process.wait_for_line(r"peer\.failed .*reason=\"(.*)\"", timeout=40)
        assert failed.group(1) == "no answer from the peer"


def test_a_firewall_that_lets_only_tcp_443_through(lab):
    server = Server(lab).start("--also-tcp", "203.0.113.1:443", "--relay", "100")
    strict = lab.home(nat="port_restricted")
    strict.router.nft(ONLY_TCP_443)
    nas = Device(lab.home(nat="port_restricted").host("nas"))
    laptop = Device(strict.host("laptop"))
    nas.up(server.token)
    laptop.up(server.token)
    www = lab.path("www")
    www.mkdir()
    digest = make_file(www / "file.bin", MIB)
    lab.web_server(nas.host, www, port=80)
    laptop.add_forward("web", "nas", "127.0.0.1:80", 8080)

    assert laptop.json("status")["server"]["address"].endswith(":443")
    assert Download(laptop.host, 8080).finish() == digest
    assert laptop.peer("nas")["path"].startswith("relayed")


def test_nodes_that_joined_before_hear_of_port_443_and_keep_it(lab):
    server = Server(lab).start()
    home = lab.home(nat="port_restricted")
    laptop = Device(home.host("laptop"))
    laptop.up(server.token)
    assert server.process.terminate() == 0
    server.start("--also-tcp", "203.0.113.1:443")
    wait_until(lambda: "203.0.113.1:443" in (laptop.state / "state.json").read_text(), 60,
               "the address in the state")

    assert laptop.process.terminate() == 0
    home.router.nft(ONLY_TCP_443)
    laptop.up(None, "--port", "40123")  # The router still lets the last port's answers in.

    assert laptop.json("status")["server"]["address"] == "203.0.113.1:443"
