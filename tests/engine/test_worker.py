"""The worker's loop under a fake clock: pace, chunks, budgets, states, failures."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_learner import FakeLearner, make_preset
from run_tools import FAKE_WORKER, ask, launched, record, rows, run_here, wait_for

from engine.errors import UserError
from engine.events import AnyEvent
from engine.presets import Preset
from engine.runs import launch
from engine.runs.pacing import TICK, Chunk, Pacer
from engine.runs.reader import RunReader
from engine.runs.session import MakeLearner
from engine.runs.store import RunWriter


class World:
    """A fake outside: a clock that only steps and sleeps move, and commands sent at set times."""

    def __init__(self, run_dir: Path, step_seconds: float = 0.0) -> None:
        self.run_dir = run_dir
        self.now = 0.0
        self.step_seconds = step_seconds
        self.steps: list[float] = []
        self.chunks: list[int] = []
        self.script: list[tuple[float, str, dict[str, Any]]] = []
        self.seen: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds <= TICK
        self.now += max(seconds, 1e-4)
        while self.script and self.script[0][0] <= self.now:
            _, name, args = self.script.pop(0)
            self.send(name, **args)

    def send(self, name: str, **args: Any) -> None:
        with contextlib.closing(sqlite3.connect(self.run_dir / "run.db")) as connection:
            connection.execute(
                "INSERT INTO commands (name, args, sent_at) VALUES (?, ?, 0)",
                (name, json.dumps(args)),
            )
            connection.commit()

    def make_learner(self, preset: Preset) -> FakeLearner:
        def on_step(_step: int) -> None:
            self.now += self.step_seconds
            self.steps.append(self.now)

        outer = self

        class Watched(FakeLearner):
            def advance(self, limit: int) -> list[AnyEvent]:
                outer.chunks.append(limit)
                return super().advance(limit)

        return Watched(preset, on_step)

    def run(self, make_learner: MakeLearner | None = None) -> bool:
        return run_here(
            self.run_dir, make_learner or self.make_learner, clock=self.clock, sleep=self.sleep
        )

    @property
    def replies(self) -> list[tuple[str, str, str, int]]:
        with contextlib.closing(sqlite3.connect(self.run_dir / "run.db")) as connection:
            return connection.execute(
                "SELECT name, status, reply, applied_step FROM commands ORDER BY id"
            ).fetchall()


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    def make(*overrides: str, step_seconds: float = 0.0, **meta: Any) -> World:
        run_dir = launch.create_run(make_preset(*overrides), "fake", runs_dir=tmp_path)
        writer = RunWriter(run_dir)
        writer.set_meta(**meta)
        writer.commit()
        writer.close()
        return World(run_dir, step_seconds)

    return make


# ---------------------------------------------------------------- pace


@pytest.mark.parametrize("pace", [0.5, 4.0, 30.0, 200.0])
def test_at_a_pace_steps_come_on_schedule(make_world: MakeWorld, pace: float) -> None:
    world = make_world("budget.env_steps=40", pace=pace)
    assert world.run()
    for i, at in enumerate(world.steps):
        assert i / pace - 1e-3 <= at <= i / pace + TICK, f"step {i}"
    if pace <= 1 / TICK:
        assert set(world.chunks) == {1}, "slow steps are never lumped together"


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


def test_chunks_settle_at_a_tick(make_world: MakeWorld) -> None:
    world = make_world("budget.env_steps=20000", step_seconds=0.0001)
    assert world.run()
    assert world.chunks[:3] == [1, 8, 64]
    assert all(abs(chunk * 0.0001 - TICK) < 0.001 for chunk in world.chunks[3:-1])
    assert len(world.chunks) < 50


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


def test_paused_from_the_start_it_waits_before_the_first_step(make_world: MakeWorld) -> None:
    world = make_world("budget.env_steps=3", paused=True)
    world.script = [(60.0, "resume", {})]
    assert world.run()
    assert min(world.steps) >= 60.0
    assert world.replies == [("resume", "done", "", 0)]


def test_step_and_episode_do_exactly_so_many_and_stay_paused(make_world: MakeWorld) -> None:
    world = make_world(paused=True, pace=1.0)
    world.script = [
        (1.0, "step", {}),
        (2.0, "step", {"n": 3}),
        (3.0, "episode", {}),
        (4.0, "episode", {"n": 2}),
        (9.0, "stop", {}),
    ]
    assert world.run()
    assert [(name, step) for name, _, _, step in world.replies] == [
        ("step", 1),
        ("step", 4),
        ("episode", 5),
        ("episode", 15),
        ("stop", 15),
    ]
    assert {status for _, status, _, _ in world.replies} == {"done"}
    assert world.steps[-1] < 4.2, "at once, whatever the pace"


def test_two_steps_sent_together_are_two_steps(make_world: MakeWorld) -> None:
    world = make_world(paused=True)
    world.script = [(1.0, "step", {}), (1.0, "step", {}), (2.0, "stop", {})]
    assert world.run()
    assert len(world.steps) == 2


def test_a_paced_episode_keeps_the_pace_and_can_be_interrupted(make_world: MakeWorld) -> None:
    world = make_world(paused=True, pace=10.0)
    world.script = [
        (1.0, "episode", {"paced": True}),
        (5.0, "episode", {"n": 9, "paced": True}),
        (5.25, "pause", {}),
        (6.0, "stop", {}),
    ]
    assert world.run()
    assert world.steps[4] == pytest.approx(1.4, abs=2 * TICK)
    assert world.replies[1][:3] == ("episode", "done", "Interrupted.")
    assert 6 <= len(world.steps) <= 9


def test_step_while_running_pauses(make_world: MakeWorld) -> None:
    world = make_world(pace=10.0)
    world.script = [(1.0, "step", {"n": 2}), (5.0, "stop", {})]
    assert world.run()
    assert world.replies[0][3] == len(world.steps)
    assert world.steps[-1] < 1.2


def test_tune_edit_and_what_is_refused(make_world: MakeWorld) -> None:
    world = make_world(pace=10.0)
    world.script = [
        (1.0, "tune", {"key": "algorithm.learning_rate", "value": 0.25}),
        (1.5, "tune", {"key": "algorithm.gamma", "value": 0.25}),
        (2.0, "edit", {"rows": ["SFG"]}),
        (2.5, "nonsense", {}),
        (3.0, "pace", {"value": None}),
    ]
    assert world.run()
    statuses = [(name, status) for name, status, _, _ in world.replies]
    assert statuses == [
        ("tune", "done"),
        ("tune", "refused"),
        ("edit", "done"),
        ("nonsense", "refused"),
        ("pace", "done"),
    ]
    assert "algorithm.gamma cannot change" in world.replies[1][2]
    with RunReader(world.run_dir) as reader:
        (tuned,) = reader.tunes()
        assert (tuned.key, tuned.value) == ("algorithm.learning_rate", 0.25)
        assert tuned.step == world.replies[0][3]
        assert [w.step for w in reader.worlds()] == [0, world.replies[2][3]]
        assert reader.head().pace is None
        assert reader.head().step == 400


def test_commands_are_looked_at_while_it_runs_at_full_speed(make_world: MakeWorld) -> None:
    world = make_world("budget.env_steps=100000", step_seconds=0.001)
    learner = world.make_learner(make_preset("budget.env_steps=100000"))
    sent_at = 0.0

    def make(preset: Preset) -> FakeLearner:
        original = learner.on_step

        def on_step(step: int) -> None:
            nonlocal sent_at
            assert original
            original(step)
            if step == 5000:
                sent_at = world.now
                world.send("stop")

        learner.on_step = on_step
        return learner

    assert world.run(make)
    assert world.now - sent_at <= 0.2
    with RunReader(world.run_dir) as reader:
        assert reader.state() == "stopped"


# ---------------------------------------------------------------- how runs end


def test_the_seconds_budget_counts_training_only(make_world: MakeWorld) -> None:
    world = make_world("budget.env_steps=1000000", "budget.seconds=5", pace=10.0)
    world.script = [(2.0, "pause", {}), (100.0, "resume", {})]
    assert world.run()
    assert world.now == pytest.approx(103.0, abs=3 * TICK)
    with RunReader(world.run_dir) as reader:
        assert reader.head().seconds == pytest.approx(5.0, abs=3 * TICK)
        assert reader.state() == "finished"


def test_compiling_is_announced_and_not_counted(make_world: MakeWorld) -> None:
    world = make_world("budget.env_steps=500", "budget.seconds=5", step_seconds=0.001)

    class Compiling(FakeLearner):
        compiled = False

        def advance(self, limit: int) -> list[AnyEvent]:
            if not self.compiled:
                with RunReader(world.run_dir) as reader:
                    assert [note.text for note in reader.notes()] == ["Compiling once."]
                world.now += 60.0
                self.compiled = True
            return super().advance(limit)

    def make(preset: Preset) -> FakeLearner:
        learner = Compiling(preset, world.make_learner(preset).on_step)
        learner.text = "Compiling once."
        return learner

    assert world.run(make)
    with RunReader(world.run_dir) as reader:
        assert reader.head().step == 500
        assert reader.head().seconds < 5.0


def test_a_failing_learner_leaves_what_was_written_and_says_why(make_world: MakeWorld) -> None:
    world = make_world()

    def make(preset: Preset) -> FakeLearner:
        def on_step(step: int) -> None:
            if step == 100:
                raise ZeroDivisionError("the ice broke")

        return FakeLearner(preset, on_step)

    assert not world.run(make)
    with RunReader(world.run_dir) as reader:
        assert reader.state() == "failed"
        assert reader.error() == "ZeroDivisionError: the ice broke"
        note = reader.notes()[-1]
        assert (note.level, note.text) == ("error", "ZeroDivisionError: the ice broke")
        assert "--resume" in note.remedy
        assert reader.worlds()
        assert reader.final()["status"] == "failed"


def test_a_learner_that_cannot_be_made_fails_with_its_reason(make_world: MakeWorld) -> None:
    world = make_world()

    def make(preset: Preset) -> FakeLearner:
        raise UserError("no room for the table")

    assert not world.run(make)
    with RunReader(world.run_dir) as reader:
        assert reader.error() == "no room for the table"
        assert reader.head().step == 0


def test_a_learner_without_progress_fails_instead_of_hanging(make_world: MakeWorld) -> None:
    world = make_world()

    class Stuck(FakeLearner):
        def advance(self, limit: int) -> list[AnyEvent]:
            return []

    assert not world.run(Stuck)
    with RunReader(world.run_dir) as reader:
        assert "no progress" in reader.error()


def test_a_full_disk_ends_as_a_failed_run(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    commit, calls = RunWriter.commit, 0

    def full(self: RunWriter) -> None:
        nonlocal calls
        calls += 1
        if calls in (2, 3):  # the last words of the run, and the first try to say it failed
            raise UserError("run.db: database or disk is full. The disk is full; make room.")
        commit(self)

    monkeypatch.setattr(RunWriter, "commit", full)
    assert not world.run()
    with RunReader(world.run_dir) as reader:
        assert reader.state() == "failed"
        assert "disk is full" in reader.notes()[-1].text


def test_the_record_does_not_depend_on_timing(make_world: MakeWorld) -> None:
    fast, slow = make_world(), make_world(pace=20.0, step_seconds=0.01)
    slow.script = [(1.0, "pause", {}), (2.0, "step", {"n": 3}), (4.0, "resume", {})]
    assert fast.run()
    assert slow.run()
    assert record(fast.run_dir) == record(slow.run_dir)


def test_live_rows_while_stepping_come_at_once(make_world: MakeWorld) -> None:
    world = make_world(paused=True)
    seen: list[int] = []

    def look(seconds: float) -> None:
        World.sleep(world, seconds)
        with RunReader(world.run_dir) as reader:
            live = reader.live()
            assert live is not None
            seen.append(live.step)

    world.script = [(1.0, "step", {}), (2.0, "step", {"n": 4}), (3.0, "stop", {})]
    assert run_here(world.run_dir, world.make_learner, clock=world.clock, sleep=look)
    assert seen[0] == 0
    assert list(dict.fromkeys(seen)) == [0, 1, 5]


def test_paced_steps_are_all_in_the_live_ring(make_world: MakeWorld) -> None:
    world = make_world("budget.env_steps=45", pace=100.0)
    assert world.run()
    with RunReader(world.run_dir) as reader:
        live = reader.live()
    assert live is not None
    assert [step.step for step in live.steps] == list(range(1, 46))
    assert live.policy is not None
    assert live.policy.step == 45


def test_a_paused_worker_writes_nothing(make_world: MakeWorld) -> None:
    world = make_world(paused=True)
    versions: list[bool] = []

    def look(seconds: float) -> None:
        World.sleep(world, seconds)
        versions.append(reader.changed())

    world.script = [(30.0, "stop", {})]
    with RunReader(world.run_dir) as reader:
        assert run_here(world.run_dir, world.make_learner, clock=world.clock, sleep=look)
    assert not any(versions[1:-1])
    assert len(versions) > 100


# ---------------------------------------------------------------- the real process


def test_the_worker_imports_no_user_interface_and_no_compiler() -> None:
    code = (
        "import engine.runs.worker, engine.runs.launch, sys; "
        "print(sorted({'textual', 'rich', 'tui', 'numba', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stray_engine_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit('the wrong engine')")
    monkeypatch.chdir(tmp_path)
    run_dir = launch.create_run(make_preset("budget.env_steps=5"), "a", runs_dir=tmp_path)
    launch.start_worker(run_dir, program=FAKE_WORKER)
    with RunReader(run_dir) as reader:
        assert wait_for(reader, lambda head: head.ended).state == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_with_a_checkpoint_and_a_hang_up_does_not(
    tmp_path: Path, number: signal.Signals
) -> None:
    with launched(make_preset("budget.env_steps=100000"), tmp_path, FAKE_WORKER) as reader:
        step = wait_for(reader, lambda head: head.step > 0).step
        pid = reader.meta()["pid"]
        os.kill(pid, signal.SIGHUP)
        step = wait_for(reader, lambda head: head.step > step).step
        assert os.getsid(pid) == pid, "its own session: no terminal can hang it up"
        os.kill(pid, number)
        head = wait_for(reader, lambda head: head.ended)
        assert head.state == "stopped"
        assert rows(reader.path, "checkpoints")[-1][1] == head.step >= step


def test_a_live_run_cannot_be_started_twice(tmp_path: Path) -> None:
    with launched(make_preset(), tmp_path, FAKE_WORKER, paused=True) as reader:
        with pytest.raises(UserError, match="already going"):
            launch.start_worker(reader.path, resume=True, program=FAKE_WORKER)
        assert ask(reader, "stop") == "done"


def test_a_worker_that_does_not_start_is_explained(tmp_path: Path) -> None:
    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    program = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with pytest.raises(UserError, match="did not start: no such luck"):
        launch.start_worker(run_dir, program=program)
    with RunReader(run_dir) as reader:
        assert reader.state() == "failed"
        assert reader.error() == "no such luck"


def test_an_exception_becomes_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAIL_AT", "20")
    with launched(make_preset(), tmp_path, FAKE_WORKER) as reader:
        assert wait_for(reader, lambda head: head.ended).state == "failed"
        assert reader.error() == "RuntimeError: the ice broke"
        assert "Traceback" not in reader.notes()[-1].text
        deadline = time.monotonic() + 10
        while "Traceback" not in (reader.path / "worker.log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_zombie_is_left(tmp_path: Path) -> None:
    with launched(make_preset("budget.env_steps=5"), tmp_path, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.ended)
        pid = reader.meta()["pid"]
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
