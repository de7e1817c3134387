"""kill -9 at random moments: what was committed stays, and the run ends as if never killed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from learner_tools import preset as llm_preset
from llm_records import assert_same_llm_runs
from long_form import count
from run_tools import LAKE, kill, launched, record, rows, unbroken, wait_for

from engine import presets
from engine.runs import launch
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow

PACE = 20_000.0
"""Steps per second: a run of a few seconds, so that a random moment is most often within it."""


def kill_at_random(
    reader: RunReader, dice: random.Random, seconds: float, pace: float | None, most: int
) -> int:
    """Kill and resume until the run is through, at most `most` times; gives how often."""
    kills = 0
    while kills < most:
        time.sleep(dice.uniform(0.0, seconds))
        committed = {table: len(rows(reader.path, table)) for table in ("points", "episodes")}
        if reader.head().ended:
            break
        kill(reader)  # waits until the run is told to be dead
        kills += 1
        for table, least in committed.items():
            assert len(rows(reader.path, table)) >= least, table
        launch.start_worker(reader.path, resume=True, pace=pace)
    head = wait_for(reader, lambda head: head.ended)
    assert head.state == "finished", reader.error()
    return kills


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa-lambda"])
def test_tables(tmp_path: Path, algorithm: str) -> None:
    preset = presets.parse(LAKE, overrides=[f"algorithm.name={algorithm}"])
    sound = record(unbroken(preset, tmp_path))
    dice, left = random.Random(algorithm), count(2, 50)
    while left > 0:
        with launched(preset, tmp_path, pace=PACE) as reader:
            left -= kill_at_random(reader, dice, 3.0, PACE, left)
            assert record(reader.path) == sound


def test_a_language_model(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    preset = llm_preset(tiny_model("llama"), more="group_size = 8\nepochs = 2")
    sound = unbroken(preset, tmp_path)
    dice, left = random.Random(0), count(1, 50)
    while left > 0:
        with launched(preset, tmp_path) as reader:
            left -= kill_at_random(reader, dice, 1.0, None, left)
            assert_same_llm_runs(reader.path, sound)
