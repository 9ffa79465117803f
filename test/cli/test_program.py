"""The program `openp2p` as people and scripts meet it: output, JSON, exit codes, completion."""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

PROGRAM = os.environ["OPENP2P_PROGRAM"]
DONE, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3


def join_token(server=1, addresses=("server.example:27183",)):
    fields = bytes([len(addresses)])
    for address in addresses:
        fields += bytes([len(address)]) + address.encode()
    fields += bytes([server] * 32) + bytes([server] * 16) + bytes(8)
    whole = fields + hashlib.sha256(fields).digest()[:4]
    return "op2p1-" + base64.urlsafe_b64encode(whole).decode().rstrip("=")


class Home:
    """A person's home folder, and the program run in it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.state = self.path / "state"
        self.environment = {
            "HOME": str(path), "XDG_DATA_HOME": str(path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(self, *arguments, stdin="", **environment):
        return subprocess.run(
            [PROGRAM, *arguments], input=stdin, capture_output=True, text=True, timeout=20, cwd=self.path,
            env={**self.environment, **environment})

    def start(self, *arguments, **options):
        """`up` with the folder's state, and what it starts with; it ends at once."""
        result = self.run("up", "--state", str(self.state), *arguments, OPENP2P_TEST_ONCE="1", **options)
        assert result.returncode == DONE, result.stderr
        return json.loads(result.stdout), result.stderr

    def query(self, *arguments):
        return self.run(*arguments, "--state", str(self.state))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def agent(home):
    """A home in which an agent runs."""
    process = subprocess.Popen(
        [PROGRAM, "up", "--state", str(home.state), "--token", join_token()], stdout=subprocess.PIPE,
        text=True, cwd=home.path, env=home.environment)
    home.process = process
    assert process.stdout.readline()  # Written once it serves.
    yield home
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == DONE
    process.stdout.close()


def is_safe(text):
    return all(c == "\n" or ord(c) >= 0x20 and not 0x7f <= ord(c) < 0xa0 for c in text)


# Asking an agent.

def test_status(agent):
    result = agent.query("status")
    assert result.returncode == DONE
    assert "laptop" in result.stdout and "1 of 2 online" in result.stdout
    assert "server.example:27183, waiting, tries again in 3 s: bad?[2J" in result.stdout
    assert is_safe(result.stdout)


def test_status_json(agent):
    result = agent.query("status", "--json")
    status = json.loads(result.stdout)
    assert status["version"] == 1
    assert status["server"]["state"] == "waiting"
    assert status["uptime_us"] == 93_840_000_000


def test_peers_are_aligned_and_safe(agent):
    result = agent.query("peers")
    lines = result.stdout.splitlines()
    assert result.returncode == DONE and len(lines) == 3 and is_safe(result.stdout)
    assert lines[0].index("ID") == lines[1].index("ab00000000")
    assert "12.3 ms" in lines[1] and "4.7 GiB" in lines[1] and "offline" in lines[2]


def test_peers_json(agent):
    peers = json.loads(agent.query("peers", "--json").stdout)["peers"]
    assert [peer["name"] for peer in peers] == ["büro-nas", 'bad?[2J???"\\name']


def test_one_peer_with_all_that_was_tried(agent):
    result = agent.query("peers", "büro-nas")
    assert result.returncode == DONE, result.stderr
    assert "direct IPv4 203.0.113.5:4500, by punch, 12.3 ms" in result.stdout
    assert "1.250 s ago  method-ended  mapped, after 3 probes: no check was answered" in result.stdout
    assert "srflx 203.0.113.5:4500" in result.stdout
    peer = json.loads(agent.query("peers", "büro-nas", "--json").stdout)["peer"]
    assert [event["event"] for event in peer["timeline"]] == ["method-ended", "path-selected"]


def test_a_hostile_peer_is_shown_safely(agent):
    result = agent.query("peers", "0" * 64)
    assert result.returncode == DONE and is_safe(result.stdout), result.stderr
    assert "in 7 s" in result.stdout


def test_an_unknown_peer_is_not_found(agent):
    result = agent.query("peers", "nobody")
    assert result.returncode != DONE and "there is no node nobody" in result.stderr


