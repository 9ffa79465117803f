"""The main job on kernel NATs: which pairs of homes connect, by which path, and what is said if not."""

import json
import time

import pytest

from lab import wait_until
from lab_openp2p import MIB, Device, Pair, Server


@pytest.mark.parametrize(
    "nats",
    [
        ("port_restricted", "port_restricted"),
        ("port_restricted", "address_restricted"),
        ("full_cone", "port_restricted"),
        ("address_restricted", "full_cone"),
        ("none", "port_restricted"),
        ("firewall", "firewall"),
        ("firewall", "address_restricted"),
        ("none", "none"),
        ("symmetric", "full_cone"),
        ("none", "symmetric"),
    ],
    ids="-".join,
)
def test_homes_connect_directly(lab, nats):
    pair = Pair(lab, nats, size=4 * MIB)
    pair.forward_web()

    path = pair.check_download()

    assert path["path"] == "direct IPv4"
    expected = pair.nas_home.wan_address if nats[0] not in ("none", "firewall") else pair.nas.host.address
    assert path["address"].startswith(f"{expected}:")
    assert pair.laptop.forward("web")["state"] == "connected"


def test_rejecting_routers_connect_too(lab):
    """Some routers answer unsolicited packets with ICMP errors, which must not end an attempt."""
    pair = Pair(lab, size=MIB, unsolicited="reject")
    pair.forward_web()

    assert pair.check_download()["path"] == "direct IPv4"


def test_stateful_firewalls_on_both_sides_pass_ipv6(lab):
    """Hard IPv4 NATs on both sides, so that only IPv6 can work."""
    pair = Pair(lab, ("symmetric", "symmetric"), size=4 * MIB, ipv6=True)
    pair.forward_web()

    path = pair.check_download()

    assert path["path"] == "direct IPv6"
    assert path["address"].startswith(f"[{pair.nas.host.address6}]:")


def test_server_is_reached_over_ipv6_alone(lab):
    server = Server(lab, lab.server(ipv6=True)).start()
    homes = [lab.home(ipv6=True), lab.home(ipv6=True)]
    nas, laptop = (Device(home.host(name)) for home, name in zip(homes, ("nas", "laptop")))
    for device in (nas, laptop):
        device.host.run("ip", "-4", "route", "del", "default")
        device.up(server.new_token("--address", f"[{server.host.address6}]:27183"))
    listener = nas.host.tcp_listener("127.0.0.1", 7000)
    laptop.add_forward("echo", "nas", "127.0.0.1:7000", 7000)

    with laptop.host.connect("127.0.0.1", 7000, timeout=20) as connection:
        connection.sendall(b"over six")
        with listener.accept()[0] as served:
            assert served.recv(100) == b"over six"

    assert laptop.peer("nas")["path"] == "direct IPv6"


@pytest.mark.parametrize("nat", ["port_restricted", "symmetric"])
def test_hosts_of_one_home_use_the_lan(lab, nat):
    server, home = Server(lab).start(), lab.home(nat=nat)
    nas, laptop = Device(home.host("nas")), Device(home.host("laptop"))
    for device in (nas, laptop):
        device.up(server.token)
    laptop.add_forward("x", "nas", "127.0.0.1:9", 9000)

    path = laptop.wait_path("nas")

    assert path["path"] == "LAN"
    assert path["address"].startswith(f"{nas.host.address}:")


def test_symmetric_homes_say_why_there_is_no_path(lab):
    pair = Pair(lab, ("symmetric", "symmetric"))
    pair.forward_web()

    ping = pair.laptop.attempt("ping", "nas", "-c", "1")

    assert ping.code == 1
    reason = wait_until(lambda: pair.laptop.peer("nas")["reason"], 30, "peers gives a reason")
    assert "symmetric" in reason or "NAT" in reason, reason
    assert pair.laptop.peer("nas")["path"] == ""
    assert reason.split(":")[0] in ping.out + ping.error
    web = pair.laptop.forward("web")
    assert (web["state"], bool(web["reason"])) == ("listening", True)
    assert web["reason"] in pair.laptop.run("forward", "list")


def test_udp_that_is_held_back_gives_way_to_tcp(lab):
    """As some providers do it: UDP passes, but only so much. At that rate 8 MiB take over a minute."""
    throttled = {"udp_rate_mbit": 1, "udp_burst_bytes": 15_000}
    homes = [lab.natbox_home("none", delay_ms=5, **throttled),
             lab.natbox_home("port-restricted", delay_ms=5)]
    pair = Pair(lab, size=8 * MIB, homes=homes)
    pair.forward_web()
    assert pair.laptop.wait_path("nas")["path"] == "direct IPv4"
    started = time.monotonic()

    path = pair.check_download()

    assert time.monotonic() - started < 40
    assert (path["method"], path["reason_code"]) == ("tcp-direct", "udp-throttled"), path
    assert "UDP is held back" in path["reason"]
    assert homes[0].counters()["dropped"]["UDP policed"] > 0


def test_ping_of_an_idle_node_measures_the_path_alone(lab):
    """Not the time since the node last had something to do."""
    pair = Pair(lab)
    pair.laptop.run("ping", "nas", "-c", "1")
    quiet_until = time.monotonic() + 2
    wait_until(lambda: time.monotonic() > quiet_until, 5, "some seconds of nothing")

    replies = [json.loads(pair.laptop.run("ping", "nas", "-c", "1", "--json").splitlines()[0])
               for _ in range(5)]

    assert min(r["rtt_us"] for r in replies) > 0
    assert sorted(r["rtt_us"] for r in replies)[2] < 5_000, replies


def test_ping_of_a_peer_off_line_fails_and_says_so(lab):
    pair = Pair(lab)
    pair.nas.process.terminate()
    wait_until(lambda: not pair.laptop.peer("nas")["online"], 5, "nas is off line")

    started = time.monotonic()
    ping = pair.laptop.attempt("ping", "nas", "-c", "1")

    assert ping.code == 1
    assert time.monotonic() - started < 8
    assert "off line" in ping.out + ping.error or "offline" in ping.out + ping.error, ping
    unknown = pair.laptop.attempt("ping", "nobody", "-c", "1")
    assert unknown.code == 1
    assert "nobody" in unknown.error
