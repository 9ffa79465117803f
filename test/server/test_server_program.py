"""The program `openp2p-server` as its owner meets it: first start, commands beside it, bad ends."""

import json
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

SERVER = os.environ["OPENP2P_SERVER"]
PROGRAM = os.environ["OPENP2P_PROGRAM"]
DONE, FAILED, USAGE = 0, 1, 2
TOKEN = re.compile(r"op2p1-[A-Za-z0-9_-]+")
PATIENCE = 30


def free_ports(count):
    """UDP ports of loopback that nobody has now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Process:
    """A program that runs until it is told to end, and what it said so far."""

    def __init__(self, argv, environment):
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        self.said = ""

    def wait_for(self, pattern, patience=PATIENCE):
        """Reads until `pattern` was said, and gives its match."""
        end = time.monotonic() + patience
        while True:
            found = re.search(pattern, self.said)
            if found:
                return found
            left = end - time.monotonic()
            assert left > 0, f"not said: {pattern}\n{self.said}"
            if select.select([self.process.stdout], [], [], left)[0]:
                more = os.read(self.process.stdout.fileno(), 65536)
                assert more, f"ended before it said: {pattern}\n{self.said}"
                self.said += more.decode()

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()
        return code


class Place:
    """A folder with a server's data and agents' states; whatever runs in it ends with the test."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.data = self.path / "data"
        self.port, self.stun_port = free_ports(2)
        self.running = []
        self.environment = {"HOME": str(path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(self, *arguments, stdin=""):
        return subprocess.run([SERVER, *arguments], input=stdin, capture_output=True, text=True,
                              timeout=PATIENCE, env=self.environment)

    def command(self, *arguments, **options):
        return self.run(*arguments, "--data", str(self.data), **options)

    def json(self, *arguments, **options):
        result = self.command(*arguments, "--json", **options)
        assert result.returncode == DONE, result.stderr
        answer = json.loads(result.stdout)
        assert answer.pop("version") == 1
        return answer

    def serve_arguments(self):
        return ["run", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}",
                "--stun-port", str(self.stun_port)]

    def start(self):
        server = self._start([SERVER, *self.serve_arguments()])
        server.wait_for("server.started")
        return server

    def join(self, name, token):
        node = self._start([PROGRAM, "up", "--token", token, "--node", name, "--state", str(self.path / name)])
        node.wait_for("server.connected")
        return node

    def _start(self, argv):
        self.running.append(Process(argv, self.environment))
        return self.running[-1]

    def end(self):
        for each in self.running:
            if not each.process.stdout.closed:
                each.end(signal.SIGKILL)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.end()


def names(place):
    return sorted(node["name"] for node in place.json("node", "list")["nodes"])


def test_first_start_makes_key_database_user_and_a_token(place):
    server = place.start()

    assert TOKEN.search(server.said) and "openp2p up --token" in server.said
    assert re.search(r"key +[0-9a-f]{64}", server.said)
    assert f"127.0.0.1:{place.port}" in server.said
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o700
    for file in place.data.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert [user["user"] for user in place.json("user", "list")["users"]] == ["admin"]
    assert server.end() == DONE


def test_key_stays_and_no_token_is_shown_once_there_are_nodes(place):
    server = place.start()
    key = re.search(r"key +(\w+)", server.said)[1]
    place.join("desk", TOKEN.search(server.said)[0])
    server.end()

    server = place.start()

    assert re.search(r"key +(\w+)", server.said)[1] == key
    assert not TOKEN.search(server.said)
    assert names(place) == ["desk"]


def test_commands_work_beside_a_running_server(place):
    server = place.start()
    place.json("user", "add", "ann@example.org", "--password-stdin", stdin="correct horse\n")
    once = place.json("token", "new", "--user", "ann@example.org")
    assert once["addresses"] == [f"127.0.0.1:{place.port}"] and not once["reusable"]

    place.join("laptop", once["token"])
    second = place._start([PROGRAM, "up", "--token", once["token"], "--state", str(place.path / "second")])
    second.wait_for("used already")

    node, = place.json("node", "list", "--user", "ann@example.org")["nodes"]
    assert (node["name"], node["user"]) == ("laptop", "ann@example.org")
    assert place.json("node", "list", "--user", "admin")["nodes"] == []
    table = place.command("node", "list").stdout.splitlines()
    assert table[0].split()[:4] == ["NAME", "ID", "USER", "STATE"] and "laptop" in table[1]
    assert server.process.poll() is None


def test_node_list_tells_who_is_online(place):
    server = place.start()
    token = TOKEN.search(server.said)[0]
    place.join("here", token)
    place.join("gone", token).end()
    end = time.monotonic() + PATIENCE
    while True:
        states = {node["name"]: node["state"] for node in place.json("node", "list")["nodes"]}
        if states == {"here": "online", "gone": "offline"}:
            break
        assert time.monotonic() < end, states

    server.end()

    states = {node["name"]: node["state"] for node in place.json("node", "list")["nodes"]}
    assert states == {"here": "unknown", "gone": "unknown"}
    assert "No server runs" in place.command("node", "list").stdout


def test_removed_node_is_disconnected_within_two_seconds(place):
    server = place.start()
    token = TOKEN.search(server.said)[0]
    place.join("one", token)
    two = place.join("two", token)

    assert place.command("node", "remove", "two").returncode == DONE
    began = time.monotonic()
    two.wait_for("removed from its network")

    assert time.monotonic() - began < 2
    assert names(place) == ["one"]
    assert place.command("node", "remove", "two").returncode == FAILED


def test_nothing_acknowledged_is_lost_to_kill(place):
    for number in range(4):
        server = place.start()
        token = place.json("token", "new", "--user", "admin", "--reusable")["token"]
        node = place.join(f"node{number}", token)
        place.command("node", "list")  # A command that ends must take nothing from the server.
        late = place.join(f"late{number}", token)
        server.end(signal.SIGKILL)
        for each in (node, late):
            each.end(signal.SIGKILL)

    assert names(place) == sorted([f"node{i}" for i in range(4)] + [f"late{i}" for i in range(4)])


def test_full_disk_is_said_and_overcome(place):
    server = place.start()
    token = TOKEN.search(server.said)[0]
    place.join("before", token)

    # No file may grow: what a full disk means to one process.
    pid, lifted = server.process.pid, resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, lifted[1]))
    late = place._start([PROGRAM, "up", "--token", token, "--node", "late", "--state", str(place.path / "late")])
    late.wait_for("disk full")
    late.end()
    assert names(place) == ["before"] and server.process.poll() is None

    resource.prlimit(pid, resource.RLIMIT_FSIZE, lifted)
    place.join("late", token)
    assert names(place) == ["before", "late"]