def test_forwards_from_add_to_remove(agent):
    added = agent.query("forward", "add", "my ssh", "--peer", "büro-nas", "--to", "[::1]:22", "--listen", "2222")
    assert added.returncode == DONE, added.stderr
    assert added.stdout == "forward my ssh: 127.0.0.1:2222 leads to [::1]:22 at büro-nas\n"
    assert added.stderr == ""

    listed = agent.query("forward", "list")
    head, line = listed.stdout.splitlines()
    assert line.split("  ")[0] == "my ssh"
    assert head.index("LISTEN") == line.index("127.0.0.1:2222")
    assert head.index("TO") == line.index("[::1]:22")

    assert agent.query("forward", "disable", "my ssh").returncode == DONE
    forward = json.loads(agent.query("forward", "list", "--json").stdout)["forwards"][0]
    assert forward["enabled"] is False and forward["state"] == "disabled" and forward["port"] == 22
    assert agent.query("forward", "enable", "my ssh").returncode == DONE
    assert agent.query("forward", "remove", "my ssh").stdout == "forward my ssh is removed\n"
    assert json.loads(agent.query("forward", "list", "--json").stdout)["forwards"] == []


def test_forward_open_to_others_is_pointed_out(agent):
    added = agent.query("forward", "add", "web", "--peer", "nas", "--to", "nas:80", "--listen", "0.0.0.0:8080")
    assert added.returncode == DONE and "other machines" in added.stderr


def test_refusals_of_the_agent(agent):
    def add():
        return agent.query("forward", "add", "a", "--peer", "nas", "--to", "nas:80", "--listen", "1", "--json")
    assert json.loads(add().stdout)["forward"]["listen"] == "127.0.0.1:1"
    again = add()
    assert again.returncode == FAILED
    assert json.loads(again.stdout)["error"]["kind"] == "conflict"
    assert "of that name" in again.stderr

    unknown = agent.query("forward", "remove", "x\x1b[2J/é")
    assert unknown.returncode == FAILED and unknown.stderr == "openp2p: nothing is named x?[2J/é\n"


@pytest.mark.parametrize("arguments", [
    ["forward", "add", "a", "--peer", "nas", "--to", "nas", "--listen", "1"],
    ["forward", "add", "a", "--peer", "nas", "--to", "::1:22", "--listen", "1"],
    ["forward", "add", "a", "--peer", "nas", "--to", "nas:22", "--listen", "nas:1"],
    ["forward", "add", "a/b", "--peer", "nas", "--to", "nas:22", "--listen", "1"],
    ["forward", "add", "a\x1b[2J", "--peer", "nas", "--to", "nas:22", "--listen", "1"],
    ["forward", "add", "a", "--peer", "nas", "--to", "nas:22"],
    ["forward", "add"], ["forward"], ["forward", "remove"], ["forward", "bogus"],
    ["ping"], ["ping", "nas", "-c", "0"], ["ping", "nas", "-c", "1001"], ["ping", "nas", "-c", "x"],
    ["bogus"], ["status", "--bogus"], ["status", "extra"], ["--bogus"], [], ["completion"],
    ["completion", "tcsh"],
    ["up", "--port", "65536"], ["up", "--log-level", "loud"], ["up", "--token", "a", "--token-stdin"],
    ["up", "--token", "garbled"], ["up", "--token", "12345678901234567890"], ["up", "--token-stdin"],
    ["up", "--token-file", "/nonexistent"], ["up", "--accept", "nas"], ["up", "--node", "a\x1bb"],
    ["-node"], ["-node", "x", "stray"], ["-d", "-bogus"], ["-srcport", "x"],
    ["-srcport", "1", "-dstport", "22", "-peernode", "p", "-protocol", "sctp"],
])
def test_wrong_command_lines(home, arguments):
    result = home.run(*arguments)
    assert result.returncode == USAGE, (result.stdout, result.stderr)
    assert result.stderr or arguments == []
    assert "\x1b" not in result.stderr


def test_ping(agent):
    result = agent.query("ping", "büro-nas", "-c", "2")
    assert result.returncode == DONE
    assert result.stdout == (
        "10.0 ms from büro-nas, direct IPv4 203.0.113.5:4500\n"
        "20.0 ms from büro-nas, direct IPv4 203.0.113.5:4500\n"
        "2 sent, 2 answered, round trip 10.0 ms at least, 15.0 ms on average, 20.0 ms at most\n")


