"""Downloads through a forward while programs are killed and networks fail.

What the test has not read yet waits with the web server, so whatever happens, happens in the
middle of a download.
"""

import signal
import time

import pytest

from lab import wait_until
from lab_openp2p import MIB, Device, Pair, Server

SIZE = 64 * MIB  # More than all the buffers between web server and client hold.
NO_ICMP = """
table inet black_hole {
  chain sent {
    type filter hook output priority 0; policy accept;
    meta l4proto { 1, 58 } drop
  }
}
"""
HEALING_TIMEOUT = 40  # Seconds: noticing a dead peer (30) and finding it again.


@pytest.fixture
def pair(lab):
    made = Pair(lab, size=SIZE)
    made.forward_web()
    return made


def stop(process, how):
    process.kill() if how == "kill" else process.terminate()


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_server_restart_does_not_disturb_a_download(pair, how):
    download = pair.download()
    download.read(8 * MIB)

    stop(pair.server.process, how)
    download.read(16 * MIB)
    pair.server.start()

    assert download.finish() == pair.digest
    for device in (pair.nas, pair.laptop):
        wait_until(lambda: device.json("status")["server"]["state"] == "connected",
                   HEALING_TIMEOUT, f"{device.name} is connected again")
    assert pair.laptop.peer("nas")["path"] == "direct IPv4"


def test_new_sessions_after_a_server_restart(pair):
    """The address a home is reached at may be learnt from the server: it must still be right."""
    stop(pair.server.process, "kill")
    pair.server.start()
    for device in (pair.nas, pair.laptop):
        device.wait_connected(HEALING_TIMEOUT)
    assert pair.laptop.process.terminate() == 0
    pair.laptop.up()

    assert pair.download().finish() == pair.digest


@pytest.mark.parametrize("victim", ["nas", "laptop"])
def test_killed_agent_that_is_back_ends_old_connections(pair, victim):
    """With a raw connection: the side that lives has to see its end, and no end that looks clean."""
    listener = pair.nas.host.tcp_listener("127.0.0.1", timeout=20)
    pair.laptop.add_forward("raw", "nas", f"127.0.0.1:{listener.getsockname()[1]}", 7000)
    local = pair.laptop.host.connect("127.0.0.1", 7000, timeout=20)
    local.sendall(b"hello")
    remote, _ = listener.accept()
    assert remote.recv(5) == b"hello"
    download = pair.download()
    download.read(8 * MIB)
    dying = pair.nas if victim == "nas" else pair.laptop

    dying.process.kill()
    dying.up()

    survivor = local if victim == "nas" else remote
    survivor.settimeout(5)
    with pytest.raises(ConnectionResetError):
        survivor.recv(1)
    with pytest.raises(ConnectionError):
        download.finish(timeout=5)
    assert pair.download(timeout=HEALING_TIMEOUT).finish() == pair.digest


def test_killed_agent_that_stays_away_is_noticed(pair):
    download = pair.download()
    download.read(8 * MIB)
    started = time.monotonic()
    pair.nas.process.kill()

    with pytest.raises(ConnectionResetError):
        download.finish(timeout=HEALING_TIMEOUT)

    assert time.monotonic() - started <= 35
    web = pair.laptop.wait_forward("web", lambda f: f["state"] == "listening", 5, "says it waits")
    assert web["reason"]
    pair.nas.up()
    assert pair.download(timeout=HEALING_TIMEOUT).finish() == pair.digest


def test_stopped_agent_ends_connections_at_once(pair):
    download = pair.download()
    download.read(8 * MIB)

    assert pair.nas.process.terminate() == 0

    started = time.monotonic()
    with pytest.raises(ConnectionResetError):
        download.finish()
    assert time.monotonic() - started < 5
    pair.nas.up()
    assert pair.download().finish() == pair.digest


@pytest.mark.parametrize("cut", ["nas", "laptop"])
def test_download_survives_a_network_cut(pair, cut):
    home = pair.nas_home if cut == "nas" else pair.laptop_home
    download = pair.download()
    download.read(8 * MIB)

    home.disconnect()
    pair.laptop.process.wait_for_line(r"peer\.path_lost", timeout=20)
    home.reconnect()

    assert download.finish() == pair.digest


@pytest.mark.parametrize("forgetful", ["nas", "laptop"])
def test_download_survives_a_router_restart(pair, forgetful):
    """The NAT forgets its mappings and gives out others."""
    home = pair.nas_home if forgetful == "nas" else pair.laptop_home
    download = pair.download()
    download.read(8 * MIB)

    home.forget()

    assert download.finish() == pair.digest