def test_refuses_to_start_twice_and_says_what_to_do(place):
    place.start()

    again = place.run(*place.serve_arguments())
    elsewhere = place.run("run", "--data", str(place.path / "other"), "--listen",
                          f"127.0.0.1:{place.port}", "--stun-port", str(place.stun_port))

    assert again.returncode == FAILED and "another openp2p-server" in again.stderr
    assert elsewhere.returncode == FAILED
    assert "already in use" in elsewhere.stderr and "--listen" in elsewhere.stderr
    assert not TOKEN.search(elsewhere.stdout)


def test_damaged_files_are_named_and_left_alone(place):
    assert place.start().end() == DONE
    database, key = place.data / "server.db", place.data / "key"
    good = database.read_bytes()

    database.write_bytes(b"not a database at all" * 300)
    result = place.run(*place.serve_arguments())
    assert result.returncode == FAILED and "server.db" in result.stderr and "damaged" in result.stderr
    assert database.read_bytes() == b"not a database at all" * 300

    database.write_bytes(good)
    key.write_bytes(b"short")
    result = place.run(*place.serve_arguments())
    assert result.returncode == FAILED and "damaged" in result.stderr
    assert key.read_bytes() == b"short"


def test_commands_work_without_a_server(place):
    place.json("user", "add", "ann@example.org")
    token = place.json("token", "new", "--user", "ann@example.org", "--expires", "never",
                       "--address", "vpn.example.org:27183")
    assert token["expires_at_us"] is None and token["addresses"] == ["vpn.example.org:27183"]
    assert names(place) == []


@pytest.mark.parametrize("arguments", [
    [], ["frob"], ["run", "--frob"], ["run", "--listen", "nonsense"], ["run", "--stun-port", "70000"],
    ["run", "--listen", "127.0.0.1:5000", "--stun-port", "5000"], ["run", "--public-address", "a b:1"],
    ["run", "--relay", "-1"], ["run", "--relay", "much"], ["run", "--relay", "100001"],
    ["run", "--relay-allowance", "1"], ["run", "--relay-allowance", "1.5GiB"],
    ["run", "--log-level", "loud"], ["user", "add", "no address"], ["token", "new"],
    ["token", "new", "--user", "admin", "--expires", "soon"], ["node", "remove"], ["completion", "csh"],
    ["token", "new", "--user", "admin", "--address", "x"]])
def test_wrong_command_lines_are_told_apart_and_do_nothing(place, arguments):
    data = [] if arguments[:1] in ([], ["frob"], ["completion"]) else ["--data", str(place.data)]
    result = place.run(*arguments, *data)
    assert result.returncode == USAGE and result.stderr
    assert not (place.data / "server.db").exists()


def test_failures_say_what_is_there_instead(place):
    assert "user list" in place.command("token", "new", "--user", "nobody@example.org").stderr
    assert "node list" in place.command("node", "remove", "nobody").stderr
    place.json("user", "add", "ann@example.org")
    twice = place.command("user", "add", "ann@example.org")
    assert twice.returncode == FAILED and "exists" in twice.stderr
    told = json.loads(place.command("user", "add", "ann@example.org", "--json").stdout)
    assert told["version"] == 1 and told["error"]["kind"] == "conflict" and "exists" in told["error"]["text"]
    told = json.loads(place.command("node", "remove", "nobody", "--json").stdout)
    assert told["error"]["kind"] == "not_found"
    short = place.command("user", "add", "bob@example.org", "--password-stdin", stdin="short\n")
    assert short.returncode == FAILED and "8 to" in short.stderr


def test_help_has_examples_and_completion_is_a_script(place):
    text = place.run("--help").stdout
    assert "Examples:" in text and "openp2p-server token new" in text
    for shell in ("bash", "zsh", "fish"):
        script = place.run("completion", shell).stdout
        assert "openp2p-server" in script
        if shutil.which(shell):
            checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
            assert checked.returncode == 0, checked.stderr
