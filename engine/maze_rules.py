"""Rules laid over a maze: shaping, a shield, a budget of falls, randomised worlds, deployment.

The structs are what a preset says in `[maze]` and `[deploy]`; the functions turn an MDP's arrays
into those of the MDP with the rule. They are pure: arrays in, arrays out.

Shapes: `S` states, `A` actions, `K` branches.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engine.errors import UserError

if TYPE_CHECKING:  # all of them stand on the structs of this file
    from engine.maze_map import Maze
    from engine.maze_settings import MazeSettings
    from engine.mdp import MDP

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROUNDING = 1e-12
"""Chances of falling are sums of products: so far apart they still count as equal."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table within `[maze]` or `[deploy]`: unknown keys are errors."""


class Shaping(Rule, frozen=True, kw_only=True):
    """Potential-based shaping: the learner is paid F = γΦ(s′) − Φ(s) on top of each reward.

    Φ is 0 where the episode has ended. Optimal policies stay the same whatever Φ is (Ng, Harada &
    Russell 1999). It is paid to the learner only; no figure counts it.
    """

    weight: Annotated[float, Meta(gt=0.0, le=1e6, description="factor on the potential Φ")] = 1.0
    potential: Annotated[
        Literal["distance", "value"],
        Meta(
            description="what Φ(s) is before the factor: 'distance' falls evenly from 1 at the "
            "prize to 0 at the farthest cell (in moves); 'value' is V*(s), the exact solution"
        ),
    ] = "distance"


class Shield(Rule, frozen=True, kw_only=True):
    """A shield: a move that would fall too likely is replaced by the safest move there.

    Post-posed shielding (Alshiekh et al. 2018): the agent chooses, the shield has the last word.
    """

    max_fall: Annotated[
        float,
        Meta(
            ge=0.0,
            lt=1.0,
            description="the largest chance of falling that a move may have to be let through",
        ),
    ] = 0.0


class FallBudget(Rule, frozen=True, kw_only=True):
    """A budget of falls while learning, kept by a price (a Lagrange multiplier; Altman 1999).

    Each agent has a price that every fall costs it besides its reward. The price rises while there
    are more falls than the budget and sinks, never below 0, while there are fewer.
    """

    per_1000_steps: Annotated[
        float, Meta(ge=0.0, le=1000.0, description="falls allowed in 1,000 steps while learning")
    ] = 5.0
    learning_rate: Annotated[
        float,
        Meta(
            gt=0.0,
            le=1000.0,
            description="how fast the price follows: after each episode it grows by this times "
            "the falls above the budget",
        ),
    ] = 0.01


class Randomize(Rule, frozen=True, kw_only=True):
    """Domain randomization: several worlds with different rules, one drawn for each episode.

    The figures on training worlds are means over all of them.
    """

    slip: Annotated[
        tuple[Annotated[float, Meta(ge=0.0, le=1.0)], Annotated[float, Meta(ge=0.0, le=1.0)]],
        Meta(description="the smallest and the largest slip; the worlds are spread evenly between"),
    ]
    worlds: Annotated[int, Meta(ge=2, le=64, description="how many worlds")] = 8

    @property
    def slips(self) -> tuple[float, ...]:
        """The slip of each world, ascending."""
        low, high = self.slip
        return tuple(np.linspace(low, high, self.worlds).tolist())


def check_together(settings: MazeSettings) -> None:
    """Raise UserError for rules in `[maze]` that exclude each other."""
    randomize = settings.randomize
    if randomize is not None:
        low, high = randomize.slip
        if low >= high:
            raise UserError(
                f"maze.randomize.slip is [{low:g}, {high:g}]; expected the smaller slip first."
            )
        for key in ("slip", "changes", "gymnasium", "train"):
            if getattr(settings, key) not in (None, []):
                why = "it says which slips there are" if key == "slip" else "it is for one map"
                raise UserError(
                    f"maze.{key} cannot be set with maze.randomize ({why}); remove one of them."
                )
    if settings.revisit and (randomize is not None or settings.train is not None):
        key = "maze.train" if randomize is None else "maze.randomize"
        raise UserError(
            f"maze.revisit is for maps that change: with {key} each episode is in a world drawn "
            "from all anyway; remove maze.revisit."
        )


