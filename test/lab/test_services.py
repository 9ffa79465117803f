"""The stock servers of the lab work in it, as root and without rights."""

import hashlib

import lab as lab_module
import pytest


def test_ssh_login_works_and_checks_the_host_key(lab):
    server, home = lab.server(), lab.home()
    alice = home.host("alice")
    sshd = lab.sshd(server)

    said = alice.run(*sshd.client(server.address, sshd.port, "id -un && echo $SSH_CONNECTION"))

    assert said.split()[0] == "lab"
    assert said.split()[1] == home.wan_address
    sshd.host_key = (lab.path("sshd-server") / "user_key.pub").read_text().strip()
    with pytest.raises(lab_module.LabError, match="[Hh]ost key"):
        alice.run(*sshd.client(server.address, sshd.port, "true"))


def test_web_server_serves_a_file(lab):
    server, alice = lab.server(), lab.home().host("alice")
    folder = lab.path("www")
    folder.mkdir()
    content = bytes(range(256)) * 40_000
    (folder / "file.bin").write_bytes(content)
    lab.web_server(server, folder)

    copy = lab.path("copy.bin")
    alice.run("curl", "-sSf", "-o", copy, f"http://{server.address}:8080/file.bin")

    assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(content).digest()


def test_foreign_stun_programs_are_there():
    for name in ("turnutils_stunclient", "turnutils_natdiscovery", "stun", "iperf3", "nft"):
        assert lab_module.tool(name)
