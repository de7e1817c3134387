"""Keys, a row each: id, key, action, label, tooltip; and the order in which they are named.

Every screen and widget has a small table of such rows. The ids are what a keymap of the user's own
goes by (`App.set_keymap`), so they stay as they are; rows that share an id do the same thing on
different screens, and are rebound together.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import ActiveBinding, Binding

MOVES = Binding.Group("Moving about")
"""Keys that only move a cursor: their names say all, so the help does not explain them."""


def key(
    id: str,
    keys: str,
    action: str,
    label: str,
    tooltip: str,
    *,
    show: bool = True,
    sign: str | None = None,
    group: Binding.Group | None = None,
) -> Binding:
    """A row. `keys` are the names of one or several keys, with commas; `show` puts it into the
    footer, as `sign` if the key has no name that reads well, with others of its `group`."""
    return Binding(
        keys, action, label, show=show, key_display=sign, tooltip=tooltip, id=id, group=group
    )


def move(id: str, keys: str, action: str, label: str, tooltip: str) -> Binding:
    """A row for a key that moves a cursor: it works, but takes no room in footer and palette."""
    return key(id, keys, action, label, tooltip, show=False, group=MOVES)


def in_order(active: dict[str, ActiveBinding], first: Iterable[str]) -> dict[str, ActiveBinding]:
    """The active keys with those in `first`, by id, before all others, which stay in their order.

    An id that ends in a dot stands for all that begin with it.
    """
    ranks = {name: rank for rank, name in reversed(list(enumerate(first)))}

    def rank(item: tuple[str, ActiveBinding]) -> int:
        name = item[1].binding.id or ""
        family = f"{name.partition('.')[0]}."
        return ranks.get(name, ranks.get(family, len(ranks)))

    return dict(sorted(active.items(), key=rank))
