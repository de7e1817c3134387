"""The `[maze]` table of a preset, as written."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Observation = Literal["cell", "neighbourhood", "neighbourhood+prize"]
MAX_KEYS = 6
MAX_REWARD = 1e9
"""What is paid at most, so that sums, squares and single precision of it stay finite."""
MAX_MEMORY = 16


class Rewards(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the environment pays. `step` is paid on every move, the others on top of it."""

    goal: Annotated[float, Meta(description="reached the prize")] = 1.0
    hole: Annotated[float, Meta(description="fell into a hole")] = 0.0
    step: Annotated[float, Meta(description="every move, whatever happens")] = 0.0
    bump: Annotated[float, Meta(description="the move was stopped by a wall or the edge")] = 0.0
    bonus: Annotated[float, Meta(description="landed on a bonus tile, on every visit")] = 0.0
    lesser: Annotated[
        float, Meta(description="reached a lesser prize: the episode ends, without success")
    ] = 0.0
    key: Annotated[float, Meta(description="took a key, which is there once an episode")] = 0.0


class MapChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The map switches: from `step` on, at the next episode's end, `map` holds."""

    step: Annotated[int, Meta(ge=1, description="environment step (per agent) of the change")]
    map: Annotated[str, Meta(description="the new map, of the same size")]


class MazeSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of random mazes, see `engine.env.random_sets`; the rules stand in `[maze]`."""

    count: Annotated[int, Meta(ge=1, le=4096, description="how many mazes")]
    size: Annotated[
        int | tuple[int, int],
        Meta(description="N, or [rows, columns], 2 to 64"),
    ] = 4
    hole_density: Annotated[
        float, Meta(ge=0.0, le=0.9, description="share of holes among the other cells")
    ] = 0.2
    random_ends: Annotated[
        bool, Meta(description="start and prize anywhere, not in opposite corners")
    ] = True
    seed: Annotated[int, Meta(ge=0, description="seed of the set")] = 0
    per_update: (
        Annotated[
            int,
            Meta(ge=1, description="training: how many of the mazes an update plays (default all)"),
        ]
        | None
    ) = None


class MazeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[maze]` table: one of `map`, `size` (a generated maze), `gymnasium` or `train` (a set of
    random mazes), and the rules."""

    map: Annotated[
        str | None,
        Meta(
            description="rows of S start, F or . ice, H hole, G goal, g lesser prize, # wall, "
            "B bonus tile, k key (at most 6), D door: a wall until all keys are held"
        ),
    ] = None
    size: Annotated[
        int | tuple[int, int] | None,
        Meta(description="generate a solvable maze of this size: N, or [rows, columns], 2 to 64"),
    ] = None
    hole_density: (
        Annotated[
            float,
            Meta(ge=0.0, le=0.9, description="share of holes in a generated maze (default 0.2)"),
        ]
        | None
    ) = None
    keys: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_KEYS,
                description="a generated maze gets so many keys, and a room with a door around "
                "the prize",
            ),
        ]
        | None
    ) = None
    walls: (
        Annotated[
            float,
            Meta(
                ge=0.0,
                le=0.5,
                description="share of walls among the other cells of a generated maze (default 0)",
            ),
        ]
        | None
    ) = None
    seed: (
        Annotated[int, Meta(ge=0, description="seed of the generated maze (default 0)")] | None
    ) = None
    gymnasium: Annotated[
        str | None, Meta(description="a Gymnasium environment with a .P table: 'CliffWalking-v1'")
    ] = None
    kwargs: Annotated[dict[str, Any], Meta(description="arguments for the Gymnasium env")] = {}
    success: Annotated[
        float | list[int] | None,
        Meta(
            description="Gymnasium only. What counts as success: a terminating transition that "
            "pays at least this, or one that lands in one of these states. Default: the goal on "
            "the environment's map; without a map, the largest terminal reward."
        ),
    ] = None
    slip: (
        Annotated[
            float,
            Meta(
                ge=0.0,
                le=1.0,
                description="probability that the ice takes you sideways, half to each side "
                "(FrozenLake's slippery ice: 0.6666666666666666)",
            ),
        ]
        | None
    ) = None
    wind: Annotated[
        list[int],
        Meta(description="cells pushed upward when leaving each column, one number a column"),
    ] = []
    fall: Annotated[
        Literal["end", "restart"] | None,
        Meta(description="a hole ends the episode, or sends you back to a start cell"),
    ] = None
    rewards: Annotated[Rewards | None, Meta(description="what the environment pays")] = None
    max_steps: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=100_000,
                description="an episode is truncated (not terminated) after this many steps "
                "(default 100, or the Gymnasium env's own limit)",
            ),
        ]
        | None
    ) = None
    observation: Annotated[
        Observation,
        Meta(
            description="what the agent sees: its cell; only its four neighbours; or those and the "
            "direction of the nearest prize (left or right, above or below). It always knows which "
            "keys it holds (of neighbourhoods: how many)"
        ),
    ] = "cell"
    memory: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_MEMORY,
            description="how many of the last observations are one observation to the learner",
        ),
    ] = 1
    changes: Annotated[
        list[MapChange], Meta(description="maps that replace the first one as the run goes on")
    ] = []
    revisit: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="share of episodes that begin on a map drawn from all that were met so far "
            "instead of the newest (rehearsal): for maze.changes, and edits while the run goes on",
        ),
    ] = 0.0
    randomize: Annotated[
        Randomize | None,
        Meta(
            description="domain randomization: several worlds with different slip, one of them "
            "drawn for each episode"
        ),
    ] = None
    shaping: Annotated[
        Shaping | None,
        Meta(
            description="potential-based shaping: pays the learner for coming closer, without "
            "changing which policy is best"
        ),
    ] = None
    shield: Annotated[
        Shield | None,
        Meta(description="replaces moves that are too likely to fall by the safest one"),
    ] = None
    fall_budget: Annotated[
        FallBudget | None,
        Meta(
            description="how many falls are allowed while learning: a price on falls that rises "
            "while there are more"
        ),
    ] = None
    train: Annotated[
        MazeSet | None,
        Meta(
            description="train on a set of random mazes instead of one: language models, and "
            "tables of what is seen nearby (maze.observation)"
        ),
    ] = None
    test: Annotated[
        MazeSet | None,
        Meta(description="held-out mazes to be evaluated on, none of which is trained on"),
    ] = None


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


MAX_STATES = 300_000
"""States of a maze: cells, keys held and what is remembered."""


MAX_OBSERVATIONS = 100_000
"""Rows of a learner's table."""
