"""Learners on tiny models, and what the tests ask of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine import factory, presets
from engine.learning.events import AnyEvent, Update
from engine.llm.learner import LlmLearner
from engine.llm.tasks.recorded import TIMED

PRESET = """
title = "tiny"
group = "llm"
[maze]
map = '''
SF
FG
'''
max_steps = 8
rewards = {{goal = 1.0, step = -0.02}}
[model]
name = "{folder}"
quantization = "none"
lora = {{rank = 4, alpha = 8.0}}
[algorithm]
name = "{algorithm}"
learning_rate = 0.01
episodes = 32
{more}
[budget]
updates = 8
[run]
seed = 3
"""


def preset(
    folder: Path, algorithm: str = "grpo", more: str = "", overrides: list[str] | None = None
) -> presets.LlmPreset:
    """A preset that trains a tiny model on two by two cells."""
    text = PRESET.format(folder=folder, algorithm=algorithm, more=more)
    made = presets.parse(text, overrides=overrides)
    assert isinstance(made, presets.LlmPreset)
    return made


def learner(*args: Any, **kwargs: Any) -> LlmLearner:
    """A learner with its model loaded, before the first look."""
    made = factory.make_learner(preset(*args, **kwargs))
    made.prepare()
    assert isinstance(made, LlmLearner)
    return made


def train(made: LlmLearner, updates: int | None = None) -> list[AnyEvent]:
    """All events of so many updates, or of the whole budget; from the beginning if need be."""
    events = made.begin() if made.run.clock == 0 else []
    until = made.run.clock + updates if updates is not None else 10**9
    while made.run.clock < until and not made.done:
        events += made.advance(1)
    return events


def metrics(events: list[AnyEvent], name: str) -> list[float]:
    """A metric at every update."""
    return [e.metrics[name].mean for e in events if isinstance(e, Update) and name in e.metrics]


def same_state(a: LlmLearner, b: LlmLearner) -> None:
    """Assert that two learners would go on alike, bit for bit."""
    mine, theirs = a.state(), b.state()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def reproducible(events: list[AnyEvent]) -> list[Any]:
    """Events without what depends on the machine's speed, ready to be compared."""
    plain = []
    for event in events:
        if isinstance(event, Update):
            kept = {name: m for name, m in event.metrics.items() if name not in TIMED}
            plain.append((event.step, event.episodes, event.total_env_steps, repr(kept)))
        else:
            plain.append(repr(event))
    return plain
