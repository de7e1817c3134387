"""Figures that the exact solver gives for a preset's maze: lesson answers are checked by them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from engine import presets
from engine.errors import UserError, nearest
from engine.evaluate import evaluate, optimal_figures
from engine.maze import build_mazes
from engine.mdp import build_mdp
from engine.presets import Preset
from engine.solve import solve

NAMES = {
    "optimal_return": "discounted return of π* within the time limit",
    "optimal_success_rate": "chance that π* reaches the prize within the time limit",
    "optimal_score": "undiscounted score of π*",
    "optimal_length": "steps of π* on average",
    "optimal_value": "V* of the start: the return of π* without a time limit",
    "horizon_optimum": "the return that no policy can beat within the time limit",
    "random_return": "discounted return of moves drawn with equal chances",
    "random_success_rate": "chance that moves drawn with equal chances reach the prize",
    "random_score": "undiscounted score of moves drawn with equal chances",
    "random_length": "steps of moves drawn with equal chances, on average",
    "states": "states of the first maze",
    "observations": "what the agent can tell apart: rows of its table",
    "actions": "moves to choose from",
    "table_size": "numbers in a table of action values",
}
"""The figures by name. All are of the preset's first maze, from its starts."""


def exact_figures(wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The figures asked for, by preset and name. Raises UserError for what does not exist."""
    found = {}
    for preset, name in wanted:
        if name not in NAMES:
            raise UserError(
                f"There is no exact figure {name!r}.{nearest(name, list(NAMES))} "
                f"Expected one of {', '.join(NAMES)}."
            )
        found[preset, name] = _of_shipped(preset)[name]
    return found


@lru_cache(maxsize=16)
def _of_shipped(name: str) -> dict[str, float]:
    return of_preset(presets.load(name))


def of_preset(preset: Preset) -> dict[str, float]:
    """All figures of a preset's first maze at its γ. Raises UserError as `solve` does."""
    mdp, gamma = build_mdp(build_mazes(preset.maze)[0][1]), preset.algorithm.gamma
    solution = solve(mdp, gamma)
    best = optimal_figures(mdp, gamma, solution)
    observations = int(mdp.observation.max()) + 1
    uniform = np.full((observations, mdp.n_actions), 1 / mdp.n_actions)
    random = evaluate(mdp, uniform, gamma)
    return {
        "optimal_return": best.optimal_return,
        "optimal_success_rate": best.success_rate,
        "optimal_score": best.expected_score,
        "optimal_length": best.expected_length,
        "optimal_value": float(mdp.start @ solution.values),
        "horizon_optimum": best.horizon_optimum,
        "random_return": float(random.expected_return),
        "random_success_rate": float(random.success_rate),
        "random_score": float(random.expected_score),
        "random_length": float(random.expected_length),
        "states": mdp.n_states,
        "observations": observations,
        "actions": mdp.n_actions,
        "table_size": observations * mdp.n_actions,
    }
