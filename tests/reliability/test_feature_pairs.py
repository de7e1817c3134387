"""Settings that nobody has tried together: drawn presets either run or are refused in a sentence.

The kernels of most runs are plain Python here, so that a wrong index is an error and not a wrong
number, and nothing is compiled; `test_a_drawn_run_can_be_asked` carries out whole runs, compiled.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_presets import STEPS, Draw
from long_form import count

from engine import factory, presets
from engine.algorithms import registry
from engine.core import compiling
from engine.core.errors import UserError
from engine.learning.events import PerAgent
from engine.presets.schema import preset_type
from engine.runs import checkpoints, launch
from engine.runs.evaluation import evaluate_run, played_worlds
from engine.runs.reader import RunReader
from engine.runs.session import Session
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

DRAWN = count(2, 25)
"""Drawn presets for each algorithm."""
WHOLE = count(4, 100)
"""Drawn runs that are carried out, stored and asked about."""
ALGORITHMS = registry.TABLES.names
FASTEST = "q-learning"
"""The algorithm of whole runs in the quick form: one kernel to compile."""


@pytest.fixture(scope="module")
def plain_kernels() -> Iterator[None]:
    """Algorithms as they are written; the exact figures, which take longest, stay compiled."""
    real = compiling._machine_code

    def machine_code(function: Callable[..., Any], *, inside: bool) -> Callable[..., Any]:
        textbook = function.__module__.startswith("engine.tabular.algorithms")
        return function if textbook else real(function, inside=inside)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "_machine_code", machine_code)
        compiling.compiled.cache_clear()
        yield
    compiling.compiled.cache_clear()


def drawn(algorithm: str, seed: int) -> tuple[Draw, str]:
    """A drawn preset as TOML, and what drew it."""
    draw = Draw(preset_type(), f"{algorithm} {seed}")
    return draw, draw.preset(algorithm, draw.random.randint(1, 4))


def change(learner: Any, draw: Draw, algorithm: str) -> None:
    """Tune a setting and edit the map, or not. Both may be refused, and then change nothing."""
    tuned = draw.tune(algorithm) if draw.random.random() < 0.5 else None
    if tuned is not None and tuned[1] is not None:
        with contextlib.suppress(UserError):
            learner.tune(*tuned)
    if draw.random.random() < 0.5:
        with contextlib.suppress(UserError):
            learner.edit(draw.map_rows())


def carry_out(text: str, draw: Draw, algorithm: str) -> None:
    """Learn, change something, and go on in two learners: this one, and one that was resumed."""
    preset = presets.parse(text)
    assert presets.parse(presets.dump(preset)) == preset
    learner = factory.make_learner(preset)
    learner.begin()
    learner.advance(STEPS // 3)
    change(learner, draw, algorithm)
    learner.advance(STEPS // 3)
    again = factory.make_learner(preset)
    again.load(checkpoints.unpack(checkpoints.pack(learner.state())))
    for each in (learner, again):
        while not each.done and each.counters.step < STEPS:
            each.advance(50)
    one, other = learner.state(), again.state()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], name)
    learner.live(0)
    (last,) = (event for event in learner.conclude() if isinstance(event, PerAgent))
    success = last.figures["success_rate"]
    assert ((success >= 0.0) & (success <= 1.0 + 1e-9)).all()


class Strict(Session):
    """A session whose failures are those of the test, unless the user could mend them."""

    def _fail(self, text: str, remedy: str) -> None:
        raise


@pytest.mark.parametrize("part", range(4))
def test_a_drawn_run_can_be_asked(part: int, tmp_path: Path) -> None:
    """Whole runs: stored, read, evaluated where they learned and elsewhere, and played."""
    for seed in range(part, WHOLE, 4):
        algorithm = ALGORITHMS[seed // 4 % len(ALGORITHMS)] if count(0, 1) else FASTEST
        draw, text = drawn(algorithm, 1000 + seed)
        try:
            preset = presets.parse(text)
            run_dir = launch.create_run(preset, "drawn", runs_dir=tmp_path)
            writer = RunWriter(run_dir)
            with contextlib.closing(writer):
                assert Strict(writer, factory.make_learner).run()
            with RunReader(run_dir) as reader:
                for changes in ([], ["maze.slip=0.5"], [f"maze.map={draw.map_text()}"]):
                    with contextlib.suppress(UserError):
                        evaluate_run(reader, changes)
                        played_worlds(reader, changes)
        except UserError:
            continue
        except Exception as error:
            raise AssertionError(f"{algorithm}, seed {1000 + seed}:\n{text}") from error


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_drawn_preset_runs_or_is_refused(algorithm: str, plain_kernels: None) -> None:
    ran = 0
    for seed in range(DRAWN):
        draw, text = drawn(algorithm, seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # random numbers wrap on purpose
                carry_out(text, draw, algorithm)
            ran += 1
        except UserError as error:
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{algorithm}, seed {seed}:\n{text}") from error
    assert ran >= DRAWN // 4, f"most of the presets drawn for {algorithm} are refused"
