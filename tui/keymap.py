"""All keys of the app in one table, by the ids of what they do, and the user's own keys checked.

`[keys]` of config.toml maps ids to keys; Textual puts them into force (`App.set_keymap`). What
Textual does not do is done here: ids and names of keys that do not exist, and keys that two actions
of the same screen would share, are refused in one sentence.

Importing every screen takes a moment: it happens when the table is asked for, not before.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, _character_to_key, key_to_character
from textual.screen import Screen
from textual.widget import Widget

import tui.features
from engine.core.errors import UserError, nearest, shown
from tui.ui import app_keys

KEPT = {
    "ctrl+c": "the terminal's way to interrupt",
    "ctrl+q": "the way out of the app",
    "ctrl+p": "the list of all commands",
    **dict.fromkeys(
        ("ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+left_square_bracket"),
        "one that terminals send as another key",
    ),
}
"""Keys that nothing can be bound to, and what they are instead."""
MODIFIERS = ("ctrl", "alt", "shift", "super", "hyper", "meta")
AT_HOME = "app.algorithms"
"""The one key of the app itself that works on the home screen only."""


class Row(NamedTuple):
    """What one id stands for."""

    id: str
    keys: tuple[str, ...]
    """As shipped, in Textual's names."""
    name: str
    tooltip: str


@cache
def rows() -> dict[str, Row]:
    """Every id of the app, in the order of screens."""
    found: dict[str, Row] = {}
    for bindings in (app_keys.KEYS, *_tables().values()):
        for each in bindings:
            keys = tuple(each.key.split(","))
            before = found.get(each.id or "")
            if before is not None:  # the same action on another screen
                keys = (*before.keys, *(name for name in keys if name not in before.keys))
            first = before or Row(each.id or "", (), each.description, each.tooltip)
            found[first.id] = first._replace(keys=keys)
    return found


def normal(keys: Mapping[str, str]) -> dict[str, str]:
    """The user's keys under Textual's names: `?` is `question_mark`. Raises UserError."""
    return {id: ",".join(_names(id, value)) for id, value in keys.items()}


def check(keys: Mapping[str, str]) -> None:
    """Raise UserError unless every id is one of ours, and no key would do two things."""
    for id in keys:
        if id not in rows():
            raise UserError(
                f"[keys] has {shown(id)!r}, which no key of the app does."
                f"{_near(id)} `icemaze config keys` lists all."
            )
    own = normal(keys)
    for place in _places():
        taken: dict[str, str] = {}
        # Those of the user's own last, so that a sentence begins with what can be changed.
        for id, shipped in sorted(place.items(), key=lambda item: item[0] in own):
            for name in own.get(id, ",".join(shipped)).split(","):
                other = taken.setdefault(name, id)
                if other == id or not any(_moved(each, name, own, place) for each in (id, other)):
                    continue
                raise UserError(
                    f"[keys] gives {spelled(name)} to {id}, but it is the key of {other} "
                    f"({rows()[other].name}) on the same screen: choose another one, or move "
                    f"{other} too."
                )


def _moved(
    id: str, name: str, own: Mapping[str, str], place: Mapping[str, tuple[str, ...]]
) -> bool:
    """Whether an action has this key from the user, and not as shipped."""
    return id in own and name not in place[id]


def spelled(name: str) -> str:
    """A key as people write it, and as it may stand in the file: `?`, `ctrl+f`, `space`."""
    character = key_to_character(name)
    special = character is None or not character.isprintable() or character in " ,"
    return name if special else str(character)


def _near(id: str) -> str:
    told = nearest(id, tuple(rows()))
    return told if "Did you mean" in told else ""


# ------------------------------------------------------------ names of keys


def _names(id: str, value: str) -> list[str]:
    words = [word.strip() for word in value.split(",")] if value.strip() != "," else ["comma"]
    if "" in words:
        raise UserError(f"[keys] {id} = {shown(value)!r}: expected keys with commas between them.")
    return [_name(id, word) for word in words]


