"""What an agent keeps: its state folder, its forwards, its secrets, its local API."""

import base64
import json
import os
import pathlib
import socket
import stat
import subprocess

import pytest

from lab import call, program, wait_until
from lab_openp2p import MIB, Device, Pair, Server, run_command

NOBODY = 65534


@pytest.fixture
def server(lab):
    return Server(lab).start()


@pytest.fixture
def laptop(lab, server):
    device = Device(lab.home().host("laptop"))
    device.up(server.token)
    return device


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_forwards_survive_a_restart(lab, how):
    pair = Pair(lab, size=4 * MIB)
    pair.forward_web()
    pair.laptop.add_forward("off", "nas", "127.0.0.1:80", 8081)
    pair.laptop.run("forward", "disable", "off")
    pair.laptop.add_forward("gone", "nas", "127.0.0.1:80", 8082)
    pair.laptop.run("forward", "remove", "gone")

    pair.laptop.process.kill() if how == "kill" else pair.laptop.process.terminate()
    pair.laptop.up()

    assert pair.download().finish() == pair.digest
    kept = pair.laptop.json("forward", "list")["forwards"]
    assert {f["name"]: f["enabled"] for f in kept} == {"off": False, "web": True}
    for port in (8081, 8082):
        with pytest.raises(ConnectionRefusedError):
            pair.download(port)
    pair.laptop.run("forward", "enable", "off")
    assert pair.download(8081).finish() == pair.digest
    pair.laptop.run("forward", "disable", "web")
    with pytest.raises(ConnectionRefusedError):
        pair.download()


def test_disable_ends_its_connections(lab):
    pair = Pair(lab, size=64 * MIB)
    pair.forward_web()
    download = pair.download()
    download.read(MIB)

    pair.laptop.run("forward", "disable", "web")

    with pytest.raises(ConnectionResetError):
        download.finish()


def test_state_folder_is_private(laptop):
    def mode(path):
        return stat.S_IMODE(path.lstat().st_mode)

    assert mode(laptop.state) == 0o700
    names = {path.name for path in laptop.state.iterdir()}
    assert {"key", "state.json", "lock", "agent.sock"} <= names
    for path in laptop.state.iterdir():
        assert mode(path) == 0o600, path


def test_second_agent_on_a_folder_is_refused(laptop):
    second = laptop.host.start(laptop.command(), name="second")

    assert second.wait(10) == 1
    assert str(laptop.process.pid) in second.output()
    assert laptop.json("status")["server"]["state"] == "connected"


@pytest.mark.parametrize("content", [
    b"{", b"", b"\x00\xff" * 100, b'{"schema": 99}', b"[]", b'{"schema": 1, "forwards": 7}',
], ids=["open", "empty", "binary", "newer", "array", "type"])
def test_corrupt_state_is_refused_and_kept(laptop, content):
    laptop.process.terminate()
    state = laptop.state / "state.json"
    state.write_bytes(content)
    key = (laptop.state / "key").read_bytes()

    process = laptop.start()

    assert process.wait(10) == 1
    assert "state.json" in process.output()
    assert state.read_bytes() == content
    assert (laptop.state / "key").read_bytes() == key


def test_lost_or_damaged_key_is_told(laptop):
    laptop.process.terminate()
    key = laptop.state / "key"
    whole = key.read_bytes()

    key.write_bytes(whole[:-1])
    assert laptop.start().wait(10) == 1
    assert "key" in laptop.process.output()
    assert key.read_bytes() == whole[:-1]
    key.unlink()
    assert laptop.start().wait(10) == 1
    assert "is missing" in laptop.process.output()
    assert not key.exists()
    key.write_bytes(whole)
    key.chmod(0o600)
    laptop.up()


def test_full_disk_refuses_changes_and_nothing_else(lab):
    """The state folder is on a file system of its own, which a file fills."""
    pair = Pair(lab, size=4 * MIB)
    pair.laptop.process.terminate()
    full = lab.path("small")
    full.mkdir()
    call(["mount", "-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs", str(full)])
    call(["cp", "-a", f"{pair.laptop.state}/.", str(full / "state")])
    pair.laptop.state = full / "state"
    pair.laptop.up()
    pair.forward_web()
    before = (pair.laptop.state / "state.json").read_bytes()
    filler = full / "filler"
    fill(filler)

    add = ["forward", "add", "more", "--peer", "nas", "--to", "127.0.0.1:80", "--listen", "8081"]
    refused = pair.laptop.attempt(*add)

    assert refused.code == 1
    assert "space" in refused.error.lower(), refused
    assert [f["name"] for f in pair.laptop.json("forward", "list")["forwards"]] == ["web"]
    assert (pair.laptop.state / "state.json").read_bytes() == before
    assert pair.download().finish() == pair.digest
    filler.unlink()
    pair.laptop.run(*add)
    assert pair.download(8081).finish() == pair.digest
    pair.laptop.process.kill()
    pair.laptop.up()
    assert pair.download(8081).finish() == pair.digest


def fill(path):
    with open(path, "wb", buffering=0) as out:
        for size in (4096, 1):
            try:
                while True:
                    out.write(b"x" * size)
            except OSError:
                pass


