"""The writing end of the store: what is written, and that any SQLite tool can read it."""

from __future__ import annotations

import io
import json
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from fake_learner import FakeLearner, figure, make_preset
from run_tools import rows

from engine.core.errors import UserError
from engine.learning.events import (
    Episode,
    Evaluation,
    Finished,
    Group,
    Live,
    Member,
    Note,
    PerAgent,
    Step,
    Tuned,
    Update,
    decode,
    encode,
)
from engine.learning.learner import Counters
from engine.runs import checkpoints, launch, schema
from engine.runs.disk import filesystem
from engine.runs.reader import RunReader
from engine.runs.store import LIVE_STEPS, RunWriter


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return launch.create_run(make_preset(), "fake", runs_dir=tmp_path)


def make_step(number: int) -> Step:
    return Step(
        step=number, episode=0, t=number, state=0, observation=0, action=0, reward=0.0,
        next_state=0, next_observation=0, before=0.0, target=0.0, error=0.0, after=0.0,
        step_size=0.1, gamma=1.0,
    )  # fmt: skip


def make_live(first: int, last: int) -> Live:
    steps = tuple(make_step(i) for i in range(first, last + 1))
    return Live(step=last, updates=last, episodes=0, total_env_steps=last, steps=steps, policy=None)


def make_update(step: int, **metrics: float) -> Update:
    return Update(
        step=step,
        updates=step,
        episodes=0,
        total_env_steps=step,
        metrics={name: figure(value) for name, value in metrics.items()},
    )


def test_the_folder_is_private_and_holds_the_frozen_preset(run_dir: Path) -> None:
    assert run_dir.stat().st_mode & 0o777 == 0o700
    with RunReader(run_dir) as reader:
        assert reader.info().preset == make_preset()
        assert reader.info().preset_name == "fake"


