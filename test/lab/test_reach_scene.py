"""The scene that measures reach tells pairs that connect directly from those that cannot."""

from reach_scene import run_cell


def test_easy_pair_connects_through_loss_and_delay(lab):
    cell = run_cell(lab, "port-restricted", "full cone")

    assert cell["direct"], cell
    assert (cell["a"], cell["b"], cell["where"]) == ("port-restricted", "full cone", "lab")
    assert 0.05 < cell["t_s"] < 10
    assert cell["method"]
    assert cell["reason"] == ""
    assert 10 < cell["packets"] < 1000
    assert 2 <= cell["conntrack_max"] < 100


def test_impossible_pair_says_why(lab):
    random = "symmetric, random ports"

    cell = run_cell(lab, random, random, wait_s=4)

    assert not cell["direct"], cell
    assert cell["t_s"] is None
    assert cell["reason"]
    assert 0 < cell["t_reason_s"] < 4
