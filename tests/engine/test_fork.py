"""Forks: they go on like their parent, or with what was changed, from the checkpoints kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from run_tools import COMPARED, LAKE, rows, run_here

from engine import factory, presets
from engine.config.preset import Budget, Preset
from engine.core.errors import UserError
from engine.learning.learner import Counters
from engine.runs import checkpoints, launch
from engine.runs.lists import index
from engine.runs.past import fork
from engine.runs.past.kept import LARGEST_ROWS, MOST, Keeper
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

STEPS = 6000
TENTHS = [640 * tenth for tenth in range(1, 10)]
"""About: 640 can be halved six times."""


def lake() -> Preset:
    return presets.parse(LAKE, overrides=[f"budget.env_steps={STEPS}"])


def whole(preset: Preset, runs_dir: Path) -> Path:
    """A finished run, so fast that it keeps but one checkpoint at each tenth."""
    run_dir = launch.create_run(preset, "whole", runs_dir=runs_dir)
    assert run_here(run_dir, factory.make_learner, clock=lambda: 0.0)
    return run_dir


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be read only."""
    return whole(lake(), tmp_path_factory.mktemp("runs"))


def forked(parent: Path, runs_dir: Path, at: int | None, *overrides: str) -> Path:
    point = fork.find_point(parent, at)
    return fork.create_fork(point, fork.changed_preset(point, overrides), runs_dir=runs_dir)


# ---------------------------------------------------------------- what is kept


def test_a_checkpoint_is_kept_at_each_tenth_of_the_budget(parent: Path) -> None:
    assert [row[1] for row in rows(parent, "kept")] == TENTHS
    with RunReader(parent) as reader:
        assert reader.timeline.checkpoints()[-1] == STEPS
        assert set(TENTHS) < set(reader.timeline.checkpoints())