# ---------------------------------------------------------------- shield


def fall_chance(mdp: MDP) -> Floats:
    """P(fall | s, a) [S, A]."""
    chance: Floats = (mdp.probability * mdp.fall).sum(axis=2)
    return chance


def vetoed(mdp: MDP, max_fall: float) -> Bools:
    """[S, A] the moves a shield replaces: riskier than `max_fall` and than the safest move there.

    `mdp` is the one without the shield; where all moves are equally risky none is replaced.
    """
    chance = fall_chance(mdp)
    least = chance.min(axis=1, keepdims=True)
    risky: Bools = (chance > max_fall + ROUNDING) & (chance > least + ROUNDING)
    return risky


def vetoed_moves(maze: Maze, mdp: MDP) -> Bools:
    """[S, A] the moves that the shield of `maze` replaces in its `mdp`, with memory or without."""
    if maze.shield is None:
        return np.zeros((mdp.n_states, mdp.n_actions), dtype=np.bool_)
    from engine.mdp import build_mdp

    bare = msgspec.structs.replace(maze, shield=None, memory=1, observation="cell")
    veto = vetoed(build_mdp(bare), maze.shield.max_fall)
    seen: Bools = veto[mdp.held * mdp.n_cells + mdp.cell]
    return seen


def shielded(mdp: MDP, max_fall: float) -> MDP:
    """The MDP in which every vetoed move does what the safest move there does.

    Of equally safe moves the lowest number counts.
    """
    veto = vetoed(mdp, max_fall)
    chance = fall_chance(mdp)
    safest = (chance <= chance.min(axis=1, keepdims=True) + ROUNDING).argmax(axis=1)
    done = np.where(veto, safest[:, None], np.arange(mdp.n_actions))  # [S, A] what is really done
    state = np.arange(mdp.n_states)[:, None]
    return replace(
        mdp,
        next_state=mdp.next_state[state, done],
        probability=mdp.probability[state, done],
        reward=mdp.reward[state, done],
        terminal=mdp.terminal[state, done],
        success=mdp.success[state, done],
        fall=mdp.fall[state, done],
    )


def guarded(mdp: MDP, shield: Shield | None) -> MDP:
    """The MDP with the shield, if there is one."""
    return mdp if shield is None else shielded(mdp, shield.max_fall)


# ---------------------------------------------------------------- shaping


def distances(mdp: MDP) -> Floats:
    """[S] the fewest moves from each state to success if the ice is kind; inf where none leads.

    Any branch that can come about counts as a way, except falls. Breadth-first from the prize.
    """
    possible = (mdp.probability > 0) & ~mdp.fall
    wins = possible & mdp.success
    onward = possible & ~mdp.terminal
    distance = np.full(mdp.n_states, np.inf)
    distance[wins.any(axis=(1, 2))] = 1.0
    moves = 1.0
    while True:
        near = (onward & (distance == moves)[mdp.next_state]).any(axis=(1, 2))
        found = near & np.isinf(distance)
        if not found.any():
            return distance
        moves += 1.0
        distance[found] = moves


def potential(mdp: MDP, shaping: Shaping, gamma: float) -> Floats:
    """Φ [S]: the larger, the closer to the prize; 0 where an episode ends or never comes.

    `distance`: 1 − (moves to the prize)/(moves from the farthest reachable state), so a state one
    move from the prize has nearly 1. `value`: V* at `gamma`. Both times `shaping.weight`.
    """
    from engine.solve import reachable, solve

    if shaping.potential == "value":
        return shaping.weight * solve(mdp, gamma).values
    distance = distances(mdp)
    counted = np.isfinite(distance) & reachable(mdp)
    farthest = distance[counted].max(initial=1.0)
    return shaping.weight * np.where(counted, 1.0 - distance / farthest, 0.0)


def shaped(mdp: MDP, shaping: Shaping | None, gamma: float) -> MDP:
    """The MDP with `potential` filled in; its `reward` stays the true one."""
    if shaping is None:
        return mdp
    return replace(mdp, potential=potential(mdp, shaping, gamma))