def test_download_survives_a_new_external_address(pair):
    download = pair.download()
    download.read(8 * MIB)

    pair.laptop_home.move("198.51.100.77")

    assert download.finish() == pair.digest
    wait_until(lambda: "198.51.100.77:" in pair.nas.peer("laptop")["address"], HEALING_TIMEOUT,
               "the nas knows the laptop's new address")


@pytest.mark.parametrize("mtu", [1400, 1280])
def test_small_path_mtu_with_icmp_blocked(lab, mtu):
    pair = Pair(lab, size=8 * MIB)
    pair.laptop_home.router.nft(NO_ICMP)
    pair.laptop_home.router.set_mtu("wan", mtu)
    lab.core.set_mtu(f"to-{pair.laptop_home.router.name}", mtu)
    lab.core.nft(NO_ICMP)
    pair.forward_web()

    assert pair.download().finish() == pair.digest


def test_path_mtu_that_shrinks_in_a_download(pair):
    """A route change onto a tunnel: no ICMP says that the datagrams are too large now."""
    lab = pair.lab
    download = pair.download()
    download.read(8 * MIB)

    lab.core.nft(NO_ICMP)
    lab.core.set_mtu(f"to-{pair.laptop_home.router.name}", 1300)

    assert download.finish() == pair.digest


def test_no_network_at_start(lab):
    server, home = Server(lab).start(), lab.home()
    laptop = Device(home.host("laptop"))
    laptop.host.link_down("eth0")
    laptop.start(token=server.token)
    waiting = wait_until(lambda: laptop.state.joinpath("agent.sock").exists()
                         and laptop.json("status")["server"], 10, "the agent answers")
    assert waiting["state"] != "connected"

    laptop.host.link_up("eth0")
    laptop.host.run("ip", "route", "replace", "default", "via", str(home.lan[1]))

    laptop.wait_connected(5)
    laptop.host.link_down("eth0")
    laptop.process.wait_for_line(r"server\.lost", timeout=60)
    laptop.host.link_up("eth0")
    laptop.host.run("ip", "route", "replace", "default", "via", str(home.lan[1]))
    laptop.wait_connected(5)


def test_laptop_that_changes_its_home(lab):
    """Carried from one network into another in the middle of a download."""
    pair = Pair(lab, size=SIZE)
    pair.forward_web()
    download = pair.download()
    download.read(8 * MIB)
    other = lab.home(nat="address_restricted")

    pair.laptop.host.link_down("eth0")
    other.adopt(pair.laptop.host, "eth1")

    assert download.finish() == pair.digest


@pytest.mark.parametrize("kind, peer", [
    ("port-restricted", "port-restricted"), ("symmetric, sequential ports", "port-restricted"),
    ("double NAT", "port-restricted"), ("port-restricted", "symmetric, ports preserved"),
    ("symmetric, ports preserved", "symmetric, ports preserved")])
def test_laptop_that_moves_to_another_network_goes_on(lab, kind, peer):
    """Behind lines with delay, where a path takes round trips to find again."""
    line = {"delay_ms": 5}
    homes = [lab.natbox_home(nat, **line) for nat in (peer, "port-restricted")]
    other = lab.natbox_home(kind, **line)
    pair = Pair(lab, size=SIZE, homes=homes)
    pair.forward_web()
    download = pair.download()
    download.read(8 * MIB)

    pair.laptop.host.link_down("eth0")
    other.adopt(pair.laptop.host, "eth1")
    moved_at = time.monotonic()
    wait_until(lambda: other.outside_address(pair.laptop.host) in
               (pair.nas.peer("laptop")["address"] or ""), HEALING_TIMEOUT, "the nas found it again")
    found_after = time.monotonic() - moved_at

    assert found_after < 15
    assert download.finish() == pair.digest


def test_frozen_agent_thaws(pair):
    """As a laptop that sleeps: too long for any session, and everything works again after."""
    pair.laptop.wait_path("nas")
    pair.laptop.process.signal(signal.SIGSTOP)
    wait_until(lambda: not pair.nas.peer("laptop")["path"], 60, "the nas gave the session up")
    pair.laptop.process.signal(signal.SIGCONT)

    assert pair.download(timeout=HEALING_TIMEOUT).finish() == pair.digest
