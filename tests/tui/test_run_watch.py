"""Watching a run without a screen: snapshots, news, and moving through a recording."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import pytest
from patience import DEADLINE
from trainer_tools import LEARNING, episodes_of, kill, live_run

from engine import presets
from engine.core.errors import UserError
from engine.learning.events import Note
from engine.runs import launch
from engine.runs.disk.lock import RunLock
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter
from tui.model.replay import Replay
from tui.model.run_watch import REPLY_SECONDS, RunWatch
from tui.model.source import Moment, SnapshotSource

pytestmark = pytest.mark.slow


@pytest.fixture
def source(recording: Path) -> SnapshotSource:
    return SnapshotSource(recording)


# ---------------------------------------------------------------- snapshots


def test_a_finished_run_is_read_once(recording: Path) -> None:
    watch = RunWatch(recording)
    first = watch.look()
    assert first.snapshot is not None
    assert (first.state, first.snapshot.following, first.snapshot.at) == ("finished", True, 600)
    again = watch.look()
    assert again.snapshot is None
    assert not again.notices


def test_nothing_is_read_of_an_idle_run(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = RunWatch(recording)
    watch.look()
    read: list[str] = []
    monkeypatch.setattr(RunReader, "meta", lambda self: read.append("meta") or {})
    monkeypatch.setattr(SnapshotSource, "read", lambda *_: read.append("snapshot"))
    watch.look()
    assert read == []


def test_a_moment_shows_only_what_was_known_then(source: SnapshotSource) -> None:
    rows = episodes_of(source)
    row = rows[len(rows) // 2]
    shot = source.read(Moment(row.id, 1))
    assert shot is not None
    assert not shot.following
    assert shot.step is not None
    assert (shot.step.episode, shot.step.t, len(shot.steps)) == (row.index, 1, 2)
    assert shot.at == shot.step.step == row.step - row.length + 2
    assert all(episode.step <= shot.at for episode in shot.episodes)
    assert shot.policy is not None and shot.policy.step <= shot.at
    assert shot.evaluation is not None and shot.evaluation.step <= shot.at


def test_a_deleted_run_says_so_every_time_it_is_asked(recording: Path) -> None:
    watch = RunWatch(recording)
    watch.look()
    shutil.rmtree(recording)
    assert "has been deleted" in watch.look().unreadable
    assert "has been deleted" in watch.look().unreadable
    watch.close()


def test_a_run_that_has_not_begun_says_what_it_prepares(tmp_path: Path) -> None:
    path = launch.create_run(presets.parse(LEARNING), "new", runs_dir=tmp_path)
    watch = RunWatch(path)
    news = watch.look()
    assert (news.snapshot, news.state, news.preparing) == (None, "starting", "")
    writer = RunWriter(path)
    writer.write([Note(step=0, level="info", text="Compiling once.")])
    writer.commit()
    news = watch.look()
    assert (news.snapshot, news.preparing) == (None, "Compiling once.")
    writer.close()
    watch.close()


def test_no_run_no_watch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run here"):
        RunWatch(tmp_path)


# ---------------------------------------------------------------- moving through a recording


def test_a_replay_visits_every_recorded_step_once(source: SnapshotSource) -> None:
    replay, visited = Replay(source), []
    while replay.step():
        visited.append(replay.moment)
    expected = [Moment(row.id, t) for row in episodes_of(source) for t in range(row.length)]
    assert visited == expected
    assert replay.moment == expected[-1]


def test_episodes_back_and_on(source: SnapshotSource) -> None:
    replay, rows = Replay(source), episodes_of(source)
    assert not replay.episode(1)
    assert replay.moment is None
    assert replay.episode(-1)
    assert replay.moment == Moment(rows[-1].id, 0)
    assert replay.episode(-1)
    assert replay.moment == Moment(rows[-2].id, 0)
    assert replay.episode(1)
    assert not replay.episode(1)
    assert replay.moment == Moment(rows[-1].id, 0)
    assert replay.follow()
    assert replay.moment is None


def test_to_the_end_of_an_episode_then_of_the_next(source: SnapshotSource) -> None:
    replay, rows = Replay(source), episodes_of(source)
    for row in rows[:3]:
        assert replay.to_end()
        assert replay.moment == Moment(row.id, row.length - 1)
    replay.moment = Moment(rows[-1].id, rows[-1].length - 1)
    assert not replay.to_end()


def test_every_step_finds_the_last_recorded_moment_before_it(source: SnapshotSource) -> None:
    rows = episodes_of(source)
    known = sorted(
        (step.step, row.id, t)
        for row in rows
        for t, step in enumerate(source.episode(row.id).steps)
    )
    replay = Replay(source)
    for step in range(601):
        assert replay.at(step)
        before = [Moment(i, t) for at, i, t in known if at <= step]
        assert replay.moment == (before[-1] if before else Moment(rows[0].id, 0))


def test_sweeps_are_replayed_state_by_state(recordings: dict[str, Path]) -> None:
    source = SnapshotSource(recordings["planning"])
    replay, rows = Replay(source), episodes_of(source)
    assert replay.at(rows[2].step)
    assert replay.moment == Moment(rows[2].id, rows[2].length - 1)
    assert replay.episode(-1) and replay.step()
    assert replay.moment == Moment(rows[1].id, 1)
    source.close()


def test_nowhere_to_go_is_told_and_shows_what_was_shown(recording: Path) -> None:
    watch = RunWatch(recording)
    watch.look()
    watch.go(lambda replay: replay.episode(1), "No further one.")
    news = watch.look()
    assert news.stuck
    assert [notice.text for notice in news.notices] == ["No further one."]
    assert news.snapshot is None


# ---------------------------------------------------------------- a live run


def hear(watch: RunWatch, severity: str) -> list[str]:
    """The next notices of a severity."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if heard := [n.text for n in watch.look().notices if n.severity == severity]:
            return heard
        time.sleep(0.01)
    raise AssertionError("nothing was said")