def test_ping_without_an_answer(agent):
    result = agent.query("ping", "silent", "-c", "1")
    assert result.returncode == FAILED
    assert result.stdout == "no answer from silent: the peer is offline\n1 sent, 0 answered\n"
    assert agent.query("ping", "nobody").returncode == FAILED


def test_ping_json(agent):
    lines = [json.loads(line) for line in agent.query("ping", "büro-nas", "-c", "3", "--json").stdout.splitlines()]
    assert [line.get("number") for line in lines] == [1, 2, 3, None]
    assert lines[0]["rtt_us"] == 10_000 and lines[-1]["summary"]["received"] == 3


def test_share_tells_what_was_tried_in_vain(agent):
    result = agent.query("share")
    assert result.returncode == DONE and is_safe(result.stdout)
    assert "8 forged tickets, 3 streams that were not for relaying" in result.stdout


def test_netcheck(agent):
    result = agent.query("netcheck")
    assert result.returncode == DONE and is_safe(result.stdout)
    assert "port-restricted cone" in result.stdout and "keeps ports" in result.stdout
    assert json.loads(agent.query("netcheck", "--json").stdout)["mapping"] == "endpoint-independent"
    assert "out of the block 4096 to 5119 (4500, 4900)" in result.stdout
    assert re.search(r"TCP over IPv4 +blocked", result.stdout)
    assert re.search(r"mappings live +not measured yet", result.stdout)
    slow = agent.query("netcheck", "--lifetime")
    assert re.search(r"mappings live +58 s to 1 min", slow.stdout)


def test_methods(home):
    every = ["direct", "mapped", "punch", "predict-one", "birthday", "predict-both", "tcp-direct", "tcp-simultaneous",
             "relayed"]
    told, _ = home.start("--token", join_token())
    assert told["methods"] == every
    told, _ = home.start("--methods", "punch,tcp-direct")
    assert told["methods"] == ["punch", "tcp-direct"]
    told, _ = home.start()  # Remembered.
    assert told["methods"] == ["punch", "tcp-direct"]
    told, _ = home.start("--no-methods", "birthday")
    assert told["methods"] == [method for method in every if method != "birthday"]
    told, _ = home.start("--methods", "all")
    assert told["methods"] == every
    for wrong in (["--methods", "magic"], ["--no-methods", "all"], ["--methods", "punch", "--no-methods", "direct"]):
        assert home.run("up", "--state", str(home.state), *wrong).returncode == USAGE


def test_no_agent(home):
    for arguments in (["status"], ["peers"], ["forward", "list"], ["ping", "nas"], ["netcheck"]):
        result = home.query(*arguments)
        assert result.returncode == NOT_RUNNING and "openp2p up" in result.stderr and result.stdout == ""
        as_json = home.query(*arguments, "--json")
        assert as_json.returncode == NOT_RUNNING
        assert json.loads(as_json.stdout)["error"]["kind"] == "not_running"


def test_agent_that_was_killed(home):
    process = subprocess.Popen(
        [PROGRAM, "up", "--state", str(home.state), "--token", join_token()], stdout=subprocess.PIPE, text=True,
        cwd=home.path, env=home.environment)
    assert process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    assert home.query("status").returncode == NOT_RUNNING
    home.start()  # The dead one's lock and socket are no obstacle.


def test_output_that_nobody_reads(agent):
    result = subprocess.run(f"'{PROGRAM}' peers --state '{agent.state}' | true", shell=True, capture_output=True,
                            text=True, timeout=20)
    assert result.returncode == 0 and result.stderr == ""


# Starting an agent.

def test_first_start_joins_and_later_ones_remember(home):
    told, _ = home.start("--token", join_token(), "--node", "garage", "--accept-lan", "--accept", "nas:22,[::1]:80",
                         "--port", "4000", "--share", "20", "--log-level", "debug")
    assert told["has_secret"] and told["server"] == ["server.example:27183"] and told["log_level"] == 0
    later, _ = home.start()
    for fields in (told, later):
        assert fields["node_name"] == "garage" and fields["accept_lan"] is True
        assert fields["accept"] == ["nas:22", "[::1]:80"]
        assert fields["port"] == 4000 and fields["share_mbit"] == 20
    changed, _ = home.start("--no-accept-lan", "--accept", "none")
    assert changed["accept_lan"] is False and changed["accept"] == [] and changed["node_name"] == "garage"