@pytest.mark.parametrize(("size", "most"), [(100, MOST), (LARGEST_ROWS // 4, 3), (LARGEST_ROWS, 0)])
def test_kept_checkpoints_are_few_and_take_little_room(
    tmp_path: Path, size: int, most: int
) -> None:
    """Also where nobody knows how long the run will be."""
    writer = RunWriter(launch.create_run(lake(), "a", runs_dir=tmp_path))
    keeper = Keeper(writer, Budget(seconds=1.0), folders=False)
    noise = {"x": np.random.default_rng(0).integers(0, 256, size, np.uint8)}  # nothing packs it
    for step in range(1, 60):
        if step == 5:
            assert keeper.put_off(), "nobody knows of a tenth"
        if step >= keeper.due:
            keeper.keep(Counters(step=step), noise)
            writer.commit()
            kept = writer.kept()
            assert len(kept) <= most and sum(len(state) for _, state in kept) <= LARGEST_ROWS
    steps = [step for step, _ in writer.kept()]
    assert len(set(np.diff([0, *steps]).tolist())) <= 1, "evenly spaced"
    assert len(steps) >= most // 2
    again = Keeper(writer, Budget(seconds=1.0), folders=False)  # as after a resume
    assert (again.every, again.due) == (keeper.every, keeper.due)
    writer.close()


def test_a_slow_run_keeps_more_at_its_beginning_and_none_is_put_off_at_the_tenths(
    tmp_path: Path,
) -> None:
    writer = RunWriter(launch.create_run(lake(), "a", runs_dir=tmp_path))
    keeper = Keeper(writer, Budget(env_steps=STEPS), folders=False)
    for step in range(1, 700):
        if step >= keeper.due:
            keeper.keep(Counters(step=step), {})
    writer.commit()
    steps = [step for step, _ in writer.kept()]
    assert len(steps) > MOST // 2 and steps == [*range(steps[0], 700, steps[0])]
    while keeper.every < 640:
        assert keeper.put_off()
    assert not keeper.put_off() and keeper.due == 1280
    writer.close()


def test_a_resume_forgets_what_was_kept_after_its_checkpoint(parent: Path, tmp_path: Path) -> None:
    writer = RunWriter(forked(parent, tmp_path, 3200))
    for step in (3840, 4200):
        writer.keep(Counters(step=step), checkpoints.pack({}))
    writer.commit()
    assert writer.rewind() is not None
    assert [step for step, _ in writer.kept()] == TENTHS[:4], "that of 3200 is its first"
    writer.close()


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("algorithm", "at"), [("q-learning", 0), ("q-learning", 3700), ("planner", 5)]
)
def test_a_fork_without_changes_ends_like_its_parent_row_for_row(
    parent: Path, tmp_path: Path, algorithm: str, at: int
) -> None:
    before, tenths = parent, TENTHS
    if algorithm == "planner":
        planner = presets.load("value-iteration", ["budget.updates=20"])
        before, tenths = whole(planner, tmp_path), [*range(2, 20, 2)]
    child = forked(before, tmp_path, at)
    assert run_here(child, factory.make_learner)
    for table in COMPARED:
        assert rows(child, table) == rows(before, table), table
    assert rows(child, "checkpoints")[-1][1:4] == rows(before, "checkpoints")[-1][1:4]
    with RunReader(child) as reader:
        info = reader.info()
    assert info.parent is not None
    assert info.parent.step == max(step for step in [0, *tenths] if step <= at)


def test_a_fork_of_a_finished_run_needs_more_budget(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"budget\.env_steps: at step 6,000 it is used up"):
        forked(parent, tmp_path, None)


def test_a_fork_with_changes_leaves_its_parent_at_the_checkpoint(
    parent: Path, tmp_path: Path
) -> None:
    before = (parent / "run.db").read_bytes()
    child = forked(
        parent, tmp_path, 3200, "algorithm.learning_rate=0.9", "budget.env_steps=7000",
        "algorithm.exploration.end=0.5",
    )  # fmt: skip
    assert run_here(child, factory.make_learner)
    assert (parent / "run.db").read_bytes() == before
    with RunReader(child) as reader, RunReader(parent) as old:
        info = reader.info()
        assert info.parent is not None and (info.parent.run, info.parent.step) == (
            parent.name,
            3200,
        )
        assert info.preset.algorithm.learning_rate == 0.9  # type: ignore[attr-defined]
        assert {tuned.key for tuned in reader.tunes()} == {
            "algorithm.learning_rate", "algorithm.exploration",
        }  # fmt: skip
        assert [tuned.step for tuned in reader.tunes()] == [3200, 3200]
        assert (reader.head().state, reader.head().step) == ("finished", 7000)
        told = [note.text for note in reader.notes() if note.term == "fork"]
        assert len(told) == 1 and parent.name in told[0] and "learning_rate = 0.9" in told[0]
        # Both stand on one clock: the same up to the fork, and not after it.
        one, other = (each.curves(["expected_return"])["expected_return"] for each in (reader, old))
        shared = other.x <= 3200
        assert np.array_equal(one.x[: shared.sum()], other.x[shared])
        assert np.array_equal(one.mean[: shared.sum()], other.mean[shared])
        assert not np.array_equal(one.mean[-20:], other.mean[-20:])
    assert index.summarise(child).parent == info.parent
    # It can be resumed, and forked itself: also from before the fork, which it has from its parent.
    assert fork.find_point(child, 2000).step == 1920
    assert fork.find_point(child, 3200).preset.algorithm == info.preset.algorithm
    writer = RunWriter(child)
    assert writer.rewind() is not None
    writer.close()


def test_a_setting_that_was_tuned_is_the_parents_at_the_checkpoint(tmp_path: Path) -> None:
    tuned = launch.create_run(lake(), "tuned", runs_dir=tmp_path)
    writer = RunWriter(tuned)
    writer.connection.execute(
        "INSERT INTO commands (name, args, sent_at) VALUES "
        """('tune', '{"key": "algorithm.learning_rate", "value": 0.25}', 0)"""
    )
    writer.close()
    assert run_here(tuned, factory.make_learner, clock=lambda: 0.0)
    point = fork.find_point(tuned, 3200)
    assert point.preset.algorithm.learning_rate == 0.25  # type: ignore[attr-defined]
    child = fork.create_fork(point, point.preset, runs_dir=tmp_path)
    assert run_here(child, factory.make_learner)
    assert rows(child, "metrics") == rows(tuned, "metrics")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("maze.slip=0.1", "maze.slip cannot be changed in a fork: the maze is that of"),
        ("algorithm.name=sarsa", "algorithm.name cannot be changed in a fork"),
        ("algorithm.initial_value=1.0", "is past"),
        ("run.agents=5", "run.agents cannot be changed in a fork"),
        ("run.seed=7", "random numbers go on"),
        ("algorithm.learning_rate=7", "learning_rate"),
        ("budget.env_steps=3000", "budget.env_steps: at step 3,200"),
        ("algorithm.learning_rat=0.5", "learning_rat"),
    ],
)
def test_what_a_fork_cannot_change_is_said_in_a_sentence_and_leaves_nothing(
    parent: Path, tmp_path: Path, override: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        forked(parent, tmp_path, 3200, override)
    assert not list(tmp_path.glob("2*"))


def test_a_setting_that_shapes_what_is_learned_is_refused(tmp_path: Path) -> None:
    preset = presets.load("linear-q-learning", ["budget.env_steps=200", "run.agents=1"])
    before = whole(preset, tmp_path)
    with pytest.raises(UserError, match=r"algorithm\.tilings cannot be changed in a fork"):
        forked(before, tmp_path, 100, "algorithm.tilings=9")
    assert not list(tmp_path.glob("*-fork-*"))


def test_a_damaged_checkpoint_is_said_and_leaves_nothing(parent: Path, tmp_path: Path) -> None:
    point = fork.find_point(parent, 3200)
    broken = tmp_path / parent.name
    broken.mkdir(0o700)
    for file in ("preset.toml", "run.db"):
        (broken / file).write_bytes((parent / file).read_bytes())
        (broken / file).chmod(0o600)
    with sqlite3.connect(broken / "run.db") as db:
        db.execute("UPDATE kept SET state = x'00' WHERE step = 3200")
    with pytest.raises(UserError, match="checkpoint of step 3200 cannot be read"):
        fork.find_point(broken, 3200)
    with pytest.raises(UserError, match="checkpoint of step 3200 cannot be read"):
        fork.create_fork(point._replace(run_dir=broken), point.preset, runs_dir=tmp_path)
    assert not list(tmp_path.glob("*-fork-*"))
    assert fork.find_point(broken, 3199).step == 2560, "the others are unharmed"
