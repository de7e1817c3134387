"""A run's policy, evaluated exactly again: in its own maze, or in a changed one.

The tables come from the newest checkpoint, so that every agent counts, not just the watched one. Of
a language model the saved adapters are asked, in a process of their own, and any map will do: the
model reads it. Shapes: N agents, W worlds, O observations, A actions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from engine import presets
from engine.algorithms.registry import algorithm_of
from engine.config.preset import LlmPreset, Preset
from engine.core.arrays import Array
from engine.core.errors import UserError, shown
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings
from engine.exact.evaluate import evaluate, greedy, optimal_figures
from engine.learning.algorithm import Algorithm
from engine.learning.events import Metric
from engine.learning.learner import State
from engine.learning.summary import summarise
from engine.llm.worlds import FIGURES, WorldSet, make_sets
from engine.presets.toml import MAZE_SOURCES, apply_override
from engine.runs import checkpoints, custom_algorithm, schema, stored
from engine.runs.reader import RunReader
from engine.tabular.kernels.experience import MovingAlgorithm, Size

Progress = Callable[[str], None]

GENERATED = ("size", "hole_density", "walls", "keys", "seed")
"""The keys of `[maze]` that describe a generated maze."""


class SplitFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Exact figures on some mazes: of what was learned, of what knows nothing, and the best."""

    mazes: int
    success_stderr: float = 0.0
    """Of sampled figures."""
    figures: dict[str, Metric]
    baselines: dict[str, Metric] = {}
    """Of language models: moves at random, one direction for ever, and the optimum."""
    optimal_return: float
    horizon_optimum: float


class RunEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the target policies of a run's agents, averaged over agents and mazes."""

    step: int
    agents: int
    success_kind: Literal["exact", "sampled"] = "exact"
    maze: Maze
    """The first, or only, of the mazes."""
    own: SplitFigures
    held_out: SplitFigures | None = None
    """On mazes that were not trained on, where the run has such."""

    @property
    def figures(self) -> dict[str, Metric]:
        """The figures on the run's own mazes."""
        return self.own.figures


class PlayedWorld(msgspec.Struct, frozen=True, kw_only=True):
    """A maze, and what one agent's target policy does and is worth in it."""

    maze: Maze
    mdp: MDP
    policy: Array
    """π(a|o) [O, A]"""
    held_out: bool = False


class _Learned(msgspec.Struct, frozen=True):
    """Target and greedy policies [N,O,A] as they were at `step`."""

    step: int
    target: Array
    greedy: Array


def evaluate_run(
    reader: RunReader, overrides: list[str], progress: Progress = lambda text: None
) -> RunEvaluation:
    """The exact figures of a run's newest target policies, averaged over agents and start cells; of
    a language model, those of its saved adapters.

    `overrides` (`maze.slip=0.5`) change the maze the policies are put into; otherwise it is the one
    the run is in. `progress` is told what takes its time. Raises UserError for other keys than
    `maze.*`, for a maze that does not have the same cells, observations and actions (which a
    language model does not mind), and for a run that has learned nothing yet; NotTrustedError for
    a run of the user's own algorithm that may not be run.
    """
    with stored.trusted_by_nobody(reader.path / schema.DATABASE):
        if isinstance(reader.info().preset, LlmPreset):
            return _evaluate_adapters(reader, overrides, progress)
        return _evaluate_tables(reader, overrides, progress)


