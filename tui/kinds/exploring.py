"""Kinds of exploration: what each is called, and the number it goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engine.config.preset import Preset


class Exploring(NamedTuple):
    """A kind of exploration: its name, the symbol of its number, and that one's glossary entry."""

    name: str
    symbol: str
    slug: str


KINDS = {
    "epsilon-greedy": Exploring("ε-greedy", "ε", "epsilon"),
    "softmax": Exploring("softmax", "τ", "softmax-exploration"),
    "ucb": Exploring("UCB", "c", "ucb"),
}


def exploring(preset: Preset | None) -> Exploring | None:
    """The kind of exploration of a preset; None without one, or with one of its own."""
    settings = getattr(getattr(preset, "algorithm", None), "exploration", None)
    config = getattr(settings, "__struct_config__", None)
    return KINDS.get(getattr(config, "tag", ""))
