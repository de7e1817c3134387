"""Live values of the maze's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tui.glossary.values.words import Value, cells, number, plural, real_steps, share

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def counted(tiles: str, noun: str) -> Value:
    """How many cells of a kind the map has."""

    def value(snapshot: Snapshot) -> str | None:
        maze = snapshot.world.maze
        if not maze.rows:
            return None
        return plural(int(np.isin(maze.tiles, list(tiles)).sum()), noun)

    return value


def start(snapshot: Snapshot) -> str:
    return cells(snapshot, np.flatnonzero(snapshot.mdp.start))


def goal(snapshot: Snapshot) -> str | None:
    mdp = snapshot.mdp
    prizes = np.unique(mdp.next_state[mdp.success & (mdp.probability > 0)])
    return cells(snapshot, prizes) if prizes.size else None


def slip(snapshot: Snapshot) -> str | None:
    maze = snapshot.world.maze
    if maze.gymnasium is not None:
        return f"as {maze.gymnasium} has it"
    if maze.slip == 0:
        return "0: the ice never takes you sideways"
    return (
        f"{number(maze.slip)}: the aimed way {number(1 - maze.slip)}, "
        f"each side {number(maze.slip / 2)}"
    )


def wind(snapshot: Snapshot) -> str:
    winds = snapshot.world.maze.wind
    return f"by column: {' '.join(map(str, winds))}" if any(winds) else "none"


def bump(snapshot: Snapshot) -> str | None:
    maze = snapshot.world.maze
    return None if maze.gymnasium else f"pays {number(maze.rewards.bump)} on top of the step's"


def fall(snapshot: Snapshot) -> str | None:
    maze, steps = snapshot.world.maze, real_steps(snapshot)
    rule = "a hole sends you back to a start" if maze.fall == "restart" else "a hole ends it"
    what = f"as {maze.gymnasium} has it" if maze.gymnasium else f'"{maze.fall}": {rule}'
    seen = share(sum(step.fell for step in steps), len(steps))
    return f"{what}; falls in the steps shown: {seen}"


def reward_components(snapshot: Snapshot) -> str | None:
    maze = snapshot.world.maze
    if maze.gymnasium is not None:
        return f"as {maze.gymnasium} has them"
    pay = maze.rewards
    names = ["goal", "hole", "step", "bump", "bonus"]
    names += [name for tile, name in (("g", "lesser"), ("k", "key")) if tile in maze.tiles]
    return ", ".join(f"{name} {number(getattr(pay, name))}" for name in names)


def map_change(snapshot: Snapshot) -> str:
    changes = snapshot.preset.maze.changes
    if not changes:
        return "none planned"
    return "at step " + ", ".join(f"{change.step:,}" for change in changes)


def world(snapshot: Snapshot) -> str:
    return f"{snapshot.world.id}, holds from step {snapshot.world.from_step:,} on"


def split(snapshot: Snapshot) -> str:
    meaning = "for learning" if snapshot.world.split == "train" else "held out"
    return f'"{snapshot.world.split}": world {snapshot.world.id} is {meaning}'


def generated(snapshot: Snapshot) -> str:
    settings = snapshot.preset.maze
    if settings.size is None:
        return "no: the preset gives the map itself"
    rows, columns = snapshot.world.maze.shape
    keys = f", {plural(settings.keys, 'key')}" if settings.keys else ""
    return f"yes: {rows}×{columns}, maze.seed {settings.seed or 0}{keys}"


def gymnasium(snapshot: Snapshot) -> str:
    return snapshot.world.maze.gymnasium or "none: a map by Ice Maze's own rules"


VALUES: dict[str, Value] = {
    "ice": counted("SF.", "free cell"),
    "start": start,
    "goal": goal,
    "hole": counted("H", "hole"),
    "wall": counted("#", "wall cell"),
    "bonus-tile": counted("B", "bonus tile"),
    "slip": slip,
    "wind": wind,
    "bump": bump,
    "fall": fall,
    "reward-components": reward_components,
    "map-change": map_change,
    "world": world,
    "split": split,
    "generated-maze": generated,
    "gymnasium-environment": gymnasium,
}