def test_agent_that_cannot_write_at_start_says_so(lab, server):
    full = lab.path("tiny")
    full.mkdir()
    call(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", str(full)])
    fill(full / "filler")
    laptop = Device(lab.home().host("laptop"), state=full / "state")
    token = lab.path("token")
    token.write_text(server.token)

    process = laptop.start("--token-file", token)

    assert process.wait(10) == 1
    assert "space" in process.output().lower(), process.output()
    (full / "filler").unlink()


def is_real_root():
    return pathlib.Path("/proc/self/uid_map").read_text().split()[2] == "4294967295"


@pytest.mark.skipif(not is_real_root(), reason="other user ids exist for root only")
def test_local_api_refuses_other_users(lab, laptop):
    """Even when the modes of folder and socket would let them in."""
    for path in (lab.folder, laptop.state, laptop.state / "agent.sock"):
        path.chmod(0o777)
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "s.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
        "sys.stdout.buffer.write(s.recv(10000))\n"
    )
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            "/usr/bin/python3", "-c", script, laptop.state / "agent.sock"]

    done = run_command(laptop.host, argv)

    assert laptop.json("status")["id"] not in done.out
    assert done.out == "" or " 403 " in done.out.splitlines()[0], done


def ask(laptop, request):
    """The raw answer of the local API."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(laptop.state / "agent.sock"))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize("request_bytes", [
    b"\r\n\r\n",
    b"GET /v1/status\r\n\r\n",
    b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/forwards HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{",
    b"POST /v1/forwards HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    bytes(range(256)) * 50,
], ids=["blank", "old", "unknown", "method", "json", "length", "long", "binary"])
def test_local_api_survives_nonsense(laptop, request_bytes):
    try:
        answer = ask(laptop, request_bytes)
    except (BrokenPipeError, ConnectionResetError):
        answer = b""

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert laptop.json("status")["server"]["state"] == "connected"


def test_json_answers_parse_and_name_their_version(lab):
    pair = Pair(lab)
    pair.laptop.add_forward("web", "nas", "127.0.0.1:80", 8080)

    for words in (["status"], ["peers"], ["forward", "list"], ["netcheck"],
                  ["forward", "disable", "web"], ["forward", "enable", "web"]):
        assert pair.laptop.json(*words)["version"] == 1, words
    lines = pair.laptop.run("ping", "nas", "-c", "2", "--json").splitlines()
    assert [json.loads(line)["version"] for line in lines] == [1, 1, 1]
    assert "summary" in json.loads(lines[-1])
    pair.laptop.process.terminate()
    stopped = pair.laptop.attempt("status", "--json")
    assert stopped.code == 3
    error = json.loads(stopped.out or stopped.error)
    assert (error["version"], error["error"]["kind"]) == (1, "not_running")


def secret_forms(secret):
    """How bytes may show in a text."""
    return [secret.hex(), base64.b64encode(secret).decode().rstrip("="),
            base64.urlsafe_b64encode(secret).decode().rstrip("=")]


def test_no_secret_shows_in_processes_or_logs(lab):
    server = Server(lab).start("--log-level", "debug")
    token = server.new_token("--reusable")
    nas, laptop = (Device(lab.home().host(name)) for name in ("nas", "laptop"))
    nas.start("--log-level", "debug", "--token", token)
    nas.wait_connected(15)
    laptop.start("--log-level", "debug", token=token)
    laptop.wait_connected(15)
    laptop.add_forward("x", "nas", "127.0.0.1:9", 9000)
    laptop.wait_path("nas")
    laptop.run("netcheck")

    public = [device.json("status")["id"] for device in (nas, laptop)]
    secrets = [token[-40:]]
    for folder in (nas.state, laptop.state, server.data):
        keys = [path for path in folder.iterdir() if path.name.startswith("key")]
        assert keys, folder
        for key in keys:
            secrets += [form for form in secret_forms(key.read_bytes()[:32]) if form not in public]
    texts = {"ps": subprocess.run(["ps", "axww", "-o", "args"], capture_output=True,
                                  text=True).stdout}
    assert "openp2p-server" in texts["ps"]
    for device in (nas, laptop):
        texts[device.name] = device.process.output()
        texts[f"{device.name} cmdline"] = os.fsdecode(
            pathlib.Path(f"/proc/{device.process.pid}/cmdline").read_bytes())
        for words in (["status"], ["peers"], ["forward", "list"]):
            texts[f"{device.name} {words}"] = device.run(*words, "--json")
    own_log = [line for line in server.process.output().splitlines() if "--token" not in line]
    texts["server"] = "\n".join(own_log)
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, where
    assert token not in (laptop.state / "state.json").read_text()


def test_unwritable_and_foreign_folders_are_told(lab, server):
    laptop = Device(lab.home().host("laptop"), state="/proc/openp2p")
    process = laptop.host.start(
        [program("openp2p"), "up", "--token-stdin", "--state", laptop.state], name="up",
        stdin=subprocess.PIPE)
    process.stdin.write(server.token.encode())
    process.stdin.close()

    assert process.wait(10) == 1
    assert "/proc/openp2p" in process.output()


def test_commands_without_an_agent_say_so(lab):
    laptop = Device(lab.home().host("laptop"))

    for words in (["status"], ["peers"], ["ping", "x"], ["forward", "list"], ["netcheck"]):
        done = laptop.attempt(*words)
        assert done.code == 3, (words, done)
        assert "openp2p up" in done.error
    assert not laptop.state.exists()


def test_an_agent_whose_socket_was_left_behind_starts(laptop):
    laptop.process.kill()
    assert (laptop.state / "agent.sock").exists()

    laptop.up()

    assert wait_until(lambda: laptop.json("status")["uptime_us"] > 0, 5, "it answers")