def test_nothing_is_visible_before_the_commit(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.write([make_update(1, loss=0.5)])
    assert rows(run_dir, "points") == []
    writer.commit()
    assert rows(run_dir, "points") == [(1, 1, 1, 0, 1)]
    writer.close()


def test_scalars_stand_in_plain_columns_and_nan_is_null(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    evaluation = Evaluation(
        step=3,
        world_id=0,
        figures={"success_rate": figure(0.5)},
        optimal_return=0.9,
        horizon_optimum=math.nan,
    )
    writer.write(
        [
            make_update(3, loss=math.nan),
            evaluation,
            Note(step=3, level="warning", text="thin ice", remedy="go back"),
            Tuned(step=3, key="algorithm.learning_rate", value={"start": 1.0}),
        ]
    )
    writer.commit()
    writer.close()
    assert rows(run_dir, "metrics") == [
        (1, 3, None, "train", "loss", None, None, None, 1),
        (2, 3, 0, "train", "success_rate", 0.5, -0.5, 1.5, 1),
    ]
    assert rows(run_dir, "evaluations")[0][1:8] == (3, 0, "train", "exact", 0.0, 0.9, None)
    assert rows(run_dir, "notes") == [(1, 3, "warning", "thin ice", "go back", "")]
    assert json.loads(rows(run_dir, "tunes")[0][3]) == {"start": 1.0}


def test_the_whole_of_an_episode_is_kept_beside_its_summary(run_dir: Path) -> None:
    learner = FakeLearner(make_preset())
    events = learner.advance(400)
    writer = RunWriter(run_dir)
    writer.write(events)
    writer.commit()
    writer.close()
    with RunReader(run_dir) as reader:
        episodes = [event for event in events if isinstance(event, Episode)]
        summaries = reader.episodes()
        assert [row.step for row in summaries] == [event.step for event in reversed(episodes)]
        # Compared as bytes: the unused fields of a step are NaN.
        assert encode(reader.episode(summaries[0].id)) == encode(episodes[-1])
        assert summaries[0].total_return == episodes[-1].returns_to_go[0]


def test_a_step_of_its_own_has_no_place_in_the_record(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    with pytest.raises(TypeError, match="Step"):
        writer.write([make_step(1)])
    writer.close()


def test_the_live_ring_is_bounded(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    for first in range(1, 10 * LIVE_STEPS, 100):
        writer.write_live(make_live(first, first + 99))
    writer.commit()
    assert len(rows(run_dir, "live")) == LIVE_STEPS // 100
    with RunReader(run_dir) as reader:
        live = reader.live()
        assert live is not None
        assert [step.step for step in live.steps] == list(
            range(9 * LIVE_STEPS + 1, 10 * LIVE_STEPS + 1)
        )
        writer.write_live(make_live(live.step + 1, live.step + 3))
        writer.commit()
        newer = reader.live()
        assert newer is not None
        assert newer.step == live.step + 3
        assert newer.steps[-1].step == live.step + 3
        assert len(newer.steps) <= LIVE_STEPS
    writer.close()


def test_live_batches_without_steps_do_not_pile_up(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    for _ in range(LIVE_STEPS + 50):
        writer.write_live(make_live(1, 0))
    writer.commit()
    writer.close()
    assert len(rows(run_dir, "live")) == LIVE_STEPS


def test_meta_is_written_only_when_it_changed(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.set_meta(pace=4.0)
    writer.commit()
    writer.set_meta(pace=4.0)
    assert not writer.dirty
    writer.set_meta(pace=5.0)
    writer.set_meta(pace=4.0)
    writer.commit()
    assert writer.meta("pace") == 4.0
    writer.close()


def test_rewind_deletes_exactly_what_the_state_does_not_know(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    state = {"numbers": np.arange(3.0)}
    writer.write([make_update(5, a=1.0), Note(step=5, level="info", text="before")])
    writer.save_checkpoint(Counters(step=5), state)
    # At the very step of the checkpoint, but after it: the state knows nothing of these.
    writer.write(
        [
            Tuned(step=5, key="k", value=1),
            make_update(5, a=2.0),
            Note(step=5, level="info", text="after"),
            Finished(step=5, status="stopped", updates=0, episodes=0, total_env_steps=0, seconds=1),
        ]
    )
    writer.write_live(make_live(1, 5))
    writer.commit()
    restart = writer.rewind()
    assert restart is not None
    assert restart.step == 5
    np.testing.assert_array_equal(restart.state["numbers"], state["numbers"])
    assert [row[5] for row in rows(run_dir, "metrics")] == [1.0]
    assert [row[3] for row in rows(run_dir, "notes")] == ["before"]
    assert rows(run_dir, "tunes") == rows(run_dir, "live") == []
    assert writer.generation == 1
    assert writer.meta("finished") is None
    writer.close()


def test_only_the_first_and_the_two_newest_checkpoints_are_kept(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.save_checkpoint(Counters(), {"n": np.array(0)}, first=True)
    for step in (10, 20, 30):
        writer.save_checkpoint(Counters(step=step), {"n": np.array(step)})
    writer.commit()
    writer.close()
    assert [row[:2] for row in rows(run_dir, "checkpoints")] == [(-1, 20), (0, 0), (1, 30)]
    state = np.load(io.BytesIO(rows(run_dir, "checkpoints")[-1][3]))
    assert state["n"] == 30


def test_a_state_comes_back_bit_for_bit_and_equal_states_are_equal_bytes() -> None:
    state = {
        "b": np.array([[1.5, np.nan], [-0.0, 2.0]]),
        "a.x": np.array(7, np.uint64),
        "empty": np.zeros((0, 4), np.int32),
    }
    packed = checkpoints.pack(state)
    assert checkpoints.pack(dict(reversed(state.items()))) == packed
    back = checkpoints.unpack(packed)
    assert set(back) == set(state)
    for name, array in state.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_no_pickle_ever_gets_into_a_checkpoint() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        checkpoints.pack({"bad": np.array([object()])})


def test_a_failed_commit_keeps_everything_for_the_next(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter(run_dir)
    writer.write([make_update(1, loss=0.5)])
    writer.connection.execute("PRAGMA max_page_count = 1")  # as good as a full disk
    blob = {"big": np.random.default_rng(0).bytes(100_000)}
    writer.save_checkpoint(Counters(step=1), {"big": np.frombuffer(blob["big"], np.uint8)})
    with pytest.raises(UserError, match=r"run\.db.*full.*make room"):
        writer.commit()
    assert rows(run_dir, "points") == []
    writer.connection.execute("PRAGMA max_page_count = 100000")
    writer.commit()
    assert len(rows(run_dir, "points")) == len(rows(run_dir, "checkpoints")) == 1
    writer.close()


def test_a_closed_run_is_one_plain_file(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    assert writer.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.write([make_update(1, loss=0.5)])
    writer.commit()
    assert (run_dir / "run.db-wal").exists()
    with RunReader(run_dir) as reader:
        assert reader.head().last_point_id == 1
        writer.close()  # not possible yet: the reader is connected
    assert sorted(path.name for path in run_dir.iterdir()) == ["preset.toml", "run.db"]
    with sqlite3.connect(run_dir / "run.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_network_filesystem_gets_no_wal_and_the_run_says_so(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    escaped = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(f"proc /proc proc rw 0 0\n/dev/sda / ext4 rw 0 0\nnas:/x {escaped} nfs4 rw\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    assert filesystem.filesystem_type(run_dir) == "nfs4"
    assert filesystem.filesystem_type(Path("/")) == "ext4"
    writer = RunWriter(run_dir)
    assert writer.connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert "nfs4" in writer.journal_note
    writer.close()


def test_a_newer_schema_is_refused_with_advice(run_dir: Path) -> None:
    with sqlite3.connect(run_dir / "run.db") as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    for opener in (RunReader, RunWriter):
        with pytest.raises(UserError, match=r"newer Ice Maze .*99.*pip install -U icemaze"):
            opener(run_dir)


def test_a_file_that_is_no_database_is_named(run_dir: Path) -> None:
    (run_dir / "run.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(UserError, match=r"run\.db.*not a database"):
        RunReader(run_dir)


def test_schema_errors_of_our_own_are_not_blamed_on_the_user(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    world = FakeLearner(make_preset()).begin()[0]
    writer.write([world, world])
    with pytest.raises(sqlite3.IntegrityError):
        writer.commit()
    writer.close()


def test_every_record_table_has_a_step_and_a_mark_in_the_checkpoints(run_dir: Path) -> None:
    with sqlite3.connect(run_dir / "run.db") as connection:
        columns = {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
    for table in schema.RECORD:
        assert "step" in columns[table]
        assert f"last_{table}" in columns["checkpoints"]


def make_group(step: int) -> Group:
    member = Member(
        actions=(2, 1), states=(0, 1, 3), total=0.9, advantage=0.5,
        success=True, terminated=True, truncated=False, text=" right down", parts={"prize": 1.0},
    )  # fmt: skip
    return Group(step=step, world_id=0, index=0, size=16, prompt="Where to?", members=(member,))


def test_groups_are_part_of_the_record(run_dir: Path) -> None:
    writer = RunWriter(run_dir)
    writer.write([make_group(1)])
    writer.save_checkpoint(Counters(step=1), {"x": np.zeros(1)})
    writer.write([make_group(2)])
    writer.commit()
    assert [row[1:5] for row in rows(run_dir, "groups")] == [(1, 0, 0, 16), (2, 0, 0, 16)]
    assert encode(decode(rows(run_dir, "groups")[1][5])) == encode(make_group(2))
    writer.rewind()
    assert len(rows(run_dir, "groups")) == 1
    writer.close()


def make_older(run_dir: Path, version: int) -> None:
    """Take from a run what later versions of the schema brought."""
    old = sqlite3.connect(run_dir / schema.DATABASE)
    for later, (table, _) in schema.UPGRADES.items():
        if later > version:
            old.execute(f"DROP TABLE {table}")
        if later > version and table in schema.RECORD:
            old.execute(f"ALTER TABLE checkpoints DROP COLUMN last_{table}")
    old.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version),))
    old.commit()
    old.close()


def test_a_run_of_an_older_version_is_brought_up_to_date(run_dir: Path) -> None:
    make_older(run_dir, 1)
    with RunReader(run_dir) as reader:  # readable as it is
        assert reader.state() == "starting"
        assert reader.per_agent() == {} and reader.groups() == []
    writer = RunWriter(run_dir)
    writer.write([make_group(1), make_per_agent(1)])
    writer.save_checkpoint(Counters(step=1), {"x": np.zeros(1)}, first=True)
    writer.write([make_group(2), make_per_agent(2)])
    writer.commit()
    assert writer.meta("schema_version") == schema.SCHEMA_VERSION
    assert writer.rewind() is not None
    assert [len(rows(run_dir, table)) for table in ("groups", "per_agent")] == [1, 5]
    writer.close()


def test_a_run_of_the_version_with_groups_keeps_them_when_it_is_brought_up_to_date(
    run_dir: Path,
) -> None:
    writer = RunWriter(run_dir)
    writer.write([make_group(1)])
    writer.save_checkpoint(Counters(step=1), {"x": np.zeros(1)}, first=True)
    writer.commit()
    writer.close()
    make_older(run_dir, 2)
    writer = RunWriter(run_dir)
    writer.write([make_group(2), make_per_agent(2)])
    writer.commit()
    assert writer.rewind() is not None
    assert [len(rows(run_dir, table)) for table in ("groups", "per_agent")] == [1, 0]
    writer.close()


def make_per_agent(step: int) -> PerAgent:
    figures = {"success_rate": np.array([1.0, 0.5, 0.0]), "regret": np.array([step, math.nan])}
    return PerAgent(step=step, figures=figures)


def test_figures_of_single_agents_stand_in_plain_rows_and_a_resume_deletes_them(
    run_dir: Path,
) -> None:
    event = make_per_agent(7)
    assert encode(decode(encode(event))) == encode(event)
    writer = RunWriter(run_dir)
    writer.save_checkpoint(Counters(step=7), {"x": np.zeros(1)})
    writer.write([event])
    writer.commit()
    assert rows(run_dir, "per_agent") == [
        (1, 7, "success_rate", 0, 1.0),
        (2, 7, "success_rate", 1, 0.5),
        (3, 7, "success_rate", 2, 0.0),
        (4, 7, "regret", 0, 7.0),
        (5, 7, "regret", 1, None),
    ]
    with RunReader(run_dir) as reader:
        found = reader.per_agent()
        assert list(found) == ["success_rate", "regret"]
        np.testing.assert_array_equal(found["success_rate"], [1.0, 0.5, 0.0])
        np.testing.assert_array_equal(found["regret"], [7.0, math.nan])
        assert found["regret"].dtype == np.float64
        writer.rewind()
        assert reader.per_agent() == {}
    writer.write([make_per_agent(7), make_per_agent(9)])  # the newest counts
    writer.commit()
    with RunReader(run_dir) as reader:
        np.testing.assert_array_equal(reader.per_agent()["regret"], [9.0, math.nan])
    writer.close()
