"""Interrupted runs end exactly like runs that never were: row for row, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_learner import FakeLearner, make_preset
from run_tools import (
    FAKE_WORKER,
    LAKE,
    ask,
    kill,
    launched,
    record,
    rows,
    run_here,
    unbroken,
    wait_for,
)  # fmt: skip

from engine import factory, presets
from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.learning.learner import State
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow


def assert_same(one: Path, other: Path) -> None:
    """Table by table, so that a failure says which."""
    left, right = record(one), record(other)
    for table in left:
        assert len(left[table]) == len(right[table]), table
        for a, b in zip(left[table], right[table], strict=True):
            assert a == b, table


def kill_when_saved(reader: RunReader, at_least: int) -> None:
    """kill -9 once the newest checkpoint and the newest rows are past `at_least`."""
    wait_for(reader, lambda head: head.step >= at_least)
    assert ask(reader, "pause") == "done"
    saved = rows(reader.path, "checkpoints")[-1][1]
    assert saved >= at_least
    assert ask(reader, "step", n=500) == "done"  # more rows than the checkpoint knows of
    kill(reader)
    assert rows(reader.path, "checkpoints")[-1][1] == saved
    assert reader.head().step == saved + 500


# ---------------------------------------------------------------- kill -9


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa"])
def test_a_killed_and_resumed_run_ends_like_one_never_killed(
    tmp_path: Path, algorithm: str
) -> None:
    preset = presets.parse(LAKE, overrides=[f"algorithm.name={algorithm}"])
    with launched(preset, tmp_path, pace=3000.0) as reader:
        kill_when_saved(reader, 2000)
        launch.start_worker(reader.path, resume=True, pace=6000.0)
        kill_when_saved(reader, 9000)
        launch.start_worker(reader.path, resume=True)
        head = wait_for(reader, lambda head: head.ended)
        assert (head.state, head.step, head.generation) == ("finished", 60_000, 2)
        assert_same(reader.path, unbroken(preset, tmp_path))


def test_killed_before_the_first_checkpoint_it_starts_over(tmp_path: Path) -> None:
    preset = make_preset()
    run_dir = launch.create_run(preset, "a", runs_dir=tmp_path)
    lock_free = RunWriter(run_dir)  # a worker that got no further than its sign of life
    lock_free.set_meta(pid=1, state="starting")
    lock_free.commit()
    lock_free.close()
    launch.start_worker(run_dir, resume=True, program=FAKE_WORKER)
    with RunReader(run_dir) as reader:
        head = wait_for(reader, lambda head: head.ended)
        assert (head.state, head.generation) == ("finished", 0)
    other = launch.create_run(preset, "b", runs_dir=tmp_path)
    assert run_here(other, FakeLearner)
    assert_same(run_dir, other)


def test_killed_between_checkpoint_zero_and_the_next_it_repeats_from_zero(tmp_path: Path) -> None:
    preset = make_preset("budget.env_steps=600")
    with launched(preset, tmp_path, FAKE_WORKER, pace=100.0) as reader:
        wait_for(reader, lambda head: head.step >= 20)
        kill(reader)
        assert len(rows(reader.path, "checkpoints")) == 1
        launch.start_worker(reader.path, resume=True, program=FAKE_WORKER)
        wait_for(reader, lambda head: head.ended)
        other = launch.create_run(preset, "b", runs_dir=tmp_path)
        assert run_here(other, FakeLearner)
        assert_same(reader.path, other)


def test_tunes_and_edits_are_replayed_at_exactly_their_steps(tmp_path: Path) -> None:
    preset = presets.parse(LAKE)
    rows_of_edit = ["SFFF", "FFFH", "FHFF", "HFFG"]
    with launched(preset, tmp_path, pace=3000.0, paused=True) as reader:
        assert ask(reader, "step", n=1000) == "done"
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.3) == "done"
        assert ask(reader, "resume") == "done"
        wait_for(reader, lambda head: head.step > 1100)
        assert ask(reader, "pause") == "done"  # a checkpoint that knows the first tune only
        saved = rows(reader.path, "checkpoints")[-1][1]
        # One at the very step of the checkpoint, but after it.
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.2) == "done"
        assert ask(reader, "step", n=777) == "done"
        assert ask(reader, "edit", rows=rows_of_edit) == "done"
        assert ask(reader, "tune", key="algorithm.exploration.start", value=0.5) == "done"
        assert ask(reader, "step", n=333) == "done"
        kill(reader)

        launch.start_worker(reader.path, resume=True)
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        steps = [tune.step for tune in reader.tunes()]
        assert steps == [1000, saved, saved + 777]
        assert reader.worlds()[-1].step == saved + 777

        other = launch.create_run(preset, "b", runs_dir=tmp_path)
        assert run_here(other, changing_learner(saved, rows_of_edit))
        assert_same(reader.path, other)


def changing_learner(saved: int, rows_of_edit: list[str]) -> Callable[[Preset], Any]:
    """A learner that changes itself at the steps of the test above, without any worker."""

    def make(preset: Preset) -> Any:
        learner = factory.make_learner(preset)
        plan: list[tuple[int, Callable[[], Any]]] = [
            (1000, lambda: learner.tune("algorithm.learning_rate", 0.3)),
            (saved, lambda: learner.tune("algorithm.learning_rate", 0.2)),
            (saved + 777, lambda: learner.edit(rows_of_edit)),
            (saved + 777, lambda: learner.tune("algorithm.exploration.start", 0.5)),
        ]
        advance = learner.advance

        def advance_to_plan(limit: int) -> list[Any]:
            if not plan:
                return advance(limit)
            events = advance(min(limit, plan[0][0] - learner.counters.step))
            while plan and plan[0][0] == learner.counters.step:
                events += plan.pop(0)[1]()
            return events

        learner.advance = advance_to_plan  # type: ignore[method-assign]
        return learner

    return make


def test_a_tune_waiting_for_its_replay_survives_another_kill(tmp_path: Path) -> None:
    preset = make_preset("budget.env_steps=300")
    with launched(preset, tmp_path, FAKE_WORKER, paused=True) as reader:
        assert ask(reader, "step", n=100) == "done"
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.125) == "done"
        kill(reader)
        # Resumed and killed again before step 100, with a newer tune and a checkpoint in between.
        launch.start_worker(reader.path, resume=True, pace=10.0, paused=True, program=FAKE_WORKER)
        assert ask(reader, "step", n=50) == "done"
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.75) == "done"
        assert ask(reader, "resume") == "done"
        assert ask(reader, "pause") == "done"
        assert 50 < rows(reader.path, "checkpoints")[-1][1] < 100
        kill(reader)
        launch.start_worker(reader.path, resume=True, program=FAKE_WORKER)
        wait_for(reader, lambda head: head.ended)
        assert [(tune.step, tune.value) for tune in reader.tunes()] == [(50, 0.75), (100, 0.125)]


def test_what_was_asked_of_a_dead_worker_is_not_done_by_the_next(tmp_path: Path) -> None:
    run_dir = launch.create_run(make_preset("budget.env_steps=20"), "a", runs_dir=tmp_path)
    with RunReader(run_dir) as reader:
        stale = reader.send("stop")
        launch.start_worker(run_dir, program=FAKE_WORKER)
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        reply = reader.reply(stale)
        assert reply is not None
        assert reply.refused


# ---------------------------------------------------------------- pause, stop, finish


def test_pauses_leave_no_trace(tmp_path: Path) -> None:
    preset = presets.parse(LAKE)
    with launched(preset, tmp_path, pace=3000.0, paused=True) as reader:
        for n in (1, 17, 4000):
            assert ask(reader, "step", n=n) == "done"
            assert ask(reader, "resume") == "done"
            assert ask(reader, "pause") == "done"
        assert ask(reader, "pace", value=None) == "done"
        assert ask(reader, "resume") == "done"
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        assert_same(reader.path, unbroken(preset, tmp_path))


def test_a_stopped_and_resumed_run_ends_like_one_never_stopped(tmp_path: Path) -> None:
    preset = presets.parse(LAKE)
    with launched(preset, tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=12_345) == "done"
        assert ask(reader, "stop") == "done"
        wait_for(reader, lambda head: head.ended)
        last = reader.evaluation_at()
        assert last is not None
        assert last.step == 12_345, "the last word of a stopped run …"
        launch.start_worker(reader.path, resume=True)
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        assert reader.head().seconds > 0.0
        again = reader.evaluation_at(12_345)
        assert again is not None
        assert again.step < 12_345, "… is gone once it went on"
        assert_same(reader.path, unbroken(preset, tmp_path))


def test_a_raised_budget_continues_as_if_it_had_been_so_from_the_start(tmp_path: Path) -> None:
    with launched(presets.parse(LAKE), tmp_path) as reader:
        assert wait_for(reader, lambda head: head.ended).step == 60_000
        assert reader.info().preset.budget.env_steps == 60_000
        launch.start_worker(reader.path, resume=True, overrides=["budget.env_steps=90_000"])
        wait_for(reader, lambda head: head.step == 90_000 and head.ended)
        assert reader.info().preset.budget.env_steps == 90_000
        longer = presets.parse(LAKE, overrides=["budget.env_steps=90_000"])
        assert_same(reader.path, unbroken(longer, tmp_path))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    assert run_here(run_dir, FakeLearner)
    return run_dir


@pytest.mark.parametrize("overrides", [[], ["budget.env_steps=300"], ["budget.episodes=80"]])
def test_a_used_up_budget_must_be_raised(finished: Path, overrides: list[str]) -> None:
    before = record(finished), (finished / "preset.toml").read_text()
    with pytest.raises(UserError, match=r"used up its budget.*--set budget\.(env_steps|episodes)="):
        launch.start_worker(finished, resume=True, overrides=overrides)
    assert (record(finished), (finished / "preset.toml").read_text()) == before
    with RunReader(finished) as reader:
        assert reader.state() == "finished"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.gamma=0.5", "only its budget can change"),
        ("budget.env_stepz=900", "env_stepz.*Did you mean 'env_steps'"),
        ("budget.env_steps=many", "env_steps.*found"),
    ],
)
def test_only_the_budget_can_change_at_a_resume(
    finished: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        launch.start_worker(finished, resume=True, overrides=[override])


def test_the_advice_for_a_used_up_budget_works_as_printed(tmp_path: Path) -> None:
    preset = make_preset("budget.env_steps=1_000_000")
    run_dir = launch.create_run(preset, "a", runs_dir=tmp_path)
    writer = RunWriter(run_dir)
    writer.set_meta(state="finished", counters={"env_steps": 1_000_000})
    writer.commit()
    writer.close()
    with pytest.raises(UserError) as caught:
        launch.start_worker(run_dir, resume=True)
    override = str(caught.value).split("--set ")[1]
    longer = presets.parse(presets.dump(preset), overrides=[override])
    assert longer.budget.env_steps == 2_000_000


def test_seconds_add_up_over_resumes(finished: Path) -> None:
    writer = RunWriter(finished)
    writer.set_meta(seconds=1000.0)
    writer.commit()
    writer.close()
    launch.start_worker(
        finished, resume=True, overrides=["budget.env_steps=450"], program=FAKE_WORKER
    )
    with RunReader(finished) as reader:
        assert wait_for(reader, lambda head: head.ended and head.step == 450).seconds > 1000.0


def test_a_checkpoint_of_another_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    preset = make_preset("budget.env_steps=300")
    run_dir = launch.create_run(preset, "a", runs_dir=tmp_path)

    class Older(FakeLearner):
        def load(self, state: State) -> None:
            raise KeyError("agents.level")

    assert run_here(run_dir, FakeLearner)
    assert not run_here(run_dir, Older)
    with RunReader(run_dir) as reader:
        assert reader.state() == "failed"
        assert "another version of Ice Maze" in reader.error()
        assert "KeyError" not in reader.error()
