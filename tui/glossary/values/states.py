"""Live values of what a state is made of besides the cell: keys, doors, and what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.env.build_mdp import observation_text
from engine.env.observation import held_in_words
from tui.glossary.values.maze import counted
from tui.glossary.values.words import Value, plural, shown_observation, shown_state

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def keys(snapshot: Snapshot) -> str | None:
    maze = snapshot.world.maze
    if not maze.rows:
        return None
    if not maze.n_keys:
        return "no key on this map"
    held = held_in_words(maze, int(snapshot.mdp.held[shown_state(snapshot)]))
    return f"{held}; {maze.n_cells} cells × {2**maze.n_keys} = {maze.n_states:,} states"


def doors(snapshot: Snapshot) -> str | None:
    maze = snapshot.world.maze
    if not maze.rows:
        return None
    count = int((maze.tiles == "D").sum())
    if not count:
        return "no door on this map"
    everything = (1 << maze.n_keys) - 1
    is_open = int(snapshot.mdp.held[shown_state(snapshot)]) == everything
    return f"{plural(count, 'door')}, {'open' if is_open else 'shut'} now"


def memory(snapshot: Snapshot) -> str:
    maze = snapshot.world.maze
    if maze.memory == 1:
        return "1: only what is seen now"
    seen = observation_text(maze, snapshot.mdp, shown_observation(snapshot))
    rows = plural(snapshot.mdp.n_observations, "row")
    return f"{maze.memory} observations, a table of {rows}; now {seen}"


def aliasing(snapshot: Snapshot) -> str:
    """How many of the states that can be met share their observation with another."""
    met = snapshot.optimum.reachable
    _, shared = np.unique(snapshot.mdp.observation[met], return_counts=True)
    alike = int(shared[shared > 1].sum())
    if not alike:
        return "none: every state looks different"
    return f"{alike:,} of {plural(int(met.sum()), 'state')} look like another one"


VALUES: dict[str, Value] = {
    "lesser-prize": counted("g", "lesser prize"),
    "key": keys,
    "door": doors,
    "memory": memory,
    "perceptual-aliasing": aliasing,
}
