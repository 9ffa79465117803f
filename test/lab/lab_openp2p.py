"""The programs under test in a lab: a server, and devices that join it.

    server = Server(lab)
    server.start()
    nas = Device(lab.home().host("nas"))
    nas.up(server.token)
    nas.json("status")["server"]["state"]
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import time

from lab import LabError, program, wait_until

MIB = 1 << 20
COMMAND_TIMEOUT = 60  # Seconds: the longest command, a ping of an unreachable peer, ends earlier.
JOIN_TIMEOUT = 15
PORT = 27183


class Outcome:
    """What a command did: its exit code and what it printed."""

    def __init__(self, done):
        self.code, self.out, self.error = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"exit code {self.code}\nstdout: {self.out}\nstderr: {self.error}"


def run_command(node, argv, **options):
    """Runs a program in a node to its end, whatever it ends with."""
    done = subprocess.run(node.command(argv), capture_output=True, text=True, errors="replace",
                          timeout=COMMAND_TIMEOUT, **options)
    return Outcome(done)


class Server:
    """openp2p-server on a host with public addresses, and its administration."""

    def __init__(self, lab, host=None, name="server"):
        self.host = host or lab.server(name)
        self.data = lab.path(f"{name}-data")
        self.name, self.process, self.token = name, None, None

    def command(self, *words):
        argv = [program("openp2p-server"), "run", "--data", self.data]
        for address in self.host.addresses:
            argv += ["--listen", f"{address}:{PORT}"]
        if self.host.address6:
            argv += ["--listen", f"[{self.host.address6}]:{PORT}"]
        return [*argv, *words]

    def start(self, *words):
        """Starts it; the first start prints a reusable token, which `token` keeps."""
        self.process = self.host.start(self.command(*words), name=self.name)
        if self.token is None:
            self.token = self.process.wait_for_line(r"--token (\S+)", timeout=20).group(1)
        self.process.wait_for_line(r"server\.started", timeout=20)
        return self

    def run(self, *words):
        """An administrator's command that has to work."""
        done = self.attempt(*words)
        if done.code != 0:
            raise LabError(f"openp2p-server {' '.join(map(str, words))}: {done}")
        return done.out

    def attempt(self, *words):
        return run_command(self.host, [program("openp2p-server"), *words, "--data", self.data])

    def json(self, *words):
        return json.loads(self.run(*words, "--json"))

    def new_token(self, *words):
        text = self.run("token", "new", "--user", "admin", *words)
        return re.search(r"--token (\S+)", text).group(1)


class Device:
    """One `openp2p up`, and its command line."""

    def __init__(self, host, name=None, state=None):
        self.host, self.name = host, name or host.name
        self.state = pathlib.Path(state or host.lab.path(f"{self.name}-state"))
        self.process = self.started = None

    def command(self, *words, token=None):
        argv = [program("openp2p"), "up", "--node", self.name, "--state", self.state, *words]
        if token is not None:
            token_file = self.state.with_suffix(".token")
            token_file.write_text(token)
            token_file.chmod(0o600)
            argv += ["--token-file", token_file]
        return argv

    def start(self, *words, token=None, prefix=()):
        """Starts the agent and does not wait for anything."""
        self.started = time.monotonic()
        self.process = self.host.start([*prefix, *self.command(*words, token=token)],
                                       name=self.name)
        return self.process

    def up(self, token=None, *words, prefix=()):
        """Starts the agent; returns after how many seconds the server had welcomed it."""
        self.start(*words, token=token, prefix=prefix)
        self.wait_connected(JOIN_TIMEOUT)
        return time.monotonic() - self.started

    def wait_connected(self, timeout):
        self.process.wait_for_line(r"server\.connected", timeout=timeout)

    def run(self, *words):
        """A command that has to work."""
        done = self.attempt(*words)
        if done.code != 0:
            raise LabError(f"openp2p {' '.join(map(str, words))}: {done}")
        return done.out

    def attempt(self, *words, **options):
        return run_command(self.host, [program("openp2p"), *words, "--state", self.state],
                           **options)

    def json(self, *words):
        return json.loads(self.run(*words, "--json"))

    def peer(self, name):
        """What `peers` says about one."""
        return next(p for p in self.json("peers")["peers"] if p["name"] == name)

    def add_forward(self, name, peer, to, listen, *words):
        self.run("forward", "add", name, "--peer", peer, "--to", to, "--listen", str(listen), *words)

    def forward(self, name):
        """What `forward list` says about one."""
        return next(f for f in self.json("forward", "list")["forwards"] if f["name"] == name)

    def wait_forward(self, name, condition, timeout, what):
        """Polls `forward list` until condition(forward) holds, and returns the forward."""
        def look():
            found = self.forward(name)
            return found if condition(found) else None
        return wait_until(look, timeout, f"forward {name} {what}")

    def wait_path(self, peer, timeout=20):
        """The peer as `peers` shows it once there is a path."""
        def look():
            found = self.peer(peer)
            return found if found["path"] else None
        return wait_until(look, timeout, f"{self.name} has a path to {peer}")

    def memory_kib(self, key="VmRSS"):
        return status_number(self.process.pid, key)