def _evaluate_tables(reader: RunReader, overrides: list[str], progress: Progress) -> RunEvaluation:
    learned, maze, mdp = _placed(reader, overrides, progress)
    gamma = reader.info().preset.algorithm.gamma
    exact = evaluate(mdp, learned.target, gamma)
    alone = evaluate(mdp, learned.greedy, gamma)
    best = optimal_figures(mdp, gamma)
    own = SplitFigures(
        mazes=1,
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
    return RunEvaluation(step=learned.step, agents=learned.target.shape[0], maze=maze, own=own)


def played_worlds(
    reader: RunReader, overrides: list[str], progress: Progress = lambda text: None
) -> list[PlayedWorld]:
    """The mazes of a run (changed as for `evaluate_run`) with the watched agent's target policy in
    each; held-out mazes come first. Of a policy that writes whole routes it is their first move, as
    if it planned anew in every cell. Raises UserError as `evaluate_run` does."""
    with stored.trusted_by_nobody(reader.path / schema.DATABASE):
        if isinstance(reader.info().preset, LlmPreset):
            return _played_by_adapters(reader, overrides, progress)
        learned, maze, mdp = _placed(reader, overrides, progress)
        return [PlayedWorld(maze=maze, mdp=mdp, policy=learned.target[0])]


def _played_by_adapters(
    reader: RunReader, overrides: list[str], progress: Progress
) -> list[PlayedWorld]:
    return [
        PlayedWorld(maze=maze, mdp=mdp, policy=policy, held_out=split.split == "test")
        for split, policies in reversed(_policies(reader, _splits(reader, overrides), progress))
        for maze, mdp, policy in zip(split.mazes, split.mdps, policies, strict=True)
    ]


def _placed(
    reader: RunReader, overrides: list[str], progress: Progress
) -> tuple[_Learned, Maze, MDP]:
    """The tables of a run, and the maze they are put into."""
    learned = _learned(reader, progress)
    preset = reader.info().preset
    world = reader.world_at(learned.step)
    if world is None:  # worlds are recorded before the first policy
        raise stored.damaged(reader.path / schema.DATABASE, "it has a policy and no world")
    maze = world.maze
    if overrides:
        maze = build_mazes(_changed(preset, world.maze, overrides))[0][1]
        _check_sees(maze, world.maze)
    # Observations are numbered over all worlds the run has met; a changed maze comes last.
    mdp = build_mdps([*(met.maze for met in reader.worlds()), maze])[-1]
    _check_fits(maze, mdp, world.maze, learned)
    return learned, maze, mdp


# ---------------------------------------------------------------- language models


def _evaluate_adapters(
    reader: RunReader, overrides: list[str], progress: Progress
) -> RunEvaluation:
    splits = _splits(reader, overrides)
    preset = reader.info().preset
    assert isinstance(preset, LlmPreset)
    sampled = preset.model.policy == "route"
    if sampled:
        from engine.llm.evaluation.ask import ask_routes  # start-up time

        mazes = [split.mazes for split in splits]
        answers = ask_routes(reader.path, preset, mazes, progress)
        found = [
            _split_figures(split, {k: np.array(v) for k, v in a.figures.items()}, a.stderr)
            for split, a in zip(splits, answers, strict=True)
        ]
    else:
        asked = _policies(reader, splits, progress)
        found = [_split_figures(split, split.figures(policies)) for split, policies in asked]
    return RunEvaluation(
        step=_step_of_best(reader),
        agents=1,
        success_kind="sampled" if sampled else "exact",
        maze=splits[0].mazes[0],
        own=found[0],
        held_out=found[1] if len(found) > 1 else None,
    )


def _splits(reader: RunReader, overrides: list[str]) -> list[WorldSet]:
    """The run's mazes, or changed ones: those trained on, then those held out, if any."""
    preset, world = reader.info().preset, reader.world_at(reader.head().step)
    if isinstance(preset, LlmPreset) and preset.model.policy == "text":
        raise UserError(
            f"{reader.id}: this run writes free text, so there is no maze to walk and no exact "
            f"figure; `icemaze open {reader.id}` shows what it writes and what was preferred."
        )
    # Even without overrides: a random map of Gymnasium's is the one that was drawn.
    settings = _changed(preset, world.maze, overrides) if world else preset.maze
    train, test = make_sets(settings, preset.algorithm.gamma)
    return [train] if test is None else [train, test]


def _policies(
    reader: RunReader, splits: list[WorldSet], progress: Progress
) -> list[tuple[WorldSet, Array]]:
    """Each split with the saved adapters' policies [W, O, A] in it."""
    from engine.llm.evaluation.ask import ask_policies  # start-up time

    preset = reader.info().preset
    assert isinstance(preset, LlmPreset)
    mazes = [maze for split in splits for maze in split.mazes]
    asked = ask_policies(reader.path, preset, mazes, progress)
    cuts = np.cumsum([len(split) for split in splits])[:-1]
    return list(zip(splits, np.split(asked, cuts), strict=True))


def _step_of_best(reader: RunReader) -> int:
    """The update at which the saved adapters were found: the last whose figures became the best."""
    names = ["success_rate", "expected_return"]
    curves = reader.curves([*names, *(f"best_{name}" for name in names)])
    if any(f"best_{name}" not in curves for name in names):
        return 0
    now = np.stack([curves[name].mean for name in names])
    best = np.stack([curves[f"best_{name}"].mean for name in names])
    news = np.ones(best.shape[1], bool)
    news[1:] = (best[:, 1:] != best[:, :-1]).any(axis=0)
    found = np.flatnonzero(news & (now == best).all(axis=0))
    return int(curves[names[0]].x[found[-1]]) if found.size else 0


def _split_figures(split: WorldSet, figures: dict[str, Array], stderr: float = 0.0) -> SplitFigures:
    found = split.evaluation(0, figures)
    return SplitFigures(
        mazes=len(figures["success_rate"]),
        success_stderr=stderr,
        figures={name: found.figures[name] for name in FIGURES},
        baselines=split.baselines,
        optimal_return=found.optimal_return,
        horizon_optimum=found.horizon_optimum,
    )


# ---------------------------------------------------------------- the policies


def _learned(reader: RunReader, progress: Progress) -> _Learned:
    """The policies of all agents where the algorithm keeps a table for each, else the watched's."""
    algorithm = load_own(reader)
    if isinstance(algorithm, MovingAlgorithm):
        mazes = tuple(world.maze for world in reader.worlds())
        if (found := _newest_checkpoint(reader.path, algorithm, mazes)) is not None:
            if found.damage:
                progress(f"The tables are those of step {found.step:,}: {found.damage}")
            return _from_tables(algorithm, mazes, found.step, found.state)
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


def load_own(reader: RunReader) -> Algorithm:
    """The run's algorithm; one of the user's own with its code, which alone can read what it has
    learned. Raises NotTrustedError where the user has not said that the code may be run."""
    algorithm = algorithm_of(reader.info().preset)
    if algorithm.custom_file is None or algorithm.family == "planning":
        return algorithm
    return custom_algorithm.load(reader.path, reader.meta().get(custom_algorithm.META_KEY))


def _newest_checkpoint(
    run_dir: Path, algorithm: MovingAlgorithm, mazes: tuple[Maze, ...]
) -> checkpoints.Saved | None:
    """The newest checkpoint that holds tables of this algorithm."""
    file = run_dir / schema.DATABASE

    def use(state: State) -> None:
        with stored.trusted_by_nobody(file):
            _from_tables(algorithm, mazes, 0, state)

    with contextlib.closing(schema.open_to_read(run_dir)) as connection:
        return checkpoints.newest_good(run_dir, connection, use)


def _from_tables(
    algorithm: MovingAlgorithm, mazes: tuple[Maze, ...], step: int, state: State
) -> _Learned:
    settings: Any = msgspec.json.decode(state["settings"].tobytes(), type=algorithm.settings)
    agents, observations, actions = state["tables.visits"].shape
    size = Size(agents, observations, actions, mazes=mazes)
    empty = algorithm.make_tables(settings, size)
    tables = empty._replace(**{field: state[f"tables.{field}"] for field in empty._fields})
    target = algorithm.target(tables, algorithm.make_hyperparameters(settings), step)
    return _Learned(step, target, algorithm.greedy(tables))


# ---------------------------------------------------------------- the maze


def _changed(preset: Preset, maze: Maze, overrides: list[str]) -> MazeSettings:
    """`[maze]` of the maze the run is in, with other rules or another map."""
    data = msgspec.to_builtins(preset)
    settings = {key: value for key, value in data["maze"].items() if value is not None}
    settings.pop("changes", None)  # the map it has switched to counts, not those on the way
    if settings.pop("randomize", None) is not None:
        settings["slip"] = maze.slip  # of the one among its worlds that is asked about
    keys = {_maze_key(override) for override in overrides}
    if maze.gymnasium is not None:
        settings["kwargs"] = maze.kwargs  # with a random map pinned to the one that was drawn
    elif preset.maze.train is None and not keys.intersection((*MAZE_SOURCES, *GENERATED)):
        settings = {key: settings[key] for key in settings if key not in GENERATED}
        settings["map"] = "\n".join(maze.rows)
    changed = {**data, "maze": settings}
    for override in overrides:
        apply_override(changed, override)
    if "map" in keys:
        changed["maze"] = {k: v for k, v in changed["maze"].items() if k not in GENERATED}
    where = "eval" + "".join(f" --set {shown(override)}" for override in overrides)
    try:
        found = presets.convert(changed, where, like=preset).maze
        build_mazes(found)  # says what is wrong with it
        return found
    except UserError as error:
        raise UserError(str(error) if where in str(error) else f"{where}: {error}") from error


def _maze_key(override: str) -> str:
    """`slip` of `maze.slip=0.5`. Raises UserError for other tables."""
    table, _, key = override.partition("=")[0].strip().partition(".")
    if table != "maze" or not key:
        raise UserError(
            f"--set {shown(override)}: eval changes only the maze, such as --set maze.slip=0.5; "
            "what was learned stays as it is."
        )
    return key


def _check_sees(maze: Maze, own: Maze) -> None:
    """Check that what is seen is the same in the other maze."""
    for key in ("observation", "memory"):
        here, there = getattr(maze, key), getattr(own, key)
        if here != there:
            raise UserError(
                f"eval: the run learned with maze.{key} = {there!r}, so maze.{key} = {here!r} does "
                "not fit what it knows; leave it."
            )


def _check_fits(maze: Maze, mdp: MDP, own: Maze, learned: _Learned) -> None:
    """Check that observations and actions mean the same in the other maze."""
    known = learned.target.shape[1:]
    here = (mdp.n_observations, mdp.n_actions)
    if known != here:
        raise UserError(
            f"eval: the run learned {known[0]} observations and {known[1]} actions, the changed "
            f"maze has {here[0]} and {here[1]}; change only what keeps them."
        )
    if maze.observation == "cell" and maze.shape != own.shape:
        (h, w), (height, width) = maze.shape, own.shape
        raise UserError(
            f"eval: the run learned on {height}x{width} cells, the changed maze has {h}x{w}; give "
            "a map of the same size."
        )
