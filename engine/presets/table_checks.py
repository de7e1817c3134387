"""Checks of which sections of a preset go together; `build_mazes` checks `[maze]` by itself."""

from __future__ import annotations

from engine.config.deploy import deployed_maze
from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps
from engine.learning.algorithm import Algorithm
from engine.learning.worlds import initial_records
from engine.presets.applicability import check_applicable
from engine.tabular.kernels.experience import MovingAlgorithm, Size

FEW_AGENTS = 64
"""So many agents have room in any case: the limits of single settings see to that."""
MOST_BYTES = 8 * 10**9
"""What the tables of all agents may take, and the policies computed from them."""
POLICIES = 4
"""Tables [O,A] that are computed for each agent whenever figures are recorded."""


def check_tables(preset: Preset, algorithm: Algorithm) -> None:
    """Raise UserError for what a table cannot be trained with."""
    maze = preset.maze
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
    check_applicable(preset, algorithm)
    if preset.deploy is not None:
        _check_deploy(preset)
    if preset.run.agents > FEW_AGENTS and isinstance(algorithm, MovingAlgorithm):
        _check_room(preset, algorithm)


def _check_room(preset: Preset, algorithm: MovingAlgorithm) -> None:
    """The tables of so many agents are not too large to be made."""
    if algorithm.custom_file is not None:
        return
    mazes = tuple(record.maze for record in initial_records(preset.maze, preset.deploy))
    mdps = build_mdps(mazes)
    observations, actions = mdps[0].n_observations, mdps[0].n_actions
    longest = max(mdp.max_steps for mdp in mdps)

    def taken(agents: int) -> int:
        size = Size(agents, observations, actions, longest, mazes)
        return sum(array.nbytes for array in algorithm.make_tables(preset.algorithm, size))

    one = taken(1)
    each = taken(2) - one + POLICIES * 8 * observations * actions
    agents = preset.run.agents
    if agents * each > MOST_BYTES:
        raise UserError(
            f"run.agents is {agents:,}, and what each learns takes {each / 1e6:,.1f} MB: "
            f"{agents * each / 1e9:,.0f} GB in all, more than {MOST_BYTES / 1e9:.0f}; lower "
            f"run.agents to {MOST_BYTES // each:,}, or take a smaller maze."
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
