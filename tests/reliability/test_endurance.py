"""Long runs stay small, in memory and on disk; many workers at once do not disturb each other."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path

import pytest
from long_form import count
from run_tools import kill, record, run_here, wait_for

from engine import factory, presets
from engine.runs import launch
from engine.runs.pacing import TICK
from engine.runs.reader import RunReader
from engine.runs.session import Session
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

LAKE = """
title = "Long"
[maze]
map = '''
SFFF
FHFH
FFFH
HFFG
'''
slip = 0.3
max_steps = 50
[algorithm]
name = "q-learning"
[budget]
env_steps = 60_000
[run]
seed = 5
"""
MEGABYTE = 2**20


def test_the_store_of_a_long_run_stays_small(tmp_path: Path) -> None:
    steps = count(1_000_000, 100_000_000)
    preset = presets.parse(LAKE, overrides=[f"budget.env_steps={steps}"])
    run_dir = launch.create_run(preset, "long", runs_dir=tmp_path)
    assert run_here(run_dir, factory.make_learner)
    size = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
    print(f"{steps} steps: {size / MEGABYTE:.1f} MB")
    assert size <= 50 * MEGABYTE


def test_a_run_watched_for_hours_does_not_grow_in_memory(tmp_path: Path) -> None:
    """At four steps a second, on a clock that only sleeping moves."""
    minutes = count(20, 24 * 60)
    preset = presets.parse(LAKE, overrides=["budget.env_steps=100000000"])
    run_dir = launch.create_run(preset, "watched", runs_dir=tmp_path)
    writer = RunWriter(run_dir)
    writer.set_meta(pace=4.0)
    writer.commit()
    now = 0.0
    blocks: list[int] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += max(seconds, TICK / 5)
        if now >= (len(blocks) + 1) * minutes * 60 / 4:  # a quarter is over
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            session.stop_asked = len(blocks) == 4

    session = Session(writer, factory.make_learner, clock=lambda: now, sleep=sleep)
    assert session.run()
    writer.close()
    print(f"{minutes} minutes, {session.learner.counters.step} steps, blocks: {blocks}")
    assert session.learner.counters.step > 3.9 * minutes * 60
    # The first half fills the rings; steps that kept one object each would be twice as many.
    assert blocks[-1] - blocks[1] < minutes * 60


def test_many_workers_at_once(tmp_path: Path) -> None:
    """All of one preset and seed: each ends with the same record."""
    preset = presets.parse(LAKE)
    readers = []
    with contextlib.ExitStack() as stack:
        for _ in range(count(4, 50)):
            run_dir = launch.create_run(preset, "many", runs_dir=tmp_path)
            launch.start_worker(run_dir)
            reader = stack.enter_context(RunReader(run_dir))
            stack.callback(lambda reader=reader: None if reader.head().ended else kill(reader))
            readers.append(reader)
        first, *others = [
            record(reader.path) for reader in readers if wait_for(reader, lambda head: head.ended)
        ]
        assert len(others) == len(readers) - 1
        assert all(other == first for other in others)
