"""A sample of the matrix of NAT pairs with whole programs; `./dev reach --lab` runs all of it.

What takes long to measure of a NAT, its filtering, is not waited for here.
"""

import pytest

from lab_openp2p import Server
from reach_scene import MAPPED, run_cell, run_homes

RANDOM, SEQUENTIAL = "symmetric, random ports", "symmetric, sequential ports"
ENTRIES_MAX = 1100  # Of one router within two minutes, however many searches there were.


def test_easy_pair_connects_through_loss_and_delay(lab):
    cell = run_cell(lab, "port-restricted", "full cone")

    assert cell["direct"], cell
    assert (cell["a"], cell["b"], cell["where"]) == ("port-restricted", "full cone", "lab")
    assert 0.05 < cell["t_s"] <= cell["wish_s"] < 10
    assert cell["method"]
    assert cell["reason"] == ""
    assert 10 < cell["packets"] < 1000
    assert 1 <= cell["conntrack_max"] < 100


@pytest.mark.parametrize(
    ("a", "b", "method"),
    [
        (RANDOM, "port-restricted", "birthday"),
        (SEQUENTIAL, SEQUENTIAL, "predict-both"),
        ("UDP blocked", "port-restricted", "tcp-simultaneous"),
    ],
    ids=["birthday", "predict", "tcp"],
)
def test_hard_pairs_connect(lab, a, b, method):
    cell = run_cell(lab, a, b, measured=MAPPED)

    assert cell["direct"], cell
    assert cell["method"] == method, cell
    assert cell["conntrack_max"] <= ENTRIES_MAX


def test_impossible_pair_says_why(lab):
    cell = run_cell(lab, RANDOM, RANDOM, wait_s=15, measured=MAPPED)

    assert not cell["direct"], cell
    assert cell["t_s"] is None
    assert cell["reason_code"] == "both-random", cell
    assert 0 < cell["t_reason_s"] < 10
    assert cell["conntrack_max"] < 100, "what cannot be is not searched for"


def test_random_ports_of_the_kernel_are_found(lab):
    server = Server(lab).start()
    homes = [lab.home(nat="symmetric"), lab.home(nat="port_restricted")]

    found = run_homes(server, homes, measured=MAPPED)

    assert found["direct"], found
    assert found["method"] == "birthday", found
    assert found["conntrack_max"] <= ENTRIES_MAX


def test_a_mapped_port_is_the_way_between_random_nats(lab):
    server = Server(lab).start()
    homes = [lab.home(nat="symmetric"), lab.home(nat="symmetric", port_mapping=True)]

    found = run_homes(server, homes)

    assert found["direct"], found
    assert found["method"] == "mapped", found
    assert found["conntrack_max"] < 100
