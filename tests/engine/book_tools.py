"""Episode by episode over many agents, to compare with the figures of Sutton & Barto's book."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine import factory, presets
from engine.core import compiling
from engine.tabular.kernels.environment import SCORE, Limits

NO_LIMIT = 2**62


class Online(NamedTuple):
    """What N agents did in their first E episodes."""

    lengths: np.ndarray  # [E,N] steps
    scores: np.ndarray  # [E,N] sum of rewards
    learner: Any


def play(preset: str, episodes: int, agents: int = 100, seed: int = 7) -> Online:
    """Run a preset's kernel one episode at a time (recording nothing, which would take longer)."""
    overrides = [f"run.agents={agents}", f"run.seed={seed}"]
    learner: Any = factory.make_learner(presets.load(preset, overrides))
    lengths, scores = [], []
    for episode in range(1, episodes + 1):
        steps, score = learner.agents.steps.copy(), learner.agents.stats[:, SCORE].copy()
        go(learner, NO_LIMIT, episode)
        lengths.append(learner.agents.steps - steps)
        scores.append(learner.agents.stats[:, SCORE] - score)
    return Online(np.array(lengths), np.array(scores), learner)


def go(learner: Any, steps: int, episodes: int = NO_LIMIT, updates: int = NO_LIMIT) -> None:
    """Take every agent further by its kernel alone."""
    run = compiling.compiled(learner.algorithm.kernel)
    limits = Limits(steps, episodes, updates)
    run(learner.env, learner.agents, learner.tables, learner.hyperparameters, learner.trace, limits)


def interval(of_agent: np.ndarray) -> tuple[float, float]:
    """Mean ± 3.3 standard errors over agents [N]: wrong in one of a thousand."""
    mean = float(of_agent.mean())
    error = float(of_agent.std(ddof=1)) / len(of_agent) ** 0.5
    return mean - 3.3 * error, mean + 3.3 * error
