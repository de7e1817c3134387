"""Ice Maze as a Gymnasium environment: ``IceMaze-v0``, registered when this module is imported.

With it comes ``MaximizationBias-v0``, see `engine.env.maximization_bias`.

    import engine.env.gymnasium_env
    env = gymnasium.make("IceMaze-v0", size=8, slip=0.2, seed=3)

Options are the keys of a preset's ``[maze]`` table, with the same names and meaning.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium import spaces

from engine.core.errors import UserError, nearest
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.registration import ICE_MAZE, register
from engine.env.settings import MazeSettings

DEFAULT_MAP = "SFFF\nFHFH\nFFFH\nHFFG"

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]


class IceMazeEnv(gymnasium.Env[Any, Any]):
    """A maze of ice. Observations are numbers: a cell (row-major; with keys, which are held
    times the number of cells, plus the cell), or what is seen and remembered, numbered as it occurs
    (`engine.env.build_mdp.observation_text` says it in words).

    `terminated` is true where the episode really ends (the prize, or a hole that ends it);
    `truncated` is true where `max_steps` cut it off, counted here: no TimeLimit wrapper is needed.
    `P[state][action]` lists (probability, next state, reward, terminated), as FrozenLake's does;
    `initial_state_distrib` is the start distribution, [S]. With `changes`, the map switches at the
    first reset after the given number of steps.

    Raises UserError for settings that are no solvable maze.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  (as Gymnasium has it)

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        if settings.get("gymnasium") is not None:
            raise UserError(
                f"maze.gymnasium: {ICE_MAZE} has its own mazes; for {settings['gymnasium']} call "
                "gymnasium.make with that id."
            )
        if settings.get("map") is None and settings.get("size") is None:
            settings["map"] = DEFAULT_MAP
        known = MazeSettings.__struct_fields__
        for key in sorted(set(settings) - set(known)):
            raise UserError(f"maze.{key} is no option of {ICE_MAZE}.{nearest(key, known)}")
        try:
            built = build_mazes(msgspec.convert(settings, MazeSettings))
        except msgspec.ValidationError as error:
            raise UserError(f"maze: {error}; expected the keys of a [maze] table.") from error
        self._from_step = [step for step, _ in built]
        self._mazes = [maze for _, maze in built]
        self._mdps = build_mdps(self._mazes)
        self._tables = [_table(mdp) for mdp in self._mdps]
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(self._mdps[0].n_observations)
        self.action_space = spaces.Discrete(self._mdps[0].n_actions)
        self._world = 0
        self._total_steps = 0
        self._steps = 0
        self.state = int(self.initial_state_distrib.argmax())

    @property
    def maze(self) -> Maze:
        """The maze of the current episode."""
        return self._mazes[self._world]

    @property
    def mdp(self) -> MDP:
        """Its arrays."""
        return self._mdps[self._world]

    @property
    def P(self) -> Table:  # noqa: N802  (Gymnasium's name)
        """Its transition table, over states."""
        return self._tables[self._world]

    @property
    def initial_state_distrib(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Where its episodes start, [S]."""
        return self.mdp.start

    @property
    def reward_noise(self) -> float:
        """The standard deviation of rewards around those of `P`."""
        return self.mdp.noise

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Start an episode. `info["prob"]` is the probability of this start."""
        super().reset(seed=seed)
        due = [i for i, step in enumerate(self._from_step) if step <= self._total_steps]
        self._world = due[-1]
        start = self.mdp.start
        self.state = int(self.np_random.choice(start.size, p=start))
        self._steps = 0
        return self._observe(), {"prob": float(start[self.state])}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """One move. `info["prob"]` is the probability of what came of it."""
        branches = self.P[self.state][int(action)]
        chances = np.array([branch[0] for branch in branches])
        chance, self.state, reward, terminated = branches[
            int(self.np_random.choice(chances.size, p=chances))
        ]
        if self.reward_noise:
            reward += float(self.np_random.normal(0.0, self.reward_noise))
        self._steps += 1
        self._total_steps += 1
        truncated = not terminated and self._steps >= self.maze.max_steps
        return self._observe(), reward, terminated, truncated, {"prob": chance}

    def render(self) -> str | None:
        """The map with the agent as `@` (mode "ansi"); None in any other mode. Keys that were taken
        are ice, open doors are `d`."""
        if self.render_mode != "ansi":
            return None
        row, column = self.maze.cell(self.state)
        tiles = self.maze.tiles_with(int(self.mdp.held[self.state])).reshape(self.maze.shape)
        tiles[row, column] = "@"
        return "\n".join("".join(line) for line in tiles) + "\n"

    def _observe(self) -> int:
        return int(self.mdp.observation[self.state])


def _table(mdp: MDP) -> Table:
    """`mdp` as Gymnasium's nested lists, without the branches that cannot happen."""
    return {
        s: {
            a: [
                (
                    float(mdp.probability[s, a, k]),
                    int(mdp.next_state[s, a, k]),
                    float(mdp.reward[s, a, k]),
                    bool(mdp.terminal[s, a, k]),
                )
                for k in np.flatnonzero(mdp.probability[s, a])
            ]
            for a in range(mdp.n_actions)
        }
        for s in range(mdp.n_states)
    }


register()
