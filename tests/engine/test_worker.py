"""The worker's loop under a fake clock: pace, chunks, budgets, states, failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_learner import FakeLearner, make_preset
from fake_outside import Outside
from run_tools import record, run_here

from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.learning.events import AnyEvent
from engine.runs import launch
from engine.runs.disk import filesystem
from engine.runs.pacing import TICK, Chunk, Pacer
from engine.runs.past.kept import Keeper
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

MakeOutside = Callable[..., Outside]


@pytest.fixture
def make_outside(tmp_path: Path) -> MakeOutside:
    def make(*overrides: str, step_seconds: float = 0.0, **meta: Any) -> Outside:
        run_dir = launch.create_run(make_preset(*overrides), "fake", runs_dir=tmp_path)
        writer = RunWriter(run_dir)
        writer.set_meta(**meta)
        writer.commit()
        writer.close()
        return Outside(run_dir, step_seconds)

    return make


# ---------------------------------------------------------------- pace


@pytest.mark.parametrize("pace", [0.5, 4.0, 30.0, 200.0])
def test_at_a_pace_steps_come_on_schedule(make_outside: MakeOutside, pace: float) -> None:
    outside = make_outside("budget.env_steps=40", pace=pace)
    assert outside.run()
    for i, at in enumerate(outside.steps):
        assert i / pace - 1e-3 <= at <= i / pace + TICK, f"step {i}"
    if pace <= 1 / TICK:
        assert set(outside.chunks) == {1}, "slow steps are never lumped together"


def test_a_worker_that_cannot_keep_up_does_not_race_afterwards() -> None:
    now = 0.0
    pacer = Pacer(lambda: now, 10.0)
    assert pacer.due() == 1
    pacer.took(1)
    now = 100.0
    assert pacer.due() == 1
    pacer.took(1)
    assert pacer.due() == 0
    assert pacer.wait() == pytest.approx(0.1)


def test_a_change_of_pace_counts_from_the_last_step() -> None:
    now = 0.0
    pacer = Pacer(lambda: now, 0.1)
    pacer.took(1)
    now = 3.0
    assert pacer.due() == 0
    pacer.change(1.0)
    assert pacer.due() is not None
    assert (pacer.due() or 0) >= 1
    pacer.change(None)
    assert pacer.due() is None
    pacer.change(2.0)
    assert pacer.due() == 0
    assert pacer.wait() == pytest.approx(0.5)


def test_chunks_settle_at_a_tick(
    make_outside: MakeOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "due", 2**62)  # where a state is kept a chunk ends early
    outside = make_outside("budget.env_steps=20000", step_seconds=0.0001)
    assert outside.run()
    assert outside.chunks[:3] == [1, 8, 64]
    assert all(abs(chunk * 0.0001 - TICK) < 0.001 for chunk in outside.chunks[3:-1])
    assert len(outside.chunks) < 50


def test_a_slow_chunk_shrinks_the_next() -> None:
    chunk = Chunk()
    for _ in range(5):
        chunk.adapt(chunk.size, 1e-6)
    assert chunk.size == 8**5
    chunk.adapt(chunk.size, TICK * 2)
    assert chunk.size == 8**5 // 2
    chunk.adapt(3, 1e-3)  # a short piece says nothing about large chunks
    assert chunk.size == 8**5 // 2


# ---------------------------------------------------------------- commands under a fake clock


def test_paused_from_the_start_it_waits_before_the_first_step(make_outside: MakeOutside) -> None:
    outside = make_outside("budget.env_steps=3", paused=True)
    outside.script = [(60.0, "resume", {})]
    assert outside.run()
    assert min(outside.steps) >= 60.0
    assert outside.replies == [("resume", "done", "", 0)]


def test_step_and_episode_do_exactly_so_many_and_stay_paused(make_outside: MakeOutside) -> None:
    outside = make_outside(paused=True, pace=1.0)
    outside.script = [
        (1.0, "step", {}),
        (2.0, "step", {"n": 3}),
        (3.0, "episode", {}),
        (4.0, "episode", {"n": 2}),
        (9.0, "stop", {}),
    ]
    assert outside.run()
    assert [(name, step) for name, _, _, step in outside.replies] == [
        ("step", 1),
        ("step", 4),
        ("episode", 5),
        ("episode", 15),
        ("stop", 15),
    ]
    assert {status for _, status, _, _ in outside.replies} == {"done"}
    assert outside.steps[-1] < 4.2, "at once, whatever the pace"


def test_two_steps_sent_together_are_two_steps(make_outside: MakeOutside) -> None:
    outside = make_outside(paused=True)
    outside.script = [(1.0, "step", {}), (1.0, "step", {}), (2.0, "stop", {})]
    assert outside.run()
    assert len(outside.steps) == 2


def test_a_paced_episode_keeps_the_pace_and_can_be_interrupted(make_outside: MakeOutside) -> None:
    outside = make_outside(paused=True, pace=10.0)
    outside.script = [
        (1.0, "episode", {"paced": True}),
        (5.0, "episode", {"n": 9, "paced": True}),
        (5.25, "pause", {}),
        (6.0, "stop", {}),
    ]
    assert outside.run()
    assert outside.steps[4] == pytest.approx(1.4, abs=2 * TICK)
    assert outside.replies[1][:3] == ("episode", "done", "Interrupted.")
    assert 6 <= len(outside.steps) <= 9


def test_step_while_running_pauses(make_outside: MakeOutside) -> None:
    outside = make_outside(pace=10.0)
    outside.script = [(1.0, "step", {"n": 2}), (5.0, "stop", {})]
    assert outside.run()
    assert outside.replies[0][3] == len(outside.steps)
    assert outside.steps[-1] < 1.2


def test_tune_edit_and_what_is_refused(make_outside: MakeOutside) -> None:
    outside = make_outside(pace=10.0)
    outside.script = [
        (1.0, "tune", {"key": "algorithm.learning_rate", "value": 0.25}),
        (1.5, "tune", {"key": "algorithm.gamma", "value": 0.25}),
        (2.0, "edit", {"rows": ["SFG"]}),
        (2.5, "nonsense", {}),
        (3.0, "pace", {"value": None}),
    ]
    assert outside.run()
    statuses = [(name, status) for name, status, _, _ in outside.replies]
    assert statuses == [
        ("tune", "done"),
        ("tune", "refused"),
        ("edit", "done"),
        ("nonsense", "refused"),
        ("pace", "done"),
    ]
    assert "algorithm.gamma cannot change" in outside.replies[1][2]
    with RunReader(outside.run_dir) as reader:
        (tuned,) = reader.tunes()
        assert (tuned.key, tuned.value) == ("algorithm.learning_rate", 0.25)
        assert tuned.step == outside.replies[0][3]
        assert [w.step for w in reader.worlds()] == [0, outside.replies[2][3]]
        assert reader.head().pace is None
        assert reader.head().step == 400


def test_commands_are_looked_at_while_it_runs_at_full_speed(make_outside: MakeOutside) -> None:
    outside = make_outside("budget.env_steps=100000", step_seconds=0.001)
    learner = outside.make_learner(make_preset("budget.env_steps=100000"))
    sent_at = 0.0

    def make(preset: Preset) -> FakeLearner:
        original = learner.on_step

        def on_step(step: int) -> None:
            nonlocal sent_at
            assert original
            original(step)
            if step == 5000:
                sent_at = outside.now
                outside.send("stop")

        learner.on_step = on_step
        return learner

    assert outside.run(make)
    assert outside.now - sent_at <= 0.2
    with RunReader(outside.run_dir) as reader:
        assert reader.state() == "stopped"


# ---------------------------------------------------------------- how runs end


def test_the_seconds_budget_counts_training_only(make_outside: MakeOutside) -> None:
    outside = make_outside("budget.env_steps=1000000", "budget.seconds=5", pace=10.0)
    outside.script = [(2.0, "pause", {}), (100.0, "resume", {})]
    assert outside.run()
    assert outside.now == pytest.approx(103.0, abs=3 * TICK)
    with RunReader(outside.run_dir) as reader:
        assert reader.head().seconds == pytest.approx(5.0, abs=3 * TICK)
        assert reader.state() == "finished"


def test_compiling_is_announced_and_not_counted(make_outside: MakeOutside) -> None:
    outside = make_outside("budget.env_steps=500", "budget.seconds=5", step_seconds=0.001)

    class Compiling(FakeLearner):
        def prepare(self) -> None:
            with RunReader(outside.run_dir) as reader:
                assert [note.text for note in reader.notes()] == ["Compiling once."]
            outside.now += 60.0

    def make(preset: Preset) -> FakeLearner:
        learner = Compiling(preset, outside.make_learner(preset).on_step)
        learner.text = "Compiling once."
        return learner

    assert outside.run(make)
    with RunReader(outside.run_dir) as reader:
        assert reader.head().step == 500
        assert reader.head().seconds < 5.0


def test_a_failing_learner_leaves_what_was_written_and_says_why(make_outside: MakeOutside) -> None:
    outside = make_outside()

    def make(preset: Preset) -> FakeLearner:
        def on_step(step: int) -> None:
            if step == 100:
                raise ZeroDivisionError("the ice broke")

        return FakeLearner(preset, on_step)

    assert not outside.run(make)
    with RunReader(outside.run_dir) as reader:
        assert reader.state() == "failed"
        assert reader.error() == "ZeroDivisionError: the ice broke"
        note = reader.notes()[-1]
        assert (note.level, note.text) == ("error", "ZeroDivisionError: the ice broke")
        assert "--resume" in note.remedy
        assert reader.worlds()
        assert reader.final()["status"] == "failed"


def test_a_learner_that_cannot_be_made_fails_with_its_reason(make_outside: MakeOutside) -> None:
    outside = make_outside()

    def make(preset: Preset) -> FakeLearner:
        raise UserError("no room for the table")

    assert not outside.run(make)
    with RunReader(outside.run_dir) as reader:
        assert reader.error() == "no room for the table"
        assert reader.head().step == 0


def test_a_learner_without_progress_fails_instead_of_hanging(make_outside: MakeOutside) -> None:
    outside = make_outside()

    class Stuck(FakeLearner):
        def advance(self, limit: int) -> list[AnyEvent]:
            return []

    assert not outside.run(Stuck)
    with RunReader(outside.run_dir) as reader:
        assert "no progress" in reader.error()


def test_a_full_disk_ends_as_a_failed_run(
    make_outside: MakeOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = make_outside()
    commit, calls = RunWriter.commit, 0

    def full(self: RunWriter) -> None:
        nonlocal calls
        calls += 1
        if calls in (2, 3):  # the last words of the run, and the first try to say it failed
            raise UserError("run.db: database or disk is full. The disk is full; make room.")
        commit(self)

    monkeypatch.setattr(RunWriter, "commit", full)
    assert not outside.run()
    with RunReader(outside.run_dir) as reader:
        assert reader.state() == "failed"
        assert "disk is full" in reader.notes()[-1].text


def test_the_record_does_not_depend_on_timing(make_outside: MakeOutside) -> None:
    fast, slow = make_outside(), make_outside(pace=20.0, step_seconds=0.01)
    slow.script = [(1.0, "pause", {}), (2.0, "step", {"n": 3}), (4.0, "resume", {})]
    assert fast.run()
    assert slow.run()
    assert record(fast.run_dir) == record(slow.run_dir)


def test_without_wal_the_record_is_the_same_and_a_note_says_so(
    make_outside: MakeOutside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, remote = make_outside(), make_outside()
    assert local.run()
    mounts = tmp_path / "mounts"
    mounts.write_text("nas:/home / nfs4 rw 0 0\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    with RunReader(remote.run_dir) as reader:
        assert remote.run()
        (note,) = reader.notes()
        assert "network filesystem (nfs4)" in note.text
    assert not (remote.run_dir / "run.db-wal").exists()
    assert record(local.run_dir) == record(remote.run_dir)


def test_live_rows_while_stepping_come_at_once(make_outside: MakeOutside) -> None:
    outside = make_outside(paused=True)
    seen: list[int] = []

    def look(seconds: float) -> None:
        Outside.sleep(outside, seconds)
        with RunReader(outside.run_dir) as reader:
            live = reader.live()
            assert live is not None
            seen.append(live.step)

    outside.script = [(1.0, "step", {}), (2.0, "step", {"n": 4}), (3.0, "stop", {})]
    assert run_here(outside.run_dir, outside.make_learner, clock=outside.clock, sleep=look)
    assert seen[0] == 0
    assert list(dict.fromkeys(seen)) == [0, 1, 5]


def test_paced_steps_are_all_in_the_live_ring(make_outside: MakeOutside) -> None:
    outside = make_outside("budget.env_steps=45", pace=100.0)
    assert outside.run()
    with RunReader(outside.run_dir) as reader:
        live = reader.live()
    assert live is not None
    assert [step.step for step in live.steps] == list(range(1, 46))
    assert live.policy is not None
    assert live.policy.step == 45


def test_a_paused_worker_writes_nothing(make_outside: MakeOutside) -> None:
    outside = make_outside(paused=True)
    versions: list[bool] = []

    def look(seconds: float) -> None:
        Outside.sleep(outside, seconds)
        versions.append(reader.changed())

    outside.script = [(30.0, "stop", {})]
    with RunReader(outside.run_dir) as reader:
        assert run_here(outside.run_dir, outside.make_learner, clock=outside.clock, sleep=look)
    assert not any(versions[1:-1])
    assert len(versions) > 100
