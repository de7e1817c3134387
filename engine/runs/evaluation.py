"""What a run has learned, evaluated exactly again: in its own maze, or in a changed one.

The tables come from the newest checkpoint, so that every agent counts, not just the watched one.
Shapes: N agents, O observations, A actions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine import presets
from engine.errors import UserError
from engine.evaluate import evaluate, greedy, optimal_figures
from engine.events import Metric
from engine.learner import State
from engine.maze import Maze, build_mazes
from engine.mdp import MDP, build_mdp
from engine.preset_toml import MAZE_SOURCES, apply_override
from engine.runs import checkpoints, schema
from engine.runs.reader import RunReader
from engine.tabular.moving import MovingAlgorithm, Size
from engine.tabular.worlds import summarise

Array = np.ndarray[Any, np.dtype[Any]]

GENERATED = ("size", "hole_density", "seed")
"""The keys of `[maze]` that describe a generated maze."""


class RunEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Exact figures of the target policies of a run's agents, and the best possible ones."""

    step: int
    agents: int
    maze: Maze
    figures: dict[str, Metric]
    optimal_return: float
    horizon_optimum: float


class _Learned(msgspec.Struct, frozen=True):
    """Target and greedy policies [N,O,A] as they were at `step`."""

    step: int
    target: Array
    greedy: Array


def evaluate_run(reader: RunReader, overrides: list[str]) -> RunEvaluation:
    """The exact figures of a run's newest target policies, averaged over agents and start cells.

    `overrides` (`maze.slip=0.5`) change the maze the policies are put into; otherwise it is the one
    the run is in. Raises UserError for other keys than `maze.*`, for a maze that does not have the
    same cells, observations and actions, and for a run that has learned nothing yet.
    """
    learned = _learned(reader)
    preset = reader.info().preset
    world = reader.world_at(learned.step)
    assert world is not None  # worlds are recorded before the first policy
    maze = _changed(preset, world.maze, overrides) if overrides else world.maze
    mdp = build_mdp(maze)
    _check_fits(maze, mdp, world.maze, learned)
    gamma = preset.algorithm.gamma
    exact = evaluate(mdp, learned.target, gamma)
    alone = evaluate(mdp, learned.greedy, gamma)
    best = optimal_figures(mdp, gamma)
    return RunEvaluation(
        step=learned.step,
        agents=learned.target.shape[0],
        maze=maze,
        figures={
            "success_rate": summarise(exact.success_rate),
            "greedy_success_rate": summarise(alone.success_rate),
            "expected_return": summarise(exact.expected_return),
            "expected_score": summarise(exact.expected_score),
            "expected_length": summarise(exact.expected_length),
        },
        optimal_return=best.optimal_return,
        horizon_optimum=best.horizon_optimum,
    )


# ---------------------------------------------------------------- the policies


def _learned(reader: RunReader) -> _Learned:
    """The policies of all agents where the algorithm keeps a table for each, else the watched's."""
    algorithm = presets.algorithm_of(reader.info().preset)
    if isinstance(algorithm, MovingAlgorithm):
        if (found := _newest_checkpoint(reader.path)) is not None:
            return _from_tables(algorithm, *found)
    elif (policy := reader.policy_at()) is not None:
        # Stored in single precision: a third is made an exact third again.
        target = policy.target.astype(np.float64)
        target /= target.sum(axis=-1, keepdims=True)
        alone = target if policy.q is None else greedy(policy.q)
        return _Learned(policy.step, target[None], alone[None])
    raise UserError(
        f"The run {reader.id} has recorded no policy yet. Wait a moment, or start it with "
        f"`icemaze train --resume {reader.id}`."
    )


def _newest_checkpoint(run_dir: Path) -> tuple[int, State] | None:
    query = "SELECT step, state FROM checkpoints ORDER BY id DESC LIMIT 1"
    with (
        schema.explained(run_dir / schema.DATABASE),
        contextlib.closing(schema.open_to_read(run_dir)) as connection,
    ):
        row = connection.execute(query).fetchone()
    return (row[0], checkpoints.unpack(row[1])) if row else None


def _from_tables(algorithm: MovingAlgorithm, step: int, state: State) -> _Learned:
    settings: Any = msgspec.json.decode(state["settings"].tobytes(), type=algorithm.settings)
    empty = algorithm.make_tables(settings, Size(*state["tables.visits"].shape))
    tables = empty._replace(**{field: state[f"tables.{field}"] for field in empty._fields})
    target = algorithm.target(tables, algorithm.make_knobs(settings), step)
    return _Learned(step, target, algorithm.greedy(tables))


# ---------------------------------------------------------------- the maze


def _changed(preset: presets.Preset, maze: Maze, overrides: list[str]) -> Maze:
    """The maze the run is in, with other rules or another map."""
    data = msgspec.to_builtins(preset)
    settings = {key: value for key, value in data["maze"].items() if value is not None}
    settings.pop("changes", None)  # the map it has switched to counts, not those on the way
    keys = {_maze_key(override) for override in overrides}
    if maze.gymnasium is not None:
        settings["kwargs"] = maze.kwargs  # with a random map pinned to the one that was drawn
    elif not keys.intersection((*MAZE_SOURCES, *GENERATED)):
        settings = {key: settings[key] for key in settings if key not in GENERATED}
        settings["map"] = "\n".join(maze.rows)
    changed = {**data, "maze": settings}
    for override in overrides:
        apply_override(changed, override)
    if "map" in keys:
        changed["maze"] = {k: v for k, v in changed["maze"].items() if k not in GENERATED}
    where = "eval" + "".join(f" --set {override}" for override in overrides)
    try:
        return build_mazes(presets.convert(changed, where, presets.folder_of(preset)).maze)[0][1]
    except UserError as error:
        raise UserError(str(error) if where in str(error) else f"{where}: {error}") from error


def _maze_key(override: str) -> str:
    """`slip` of `maze.slip=0.5`. Raises UserError for other tables."""
    table, _, key = override.partition("=")[0].strip().partition(".")
    if table != "maze" or not key:
        raise UserError(
            f"--set {override}: eval changes only the maze, such as --set maze.slip=0.5; what was "
            "learned stays as it is."
        )
    return key


def _check_fits(maze: Maze, mdp: MDP, own: Maze, learned: _Learned) -> None:
    """What was learned by observation and action must mean the same in the other maze."""
    known = learned.target.shape[1:]
    here = (mdp.n_observations, mdp.n_actions)
    if known != here:
        raise UserError(
            f"eval: the run learned {known[0]} observations and {known[1]} actions, the changed "
            f"maze has {here[0]} and {here[1]}; change only what keeps them."
        )
    if maze.observation != own.observation:
        raise UserError(
            f"eval: the run learned by {own.observation}, so maze.observation = "
            f"{maze.observation!r} does not fit what it knows; leave it."
        )
    if maze.observation == "cell" and maze.shape != own.shape:
        (h, w), (height, width) = maze.shape, own.shape
        raise UserError(
            f"eval: the run learned on {height}x{width} cells, the changed maze has {h}x{w}; give "
            "a map of the same size."
        )
