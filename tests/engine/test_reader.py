"""The reading end: cursors, curves, jumps in time, states."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fake_learner import FakeLearner, figure, make_preset
from run_tools import run_here

from engine.core.errors import UserError
from engine.learning.events import Evaluation, Metric, Note, Update, World
from engine.learning.learner import Counters
from engine.runs import launch, schema
from engine.runs.disk.lock import RunLock, is_alive
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return launch.create_run(make_preset(), "fake", runs_dir=tmp_path)


@pytest.fixture
def finished(run_dir: Path) -> Path:
    assert run_here(run_dir, FakeLearner)
    return run_dir


def make_update(step: int, value: float) -> Update:
    return Update(
        step=step, updates=step, episodes=0, total_env_steps=step, metrics={"loss": figure(value)}
    )


def make_evaluation(step: int, world_id: int, value: float, split: str = "train") -> Evaluation:
    return Evaluation(
        step=step,
        world_id=world_id,
        split=split,  # type: ignore[arg-type]
        figures={"success_rate": figure(value)},
        optimal_return=value + 1,
        horizon_optimum=value + 2,
    )


# ---------------------------------------------------------------- curves


def test_curves_grow_and_only_new_rows_are_read(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    with RunReader(run_dir) as reader:
        assert reader.curves() == {}
        for step in range(1, 201):
            writer.write([make_update(step, float(step))])
        writer.commit()
        curve = reader.curves()["loss"]
        np.testing.assert_array_equal(curve.x, np.arange(1.0, 201.0))
        np.testing.assert_array_equal(curve.low, np.arange(0.0, 200.0))
        writer.write([make_update(300, math.nan)])
        writer.commit()
        read: list[str] = []
        reader._db.set_trace_callback(read.append)
        longer = reader.curves(["loss", "unknown"])
        reader._db.set_trace_callback(None)
        assert set(longer) == {"loss"}
        assert longer["loss"].x[-1] == 300.0
        assert math.isnan(longer["loss"].mean[-1])
        assert any("id > 200" in sql for sql in read)
        assert curve.x.size == 200, "a curve handed out before does not change"
        assert reader.curves(until=50)["loss"].x[-1] == 50.0
    writer.close()


def test_what_was_once_called_clip_fraction_goes_by_the_name_it_has_today(run_dir: Path) -> None:
    """Language models recorded the share in which the clip binds by the name of the share of ratios
    outside; a run of then may go on today."""

    def point(step: int, **metrics: float) -> Update:
        told = {name: Metric(v, v, v, 1) for name, v in metrics.items()}
        return Update(step=step, updates=step, episodes=0, total_env_steps=0, metrics=told)

    writer = RunWriter(run_dir)
    with RunReader(run_dir) as reader:
        old = point(1, loss=0.0, clip_fraction=0.3, clip_fraction_low=0.1, clip_fraction_high=0.2)
        writer.write([old])
        writer.commit()
        assert reader.final()["metrics"].keys() == {
            "loss", "clip_binding", "clip_binding_low", "clip_binding_high",
        }  # fmt: skip
        assert "clip_fraction" not in reader.curves()
        writer.write([point(2, clip_fraction=0.6, clip_binding=0.4)])
        writer.commit()
        curves = reader.curves()
        assert curves["clip_binding"].mean.tolist() == [0.3, 0.4]
        assert curves["clip_binding_low"].mean.tolist() == [0.1]
        assert curves["clip_fraction"].x.tolist() == [2.0]
        assert reader.final()["metrics"]["clip_fraction"] == 0.6
    writer.close()


def test_several_worlds_at_one_step_make_one_point(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.write(
        [
            make_evaluation(5, 0, 0.25),
            make_evaluation(5, 1, 0.75),
            make_evaluation(5, 2, 0.0, "test"),
            make_evaluation(5, 1, 0.5),  # the newer figure of the same world replaces the older
            make_evaluation(9, 1, 1.0),
        ]
    )
    writer.commit()
    with RunReader(run_dir) as reader:
        curve = reader.curves()["success_rate"]
        np.testing.assert_array_equal(curve.x, [5.0, 9.0])
        np.testing.assert_array_equal(curve.mean, [0.375, 1.0])
        np.testing.assert_array_equal(reader.curves(split="test")["success_rate"].mean, [0.0])
        assert reader.success_rate() == 1.0
    writer.close()


def test_curves_of_worlds_read_bit_by_bit_are_those_read_at_once(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    with RunReader(run_dir) as slow:
        for step in range(100):
            for world_id in range(step % 3):
                writer.write([make_evaluation(step, world_id, step + world_id / 10)])
                writer.commit()
                slow.curves()
        with RunReader(run_dir) as fast:
            at_once, bit_by_bit = fast.curves()["success_rate"], slow.curves()["success_rate"]
        for name in ("x", "mean", "low", "high"):
            np.testing.assert_array_equal(getattr(at_once, name), getattr(bit_by_bit, name))
        assert at_once.x.size == sum(1 for step in range(100) if step % 3)
        assert at_once.mean[1] == pytest.approx(2.05)
    writer.close()


def test_a_resume_makes_readers_forget_what_was_deleted(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.write([make_update(1, 1.0)])
    writer.save_checkpoint(Counters(step=1), {})
    writer.write([make_update(2, 2.0)])
    writer.commit()
    with RunReader(run_dir) as reader:
        assert reader.curves()["loss"].mean.tolist() == [1.0, 2.0]
        writer.rewind()
        writer.write([make_update(2, 22.0)])
        writer.commit()
        assert reader.curves()["loss"].mean.tolist() == [1.0, 22.0]
        assert reader.head().generation == 1
    writer.close()


def test_changed_says_whether_somebody_wrote(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    with RunReader(run_dir) as reader:
        assert reader.changed()
        assert not reader.changed()
        writer.write([make_update(1, 1.0)])
        writer.commit()
        assert reader.changed()
    writer.close()


# ---------------------------------------------------------------- time travel


def test_any_moment_can_be_looked_up(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    maze = FakeLearner(make_preset()).maze
    writer.write([World(step=s, id=i, split="train", maze=maze) for i, s in enumerate((0, 40, 40))])
    writer.write([World(step=0, id=3, split="test", maze=maze)])
    for step in (0, 10, 20, 50):
        writer.write([make_evaluation(step, 0, step / 100)])
        learner = FakeLearner(make_preset())
        learner.step = step
        writer.write([learner._pictures()[1]])
    writer.commit()
    with RunReader(run_dir) as reader:
        worlds = [reader.world_at(step) for step in (0, 39, 40, 1000)]
        assert [world.id for world in worlds if world] == [0, 0, 2, 2]
        assert [world.id for world in reader.worlds()] == [0, 1, 2, 3]
        at = reader.evaluation_at
        assert [e.step for e in (at(0), at(9), at(10), at(49), at()) if e] == [
            0,
            0,
            10,
            10 + 10,
            50,
        ]
        policies = [reader.policy_at(step) for step in (5, 20, None)]
        assert [policy.step for policy in policies if policy] == [0, 20, 50]
        assert reader.evaluation_at(split="test") is None
        assert reader.evaluation_at(world_id=1) is None
    writer.close()


def test_every_jump_uses_an_index(finished: Path) -> None:
    jumps: list[str] = []
    with RunReader(finished) as reader:
        reader._db.set_trace_callback(jumps.append)
        reader.world_at(50)
        reader.evaluation_at(50)
        reader.policy_at(50)
        reader.episodes(until=50)
        reader.success_rate()
        reader.reply(1)
        reader.notes(after_id=3)
        reader.head()
        reader._db.set_trace_callback(None)
        selects = [sql for sql in jumps if sql.startswith("SELECT")]
        assert len(selects) >= 9
        for sql in selects:
            plan = [row[3] for row in reader._db.execute(f"EXPLAIN QUERY PLAN {sql}")]
            slow = [p for p in plan if p.startswith("SCAN") or "TEMP B-TREE" in p]
            assert not slow or slow == ["SCAN meta"], sql  # meta has a dozen rows


def test_notes_and_tunes_come_in_order(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.write([Note(step=i, level="info", text=f"note {i}") for i in range(3)])
    writer.commit()
    with RunReader(run_dir) as reader:
        first = reader.notes()
        assert [note.text for note in first] == ["note 0", "note 1", "note 2"]
        assert [note.text for note in reader.notes(first[1].id)] == ["note 2"]
        assert reader.tunes() == []
    writer.close()


def test_final_figures(finished: Path) -> None:
    with RunReader(finished) as reader:
        final = reader.final()
        last = reader.evaluation_at()
    assert last is not None
    assert final["status"] == "finished"
    assert final["env_steps"] == final["total_env_steps"] == final["updates"] == 400
    assert final["episodes"] == 80
    assert final["success_rate"] == last.figures["success_rate"].mean
    assert final["horizon_optimum"] == 1.5
    assert math.isnan(final["expected_length"]), "no evaluation gave it"
    assert math.isnan(final["metrics"]["gap"])
    assert final["metrics"]["value"] == last.figures["success_rate"].mean


# ---------------------------------------------------------------- states and locks


def test_the_lock_tells_the_living_from_the_dead(run_dir: Path) -> None:
    assert not is_alive(run_dir)
    lock = RunLock.take(run_dir)
    assert lock is not None
    assert is_alive(run_dir)
    assert RunLock.take(run_dir, patience=0.0) is None
    lock.close()
    assert not is_alive(run_dir)


@pytest.mark.slow
def test_the_lock_passes_to_a_child_without_a_gap(run_dir: Path) -> None:
    lock = RunLock.take(run_dir)
    assert lock is not None
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=(lock.descriptor,),
    )
    lock.close()
    assert is_alive(run_dir), "the child holds it now"
    child.communicate()
    assert not is_alive(run_dir)


def test_a_lock_of_another_run_is_not_adopted(run_dir: Path, tmp_path: Path) -> None:
    other = launch.create_run(make_preset(), "other", runs_dir=tmp_path)
    lock = RunLock.take(other)
    assert lock is not None
    descriptor = os.dup(lock.descriptor)
    assert RunLock.adopt(descriptor, run_dir) is None
    os.close(descriptor)
    lock.close()


def test_dead_is_a_state_without_a_worker(run_dir: Path) -> None:
    with RunReader(run_dir) as reader:
        assert reader.state() == "starting", "just created: its worker is on the way"
        writer = RunWriter(run_dir)
        old = datetime.now().astimezone() - timedelta(minutes=1)
        writer.set_meta(created=old.isoformat())
        writer.commit()
        assert reader.state() == "dead"
        (run_dir / "worker.log").write_text("started\nKilled by the cold\n\n")
        assert reader.error() == "Killed by the cold"
        (run_dir / "worker.log").write_text("an old failure\n12:00 started at step 0\n")
        assert "without a word" in reader.error()
        lock = RunLock.take(run_dir)
        assert lock is not None
        assert reader.state() == "starting"
        for state in ("running", "paused"):
            writer.set_meta(state=state)
            writer.commit()
            assert reader.state() == state
        lock.close()
        assert reader.state() == "dead"
        writer.set_meta(state="finished")
        writer.commit()
        assert reader.state() == "finished"
        writer.close()


def test_nobody_can_command_an_ended_run(finished: Path) -> None:
    with RunReader(finished) as reader:
        with pytest.raises(UserError, match=r"is finished: it cannot pause.*--resume"):
            reader.send("pause")
        assert reader.reply(1) is None


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("jump", {}, "no command 'jump'"),
        ("puase", {}, "Did you mean 'pause'"),
        ("pause", {"now": True}, "takes no arguments"),
        ("pace", {"value": -1}, "more than 0"),
        ("step", {"n": 0}, "1 or more"),
        ("tune", {"key": "algorithm.gamma"}, "value: what it becomes"),
        ("edit", {"rows": "SFG"}, "list of text rows"),
    ],
)
def test_wrong_commands_are_explained_before_they_are_sent(
    run_dir: Path, name: str, args: dict[str, object], message: str
) -> None:
    with RunReader(run_dir) as reader, pytest.raises(UserError, match=message):
        reader.send(name, **args)


# ---------------------------------------------------------------- damage


def test_payloads_of_the_wrong_kind_are_called_damage(finished: Path) -> None:
    with sqlite3.connect(finished / "run.db") as connection:
        connection.execute("UPDATE evaluations SET payload = (SELECT payload FROM worlds)")
    with RunReader(finished) as reader, pytest.raises(UserError, match="damaged"):
        reader.evaluation_at()


def test_meta_is_json_for_everybody(finished: Path) -> None:
    with sqlite3.connect(finished / "run.db") as connection:
        meta = {key: json.loads(v) for key, v in connection.execute("SELECT * FROM meta")}
    assert meta["schema_version"] == schema.SCHEMA_VERSION
    assert meta["counters"]["step"] == 400
    assert meta["finished"]["status"] == "finished"
