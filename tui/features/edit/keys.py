"""The keys of the map editor, in the order of the help screen and the key bar."""

from __future__ import annotations

from textual.binding import Binding

from tui.features.edit.map_draft import TILES
from tui.ui.bindings import key

MOVE = Binding.Group("Cell", compact=True)
PLACE = Binding.Group("Place", compact=True)

KEYS: tuple[Binding, ...] = (
    key("edit.send", "enter", "send", "Send",
        "Send the map to the run: each agent meets it at its next episode"),
    key("edit.leave", "escape,q", "leave", "Leave", "Back to the run; the map stays as it was"),
    *(
        key(f"edit.{way}", way, f"cursor({down}, {right})", way.capitalize(),
            f"The cell cursor goes {way}", group=MOVE)
        for way, down, right in (("left", 0, -1), ("down", 1, 0), ("up", -1, 0), ("right", 0, 1))
    ),
    *(
        key(f"edit.tile-{tile.name}", keys, f"place('{tile.character}')", tile.name.capitalize(),
            f"Put {tile.name} on the cell under the cursor, and have clicks do the same",
            sign=tile.key, group=PLACE)
        for tile in TILES
        for keys in (f"{tile.key},number_sign" if tile.character == "#" else tile.key,)
    ),
    key("edit.again", "space", "again", "Again",
        "Put the tile chosen last on the cell under the cursor"),
    key("edit.move-prize", "m", "move_prize", "Prize",
        "Move the prize to the cell under the cursor"),
    key("edit.undo", "u", "undo", "Undo", "Take back the newest change"),
    key("edit.optimal-path", "o", "toggle_optimal_path", "Optimal path",
        "Mark the most likely way of the optimal policy on this map", show=False),
)  # fmt: skip