def test_first_start_needs_a_token(home):
    result = home.run("up", "--state", str(home.state))
    assert result.returncode == FAILED and "token new" in result.stderr


@pytest.mark.parametrize("way", ["stdin", "file", "environment", "spaces"])
def test_ways_to_give_the_token(home, way):
    token = join_token()
    (home.path / "token").write_text(token + "\n")
    told, _ = {
        "stdin": lambda: home.start("--token-stdin", stdin=token + "\n"),
        "file": lambda: home.start("--token-file", str(home.path / "token")),
        "environment": lambda: home.start(OPENP2P_TOKEN=token),
        "spaces": lambda: home.start("--token", f" {token}\n"),
    }[way]()
    assert told["has_secret"]


def test_token_leaves_the_process_list(agent):
    command_line = pathlib.Path(f"/proc/{agent.process.pid}/cmdline").read_text()
    assert "op2p1-" not in command_line and "--token\0xxxx" in command_line


def test_second_agent_is_refused(agent):
    result = agent.run("up", "--state", str(agent.state))
    assert result.returncode == FAILED
    assert f"process {agent.process.pid}" in result.stderr
    assert agent.query("status").returncode == DONE


def test_agent_outlives_who_watched_it(home):
    home.start("--token", join_token())
    reading, writing = os.pipe()
    process = subprocess.Popen([PROGRAM, "up", "--state", str(home.state)], stdout=subprocess.PIPE, stderr=writing,
                               text=True, cwd=home.path, env=home.environment)
    os.close(writing)
    assert process.stdout.readline()
    os.close(reading)
    ignored = next(line for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
                   if line.startswith("SigIgn:"))
    assert int(ignored.split()[1], 16) >> (signal.SIGPIPE - 1) & 1
    process.terminate()
    assert process.wait(timeout=20) == DONE
    process.stdout.close()


def test_corrupt_state_is_left_alone(home):
    home.start("--token", join_token())
    file = home.state / "state.json"
    file.write_text('{"schema": 1,\n "port": }')
    result = home.run("up", "--state", str(home.state))
    assert result.returncode == FAILED and f"{file}:2:10" in result.stderr
    assert file.read_text() == '{"schema": 1,\n "port": }'


def test_state_of_another_place(home):
    told, _ = home.start("--token", join_token())
    assert sorted(path.name for path in home.state.iterdir()) == ["key", "lock", "state.json"]
    assert all(path.stat().st_mode & 0o77 == 0 for path in [home.state, *home.state.iterdir()])
    assert told["node_name"]


# Moving from the original.

CONFIG = {
    "network": {"Token": 11602319472897248650, "Node": "old-node-1", "ShareBandwidth": 10, "PublicIPPort": 0},
    "apps": [
        {"AppName": "ssh", "Protocol": "tcp", "SrcPort": 2222, "PeerNode": "old-peer-1", "DstPort": 22,
         "DstHost": "127.0.0.1", "Whitelist": "localhost", "Enabled": 1},
        {"AppName": "", "Protocol": "tcp", "SrcPort": 8080, "PeerNode": "old-peer-1", "DstPort": 80,
         "DstHost": "192.168.1.5", "Enabled": 0},
        {"AppName": "game", "Protocol": "udp", "SrcPort": 9000, "PeerNode": "old-peer-1", "DstPort": 9000,
         "DstHost": "127.0.0.1", "Enabled": 1},
    ]}


def check_import(told, said):
    assert told["node_name"] == "old-node-1" and told["share_mbit"] == 10
    assert [(f["name"], f["listen"], f["enabled"]) for f in told["forwards"]] == [
        ("ssh", "127.0.0.1:2222", True), ("old-peer-1-8080", "127.0.0.1:8080", False), ("game", "127.0.0.1:9000", True)]
    assert [f["protocols"] for f in told["forwards"]] == [["tcp"], ["tcp"], ["udp"]]
    assert "listens on 127.0.0.1 only" in said and "join token" in said


def test_import_of_a_given_file(home):
    (home.path / "old.json").write_text(json.dumps(CONFIG))
    check_import(*home.start("--token", join_token(), "--import", "old.json"))


@pytest.mark.parametrize("place", [".", "state"])
def test_import_at_the_first_start(home, place):
    home.state.mkdir()
    (home.path / place / "config.json").write_text(json.dumps(CONFIG))
    check_import(*home.start("--token", join_token()))
    home.query("forward", "remove", "ssh")
    _, said = home.start()
    assert "taking over" not in said


