"""Watching a run without a screen: snapshots, news, and moving through a recording."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trainer_tools import kill, live_run, until_ended

from engine.errors import UserError
from engine.runs.launch import start_worker
from engine.runs.reader import RunReader
from tui.replay import Replay
from tui.run_watch import RunWatch
from tui.source import Moment, SnapshotSource


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


def test_nothing_is_read_of_an_idle_run(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = RunWatch(recording)
    watch.look()
    read: list[str] = []
    monkeypatch.setattr(RunReader, "meta", lambda self: read.append("meta") or {})
    monkeypatch.setattr(SnapshotSource, "read", lambda *_: read.append("snapshot"))
    watch.look()
    assert read == []


def test_a_moment_shows_only_what_was_known_then(source: SnapshotSource) -> None:
    rows = source.recorded()
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


def test_no_run_no_watch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run here"):
        RunWatch(tmp_path)


# ---------------------------------------------------------------- moving through a recording


def test_a_replay_visits_every_recorded_step_once(source: SnapshotSource) -> None:
    replay, visited = Replay(source), []
    while replay.step():
        visited.append(replay.moment)
    expected = [Moment(row.id, t) for row in source.recorded() for t in range(row.length)]
    assert visited == expected
    assert replay.moment == expected[-1]


def test_episodes_back_and_on(source: SnapshotSource) -> None:
    replay, rows = Replay(source), source.recorded()
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
    replay, rows = Replay(source), source.recorded()
    for row in rows[:3]:
        assert replay.to_end()
        assert replay.moment == Moment(row.id, row.length - 1)
    replay.moment = Moment(rows[-1].id, rows[-1].length - 1)
    assert not replay.to_end()


def test_every_step_finds_the_last_recorded_moment_before_it(source: SnapshotSource) -> None:
    rows = source.recorded()
    known = sorted(
        (step.step, row.id, t)
        for row in rows
        for t, step in enumerate(source.episode(row.id).steps)
    )
    replay = Replay(source)
    for step in range(0, 601):
        assert replay.at(step)
        before = [Moment(i, t) for at, i, t in known if at <= step]
        assert replay.moment == (before[-1] if before else Moment(rows[0].id, 0))


def test_sweeps_are_replayed_state_by_state(recordings: dict[str, Path]) -> None:
    source = SnapshotSource(recordings["planning"])
    replay, rows = Replay(source), source.recorded()
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


def test_commands_are_answered_and_a_resume_takes_back_the_moment(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=200.0) as path:
        watch = RunWatch(path)

        def look_until(text: str) -> list[str]:
            heard: list[str] = []
            while text not in heard:
                heard += [notice.text for notice in watch.look().notices]
            return heard

        watch.command("pace", "Faster now.", value=400.0)
        look_until("Faster now.")
        watch.command("tune", key="no-such-setting", value=1)
        refused: list[str] = []
        while not refused:
            refused = [n.text for n in watch.look().notices if n.severity == "warning"]
        assert "no-such-setting" in refused[0]
        watch.command("no-such-command")
        assert "no command" in watch.look().notices[0].text

        kill(path)
        dead = watch.look()
        assert dead.state == "dead"
        assert [(n.severity, n.title) for n in dead.notices] == [("error", "The worker is gone")]
        assert not watch.look().notices
        watch.command("pause")
        assert "cannot pause" in watch.look().notices[0].text

        # The newest recorded moment may be taken back by a resume: then the edge is shown again.
        watch.go(lambda replay: replay.episode(-1))
        shot = watch.look().snapshot
        assert shot is not None and not shot.following
        watch._replay.moment = Moment(10**9, 0)
        start_worker(path, resume=True, pace=None)
        news = watch.look()
        while news.snapshot is None or not news.snapshot.following:
            news = watch.look()
        watch.command("stop")
        watch.look()
        until_ended(watch.source.reader)
        assert watch.look().state == "stopped"
        watch.close()
