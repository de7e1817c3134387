"""All keys of the app: each can be named, explained and rebound, and works on every terminal."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode
from textual.widgets import Input

import tui

RESERVED = {"ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+left_square_bracket", "ctrl+a", "ctrl+b"}
"""Keys that terminals send as another key, and those that multiplexers keep to themselves."""


def subclasses(of: type) -> set[type]:
    direct = set(of.__subclasses__())
    return direct.union(*(subclasses(each) for each in direct))


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Binding]]:
    """The rows of every screen and widget of the app, by the name of its class."""
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        importlib.import_module(module.name)
    own = [each for each in subclasses(DOMNode) if each.__module__.startswith("tui.")]
    rows = {each.__name__: each.__dict__.get("BINDINGS", []) for each in own}
    found = {name: r for name, r in rows.items() if r and r is not Input.BINDINGS}
    assert {"TrainerScreen", "CompareScreen", "HomeScreen", "MazeGrid", "YesNo"} <= set(found)
    return found


def test_every_key_has_an_id_a_label_and_a_tooltip(tables: dict[str, list[Binding]]) -> None:
    for owner, rows in tables.items():
        for binding in rows:
            assert isinstance(binding, Binding), owner
            assert binding.id and binding.description and binding.tooltip, (owner, binding)


def test_no_key_is_one_that_a_terminal_keeps(tables: dict[str, list[Binding]]) -> None:
    for owner, rows in tables.items():
        keys = {key for binding in rows for key in binding.key.split(",")}
        assert keys.isdisjoint(RESERVED), owner


def test_every_key_can_be_rebound(tables: dict[str, list[Binding]]) -> None:
    for owner, rows in tables.items():
        actions = {row.id or "": row.action for row in rows}
        assert len(actions) == len(rows), f"{owner}: an id stands for one row of a table"
        keymap = {id: f"ctrl+f{i}" for i, id in enumerate(actions)}
        bindings = BindingsMap(rows)
        bindings.apply_keymap(keymap)
        found = {key: {row.action for row in of} for key, of in bindings.key_to_bindings.items()}
        assert found == {keymap[id]: {action} for id, action in actions.items()}, owner
