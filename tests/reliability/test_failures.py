"""A run that cannot go on is failed, with its true cause; a resume is offered where it helps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import worker_tools  # noqa: F401  (the way to the tools of the other rooms)

# isort: split
from fake_learner import FakeLearner, figure, make_preset
from run_tools import run_here

from engine import factory, presets
from engine.config import shipped
from engine.config.preset import Preset
from engine.core import compiling
from engine.core.errors import LastingError, UserError
from engine.learning.events import AnyEvent, Evaluation
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.records import NoteRow
from tui.cli.progress import what_next

EXAMPLES = shipped.FOLDER / "examples"


def failed(run_dir: Path, make: Callable[[Preset], Any] = factory.make_learner) -> NoteRow:
    """The last note of a run that fails."""
    assert not run_here(run_dir, make)
    with RunReader(run_dir) as reader:
        note = reader.notes()[-1]
        assert reader.state() == "failed" and reader.final()["status"] == "failed"
        assert reader.error() == note.text and note.level == "error"
    return note


# ---------------------------------------------------------------- a user's own algorithm


def own_run(tmp_path: Path, old: str, new: str) -> Path:
    """A run of the example with something changed in it."""
    mine = tmp_path / "mine"
    mine.mkdir()
    code = (EXAMPLES / "my_q.py").read_text("utf-8")
    assert code.count(old) == 1
    (mine / "my_q.py").write_text(code.replace(old, new))
    shutil.copy(EXAMPLES / "my-q.toml", mine)
    preset = presets.load(str(mine / "my-q.toml"), ["budget.env_steps=2000", "run.agents=2"])
    return launch.create_run(preset, "my-q", runs_dir=tmp_path / "runs")


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels as plain Python: compiling one takes longer than these runs."""
    monkeypatch.setattr(compiling, "compiled", lambda function: function)


# Uncompiled, the random numbers overflow as they do compiled, but NumPy says so.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
STEPS = "        for left in range(limits.steps, 0, -1):\n"


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled", "own_code_is_trusted")
@pytest.mark.parametrize(
    ("steps", "stuck"),
    [
        ("        for left in range(0):\n", "agent 0, which stands at step 0"),
        (
            "        for left in range(limits.steps if i == 0 or agents.steps[1] < 99 else 0):\n",
            "agent 1, which stands at step 99",
        ),
    ],
)
def test_a_kernel_without_a_step_fails_the_run(tmp_path: Path, steps: str, stuck: str) -> None:
    note = failed(own_run(tmp_path, STEPS, steps))
    assert note.text.startswith(f"my_q.py: the kernel my_q returned without a step of {stuck}")
    assert "Mend" in note.remedy and "--resume" not in note.remedy


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled", "own_code_is_trusted")
def test_figures_that_are_all_nan_fail_the_run(tmp_path: Path) -> None:
    hook = "    def make_hyperparameters(self, settings: Any) -> Any:\n"
    target = "    def target(self, tables, hyperparameters, step):\n        return tables.q * "
    note = failed(own_run(tmp_path, hook, f"{target}float('nan')\n\n{hook}"))
    assert note.text.startswith("my_q.py: target gives probabilities that are not finite numbers")
    assert "Mend" in note.remedy and "--resume" not in note.remedy


# ---------------------------------------------------------------- any algorithm


class Unknowable(FakeLearner):
    """None of its figures is a number."""

    def _pictures(self) -> list[AnyEvent]:
        first, *rest = super()._pictures()
        assert isinstance(first, Evaluation)
        nothing = {name: figure(self.unknown) for name in first.figures}
        return [msgspec.structs.replace(first, figures=nothing), *rest]

    unknown = float("nan")


class Overflowing(Unknowable):
    unknown = float("inf")


@pytest.mark.parametrize("make", [Unknowable, Overflowing])
def test_a_run_with_nothing_finite_is_not_finished(tmp_path: Path, make: type[FakeLearner]) -> None:
    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    note = failed(run_dir, make)
    assert "came to its end at step 400, but none of its figures is a finite number" in note.text
    assert what_next(run_dir, "failed").startswith("Start a new run")


class OutOfMemoryError(RuntimeError):
    """What torch says."""


@pytest.mark.parametrize(
    ("error", "at_step_0", "later"),
    [
        (LastingError("It diverges."), False, False),
        (UserError("The model's folder is empty."), False, True),
        (MemoryError("no room"), True, True),
        (OSError(28, "No space left on device"), True, True),
        (OutOfMemoryError("CUDA out of memory"), True, True),
        (ZeroDivisionError("our own mistake"), False, True),
    ],
)
def test_a_resume_is_offered_where_it_can_help(
    tmp_path: Path, error: Exception, at_step_0: bool, later: bool
) -> None:
    for step, helps in ((0, at_step_0), (100, later)):

        def raising(now: int, step: int = step) -> None:
            if now == step:
                raise error

        run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
        note = failed(run_dir, lambda preset: FakeLearner(preset, raising))
        assert ("--resume" in note.remedy) == helps, (step, note.remedy)
        assert ("--resume" in what_next(run_dir, "failed")) == helps
        assert helps or "Start a new run" in what_next(run_dir, "failed")