def test_command_line_wins_over_the_import(home):
    (home.path / "old.json").write_text(json.dumps(CONFIG))
    told, _ = home.start("--token", join_token(), "--import", "old.json", "--node", "new", "--share", "0",
                         "--listen-all")
    assert told["node_name"] == "new" and told["share_mbit"] == 0
    assert [f["listen"] for f in told["forwards"]] == ["127.0.0.1:2222", "0.0.0.0:8080", "0.0.0.0:9000"]


def test_import_of_a_broken_file(home):
    (home.path / "old.json").write_text('{"network": {},\n "apps": [}')
    result = home.run("up", "--state", str(home.state), "--token", join_token(), "--import", "old.json")
    assert result.returncode == FAILED and "old.json:2:11" in result.stderr
    assert not (home.state / "state.json").exists()


def test_config_of_another_program_is_no_matter(home):
    (home.path / "config.json").write_text("// not even JSON")
    _, said = home.start("--token", join_token())
    assert said == ""


def test_flags_of_the_original(home):
    def start(*arguments):
        return home.run(*arguments, "-d", OPENP2P_TEST_ONCE="1", OPENP2P_STATE=str(home.state))
    account = ["-node", "office-pc", "-token", "11602319472897248650"]
    app = ["-appname=rdp", "-peernode", "home-pc-1", "-dstip", "127.0.0.1", "-dstport", "3389", "-srcport", "13389",
           "-sharebandwidth", "0"]
    refused = start(*account)
    assert refused.returncode == USAGE and "token new" in refused.stderr

    joined = start("-node", "office-pc", "-token", join_token(), *app)
    assert joined.returncode == DONE, joined.stderr
    again = start(*account, *app)
    told = json.loads(again.stdout)
    assert told["node_name"] == "office-pc" and told["share_mbit"] == 0
    assert [(f["name"], f["listen"], f["port"]) for f in told["forwards"]] == [("rdp", "127.0.0.1:13389", 3389)]
    assert "-d has no effect" in again.stderr


# Helping people.

COMMANDS = [[], ["up"], ["status"], ["peers"], ["netcheck"], ["ping"], ["completion"], ["forward"],
            *(["forward", name] for name in ("add", "list", "remove", "enable", "disable"))]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples(home, command):
    result = home.run(*command, "--help")
    assert result.returncode == DONE and result.stderr == ""
    assert "Example" in result.stdout and "openp2p " + " ".join(command) in result.stdout
    assert "names" not in result.stdout.split("Examples")[0].split("Subcommands")[-1]
    # A forward's protocol is the one choice between UDP and TCP that people make.
    says_udp = "udp" in result.stdout.lower().replace("udp port", "")
    assert says_udp == (command == ["forward", "add"])


def test_version(home):
    assert home.run("version").stdout == home.run("--version").stdout == home.run("-v").stdout
    assert home.run("version").stdout.startswith("openp2p 0.")


def complete_bash(agent, *words):
    """What bash would offer for the last of `words`."""
    script = f"""
        openp2p() {{ '{PROGRAM}' "$@" --state '{agent.state}'; }}
        source <('{PROGRAM}' completion bash)
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _openp2p
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(["bash", "-euc", script, "bash", *words], capture_output=True, text=True, timeout=20,
                            env=agent.environment)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return result.stdout.split("\n")[:-1]


def test_completion_in_bash(agent):
    agent.query("forward", "add", "my ssh", "--peer", "nas", "--to", "nas:22", "--listen", "2222")
    assert complete_bash(agent, "openp2p", "p") == ["peers", "ping"]
    assert complete_bash(agent, "openp2p", "up", "--token-s") == ["--token-stdin"]
    assert complete_bash(agent, "openp2p", "forward", "re") == ["remove"]
    assert complete_bash(agent, "openp2p", "forward", "remove", "my") == ["my\\ ssh"]
    assert complete_bash(agent, "openp2p", "forward", "add", "x", "--peer", "b")[0].startswith("b")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(home, shell):
    script = home.run("completion", shell).stdout
    for word in ("up", "status", "peers", "forward", "ping", "netcheck", "enable", "token-stdin"):
        assert word in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, timeout=20).returncode == 0
