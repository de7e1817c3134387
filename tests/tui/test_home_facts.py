"""What the home screen says about runs and presets, without a screen."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.runs.records import Limits, RunSummary
from tui.library import facts_of, shelf


def test_every_state_of_a_run_has_its_own_look() -> None:
    states = [look[:2] for look in facts_of.STATES.values()]
    assert len({symbol for symbol, _ in states}) == len(states)
    assert len({ascii_form for _, ascii_form in states}) == len(states)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.40 s"), (89, "89 s"), (1250, "21 min"), (7200, "2.0 h"), (2e5, "2.3 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert facts_of.duration(seconds) == text


def test_the_nearest_limit_of_a_budget_counts() -> None:
    budget = Limits(env_steps=1000, episodes=10, seconds=100.0)
    summary = RunSummary(
        id="x",
        path=Path("x"),
        state="running",
        order=datetime.now(UTC),
        env_steps=100,
        episodes=5,
        seconds=1.0,
    )
    assert shelf.used(budget, summary) == 0.5
