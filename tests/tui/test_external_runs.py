"""Runs of other trainers in the app and on the command line: looked at, never steered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import icemaze
from patience import eventually

from engine.external.record import Described, ExternalRun
from engine.external.rollouts import Rollout
from tui.app import IceMazeApp
from tui.features.external.screen import ExternalScreen
from tui.features.groups.screen import GroupScreen
from tui.kinds.external.views import MOST, views_of
from tui.watching.completion_card import CompletionCard
from tui.watching.curves import CurvesPanel

LINES = [
    {"icemaze": 1, "name": "theirs", "trainer": "verl", "model": "Qwen", "unit": "round"},
    {"step": 1, "metrics": {"reward": 0.25}},
    {"nonsense": 1},
    {"step": 2, "metrics": {"reward": 0.5, "kl": 0.01}},
]


def recorded(folder: Path) -> ExternalRun:
    """A run that goes on, with two updates."""
    told = Described(name="theirs", trainer="verl 0.5", algorithm="grpo", settings={"beta": 0.04})
    run = ExternalRun.create(told, folder)
    for step in (1, 2):
        run.metrics(
            step, {"reward": step / 4, "rewards/right/mean": 0.1, "grad_norm": float("nan")}
        )
        run.rollouts(
            step,
            [
                Rollout(prompt="2+2?", completion=f"update {step} says {n}", reward=float(n),
                        advantage=n - 1.0, cut_off=n == 2)
                for n in range(3)
            ],
        )  # fmt: skip
    run.commit()
    return run


@pytest.mark.slow
async def test_the_app_shows_what_a_trainer_tells(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    app = IceMazeApp(open_run=run.run_dir)
    async with app.run_test(size=(120, 40)) as pilot:
        await eventually(
            pilot,
            lambda: isinstance(app.screen, ExternalScreen) and app.screen.group is not None,
        )
        screen = app.screen
        assert isinstance(screen, ExternalScreen)
        best, worst = screen.query(CompletionCard)
        assert "update 2 says 2" in str(best.query_one("Static").render())  # type: ignore[attr-defined]
        assert str(best.border_title) == "earned most: 2.00, advantage +1.00, cut off"
        assert "says 0" in str(worst.query_one("Static").render())  # type: ignore[attr-defined]
        known = str(screen.query_one("#external-known Static").render())  # type: ignore[attr-defined]
        assert "verl 0.5" in known and "beta 0.04" in known and "not a finite number" in known
        titles = [view.title for view in screen.query_one(CurvesPanel).views]
        assert titles == ["Reward", "Parts"]  # of the gradient there is no number
        await pilot.press("less_than_sign")
        await eventually(pilot, lambda: "update 1 says" in str(best.query_one("Static").render()))  # type: ignore[attr-defined]
        await pilot.press("f", "u")
        await eventually(pilot, lambda: isinstance(app.screen, GroupScreen))
        table = app.screen.query_one("MemberTable")
        titles = [str(column.label) for column in table.columns.values()]  # type: ignore[attr-defined]
        assert titles == ["#", "advantage", "return", "ended by", "completion"]
        assert not app.screen.query_one("#group-way").display
        await pilot.press("escape", "space", "x")  # keys that would steer do nothing
        assert app.screen is screen
        run.end("finished")
        await eventually(pilot, lambda: screen.snapshot is not None and screen.snapshot.head.ended)


def test_every_metric_has_one_chart() -> None:
    many = [f"mine/{n}" for n in range(2 * MOST)]
    views = views_of(["reward", "rewards/a/mean", "kl", *many])
    metrics = [figure.metric for view in views for figure in view.figures]
    assert len(metrics) == len(set(metrics)) and {"kl", "rewards/a/mean", *many} <= set(metrics)
    assert max(len(view.figures) for view in views) <= MOST
    assert [view.title for view in views][:2] == ["Reward", "Parts"]


def test_the_command_records_a_file_and_tells_of_it(tmp_path: Path) -> None:
    file = tmp_path / "theirs.jsonl"
    runs = tmp_path / "runs"
    file.write_text("\n".join(map(json.dumps, LINES)) + "\n")
    done = icemaze(runs, "watch", str(file), "--once", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["updates"], told["bad_lines"], told["status"]) == (2, 1, "stopped")
    with file.open("a") as handle:
        handle.write('{"step": 3, "metrics": {"reward": 0.75}}\n{"end": "finished"}\n')
    done = icemaze(runs, "watch", str(file), "--plain")
    assert done.returncode == 0, done.stderr
    assert "round 3  reward +0.750" in done.stdout and "Finished at round 3" in done.stdout
    said = icemaze(runs, "status", told["run"]).stdout
    assert "reward +0.750" in said and "trained by verl" in said
    for arguments in (["stop"], ["pause"], ["train", "--resume"], ["stop", "--now"]):
        refused = icemaze(runs, *arguments[:2], told["run"], *arguments[2:])
        assert refused.returncode == 2 and "started by verl" in refused.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [("nosuch.jsonl", "no such file, folder or run"), (".", "nothing to watch here")],
)
def test_what_cannot_be_watched_is_said(tmp_path: Path, path: str, words: str) -> None:
    done = icemaze(tmp_path / "runs", "watch", str(tmp_path / path))
    assert done.returncode == 2 and words in done.stderr
