"""The policy that prediction is given, and the process it makes of the maze."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.errors import UserError, nearest
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps
from engine.env.mdp import MDP, reachable
from engine.exact.evaluate import state_values
from engine.exact.solve import solve

GivenPolicy = Literal["random", "optimal"] | dict[str, Annotated[float, Meta(ge=0.0, le=1.0)]]
"""How a preset says one."""


def given_policy(
    policy: str | dict[str, float],
    mdp: MDP,
    actions: tuple[str, ...],
    gamma: float,
    key: str = "algorithm.policy",
) -> Array:
    """π [O,A] as a preset says it at `key`: "random", "optimal" or the chance of each action by
    name.

    Raises UserError for unknown actions, for chances that do not sum to 1, and for the optimal
    policy of agents that do not see which cell they are in.
    """
    shape = (mdp.n_observations, mdp.n_actions)
    if isinstance(policy, dict):
        for name in policy:
            if name not in actions:
                raise UserError(
                    f"{key}.{name}: there is no such action here.{nearest(name, list(actions))}"
                )
        chances = np.array([policy.get(name, 0.0) for name in actions])
        if abs(chances.sum() - 1.0) > 1e-9:
            raise UserError(f"{key}: the chances sum to {chances.sum():g}; expected a sum of 1.")
        return np.broadcast_to(chances / chances.sum(), shape).copy()
    if policy == "random":
        return np.full(shape, 1.0 / mdp.n_actions)
    if mdp.pattern is not None:
        raise UserError(
            f"{key} = 'optimal' is a policy over cells, but with maze.observation or "
            "maze.memory the agent does not see its cell; use 'random' or a table of chances."
        )
    table: Array = solve(mdp, gamma).policy
    return table


def followed(mdp: MDP, policy: Array, anywhere: bool) -> MDP:
    """The Markov chain that π [O,A] makes of the MDP: one action, whose branches are all of π's.

    Its episodes begin at the start, or `anywhere` an episode of any policy can come to.
    """
    chance = policy[mdp.observation][:, :, None] * mdp.probability
    start = reachable(mdp).astype(float) if anywhere else mdp.start

    def flat(array: Array) -> Array:
        return array.reshape(mdp.n_states, 1, -1)

    return replace(
        mdp,
        next_state=flat(mdp.next_state),
        probability=flat(chance),
        reward=flat(mdp.reward),
        terminal=flat(mdp.terminal),
        success=flat(mdp.success),
        fall=flat(mdp.fall),
        start=start / start.sum(),
    )


def exact_values(chain: MDP, gamma: float) -> Array:
    """V^π [S] of a chain that `followed` made; 0 where π never comes. Raises UserError."""
    return state_values(chain, np.ones((chain.n_observations, 1)), gamma)


def behaviour_policy(settings: Any, mdp: MDP, actions: tuple[str, ...]) -> Array:
    """b [O,A], which an off-policy method moves by: `algorithm.behaviour`. Raises UserError."""
    key = "algorithm.behaviour"
    return given_policy(settings.behaviour, mdp, actions, settings.gamma, key)


def check_coverage(preset: Preset) -> None:
    """Raise UserError if the behaviour policy never takes an action that the given policy takes:
    the assumption of coverage, Sutton & Barto, section 5.5."""
    settings: Any = preset.algorithm
    mazes = [maze for _, maze in build_mazes(preset.maze)]
    actions = mazes[0].actions
    mdps = build_mdps(mazes)
    policy = given_policy(settings.policy, mdps[0], actions, settings.gamma)
    behaviour = behaviour_policy(settings, mdps[0], actions)
    met = np.unique(np.concatenate([mdp.observation[reachable(mdp)] for mdp in mdps]))
    missing = ((policy > 0) & (behaviour == 0))[met].any(axis=0)
    if missing.any():
        name = actions[int(missing.argmax())]
        raise UserError(
            f"algorithm.behaviour never takes {name!r} where algorithm.policy does, so what would "
            "follow is never seen; give it a chance above 0 there."
        )


def check_prediction(preset: Preset) -> None:
    """Raise UserError if the given policy is none, or its values have no bound."""
    settings: Any = preset.algorithm
    mazes = [maze for _, maze in build_mazes(preset.maze)]
    mdps = build_mdps(mazes)
    policy = given_policy(settings.policy, mdps[0], mazes[0].actions, settings.gamma)
    for mdp in mdps:
        exact_values(followed(mdp, policy, settings.random_starts > 0), settings.gamma)