def _name(id: str, word: str) -> str:
    name = _character_to_key(word) if len(word) == 1 else word
    if name in KEPT:
        raise UserError(f"[keys] {id} = {shown(word)!r}: that key is {KEPT[name]}.")
    *modifiers, last = name.split("+")
    known = len(last) == 1 or last in _known() or key_to_character(last) is not None
    if not known or not set(modifiers) <= set(MODIFIERS):
        near = "" if known else _near_key(last)
        raise UserError(
            f"[keys] {id} = {shown(word)!r}: there is no such key.{near} "
            "Expected a character, or a name such as space, enter, f5, up, ctrl+f or alt+f."
        )
    return name


def _near_key(key: str) -> str:
    told = nearest(key, tuple(_known()))
    return told if "Did you mean" in told else ""


@cache
def _known() -> frozenset[str]:
    """Textual's names of keys without a character."""
    names = {each.value for each in Keys if "+" not in each.value and "<" not in each.value}
    return frozenset(names | {"space", "comma", "plus", "minus", "slash"})


# ------------------------------------------------------------ where keys work


@cache
def _tables() -> dict[type[DOMNode], tuple[Binding, ...]]:
    """The rows of every screen and widget of ours that has any, imported now."""
    for module in pkgutil.walk_packages(tui.features.__path__, "tui.features."):
        importlib.import_module(module.name)
    found: dict[type[DOMNode], tuple[Binding, ...]] = {}
    for each in _subclasses(DOMNode):
        if each.__module__.startswith("tui.") and not issubclass(each, App):
            bindings = each.__dict__.get("BINDINGS", ())
            ours = tuple(b for b in bindings if isinstance(b, Binding) and b.id)
            if ours:
                found[each] = ours

    def rank(each: type[DOMNode]) -> tuple[bool, bool, str, str]:
        trainer = each.__module__.startswith("tui.features.trainer")
        return not issubclass(each, Screen), not trainer, each.__module__, each.__qualname__

    return {each: found[each] for each in sorted(found, key=rank)}


def _subclasses(of: type[DOMNode]) -> set[type[DOMNode]]:
    direct = set(of.__subclasses__())
    return direct.union(*(_subclasses(each) for each in direct))


def _places() -> Iterator[dict[str, tuple[str, ...]]]:
    """For each screen and each widget it may hold, the ids that work while that has the focus.

    As shipped, a screen and its widgets may share a key (Enter explains the row, or the newest
    step): the widget with the focus comes first.
    """
    tables = _tables()
    for screen in [each for each in tables if issubclass(each, Screen)]:
        home = screen.__name__ == "HomeScreen"
        base = _keys_of([b for b in app_keys.KEYS if home or b.id != AT_HOME], tables[screen])
        yield base
        for widget in _widgets_of(screen):
            if widget in tables:
                yield base | _keys_of(tables[widget])


def _keys_of(*tables: list[Binding] | tuple[Binding, ...]) -> dict[str, tuple[str, ...]]:
    return {b.id or "": tuple(b.key.split(",")) for table in tables for b in table}


def _widgets_of(screen: type[Screen[object]]) -> set[type[Widget]]:
    """The widgets that a screen's module names, and those that theirs do."""
    found: set[type[Widget]] = set()
    left = [each.__module__ for each in screen.__mro__ if each.__module__.startswith("tui.")]
    seen = set(left)
    while left:
        for value in vars(sys.modules[left.pop()]).values():
            if not (isinstance(value, type) and issubclass(value, Widget)):
                continue
            if issubclass(value, Screen) or not value.__module__.startswith("tui."):
                continue
            found.update(b for b in value.__mro__ if issubclass(b, Widget))
            if value.__module__ not in seen:
                seen.add(value.__module__)
                left.append(value.__module__)
    return found