def test_commands_are_answered(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=50.0) as path:
        watch = RunWatch(path)
        watch.command("pace", "Faster now.", value=400.0)
        assert hear(watch, "information") == ["Faster now."]
        assert watch.source.reader.head().pace == 400.0
        watch.command("tune", key="no-such-setting", value=1)
        assert "no-such-setting" in hear(watch, "warning")[0]
        watch.command("no-such-command")
        assert "no command" in hear(watch, "warning")[0]
        watch.close()


def test_a_worker_may_take_its_time_to_start(tmp_path: Path) -> None:
    path = launch.create_run(presets.parse(LEARNING), "new", runs_dir=tmp_path)
    now = 0.0
    watch = RunWatch(path, clock=lambda: now)
    lock = RunLock.take(path)  # a worker that is there
    assert lock is not None and watch.look().state == "starting"
    watch.command("resume")
    assert watch.look().notices == ()
    now = 10 * REPLY_SECONDS
    assert watch.look().notices == ()
    with contextlib.closing(RunWriter(path)) as writer:
        writer.set_meta(state="running")
        writer.commit()
        assert (watch.look().state, watch.look().notices) == ("running", ())
        now += 2 * REPLY_SECONDS
        assert "did not answer" in hear(watch, "warning")[0]
    lock.close()
    watch.close()


def test_a_killed_worker_is_noticed_without_a_word_from_it(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=None) as path:
        watch = RunWatch(path)
        while not episodes_of(watch.source):
            watch.look()
        kill(path)
        dead = watch.look()
        assert dead.state == "dead"
        assert [(n.severity, n.title) for n in dead.notices] == [("error", "The worker is gone")]
        assert watch.look().notices == ()
        watch.command("pause")
        assert "cannot pause" in hear(watch, "warning")[0]
        # A moment that a resume has taken back: the live edge is shown again, and why is said.
        watch._replay.moment = Moment(10**9, 0)
        assert "the run was resumed" in hear(watch, "warning")[0]
        assert watch._replay.moment is None
        watch.close()


def test_a_resumed_run_is_followed_again(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=None) as path:
        watch = RunWatch(path)
        while not episodes_of(watch.source):
            watch.look()
        kill(path)
        assert watch.look().state == "dead"
        launch.start_worker(path, resume=True, pace=None)
        while watch.look().state != "running":
            pass
        watch.command("stop")
        while watch.look().state != "stopped":
            pass
        watch.close()
