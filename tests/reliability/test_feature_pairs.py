"""Settings that nobody has tried together: drawn presets either run or are refused in a sentence.

The kernels run as plain Python here, so that a wrong index is an error and not a wrong number; the
long form carries out some of the runs compiled, as users do.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_presets import SIDE, STEPS, Draw
from long_form import count

from engine import factory, presets
from engine.algorithms import registry
from engine.core import compiling
from engine.core.errors import UserError
from engine.learning.events import PerAgent
from engine.presets import toml
from engine.presets.schema import preset_type
from engine.runs import checkpoints

pytestmark = pytest.mark.slow

PAIRS = count(3, 40)
"""Drawn presets for each algorithm."""
MOST_SECONDS = 60
ALGORITHMS = registry.TABLES.names


@pytest.fixture(scope="module", autouse=True)
def plain_kernels() -> Iterator[None]:
    """Kernels as they are written, which costs no compiling and checks every index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "_machine_code", lambda function, *, inside: function)
        compiling.compiled.cache_clear()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "overflow", RuntimeWarning)  # random numbers wrap
            yield
    compiling.compiled.cache_clear()


def outcome(algorithm: str, seed: int) -> str:
    """What becomes of a drawn preset, as a word or the sentence of its refusal."""
    draw = Draw(preset_type(), f"{algorithm} {seed}")
    data = draw.preset(algorithm, draw.random.randint(1, 4))
    try:
        return _carried_out(toml.write(data), draw, algorithm)
    except UserError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{algorithm}, seed {seed}: {toml.write(data)}") from error


def _carried_out(text: str, draw: Draw, algorithm: str) -> str:
    preset = presets.parse(text)
    assert presets.parse(presets.dump(preset)) == preset
    learner = factory.make_learner(preset)
    learner.begin()
    learner.advance(STEPS // 3)
    _change(learner, draw, algorithm)
    learner.advance(STEPS // 3)
    again = factory.make_learner(preset)
    again.load(checkpoints.unpack(checkpoints.pack(learner.state())))
    for each in (learner, again):
        while not each.done and each.clock < STEPS:
            each.advance(50)
    one, other = learner.state(), again.state()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], name)
    for event in learner.conclude():
        if isinstance(event, PerAgent):
            assert (
                (0 <= event.figures["success_rate"]) & (event.figures["success_rate"] <= 1 + 1e-9)
            ).all()
    learner.live(0)
    return "ran"


def _change(learner: Any, draw: Draw, algorithm: str) -> None:
    """Tune a setting and edit the map, or not; a refusal must leave the learner as it was."""
    tuned = draw.tune(algorithm) if draw.random.random() < 0.5 else None
    if tuned is not None and tuned[1] is not None:
        try:
            learner.tune(*tuned)
        except UserError:
            pass
    if draw.random.random() < 0.5:
        try:
            learner.edit(draw.map_rows())
        except UserError:
            pass


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_drawn_preset_runs_or_is_refused(algorithm: str) -> None: ...
