"""Speed, time left, and the lines a person reads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.runs.records import Head, NoteRow
from tui.cli.progress import LineReporter, Moment, summary
from tui.model.speedometer import WINDOW_SECONDS, Speedometer

FIGURES = {
    "status": "stopped", "env_steps": 1500, "episodes": 1, "updates": 1500, "seconds": 2.0,
    "success_rate": 0.5, "success_kind": "exact", "greedy_success_rate": 1.0,
    "expected_return": math.nan, "expected_score": 0.5, "expected_length": 6.0,
    "optimal_return": 0.9, "horizon_optimum": 0.95, "metrics": {},
}  # fmt: skip


def test_speed_is_that_of_the_last_seconds() -> None:
    speed = Speedometer()
    assert all(math.isnan(value) for value in speed.measure(0, 0.0, now=0.0))
    # Nothing moves for 5 s (the worker starts): that must not count, and so neither does the first.
    assert all(math.isnan(value) for value in speed.measure(0, 0.0, now=4.0))
    assert all(math.isnan(value) for value in speed.measure(0, 0.0, now=5.0))
    assert speed.measure(100, 0.1, now=6.0) == (pytest.approx(math.nan, nan_ok=True),) * 2
    assert speed.measure(200, 0.2, now=7.0) == (100.0, pytest.approx(8.0))
    speed = Speedometer()
    speed.measure(0, 0.0, now=5.0)
    for second in range(6, 7 + 2 * int(WINDOW_SECONDS)):
        measured = speed.measure(100 + 10 * (second - 6), 0.1 + 0.01 * (second - 6), now=second)
    assert measured[0] == pytest.approx(10.0)
    assert measured[1] == pytest.approx((1 - 0.3) / 0.01, rel=1e-6)


def test_speed_starts_anew_when_a_resume_goes_back() -> None:
    speed = Speedometer()
    speed.measure(1000, 0.5, now=0.0)
    speed.measure(2000, 0.9, now=1.0)
    assert all(math.isnan(value) for value in speed.measure(500, 0.25, now=2.0))
    assert math.isnan(speed.measure(600, 0.3, now=3.0)[0])
    assert speed.measure(700, 0.35, now=4.0)[0] == pytest.approx(100.0)


def test_updates_longer_than_the_window_are_measured_between_their_ends() -> None:
    """At 100 s an update, with looks in between, as the loop that follows a run makes them."""
    speed = Speedometer()
    found = {
        second: speed.measure(second // 100, second // 100 / 30, now=float(second))
        for second in range(0, 401, 2)
    }
    assert math.isnan(found[100][1])  # loading the model is in it
    assert found[200] == (pytest.approx(0.01), pytest.approx(2800))
    assert found[298][1] == pytest.approx(2702)
    assert found[400] == (pytest.approx(0.01), pytest.approx(2600))
    late = speed.measure(4, 4 / 30, now=700.0)  # three times as long as usual
    assert late[0] < 0.01 and late[1] > 2600


def test_nothing_is_measured_while_a_run_stands() -> None:
    speed = Speedometer()
    for second in range(5):
        speed.measure(second, second / 10, now=float(second))
    assert all(math.isnan(x) for x in speed.measure(4, 0.4, now=9.0, still=True))
    assert all(math.isnan(x) for x in speed.measure(5, 0.5, now=500.0))
    assert speed.measure(6, 0.6, now=501.0) == (pytest.approx(1.0), pytest.approx(4.0))


def test_a_line_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    head = Head(state="running", step=1500)
    reporter.progress(Moment(head, FIGURES, share=0.25, speed=20_000.0, eta=3725.0))
    reporter.progress(Moment(head, FIGURES, share=0.25, speed=math.nan, eta=math.nan))
    known, unknown = capsys.readouterr().out.splitlines()
    assert known == "  25%  1,500 steps  20.0k steps/s  success 50%  return -  ETA 1:02:05"
    assert unknown == "  25%  1,500 steps  - steps/s  success 50%  return -  ETA -"


def test_notes_lose_escape_sequences_and_errors_go_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {"id": 1, "step": 0, "remedy": "Do this.", "term": ""}
    reporter = LineReporter()
    reporter.note(NoteRow(level="warning", text="\x1b[2Jdiverging", **fields))
    reporter.note(NoteRow(level="error", text="broken", **fields))
    said = capsys.readouterr()
    assert said.out == "Warning: diverging Do this.\n"
    assert said.err == "Error: broken Do this.\n"


def test_the_summary_says_what_to_do_next(tmp_path: Path) -> None:
    run_dir = tmp_path / "a-run"
    run_dir.mkdir()
    stopped = summary(run_dir, FIGURES)
    assert "Stopped after 2.0 s: 1,500 steps and 1 episode per agent." in stopped
    assert stopped.splitlines()[-1].startswith("`icemaze train --resume a-run`")
    assert "success here" not in stopped
    ruled = summary(run_dir, {**FIGURES, "success_rule": "an episode that ends in state 2"})
    assert "  success here is an episode that ends in state 2" in ruled.splitlines()
    finished = summary(run_dir, {**FIGURES, "status": "finished"})
    assert finished.splitlines()[-1] == "`icemaze open a-run` replays it."
    planned = summary(run_dir, {**FIGURES, "env_steps": 0, "updates": 7})
    assert "7 sweeps." in planned
