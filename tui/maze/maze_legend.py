"""The words beside the maze: the legend of a layer, and all that is known about one cell."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from rich.cells import cell_len

from engine.env.build_mdp import observation_text
from engine.env.maze import OPEN_DOOR, RESTING
from engine.env.mdp import MDP
from engine.exact.solve import Solution
from engine.learning.events import Policy
from tui.maze.maze_layers import Layer, Picture
from tui.maze.maze_palette import PART_OF
from tui.model.steps import arrow, place
from tui.ui.fact import Term
from tui.ui.glyphs import Glyphs
from tui.ui.text import fit, number, si

TILE_NAMES = {"S": "start", "F": "ice", ".": "ice", "H": "hole", "G": "prize", "#": "wall"} | {
    "B": "bonus",
    "g": "lesser prize",
    "k": "key",
    "D": "door",
    OPEN_DOOR: "open door",
}
TERM_OF = {"g": "lesser-prize", "k": "key", "D": "door", OPEN_DOOR: "door"}
"""The glossary entries of tiles that not every maze has."""

Piece = tuple[str, str, str]
"""Text, the component style it is drawn with (a heat is "heat:0.5"), a glossary slug or ""."""


GAP: Piece = ("  ", "", "")
"""What stands between two parts of a legend."""
SHORT_RAMP = 4
"""Cells of a colour scale that has little room."""


def legend(
    picture: Picture,
    digit: int,
    glyphs: Glyphs,
    *,
    dots: bool,
    compare: bool,
    explores: bool = True,
    shares: bool = False,
) -> list[Piece]:
    """Layer, what its colours and symbols mean, smallest and largest number.

    `explores` tells moves apart that explored or exploited; with `shares`, the arrows of a policy
    say which share of the moves was made, not what it would choose.
    """
    layer, marks = picture.layer, picture.marks
    title = f"{layer.name} {layer.symbol}".strip()
    pieces: list[Piece] = [(f"{digit} ", "muted", ""), (title, "term", layer.term), ("  ", "", "")]
    if compare and layer.name == "state value":
        pieces += [("colour ", "muted", ""), ("V − V*", "term", "optimal-state-value")]
        pieces.append(("  ", "", ""))
    elif picture.optimal_values is not None:
        pieces += [("*", "legend", ""), ("V*", "term", "optimal-state-value"), ("  ", "", "")]
    if n_keys := picture.maze.n_keys:
        pieces += [("keys", "term", "key"), (" ", "", "")]
        pieces += [(f"{picture.held.bit_count()}/{n_keys}", "key", ""), ("  ", "", "")]
    if layer.kind == "map":
        pieces += _map_key(picture, glyphs, explores)
    elif layer.table is None:
        pieces.append(("nothing learned yet, or not by this method", "muted", ""))
    elif layer.kind == "policy":
        pieces += _shares_key(glyphs) if shares else _policy_key(glyphs)
    else:
        pieces += _ramp(picture, glyphs, dots=dots, compare=compare)
    if marks.route:
        pieces += [("  ", "", ""), (glyphs.double[2], "optimal", "")]
        pieces += [(" ", "", ""), ("optimal path", "term", "optimal-path")]
    if layer.meaning and layer.table is not None:
        pieces += [("  ", "", ""), (layer.meaning, "muted", "")]
    return pieces


def fitted(pieces: list[Piece], width: int, plain: Callable[[str], str]) -> list[Piece]:
    """As many parts of a legend as fit whole: a number that is cut is another number."""
    parts: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece == GAP:
            parts.append([])
        else:
            parts[-1].append(piece)
    parts = [part for part in parts if part]

    def used() -> int:
        words = sum(cell_len(plain(piece[0])) for part in parts for piece in part)
        return words + len(GAP[0]) * (len(parts) - 1)

    while len(parts) > 1 and used() > width:
        ramp = [i for i, piece in enumerate(parts[-1]) if piece[1].startswith("heat:")]
        if len(ramp) > SHORT_RAMP:
            parts[-1] = [p for i, p in enumerate(parts[-1]) if i not in ramp[::2]]
        else:  # the range matters more than what stands between it and the title
            parts.pop(1 if ramp else -1)
    return [piece for part in parts for piece in (GAP, *part)][1:]


def _shares_key(glyphs: Glyphs) -> list[Piece]:
    return [
        (glyphs.solid[2], "legend", ""),
        (" ", "", ""),
        ("share of the moves made here", "term", "route-policy"),
    ]


def _map_key(picture: Picture, glyphs: Glyphs, explores: bool) -> list[Piece]:
    pieces: list[Piece] = []
    if picture.marks.backup:
        pieces += [(glyphs.backup, "legend", ""), (" ", "", ""), ("backup", "term", "sweep")]
    elif picture.marks.agent >= 0:
        pieces += [(glyphs.agent, "legend", ""), (" ", "", ""), ("agent", "term", "agent")]
    present = set(picture.tiles)
    for tile in (*"GgHBkD", OPEN_DOOR):
        if tile in present:
            name, term = TILE_NAMES[tile], TERM_OF.get(tile, "")
            pieces += [("  ", "", ""), (glyphs.tiles[tile], PART_OF.get(tile, "muted"), "")]
            pieces += [(" ", "", ""), (name, "term" if term else "muted", term)]
    if picture.marks.trail and not explores:
        pieces += [("  ", "", ""), (glyphs.solid[2], "exploited", ""), (" ", "", "")]
        pieces += [("moves", "term", "trajectory")]
    elif picture.marks.trail:
        pieces += [("  ", "", ""), (glyphs.solid[2], "exploited", ""), (" ", "", "")]
        pieces += [("exploited", "term", "exploitation"), ("  ", "", "")]
        pieces += [(glyphs.dashed[2], "explored", ""), (" ", "", "")]
        pieces += [("explored", "term", "exploration")]
    return pieces


def _policy_key(glyphs: Glyphs) -> list[Piece]:
    return [
        (glyphs.solid[2], "legend", ""),
        (" ", "", ""),
        ("target", "term", "target-policy"),
        ("  ", "", ""),
        (glyphs.dashed[2], "legend", ""),
        (" ", "", ""),
        ("behaviour only", "term", "behaviour-policy"),
    ]


def _ramp(picture: Picture, glyphs: Glyphs, *, dots: bool, compare: bool) -> list[Piece]:
    """The colour scale between the smallest and the largest number."""
    low, high = picture.layer.range
    if compare and picture.optimal_values is None and picture.numbers is not None:
        low, high = math.nan, math.nan
    heats = picture.heat[np.isfinite(picture.heat)]
    if not heats.size:
        return []
    bottom, top = min(float(heats.min()), 0.0), max(float(heats.max()), 0.0)
    steps = np.linspace(bottom, top, 8) if bottom < top else np.zeros(1)
    write = si if picture.layer.scale == "count" else number
    pieces: list[Piece] = [] if math.isnan(low) else [(write(min(low, 0.0)), "legend", "")]
    pieces.append((" ", "", ""))
    for heat in steps.tolist():
        shade = glyphs.shades[math.ceil(abs(heat) * 4)] if dots or glyphs.ascii else " "
        pieces.append((shade, f"heat:{heat}", ""))
    pieces.append((" ", "", ""))
    return pieces if math.isnan(high) else [*pieces, (write(max(high, 0.0)), "legend", "")]


def describe(
    picture: Picture,
    mdp: MDP,
    policy: Policy | None,
    optimum: Solution | None,
    cell: int,
    glyphs: Glyphs,
) -> list[str]:
    """All about one cell, most telling first: what it is, values, Q and π per action, visits.

    Of a cell with several states it is about the one that is shown.
    """
    maze, marks, state = picture.maze, picture.marks, int(picture.shown[cell])
    tile = picture.tiles[cell] if maze.rows else ""
    parts = [f"{place(maze, cell)} {TILE_NAMES.get(tile, '')}".strip()]
    if cell == marks.agent:
        parts[0] += ", updated now" if marks.backup else ", agent here"
    if (tile and tile in RESTING) or state < 0:
        return parts
    seen = int(mdp.observation[state])
    if policy is not None:
        parts.append(f"V {number(float(policy.values[seen]))}")
    if optimum is not None and optimum.reachable[state]:
        parts.append(f"V* {number(float(optimum.values[state]))}")
    if policy is not None:
        arrows = [arrow(maze, a, glyphs.solid) for a in range(len(maze.actions))]
        if policy.q is not None:
            parts.append("Q " + _per_action(arrows, policy.q[seen].tolist()))
        pi = {a: float(p) for a, p in enumerate(policy.target[seen]) if p > 0}
        parts.append("π " + " ".join(f"{arrows[a]}{number(p, 2)}" for a, p in pi.items()))
        if not np.allclose(policy.target[seen], policy.behaviour[seen]):
            shares = [number(float(p), 2) for p in policy.behaviour[seen]]
            tried = [arrow(maze, a, glyphs.dashed) for a in range(len(maze.actions))]
            parts.append(
                "behaviour " + " ".join(f"{a}{p}" for a, p in zip(tried, shares, strict=True))
            )
        parts.append(f"{si(float(policy.visits[seen].sum()))} visits")
    if maze.observation != "cell" or maze.memory > 1 or maze.n_keys:
        parts.append(f"sees {observation_text(maze, mdp, seen)}")
    return parts


def wrapped(parts: list[str], width: int, room: int, glyphs: Glyphs) -> list[str]:
    """What is known about a cell in at most `room` lines of `width` cells; no part is broken, and
    only the last line is cut."""
    lines: list[str] = []
    for part in parts:
        text = f" {part} "
        longer = f"{lines[-1]}{glyphs.separator}{text}" if lines else text
        if lines and (cell_len(longer) <= width or len(lines) == room):
            lines[-1] = longer
        else:
            lines.append(text)
    return [fit(line, width, glyphs.ellipsis) for line in lines]


def _per_action(arrows: list[str], values: list[float]) -> str:
    return " ".join(f"{a}{number(q)}" for a, q in zip(arrows, values, strict=True))


def legend_terms(pieces: list[Piece]) -> list[Term]:
    """The terms of a legend, in reading order."""
    return [Term(text, slug) for text, _, slug in pieces if slug]


def layer_title(layer: Layer) -> str:
    """The layer's name and symbol, for menus and help."""
    return f"{layer.name} {layer.symbol}".strip()
