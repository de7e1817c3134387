"""Carrying out a preset in this process, without a worker: the same learner as `icemaze train`."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import factory
from engine.config.preset import Preset
from engine.learning.events import AnyEvent, Evaluation, Note, PerAgent, Update

Figures = dict[str, Any]


def run(preset: Preset) -> tuple[Figures, Figures]:
    """The last figures of a run as `RunReader.final` gives them, and those of each agent [N].

    Besides them `notes`: the glossary terms of the notes that it gave.
    """
    learner = factory.make_learner(preset)
    learner.prepare()
    events: list[AnyEvent] = learner.begin()
    while not learner.done:
        events += learner.advance(10**9)
    events += learner.conclude()
    metrics = next(e for e in reversed(events) if isinstance(e, Update)).metrics
    evaluations = [e for e in events if isinstance(e, Evaluation) and e.split == "train"]
    last = [e for e in evaluations if e.step == evaluations[-1].step]
    counters = learner.counters
    kept = {
        name.removeprefix("best_"): np.mean([e.figures[name].mean for e in last])
        for name in last[0].figures
        if name.startswith("best_")  # of a language model the best adapters are kept
    }
    final = {
        "env_steps": counters.env_steps,
        "total_env_steps": counters.total_env_steps,
        "episodes": counters.episodes,
        "updates": counters.updates,
        **{name: np.mean([e.figures[name].mean for e in last]) for name in last[0].figures},
        **kept,
        "optimal_return": np.mean([e.optimal_return for e in last]),
        "horizon_optimum": np.mean([e.horizon_optimum for e in last]),
        "metrics": {name: metric.mean for name, metric in metrics.items()},
        "notes": [e.term for e in events if isinstance(e, Note)],
    }
    newest = [e for e in events if isinstance(e, PerAgent)]
    return final, newest[-1].figures if newest else {}
