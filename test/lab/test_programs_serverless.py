"""The server is away: agents that knew each other find each other again after a restart."""

import pytest

from lab import wait_until
from lab_openp2p import MIB, Pair

BACK_TIMEOUT = 100  # Seconds: a lost server is dialled at most a minute apart, with jitter.


def one_lan(lab):
    home = lab.home(nat="symmetric")
    return [home, home]


def known_public_address(lab):
    return [lab.home(nat="full_cone"), lab.home(nat="symmetric")]


@pytest.mark.parametrize("homes", [one_lan, known_public_address])
def test_restarted_agents_meet_without_the_server(lab, homes):
    pair = Pair(lab, homes=homes(lab), size=4 * MIB)
    pair.forward_web()
    pair.check_download()
    pair.server.process.kill()
    for device in (pair.laptop, pair.nas):
        assert device.process.terminate() == 0

    for device in (pair.nas, pair.laptop):
        device.start()
        device.process.wait_for_line(r"agent\.started", timeout=20)

    peer = pair.check_download()
    assert peer["path"] and not peer["online"]
    assert pair.laptop.json("status")["server"]["state"] != "connected"

    pair.server.start()
    wait_until(lambda: pair.laptop.peer("nas")["online"], BACK_TIMEOUT, "the nas is online again")
    assert pair.check_download()["path"]
