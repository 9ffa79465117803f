"""Joining and leaving a network: tokens, names, what the server remembers."""

import json
import re
import time

import pytest

from lab import wait_until
from lab_openp2p import Device, Server


@pytest.fixture
def server(lab):
    return Server(lab).start()


@pytest.fixture
def laptop(lab):
    return Device(lab.home().host("laptop"))


def assert_refused(device, token, message, code=1):
    """`up` ends by itself and says why."""
    process = device.start(token=token)
    assert process.wait(15) == code, process.output()
    assert re.search(message, process.output()), process.output()


def assert_good_token_joins(device, server):
    device.up(server.token)
    assert device.json("status")["server"]["state"] == "connected"


def altered(token, offset):
    """The token with one letter changed."""
    letter = "A" if token[offset] != "A" else "B"
    return token[:offset] + letter + token[offset:][1:]


def test_expired_token(server, laptop):
    token = server.new_token("--expires", "1s")
    # Its time is stored in whole microseconds of this machine's clock, so this waits it out.
    deadline = time.monotonic() + 1.1
    wait_until(lambda: time.monotonic() > deadline, 5, "the token's end")

    assert_refused(laptop, token, "expired")

    assert_good_token_joins(laptop, server)


def test_one_time_token_joins_one_device(lab, server, laptop):
    token = server.new_token()
    Device(lab.home().host("nas")).up(token)

    assert_refused(laptop, token, "used")

    assert_good_token_joins(laptop, server)


def test_token_of_a_forgotten_node_stays_good_for_it(server, laptop):
    """A device whose state was lost after the server had let it in: the token is spent."""
    token = server.new_token()
    laptop.up(token)
    laptop.process.kill()

    laptop.up(token)

    assert [n["name"] for n in server.json("node", "list")["nodes"]] == ["laptop"]


@pytest.mark.parametrize("garble", [
    lambda t: t[:-5],
    lambda t: altered(t, len(t) // 2),
    lambda t: altered(t, len(t) - 3),
    lambda t: "op2p1-",
    lambda t: "hello",
    lambda t: "\x1b[31m" + t,
    lambda t: t + "A" * 5000,
], ids=["cut", "middle", "end", "empty", "word", "escape", "long"])
def test_garbled_token(server, laptop, garble):
    assert_refused(laptop, garble(server.token), "token", code=2)

    assert "\x1b" not in laptop.process.output()
    assert not laptop.state.exists()
    assert_good_token_joins(laptop, server)


def test_token_of_another_server_at_that_address(lab, server, laptop):
    """Somebody answers at the server's address who has not its key."""
    stale = server.token
    server.process.kill()
    impostor = Server(lab, server.host, name="impostor").start()

    process = laptop.start(token=stale)

    process.wait_for_line(r"server\.lost .*did not prove the key", timeout=15)
    shown = laptop.json("status")["server"]
    assert "did not prove the key" in shown["reason"]
    assert impostor.json("node", "list")["nodes"] == []
    process.terminate()
    assert_good_token_joins(laptop, impostor)


def test_removed_user_token_and_unknown_user(server):
    unknown = server.attempt("token", "new", "--user", "nobody@example.org")

    assert unknown.code == 1
    assert "nobody@example.org" in unknown.error


@pytest.mark.parametrize("name", ["a\x1b[31mred", "line\nbreak", "x" * 64, "a/b", "\u202eevil"])
def test_bad_names_are_refused(server, laptop, name):
    laptop.name = name
    process = laptop.host.start(laptop.command(token=server.token), name="up")

    assert process.wait(15) == 2
    assert "name" in process.output()
    assert "\x1b" not in process.output()
    assert server.json("node", "list")["nodes"] == []


def test_taken_name_gets_a_number(lab, server):
    home = lab.home()
    devices = [Device(home.host(f"host{n}"), "laptop", lab.path(f"state{n}")) for n in range(3)]
    for device in devices:
        device.up(server.token)

    names = [device.json("status")["name"] for device in devices]

    assert names == ["laptop", "laptop-2", "laptop-3"]
    for device, name in zip(devices, names):  # And keeps it.
        device.process.terminate()
        device.up()
        assert device.json("status")["name"] == name


def test_removed_node_leaves_at_once_and_may_come_back(lab, server, laptop):
    nas = Device(lab.home().host("nas"))
    for device in (nas, laptop):
        device.up(server.token)

    server.run("node", "remove", "laptop")

    laptop.process.wait_for_line(r"removed", timeout=2)
    wait_until(lambda: nas.json("peers")["peers"] == [], 2, "the nas knows it")
    shown = laptop.json("status")["server"]
    assert shown["state"] != "connected"
    assert "removed" in shown["reason"] or "not a member" in shown["reason"], shown
    laptop.process.terminate()
    laptop.up(server.new_token())
    assert nas.peer("laptop")["online"]


def test_joins_are_not_lost_when_the_server_is_killed(lab, server):
    """Who was told that it joined, has joined."""
    home = lab.home()
    joined = []
    for number in range(6):
        device = Device(home.host(f"n{number}"))
        device.start(token=server.new_token())
        device.process.wait_for_line(r"joined as", timeout=15)
        server.process.kill()
        joined.append(device)
        server.start()

    listed = {node["name"] for node in server.json("node", "list")["nodes"]}

    assert listed == {device.name for device in joined}
    for device in joined:
        device.process.terminate()
        device.up()  # Without a token.


def test_networks_do_not_see_each_other(lab, server, laptop):
    server.run("user", "add", "other@example.org")
    text = server.run("token", "new", "--user", "other@example.org")
    stranger = Device(lab.home().host("stranger"))
    stranger.up(re.search(r"--token (\S+)", text).group(1))
    laptop.up(server.token)

    assert laptop.json("peers")["peers"] == []
    assert stranger.json("peers")["peers"] == []
    laptop.add_forward("x", stranger.json("status")["id"], "127.0.0.1:22", 2222)
    assert "no node" in laptop.forward("x")["reason"]


def test_server_refuses_what_is_not_its_own(lab, server):
    second = server.host.start(server.command(), name="second")
    assert second.wait(10) == 1
    assert str(server.data) in second.output()

    other = Server(lab, server.host, name="other")
    clash = other.host.start(other.command(), name="clash")
    assert clash.wait(10) == 1
    assert ":27183" in clash.output()

    server.process.kill()
    database = server.data / "server.db"
    for companion in server.data.glob("server.db-*"):
        companion.unlink()
    database.write_bytes(b"not a database" * 1000)
    before = database.read_bytes()
    broken = server.host.start(server.command(), name="broken")
    assert broken.wait(10) == 1
    assert database.name in broken.output()
    assert database.read_bytes() == before


def test_json_of_the_server_parses(server, laptop):
    laptop.up(server.new_token())

    for words in (["node", "list"], ["token", "new", "--user", "admin"], ["user", "add", "a@b.c"]):
        assert json.loads(server.run(*words, "--json"))["version"] == 1, words
