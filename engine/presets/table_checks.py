"""What the tables of a preset may not say together; `build_mazes` checks `[maze]` by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config.deploy import deployed_maze
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.learning.algorithm import Algorithm

PAID = ("shaping", "fall_budget")
"""The rules of `[maze]` that change what a learner is paid."""
DRAWN = ("randomize", "train", "revisit")
"""The rules of `[maze]` by which episodes are in different worlds."""


def check_tables(preset: Preset, algorithm: Algorithm) -> None:
    """Raise UserError for what a table cannot be trained with."""
    maze = preset.maze
    if preset.budget.success_rate is not None:
        raise UserError(
            "budget.success_rate is for language models; expected env_steps, episodes, updates or "
            "seconds."
        )
    if maze.train is not None or maze.test is not None:
        if maze.observation == "cell":
            raise UserError(
                "maze.train and maze.test need an agent that sees what mazes have in common: a "
                "table of cells has no rows for mazes it has not met; set maze.observation to "
                "'neighbourhood' or 'neighbourhood+prize', or add a [model] table."
            )
        if maze.train is not None and maze.train.per_update is not None:
            raise UserError(
                "maze.train.per_update is for language models; each episode of a table is in a "
                "maze drawn from all, so remove it."
            )
    if algorithm.family == "planning" and maze.memory > 1:
        raise UserError(
            f"maze.memory: {algorithm.name} computes from the states themselves and needs no "
            "memory; remove it, or choose an algorithm that learns from what it sees."
        )
    if algorithm.family in ("planning", "prediction"):
        _check_given_world(preset, algorithm)
    if preset.deploy is not None:
        _check_deploy(preset)


def check_language_model(preset: Preset) -> None:
    """Raise UserError for rules only tables can be trained with."""
    for key in (*PAID, "randomize"):
        if getattr(preset.maze, key):
            raise UserError(f"maze.{key} is for tables; remove it, or the [model] table.")
    if preset.deploy is not None:
        raise UserError(
            "[deploy] is for tables; try a language model elsewhere with `icemaze eval RUN --set "
            "maze.slip=0.5`, and remove [deploy]."
        )


def _check_given_world(preset: Preset, algorithm: Algorithm) -> None:
    """Planning and prediction compute or judge what holds in one world with its true rewards."""
    if algorithm.family == "planning":
        why = f"{algorithm.name} computes with the true rewards of one world and never moves"
    else:
        why = f"{algorithm.name} judges a policy by the true rewards of one world"
    for key in (*PAID, *DRAWN):
        if getattr(preset.maze, key):
            raise UserError(
                f"maze.{key} does not go with {algorithm.name}: {why}; remove maze.{key}, or "
                "choose a control method that learns from its own moves."
            )


def _check_deploy(preset: Preset) -> None:
    """There is one maze to be deployed from, and its rules are possible."""
    maze, deploy = preset.maze, preset.deploy
    assert deploy is not None
    if not deploy.given:
        raise UserError(
            "[deploy] is empty; give at least one of map, slip, wind, fall, rewards, max_steps, "
            "shield, or remove the table."
        )
    if maze.train is not None:
        raise UserError(
            "[deploy] is for a run of one maze; with maze.train give maze.test, whose mazes are "
            "evaluated besides."
        )
    if maze.changes and deploy.map is None:
        raise UserError(
            "deploy.map is missing: with maze.changes there is no one map to be deployed on; give "
            "it."
        )
    if maze.randomize is not None and deploy.slip is None:
        raise UserError(
            "deploy.slip is missing: maze.randomize trains with several; say which one holds "
            "where the policy is used."
        )
    if deploy.shield == "off" and maze.shield is None:
        raise UserError("deploy.shield = 'off', but there is no maze.shield; remove one of them.")
    mazes = [each for _, each in build_mazes(maze)]
    alone, both = build_mdps(mazes), build_mdps([*mazes, deployed_maze(mazes[0], deploy)])
    if both[0].n_states != alone[0].n_states:
        raise UserError(
            "deploy.map has more keys than maze.map; give it as many, since what was learned has "
            "no rows for more."
        )
