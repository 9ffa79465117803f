"""Downloads whose paths come, go, black-hole, change address and lose: see weather.py.

A sample runs always; OPENP2P_WEATHER_RUNS=20 runs so many, from seed OPENP2P_WEATHER_SEED on, and
then asks for the gaps too: few strikes on a busy machine prove nothing about a median.
"""

import os

import weather
from weather import LOSS, MOVE

SAMPLE_RUNS, SAMPLE_SECONDS = 2, 18
SECONDS = 40
GAP_RUNS_MIN = 10


def test_every_stream_arrives_intact_and_gaps_are_short():
    runs = int(os.environ.get("OPENP2P_WEATHER_RUNS", SAMPLE_RUNS))
    first = int(os.environ.get("OPENP2P_WEATHER_SEED", 1))
    is_sample = runs <= SAMPLE_RUNS
    strikes = []
    for seed in range(first, first + runs):
        run = weather.run_seed(seed, SAMPLE_SECONDS if is_sample else SECONDS)  # Intact, or an error.
        print(run.about, *run.strikes, sep="\n   ")
        strikes += run.strikes
    print(weather.table(strikes))

    assert strikes and max(strike.gap for strike in strikes) < weather.HEALING_PATIENCE
    if runs >= GAP_RUNS_MIN:
        assert weather.median([s for s in strikes if s.kind == MOVE]) == 0
        assert weather.median([s for s in strikes if s.kind == LOSS]) <= 2
