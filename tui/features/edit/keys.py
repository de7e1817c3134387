"""The keys of the map editor, in the order of the help screen and the key bar."""

from __future__ import annotations

from textual.binding import Binding

from tui.features.edit.map_draft import TILES

MOVE = Binding.Group("Cell", compact=True)
PLACE = Binding.Group("Place", compact=True)

KEYS: tuple[Binding, ...] = (
    Binding(
        "enter",
        "send",
        "Send",
        id="edit.send",
        tooltip="Send the map to the run: each agent meets it at its next episode",
    ),
    Binding(
        "escape,q",
        "leave",
        "Leave",
        id="edit.leave",
        tooltip="Back to the run; the map stays as it was",
    ),
    *(
        Binding(
            key,
            f"cursor({down}, {right})",
            key.capitalize(),
            id=f"edit.{key}",
            key_display=sign,
            tooltip=f"The cell cursor goes {key}",
            group=MOVE,
        )
        for key, down, right, sign in (
            ("left", 0, -1, "←"),
            ("down", 1, 0, "↓"),
            ("up", -1, 0, "↑"),
            ("right", 0, 1, "→"),
        )
    ),
    *(
        Binding(
            f"{tile.key},number_sign" if tile.character == "#" else tile.key,
            f"place('{tile.character}')",
            tile.name.capitalize(),
            id=f"edit.tile-{tile.name}",
            key_display=tile.key,
            tooltip=f"Put {tile.name} on the cell under the cursor, and have clicks do the same",
            group=PLACE,
        )
        for tile in TILES
    ),
    Binding(
        "space",
        "again",
        "Again",
        id="edit.again",
        tooltip="Put the tile chosen last on the cell under the cursor",
    ),
    Binding(
        "m",
        "move_prize",
        "Prize",
        id="edit.move-prize",
        tooltip="Move the prize to the cell under the cursor",
    ),
    Binding("u", "undo", "Undo", id="edit.undo", tooltip="Take back the newest change"),
    Binding(
        "o",
        "toggle_optimal_path",
        "Optimal path",
        id="edit.optimal-path",
        tooltip="Mark the most likely way of the optimal policy on this map",
        show=False,
    ),
)
