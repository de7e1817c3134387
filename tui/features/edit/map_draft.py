"""A map that is being edited: its tiles, what the rules say of it, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from engine.core.errors import UserError
from engine.env.build_maze import edit_map
from engine.env.maze import Maze

ICE, START, PRIZE, KEY, DOOR = "F", "S", "G", "k", "D"


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile one can place: its character on the map, its name, and the key that places it."""

    character: str
    name: str
    key: str


TILES = (
    Tile(ICE, "ice", "f"),
    Tile("H", "hole", "h"),
    Tile(START, "start", "s"),
    Tile(PRIZE, "prize", "g"),
    Tile("#", "wall", "w"),
    Tile("B", "bonus", "b"),
    Tile("g", "lesser", "l"),
    Tile(KEY, "key", "k"),
    Tile(DOOR, "door", "d"),
)
"""In the order in which they are offered."""


class MapDraft:
    """Rows of a map that change tile by tile. Nothing is refused here: `check` says what is wrong,
    so that a prize can be taken up before it is put down elsewhere."""

    def __init__(self, maze: Maze) -> None:
        self.original = maze
        self.rows: tuple[str, ...] = maze.rows
        self._before: list[tuple[str, ...]] = []

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """What can be placed: keys and doors only where there are keys, whose number is fixed."""
        keyed = self.original.n_keys > 0
        return tuple(tile for tile in TILES if keyed or tile.character not in (KEY, DOOR))

    @property
    def changed(self) -> bool:
        """Whether it differs from the map it began with."""
        return self.rows != self.original.rows

    @property
    def maze(self) -> Maze:
        """The rules with these rows, whether or not they make a maze one can solve."""
        return msgspec.structs.replace(self.original, rows=self.rows)

    def at(self, cell: int) -> str:
        """The character of a cell."""
        row, column = self.original.cell(cell)
        return self.rows[row][column]

    def place(self, cell: int, character: str) -> bool:
        """Put a tile on a cell. False when it lies there already."""
        return self._become({cell: character})

    def move_prize(self, cell: int) -> bool:
        """Put the prize on a cell; wherever one was is ice. False when that changes nothing."""
        prizes = [i for i, tile in enumerate("".join(self.rows)) if tile == PRIZE]
        return self._become({**dict.fromkeys(prizes, ICE), cell: PRIZE})

    def undo(self) -> bool:
        """Take back the newest change. False when there is none."""
        if self._before:
            self.rows = self._before.pop()
            return True
        return False

    def _become(self, changes: dict[int, str]) -> bool:
        width = self.original.shape[1]
        tiles = list("".join(self.rows))
        for cell, character in changes.items():
            tiles[cell] = character
        rows = tuple("".join(tiles[i : i + width]) for i in range(0, len(tiles), width))
        if rows == self.rows:
            return False
        self._before.append(self.rows)
        self.rows = rows
        return True

    def check(self) -> str:
        """What the rules forbid about this map, in a sentence; nothing when they allow it."""
        keys = self.original.n_keys
        if self.maze.n_keys != keys:
            return (
                f"The map must keep {keys} key{'s' * (keys != 1)}, it has {self.maze.n_keys}: the "
                "agent's table has rows for so many."
            )
        try:
            edit_map(self.original, self.rows)
        except UserError as error:
            return in_words(error)
        return ""


def in_words(error: UserError) -> str:
    """A sentence about `maze.map` as one about the map on the screen."""
    text = str(error).removeprefix("maze.map: ").replace("maze.map", "the map", 1)
    return text[:1].upper() + text[1:]
