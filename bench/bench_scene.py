"""The scene of the forward benchmark: two hosts on one wire, and three ways through it.

    left 10.0.0.1 ---- veth, MTU 1500 ---- 10.0.0.2 right
    iperf3, probe, ssh, agent              iperf3, probe, sshd, agent, openp2p-server

On the left, a service of the right is reached plainly, through `ssh -L`, or through our forward.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("OPENP2P_BUILD", str(ROOT / "build" / "release"))
sys.path.insert(0, str(ROOT / "test" / "lab"))

from lab import program, tool, wait_until  # noqa: E402
from lab_openp2p import Device, Server  # noqa: E402

IPERF_PORT, ECHO_PORT = 5201, 5202
SSH_IPERF_PORT = 5301
FORWARD_IPERF_PORT, FORWARD_ECHO_PORT = 5401, 5402
SSH_CIPHER = "aes128-gcm@openssh.com"  # The fastest that OpenSSH has on processors with AES.
READY_TIMEOUT = 20


class Scene:
    """Everything runs once start() returns."""

    def __init__(self, lab):
        self.lab = lab
        self.left, self.right = lab.pair()
        self.server = Server(lab, host=self.right)
        self.left_agent, self.right_agent = Device(self.left), Device(self.right)
        self.agents = (self.left_agent, self.right_agent)
        self.ways = {
            "plain": f"{self.right.address}:{IPERF_PORT}",
            "ssh": f"127.0.0.1:{SSH_IPERF_PORT}",
            "ours": f"127.0.0.1:{FORWARD_IPERF_PORT}",
        }
        self.echo_ways = {
            "plain": f"{self.right.address}:{ECHO_PORT}",
            "ours": f"127.0.0.1:{FORWARD_ECHO_PORT}",
        }

    def start_agents(self):
        """The server, and an agent on each side: two sessions each, to the server and the peer."""
        self.server.start()
        for agent in self.agents:
            agent.up(self.server.token)
        self.left_agent.add_forward("iperf", "right", f"127.0.0.1:{IPERF_PORT}", FORWARD_IPERF_PORT)
        self.left_agent.add_forward("echo", "right", f"127.0.0.1:{ECHO_PORT}", FORWARD_ECHO_PORT)
        self.left_agent.wait_path("right", READY_TIMEOUT)

    def start_others(self):
        """What the agents are measured with and against."""
        self.right.start([tool("iperf3"), "-s", "-p", IPERF_PORT], name="iperf3-server")
        self.echo_server = self.right.start([probe_program(), "serve", ECHO_PORT], name="echo-server")
        self.echo_server.wait_for_line("listening", READY_TIMEOUT)
        sshd = self.lab.sshd(self.right)
        ssh, *words = sshd.client(self.right.address, sshd.port)
        options = ["-N", "-L", f"{SSH_IPERF_PORT}:127.0.0.1:{IPERF_PORT}", "-c", SSH_CIPHER]
        for option in ("ControlMaster=no", "Compression=no", "ExitOnForwardFailure=yes"):
            options += ["-o", option]
        self.left.start([ssh, *options, *words], name="ssh")
        self._wait_listening(self.right, IPERF_PORT)
        self._wait_listening(self.left, SSH_IPERF_PORT)

    def _wait_listening(self, host, port):
        # Not by connecting: iperf3's server would take that for a test.
        def look():
            return host.run("ss", "-Hltn", f"sport = :{port}")
        wait_until(look, READY_TIMEOUT, f"{host.name} listens on port {port}")


def probe_program():
    """bench/echo_probe.cc, in the build folder the agents are from."""
    return str(pathlib.Path(program("openp2p")).parents[2] / "bench" / "echo_probe")
