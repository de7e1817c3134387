"""The maze and what is learned on it at a moment of a run, as plain arrays: what SVG and GIF draw.

Shapes: C cells, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.env.build_mdp import build_mdps
from engine.env.maze import ACTION_ARROWS, Maze
from engine.env.mdp import MDP
from engine.exports.tables import Exported
from engine.learning.by_cell import by_cell, by_state, shown_states
from engine.learning.events import Policy, World
from engine.runs import stored

NEWEST_EPISODES = 20
"""So many are looked through for one of the agent and maze that are drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """One moment. `heat` is the colour of each cell, from -1 to 1, NaN for none."""

    maze: Maze
    step: int
    tiles: tuple[str, ...]
    """[C] the character of each cell; ice where an env has no map."""
    values: Floats
    """[C] V, NaN where no decision is made."""
    heat: Floats
    chances: Floats
    """[C, A] the target policy, NaN where no decision is made."""
    path: tuple[int, ...]
    """The cells of the newest recorded episode of the agent shown; empty where there is none."""
    scale: float
    """The largest |V| of all moments that are drawn together."""

    @property
    def directions(self) -> tuple[int, ...]:
        """[A] 0 left, 1 down, 2 right, 3 up, or -1 for an action that is no direction."""
        return tuple(
            ACTION_ARROWS.index(arrow) if arrow in ACTION_ARROWS else -1
            for arrow in self.maze.arrows
        )

    def action(self, cell: int) -> int:
        """The likeliest action of the target policy in a cell, -1 where there is none."""
        row = self.chances[cell]
        return -1 if np.isnan(row).any() else int(row.argmax())


class Grids:
    """Draws moments of one run as arrays. The MDPs of its mazes are built once."""

    def __init__(self, run: Exported) -> None:
        self._run = run
        self._worlds: dict[int, tuple[World, MDP]] = {}

    def newest(self) -> Grid:
        """What was learned last. Raises UserError when the run has no policy on a maze."""
        with stored.trusted_by_nobody(self._run.reader.path):
            return self._grid(self._policy(None))

    def over_time(self, most: int) -> Iterator[Grid]:
        """At most so many moments, evenly spread over the recorded policies, the first and the last
        among them; colours are comparable from one to the next."""
        with stored.trusted_by_nobody(self._run.reader.path):
            steps = self._run.policy_steps()
            self._policy(None)  # refuses a run without any
            chosen = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round())
            moments = [steps[int(place)] for place in chosen]
            policies = [self._policy(step, world_id) for step, world_id in moments]
            scale = max(self._largest(policy) for policy in policies)
            for policy in policies:
                yield self._grid(policy, scale)

    def _policy(self, step: int | None, world_id: int | None = None) -> Policy:
        policy = self._run.reader.policy_at(step, world_id)
        if policy is None:
            raise UserError(
                f"{self._run.info.id} has no policy on a maze that could be drawn: nothing was "
                "recorded yet, or the run is not about a maze. Its tables can be exported."
            )
        return policy

    def _world(self, world_id: int) -> tuple[World, MDP]:
        if not self._worlds:
            worlds = self._run.reader.worlds()
            mdps = build_mdps([world.maze for world in worlds])
            self._worlds = {w.id: (w, mdp) for w, mdp in zip(worlds, mdps, strict=True)}
        return self._worlds[world_id]

    def _largest(self, policy: Policy) -> float:
        values = np.abs(np.asarray(policy.values, dtype=np.float64))
        return float(values[np.isfinite(values)].max(initial=0.0))

    def _grid(self, policy: Policy, scale: float | None = None) -> Grid:
        world, mdp = self._world(policy.world_id)
        shown = shown_states(mdp, policy, -1)
        values = by_cell(by_state(policy.values, mdp, world.maze), shown)
        chances = by_cell(by_state(policy.target, mdp, world.maze), shown)
        assert values is not None and chances is not None
        scale = scale or self._largest(policy) or 1.0
        # A root, because small values would else look like none.
        heat = np.sign(values) * np.minimum(np.abs(values) / scale, 1.0) ** 0.7
        return Grid(
            maze=world.maze,
            step=policy.step,
            tiles=tuple(world.maze.tiles.tolist()) or ("F",) * mdp.n_cells,
            values=values,
            heat=heat,
            chances=chances,
            path=self._path(policy, mdp),
            scale=scale,
        )

    def _path(self, policy: Policy, mdp: MDP) -> tuple[int, ...]:
        for row in self._run.reader.episodes(policy.step, NEWEST_EPISODES):
            if row.agent == policy.agent and row.world_id == policy.world_id:
                steps = self._run.reader.episode(row.id).steps
                if not steps or steps[0].kind != "real":
                    return ()
                states = [steps[0].state, *(step.next_state for step in steps)]
                return tuple(int(mdp.cell[state]) for state in states)
        return ()
