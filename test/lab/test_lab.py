"""The lab itself: what its NATs do, and that nothing of it stays behind."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import lab as lab_module

HERE = pathlib.Path(__file__).resolve().parent


def mapped_address(inner, outer, target):
    """Where a datagram from `inner` to `target` on `outer` seems to come from."""
    inner.sendto(b"probe", target)
    _, seen = outer.recvfrom(100)
    return seen


def receives(receiver, sender, target):
    """Whether a datagram from `sender` to `target` arrives at `receiver`."""
    sender.sendto(b"knock", target)
    receiver.settimeout(0.3)
    try:
        receiver.recvfrom(100)
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    "nat, same_mapping, from_other_port, from_other_address",
    [
        ("full_cone", True, True, True),
        ("address_restricted", True, True, False),
        ("port_restricted", True, False, False),
        ("symmetric", False, False, False),
    ],
)
def test_nat_maps_and_filters(lab, nat, same_mapping, from_other_port, from_other_address):
    server = lab.server()
    first, other_port = server.udp_socket("203.0.113.1"), server.udp_socket("203.0.113.1")
    other_address = server.udp_socket("203.0.113.2")
    home = lab.home(nat=nat)
    host = home.host("alice").udp_socket(port=5000)

    seen = mapped_address(host, first, first.getsockname())

    assert seen[0] == home.wan_address
    assert receives(host, other_address, seen) == from_other_address
    assert receives(host, other_port, seen) == from_other_port
    assert receives(host, first, seen)
    assert (mapped_address(host, other_port, other_port.getsockname()) == seen) == same_mapping
    assert (mapped_address(host, other_address, other_address.getsockname()) == seen) == same_mapping


def test_public_home_shows_its_own_address_and_is_reached(lab):
    server = lab.server().udp_socket("203.0.113.1")
    alice = lab.home(nat="none").host("alice")
    host = alice.udp_socket(port=5000)

    assert mapped_address(host, server, server.getsockname()) == (alice.address, 5000)
    assert receives(host, server, (alice.address, 5000))


def test_firewall_lets_only_answers_in(lab):
    server = lab.server()
    asked, stranger = server.udp_socket("203.0.113.1"), server.udp_socket("203.0.113.2")
    alice = lab.home(nat="firewall").host("alice")
    host = alice.udp_socket(port=5000)

    assert mapped_address(host, asked, asked.getsockname()) == (alice.address, 5000)
    assert receives(host, asked, (alice.address, 5000))
    assert not receives(host, stranger, (alice.address, 5000))


@pytest.mark.parametrize("unsolicited", ["drop", "reject"])
def test_early_punch_does_not_move_the_mapping(lab, unsolicited):
    """Both port-restricted: the first knock fails, the answer opens the way, the ports stay."""
    homes = [lab.home(unsolicited=unsolicited) for _ in range(2)]
    alice, bob = [home.host(f"host{home.number}").udp_socket(port=5000) for home in homes]
    to_alice, to_bob = [(home.wan_address, 5000) for home in homes]

    assert not receives(bob, alice, to_bob)
    assert receives(alice, bob, to_alice)
    assert receives(bob, alice, to_bob)


def test_two_hosts_of_one_home_share_its_address(lab):
    server = lab.server().udp_socket("203.0.113.1")
    home = lab.home()
    one, two = home.host("one"), home.host("two")
    first, second = one.udp_socket(port=5000), two.udp_socket(port=5000)

    seen = [mapped_address(each, server, server.getsockname()) for each in (first, second)]

    assert [address for address, _ in seen] == [home.wan_address] * 2
    assert seen[0] != seen[1]
    assert receives(second, first, (two.address, 5000)), "the LAN itself is open"
    assert home.router.conntrack_count() == 2, home.router.conntrack()


def test_mapping_expires_and_is_forgotten(lab):
    server = lab.server().udp_socket("203.0.113.1")
    home = lab.home()
    host = home.host("alice").udp_socket(port=5000)
    seen = mapped_address(host, server, server.getsockname())
    assert receives(host, server, seen)

    home.forget()
    # The kernel drops the flows of an address that went a little later, in a worker of its own.
    lab_module.wait_until(lambda: home.router.conntrack_count() == 0, 10, "the mapping is forgotten")
    assert not receives(host, server, seen)

    assert mapped_address(host, server, server.getsockname()) == seen
    home.set_udp_timeout(1)
    assert receives(host, server, seen)
    lab_module.wait_until(lambda: home.router.conntrack_count() == 0, 10, "the mapping expires")
    assert not receives(host, server, seen)


def test_home_can_vanish_and_return(lab):
    server = lab.server(ipv6=True).udp_socket("203.0.113.1")
    home = lab.home(ipv6=True)
    host = home.host("alice").udp_socket(port=5000)
    seen = mapped_address(host, server, server.getsockname())

    home.disconnect()
    assert not receives(host, server, seen)
    assert not receives(server, host, server.getsockname())

    home.reconnect()
    assert receives(server, host, server.getsockname())
    assert receives(host, server, seen)


def test_ipv6_is_filtered_but_not_translated(lab):
    server = lab.server(ipv6=True)
    asked, stranger = server.udp_socket(server.address6), server.udp_socket(server.address6)
    alice = lab.home(ipv6=True).host("alice")
    host = alice.udp_socket(alice.address6, port=5000)

    seen = mapped_address(host, asked, asked.getsockname())

    assert seen[:2] == (alice.address6, 5000)
    assert not receives(host, stranger, seen)
    assert receives(host, asked, seen)


def test_rate_limit_holds(lab):
    server, home = lab.server(), lab.home()
    alice = home.host("alice")
    home.shape(rate_mbit=20)
    listener = server.tcp_listener("203.0.113.1")
    connection = alice.connect("203.0.113.1", listener.getsockname()[1])
    accepted, _ = listener.accept()
    size = 2_000_000

    started = time.monotonic()
    sender = threading.Thread(target=connection.sendall, args=(bytes(size),))
    sender.start()
    received = 0
    while received < size:
        received += len(accepted.recv(1 << 20))
    seconds = time.monotonic() - started
    sender.join()
    connection.close()
    accepted.close()

    assert 0.6 < seconds < 8, f"{size * 8 / seconds / 1e6:.1f} Mbit/s where 20 are allowed"


def test_process_is_watched(lab):
    alice = lab.home().host("alice")
    code = "import sys\nfor line in sys.stdin: print('got ' + line, end='', flush=True)"
    process = alice.start([sys.executable, "-c", code], name="echo", stdin=subprocess.PIPE)

    process.stdin.write(b"one\ntwo\n")
    process.stdin.flush()

    assert process.wait_for_line(r"got (\w+)", timeout=10).group(1) == "one"
    assert process.wait_for_line(r"got (\w+)", timeout=10).group(1) == "two"
    with pytest.raises(TimeoutError, match="got two"):
        process.wait_for_line("three", timeout=0.1)
    assert process.kill() == -signal.SIGKILL
    with pytest.raises(lab_module.LabError, match="ended without"):
        process.wait_for_line("three", timeout=10)


def test_missing_tool_is_named():
    with pytest.raises(lab_module.LabError, match="no-such-tool is missing"):
        lab_module.tool("no-such-tool")


def test_closing_removes_namespaces():
    with lab_module.Lab("gone") as world:
        world.home().host("alice")
        assert list(pathlib.Path("/run/netns").glob(f"{world.prefix}-*"))

    assert not list(pathlib.Path("/run/netns").glob(f"{world.prefix}-*"))


def test_kill_leaves_nothing_behind():
    """A lab that is killed takes its processes with it, because the kernel does."""
    marker = f"openp2p-lab-orphan-{os.getpid()}"
    environment = {k: v for k, v in os.environ.items() if k != lab_module.ENTERED}
    victim = subprocess.Popen(
        [sys.executable, HERE / "killed_lab.py", marker],
        stdout=subprocess.PIPE, env=environment, text=True,
    )
    assert victim.stdout.readline() == "ready\n"
    lab_module.wait_until(lambda: running(marker), 10, "the orphan runs")

    victim.kill()
    victim.wait(10)

    lab_module.wait_until(lambda: not running(marker), 10, "the orphan is gone")
    victim.stdout.close()


def running(marker):
    """Processes of the killed lab's own shell command; those of inner namespaces are seen too."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"sleep 1000; : {marker}".encode() in path.read_bytes():
                found.append(path)
        except OSError:  # It ended between the listing and the read.
            pass
    return found


def test_every_file_here_is_registered():
    """A test file that CMake does not know would never run."""
    registered = (HERE.parent / "CMakeLists.txt").read_text()
    names = [path.stem for path in HERE.glob("test_*.py")]
    assert [name for name in names if name not in registered] == []