def status_number(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE).group(1))


def make_file(path, size):
    """Random bytes that take no time to make: one random MiB, with its number in front of each."""
    digest = hashlib.sha256()
    block = bytearray(os.urandom(MIB))
    with open(path, "wb") as out:
        for number in range(size // MIB):
            block[:8] = number.to_bytes(8, "big")
            out.write(block)
            digest.update(block)
    return digest.hexdigest()


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    return digest.hexdigest()


class Download:
    """An HTTP download that the test steps through, so that things can happen in its middle.

    What is not read stays with the web server once all buffers on the way are full (a few MiB).
    """

    def __init__(self, host, port, name="file.bin", timeout=30):
        self._socket = host.connect("127.0.0.1", port, timeout)
        self._socket.sendall(f"GET /{name} HTTP/1.0\r\nHost: lab\r\n\r\n".encode())
        self._stream = self._socket.makefile("rb")
        status = self._stream.readline()
        if b" 200 " not in status:
            raise LabError(f"the web server answered {status!r}")
        self.size = 0
        while (line := self._stream.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                self.size = int(line.split(b":")[1])
        self._digest, self.received = hashlib.sha256(), 0

    def read(self, size):
        """Reads `size` bytes, or up to the end."""
        end = min(self.size, self.received + size)
        while self.received < end:
            chunk = self._stream.read1(min(MIB, end - self.received))
            if not chunk:
                raise ConnectionError(f"ended after {self.received} of {self.size} bytes")
            self._digest.update(chunk)
            self.received += len(chunk)

    def finish(self, timeout=60):
        """Reads the rest; returns the SHA-256 of it all."""
        self._socket.settimeout(timeout)
        self.read(self.size)
        self.close()
        return self._digest.hexdigest()

    def close(self):
        self._stream.close()
        self._socket.close()


class Pair:
    """The usual scene: a server, `nas` with a web server on port 80, and `laptop`, both joined."""

    def __init__(self, lab, nats=("port_restricted", "port_restricted"), size=0, homes=None,
                 **home_options):
        self.lab, self.server = lab, Server(lab).start()
        homes = homes or [lab.home(nat=nat, **home_options) for nat in nats]
        self.nas_home, self.laptop_home = homes
        self.nas = Device(self.nas_home.host("nas"))
        self.laptop = Device(self.laptop_home.host("laptop"))
        self.digest = None
        if size:
            self.serve(size)
        for device in (self.nas, self.laptop):
            device.up(self.server.token)

    def serve(self, size):
        """A file of that size, at http://nas:80/file.bin."""
        www = self.lab.path("www")
        www.mkdir()
        self.digest = make_file(www / "file.bin", size)
        self.lab.web_server(self.nas.host, www, port=80)

    def forward_web(self, listen=8080):
        self.laptop.add_forward("web", "nas", "127.0.0.1:80", listen)

    def download(self, port=8080, timeout=40):
        return Download(self.laptop.host, port, timeout=timeout)

    def check_download(self):
        """The whole file through the forward, and its path."""
        if self.download().finish() != self.digest:
            raise LabError("the download's SHA-256 differs")
        return self.laptop.peer("nas")
