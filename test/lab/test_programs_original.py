"""Who comes from the original OpenP2P: its flags and its config.json, on the real program."""

import json

from lab import program
from lab_openp2p import MIB, Device, Pair, Server

# As its own web console writes it.
CONFIG = {
    "network": {
        "Token": 11602319472897248650, "Node": "old-laptop", "User": "somebody",
        "ShareBandwidth": 10, "ServerHost": "api.example", "ServerPort": 27183, "UDPPort1": 27182,
        "UDPPort2": 27183,
    },
    "apps": [
        {"AppName": "web", "Protocol": "tcp", "SrcPort": 8080, "PeerNode": "nas", "DstPort": 80,
         "DstHost": "localhost", "PeerUser": "", "RelayNode": "", "Enabled": 1},
        {"AppName": "off", "Protocol": "tcp", "SrcPort": 8081, "PeerNode": "nas", "DstPort": 80,
         "DstHost": "localhost", "Enabled": 0},
        {"AppName": "dns", "Protocol": "udp", "SrcPort": 5353, "PeerNode": "nas", "DstPort": 53,
         "DstHost": "localhost", "Enabled": 1},
    ],
    "LogLevel": 1,
}


def test_config_json_is_taken_over(lab):
    pair = Pair(lab, size=4 * MIB)
    config = lab.path("config.json")
    text = json.dumps(CONFIG)
    config.write_text(text)
    mover = Device(lab.home().host("mover"), name="old-laptop")
    token = lab.path("token")
    token.write_text(pair.server.token)
    argv = [program("openp2p"), "up", "--import", config, "--token-file", token, "--state",
            mover.state]

    mover.process = mover.host.start(argv, name="mover")
    mover.wait_connected(15)

    said = mover.process.output()
    assert str(CONFIG["network"]["Token"]) not in said
    assert "web" in said and "dns" in said
    assert mover.json("status")["name"] == "old-laptop"
    kept = {f["name"]: f for f in mover.json("forward", "list")["forwards"]}
    assert {name: f["enabled"] for name, f in kept.items()} == {"web": True, "off": False, "dns": True}
    assert kept["web"]["bound"] == "127.0.0.1:8080"
    pair.laptop = mover
    assert pair.download().finish() == pair.digest
    assert config.read_text() == text
    mover.process.terminate()
    mover.up()
    assert pair.download().finish() == pair.digest


def test_broken_config_json_is_refused(lab):
    server = Server(lab).start()
    laptop = Device(lab.home().host("laptop"))
    config = lab.path("config.json")
    config.write_text('{"apps": [')

    process = laptop.start("--import", config, token=server.token)

    assert process.wait(10) == 1
    assert "config.json" in process.output()
    assert not laptop.state.exists()


def test_flags_are_understood(lab):
    pair = Pair(lab, size=MIB)
    mover = Device(lab.home().host("mover"))
    argv = [program("openp2p"), "-d", "-node", "mover", "-token", pair.server.token,
            "-appname=web", "-peernode", "nas", "-dstip", "127.0.0.1", "-dstport", "80",
            "-srcport", "8080", "--protocol", "tcp", "-loglevel", "1"]

    mover.process = mover.host.start(argv, name="mover", env={"OPENP2P_STATE": str(mover.state)})
    mover.wait_connected(15)

    assert mover.json("status")["name"] == "mover"
    pair.laptop = mover
    assert pair.download().finish() == pair.digest
    assert pair.server.token not in mover.host.run("ps", "axww", "-o", "args")


def test_account_token_is_told_apart(lab):
    laptop = Device(lab.home().host("laptop"))
    argv = [program("openp2p"), "-node", "laptop", "-token", "11602319472897248650"]

    process = laptop.host.start(argv, name="up", env={"OPENP2P_STATE": str(laptop.state)})

    assert process.wait(10) == 2
    assert "openp2p-server token new" in process.output()
    assert "11602319472897248650" not in process.output()
    assert not laptop.state.exists()


def test_half_a_forward_is_refused(lab):
    laptop = Device(lab.home().host("laptop"))
    argv = [program("openp2p"), "-node", "laptop", "-srcport", "8080", "-dstport", "80"]

    process = laptop.host.start(argv, name="up", env={"OPENP2P_STATE": str(laptop.state)})

    assert process.wait(10) == 2
    assert process.output()
