"""Figures that the exact solver gives for a preset's maze: lesson answers are checked by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec
import numpy as np

from engine import presets
from engine.config.deploy import deployed_maze
from engine.config.preset import Preset
from engine.core.errors import UserError, nearest
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.exact.evaluate import evaluate, optimal_figures
from engine.exact.memoryless_optimum import best_memoryless
from engine.exact.solve import solve
from engine.experiments.lab import model_figures

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
    "barren_groups": "chance that no episode of a group of random ones (else of one) succeeds",
    "observable_optimum": "return of the best deterministic policy for what the learner sees",
    "observable_success_rate": "chance that this policy reaches the prize",
    "deployed_optimal_return": "return of the π* of the rules in [deploy], under them",
    "deployed_optimal_success_rate": "chance that this π* reaches the prize there",
    "transferred_return": "return under the rules in [deploy] of the π* of those in [maze]",
    "transferred_success_rate": "chance that this π* reaches the prize there",
    **model_figures.NAMES,
    **model_figures.MEASURED,
}
"""The figures by name. Those of mazes are of the preset's first one, from its starts; a preset
without [deploy] is deployed in the maze it trains in. Those of language models are NaN where the
model, or a run on this machine, has to be there first and is not."""


def exact_figures(wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The figures asked for, by preset and name. Raises UserError for what does not exist."""
    found = {}
    for preset, name in wanted:
        if name not in NAMES:
            raise UserError(
                f"There is no exact figure {name!r}.{nearest(name, list(NAMES))} "
                f"Expected one of {', '.join(NAMES)}."
            )
        if name in model_figures.MEASURED:  # may be there the next time: not kept
            found[preset, name] = model_figures.measured(presets.load(preset), preset)[name]
        else:
            found[preset, name] = _of_shipped(preset, _figures_with(name))[name]
    return found


def _figures_with(name: str) -> Callable[[Preset], dict[str, float]]:
    """What computes a figure, and others with it."""
    if name in model_figures.NAMES:
        return model_figures.of_model
    if name.startswith("observable"):
        return observable
    return deployed if name.startswith(("deployed", "transferred")) else of_maze


@lru_cache(maxsize=32)
def _of_shipped(name: str, figures: Callable[[Preset], dict[str, float]]) -> dict[str, float]:
    return figures(presets.load(name))


def observable(preset: Preset) -> dict[str, float]:
    """Those of the best deterministic policy for what the learner sees (with `maze.memory`: its
    last observations). Raises UserError where the search would take too long."""
    mdp = build_mdp(build_mazes(preset.maze)[0][1])
    _, best = best_memoryless(mdp, preset.algorithm.gamma)
    return {
        "observable_optimum": float(best.expected_return),
        "observable_success_rate": float(best.success_rate),
    }


def deployed(preset: Preset) -> dict[str, float]:
    """Those of two optimal policies where the policy is used: that world's own, and the one that
    is optimal where it was trained. Both see their cell and the keys they hold."""
    maze, gamma = build_mazes(preset.maze)[0][1], preset.algorithm.gamma
    there = maze if preset.deploy is None else deployed_maze(maze, preset.deploy)
    # What is seen changes no π*, and without memory the states of both worlds are the same.
    here_mdp, there_mdp = (
        build_mdp(msgspec.structs.replace(m, observation="cell", memory=1)) for m in (maze, there)
    )
    best = optimal_figures(there_mdp, gamma)
    moved = evaluate(there_mdp, solve(here_mdp, gamma).policy, gamma)
    return {
        "deployed_optimal_return": best.optimal_return,
        "deployed_optimal_success_rate": best.success_rate,
        "transferred_return": float(moved.expected_return),
        "transferred_success_rate": float(moved.success_rate),
    }


def of_maze(preset: Preset) -> dict[str, float]:
    """Those of π* and of moves at random, and sizes, of a preset's first maze. Raises UserError as
    `solve` does."""
    mdp, gamma = build_mdp(build_mazes(preset.maze)[0][1]), preset.algorithm.gamma
    solution = solve(mdp, gamma)
    best = optimal_figures(mdp, gamma, solution)
    observations = int(mdp.observation.max()) + 1
    uniform = np.full((observations, mdp.n_actions), 1 / mdp.n_actions)
    random = evaluate(mdp, uniform, gamma)
    group: int = getattr(preset.algorithm, "group_size", 1)
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
        "barren_groups": (1 - float(random.success_rate)) ** group,
    }
