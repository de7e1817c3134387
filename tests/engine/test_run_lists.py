"""Lists of runs: what expressions find, in which order, and what a user writes on a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_learner import make_preset

from engine.core.errors import UserError
from engine.runs import launch, library
from engine.runs.lists import filters, labels, sorting
from engine.runs.records import RunSummary

RUNS = {
    "slow": {"algorithm.learning_rate": 1e-5, "algorithm.name": "grpo", "run.seed": 1.0},
    "good": {"algorithm.learning_rate": 2e-4, "algorithm.name": "grpo", "run.seed": 7.0},
    "cliff": {"algorithm.learning_rate": 0.5, "maze.gymnasium": "CliffWalking-v1"},
}
SUCCESS = {"slow": 0.2, "good": 0.95, "cliff": None}


def run(name: str, **changes: Any) -> RunSummary:
    i = list(RUNS).index(name)
    facts: dict[str, Any] = {
        "id": f"20260101-00000{i}-{name}-aa", "path": Path(name), "state": "finished",
        "order": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i), "preset_name": name,
        "title": f"The {name} one", "algorithm": "grpo" if i < 2 else "q-learning",
        "success_rate": SUCCESS[name], "settings": RUNS[name], "env_steps": 1000 * (i + 1),
    }  # fmt: skip
    return RunSummary(**{**facts, **changes})


def found(text: str) -> list[str]:
    values = {name: filters.run_values(run(name), 0.5) for name in RUNS}
    chosen = filters.parse(text, filters.known_fields(values.values()))
    return [n for n in RUNS if chosen.fits(filters.run_words(run(n)), values[n])]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["slow", "good", "cliff"]),
        ("algorithm=grpo lr>1e-4 success>0.9", ["good"]),
        ("ALGORITHM = GRPO", ["slow", "good"]),
        ("algorithm=grpo,q-*", ["slow", "good", "cliff"]),
        ("algorithm!=grpo", ["cliff"]),
        ("success>=20%", ["slow", "good"]),
        ("success != 0.2", ["good"]),
        ("steps>1.5k steps<=2k", ["good"]),
        ("algorithm.learning_rate<1e-4", ["slow"]),
        ("learning_rate=0.5", ["cliff"]),
        ("seed=7", ["good"]),
        ("gymnasium=*walk*", ["cliff"]),
        ("one -cliff", ["slow", "good"]),
        ('"the good"', ["good"]),
        ('title="The good one"', ["good"]),
        ("progress>0.4 pinned=no good", ["good"]),
        ("nothing-like-that", []),
    ],
)
def test_what_an_expression_finds(text: str, names: list[str]) -> None:
    assert found(text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sucess>0.9", r"no.* field 'sucess'|has a field 'sucess'.*Did you mean 'success'"),
        ("learning_rat>1", "Did you mean 'learning_rate'"),
        ("zzz=1", "There are id, name"),
        ("success>high", "Expected a number after success>.*found 'high'"),
        ("success>nan", "Expected a number"),
        ("lr>", "Expected a value after lr>"),
        (">3", "Expected a field before '>'"),
        ("state>running", "state is a text"),
        ("pinned=maybe", "Expected yes or no"),
        ("x" * 501, "at most 500 characters"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        found(text)


def test_settings_come_from_the_preset_with_schedules_by_their_start() -> None:
    table = {
        "title": "x",
        "algorithm": {"name": "sarsa", "learning_rate": {"start": 0.2, "end": 0.1}},
        "maze": {"map": "SG", "changes": [1], "slip": 0.5, "rewards": {"goal": 1}},
    }
    assert filters.settings_of(table) == {
        "algorithm.name": "sarsa",
        "algorithm.learning_rate": 0.2,
        "algorithm.learning_rate.start": 0.2,
        "algorithm.learning_rate.end": 0.1,
        "maze.slip": 0.5,
        "maze.rewards.goal": 1.0,
    }


def test_orders() -> None:
    runs = [run("slow"), run("good"), run("cliff")]

    def names(order: str) -> list[str]:
        return [each.preset_name for each in sorting.in_order(runs, order)]

    assert names("newest") == ["cliff", "good", "slow"]
    assert names("success") == ["good", "slow", "cliff"]
    assert names("-success") == ["slow", "good", "cliff"]
    assert names("title") == ["cliff", "good", "slow"]
    runs[0] = run("slow", pinned=True)
    assert names("newest") == ["slow", "cliff", "good"]
    with pytest.raises(UserError, match=r"'sucess'.*Did you mean 'success'"):
        names("sucess")


def test_a_title_and_a_pin_of_the_users_own(tmp_path: Path) -> None:
    path = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    before = library.list_runs(tmp_path)[0]
    assert not before.pinned and before.algorithm and "run.seed" in before.settings
    labels.rename(path, "  My   best run ")
    labels.pin(path, True)
    now = library.list_runs(tmp_path)[0]
    assert (now.title, now.pinned, now.id) == ("My best run", True, before.id)
    assert (path / labels.FILE).stat().st_mode & 0o777 == 0o600
    labels.rename(path, "")
    assert library.list_runs(tmp_path)[0].title == before.title
    labels.pin(path, False)
    assert not (path / labels.FILE).exists()
    for title, said in (("x" * 101, "at most 100"), ("a\x1b[2Jb", "printable")):
        with pytest.raises(UserError, match=said):
            labels.rename(path, title)
    for damaged in (b"\xff", b"[1]", b'{"title": 3}', b'{"pinned": "yes"}', b"[" * 4000):
        (path / labels.FILE).write_bytes(damaged)
        assert labels.read(path) == labels.Label()
    with pytest.raises(UserError, match="no run here"):
        labels.pin(tmp_path / "gone", True)
