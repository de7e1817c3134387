"""Live values of linear function approximation: features, what they leave out, replay, anchor."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from engine.env.maze import Maze
from engine.env.mdp import reachable
from engine.env.registration import BAIRD
from engine.tabular.kernels.features import Features, approximation_error, describe
from tui import kinds
from tui.glossary.values.learning import used
from tui.glossary.values.policy_gradient import curve, either
from tui.glossary.values.words import (
    Value,
    latest,
    number,
    place,
    plural,
    shown_observation,
    shown_state,
)

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

WHOLE_RETURNS = (
    "monte-carlo",
    "off-policy-monte-carlo",
    "off-policy-prediction",
    "reinforce",
    "grpo",
    "bandit",
    "gradient-bandit",
)
"""Methods whose targets are returns that were really earned."""


def features_of(snapshot: Snapshot) -> Features | None:
    """The features of the map shown, for runs that have any (not those an environment brings).

    None where an observation is no cell: then its number hangs on all worlds of the run.
    """
    settings = snapshot.preset.algorithm
    maze = snapshot.world.maze
    if getattr(settings, "features", "own") == "own" or maze.observation != "cell":
        return None
    return _described(settings, msgspec.json.encode(maze), snapshot.mdp.n_observations)


@lru_cache(maxsize=8)
def _described(settings: Any, maze: bytes, observations: int) -> Features:
    return describe(settings, [msgspec.json.decode(maze, type=Maze)], observations)


def function_approximation(snapshot: Snapshot) -> str | None:
    features = features_of(snapshot)
    if features is None:
        return None
    actions = snapshot.mdp.n_actions
    observations = f"{snapshot.mdp.n_observations:,} observations"
    if kinds.of(snapshot.preset).policy_given:
        return f"{features.n_features:,} weights, for V of {observations}"
    if hidden := getattr(snapshot.preset.algorithm, "hidden", 0):
        count = (features.n_features + 1) * hidden + (hidden + 1) * actions
        return f"{count:,} weights of a network with {plural(hidden, 'hidden unit')}"
    told = f"{features.n_features * actions:,} weights"
    if kinds.of(snapshot.preset).learns_policy:
        told += f" for π, {features.n_features:,} for V"
    return f"{told}, for {observations} × {actions} actions"


def feature(snapshot: Snapshot) -> str | None:
    features = features_of(snapshot)
    if features is None:
        return None
    on = sorted(features.active[shown_observation(snapshot)].tolist())
    where = place(snapshot, shown_state(snapshot))
    return f"{len(on)} of {features.n_features:,} are on at {where}: {', '.join(map(str, on))}"


def coarse_coding(snapshot: Snapshot) -> str | None:
    settings: Any = snapshot.preset.algorithm
    if getattr(settings, "features", None) != "tiles":
        return None
    layers = plural(settings.tilings, "layer")
    return f"{layers} of blocks of {settings.tile_size} × {settings.tile_size} cells"


@lru_cache(maxsize=8)
def _error(active: bytes, on: int, count: int, values: tuple[float, ...]) -> float:
    table = np.frombuffer(active, np.int32).reshape(-1, on)
    return approximation_error(Features(table, count), np.array(values))


def best_fit(snapshot: Snapshot) -> str | None:
    features = features_of(snapshot)
    linear = not getattr(snapshot.preset.algorithm, "hidden", 0)
    if features is None or not linear or kinds.of(snapshot.preset).policy_given:
        return None
    met = reachable(snapshot.mdp)
    active = features.active[snapshot.mdp.observation[met]]
    values = tuple(snapshot.optimum.values[met].tolist())
    error = _error(active.tobytes(), active.shape[1], features.n_features, values)
    error = 0.0 if error < 1e-9 else error
    states = plural(len(values), "state")
    return f"V* of this map at best to within {number(error)} (RMS over {states})"


def deadly_triad(snapshot: Snapshot) -> str | None:
    told = snapshot.algorithm
    if kinds.of(snapshot.preset).plans:
        return None
    settings: Any = snapshot.preset.algorithm
    own = getattr(settings, "target_policy", "") == "behaviour" or (
        hasattr(settings, "behaviour") and settings.behaviour == settings.policy
    )
    parts = {
        "function approximation": getattr(settings, "features", "cell") != "cell",
        "bootstrapping": told.name not in WHOLE_RETURNS,
        "off-policy": told.policy_type == "off-policy" and not own,
    }
    here = [name for name, present in parts.items() if present]
    words = f"{len(here)} of 3 in this run" + (f": {', '.join(here)}" if here else "")
    largest = latest(snapshot, "largest_weight")
    return words if largest is None else f"{words}; largest weight {number(largest)}"


def replay(snapshot: Snapshot) -> str | None:
    memory = getattr(snapshot.preset.algorithm, "replay", None)
    if memory is None:
        return None
    if snapshot.algorithm.name == "dqn":
        batch = plural(memory.batch, "move")
        return f"a batch of {batch} after each move, drawn from the last {memory.size:,}"
    return (
        f"{plural(memory.batch, 'update')} from memory after each move, drawn from the last "
        f"{memory.size:,}"
    )


def target_network(snapshot: Snapshot) -> str:
    every = getattr(snapshot.preset.algorithm, "target_every", None) or 1
    return "none in this run" if every == 1 else f"made anew after every {every:,} updates"


def baird(snapshot: Snapshot) -> str | None:
    if snapshot.world.maze.gymnasium != BAIRD:
        return "not in this run"
    largest = latest(snapshot, "largest_weight")
    return None if largest is None else f"largest weight {number(largest)}; at first 10"


def anchor(snapshot: Snapshot) -> str | None:
    held = getattr(snapshot.preset.algorithm, "anchor", None)
    return None if held is None else f"weight {number(held.weight)}"


VALUES: dict[str, Value] = {
    "function-approximation": function_approximation,
    "feature": feature,
    "coarse-coding": coarse_coding,
    "approximation-error": best_fit,
    "deadly-triad": deadly_triad,
    "linear-q-learning": used("linear-q-learning"),
    "experience-replay": either(replay, curve("replayed_updates", "{} such updates so far")),
    "dqn": used("dqn"),
    "target-network": target_network,
    "linear-td": used("linear-td"),
    "bairds-counterexample": baird,
    "linear-actor-critic": used("linear-actor-critic"),
    "anchor": either(anchor, curve("anchor_kl", "KL to the old policy {}")),
}
