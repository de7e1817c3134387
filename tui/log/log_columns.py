"""Rows of the trajectory log, column by column; fewer columns where there is less room."""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.env.maze import Maze
from engine.learning.events import Step
from tui.kinds.columns import Column, Layouts
from tui.kinds.llm_words import choice, choice_mark, rank
from tui.log.log_entries import Entry, Row
from tui.model.steps import action_name, arrow, ending, not_learned_from, place, without_noise
from tui.ui.glyphs import Glyphs, plain
from tui.ui.text import fit, fit_number, number


class Cell(NamedTuple):
    """Text in one component style of the log; with a slug, a glossary term."""

    text: str
    part: str = "value"
    slug: str = ""


INDENT = 2
ROOMY = 50
"""From this many columns on the header says "return", below it "G"."""


def fitting(width: int, layouts: Layouts) -> tuple[Column, ...]:
    """The widest layout that fits into `width`, else the narrowest."""
    return next((x for x in layouts if INDENT + sum(c.width for c in x) <= width), layouts[-1])


def titles(shown: tuple[Column, ...], glyphs: Glyphs) -> list[Cell]:
    """The line above the rows."""
    cells = [Cell(" " * INDENT, "muted")]
    for column in shown:
        title = plain(column.title, glyphs.ascii)[: column.width - 1]
        gap = " " * (column.width - len(title))
        cells += [Cell(title, "term", column.slug), Cell(gap, "muted")]
    return cells


def header(
    entry: Entry, is_open: bool, watched: int, width: int, glyphs: Glyphs, name: str, maze: Maze
) -> list[Cell]:
    """An episode of a maze in one line: its name, length, return, how it ended."""
    fold = glyphs.unfolded if is_open else glyphs.folded
    cells = [Cell(f"{fold} {name}", "header")]
    if entry.agent != watched:
        cells.append(Cell(f"  agent {entry.agent}", "muted"))
    if entry.sweep:
        return [*cells, Cell(f"  {entry.length} states", "muted")]
    plural = "" if entry.length == 1 else "s"
    cells.append(Cell(f"  {entry.length} step{plural}", "muted"))
    if entry.total_return is not None:
        label = "return" if width >= ROOMY else "G"
        cells += [Cell(f"  {label} ", "muted"), Cell(number(entry.total_return), "value")]
    symbol, word, part = _outcome(entry, maze, glyphs)
    return [*cells, Cell(f"  {symbol} {word}", part)]


def _outcome(entry: Entry, maze: Maze, glyphs: Glyphs) -> tuple[str, str, str]:
    """The end of an episode: symbol, word, style. The same live and recorded: by what the record
    knows of an episode, though its steps may know more."""
    if not entry.over and entry.steps:
        symbol, word = ending(entry.steps[-1], glyphs)
    elif entry.success:
        symbol, word = glyphs.success, "prize"
    elif entry.terminated:
        symbol, word = _end_without_success(maze, glyphs)
    elif entry.truncated:
        symbol, word = glyphs.timeout, "time limit"
    else:
        symbol, word = glyphs.ended, "ended"
    return symbol, word, "good" if entry.success else "bad" if entry.over else "muted"


def _end_without_success(maze: Maze, glyphs: Glyphs) -> tuple[str, str]:
    """What ends an episode here that does not succeed, if there is only one such thing."""
    tiles = set("".join(maze.rows))
    holes, lesser = "H" in tiles and maze.fall == "end", "g" in tiles
    if holes and not lesser:
        return glyphs.fell, "hole"
    return (glyphs.ended, "lesser prize") if lesser and not holes else (glyphs.ended, "ended")


def step_cells(
    row: Row, step: Step, shown: tuple[Column, ...], maze: Maze, glyphs: Glyphs
) -> list[Cell]:
    """A step, column by column."""
    cells, step = [Cell(" " * INDENT, "muted")], without_noise(step)
    for column in shown:
        text, part = _cell(column, row, step, maze, glyphs)
        cells.append(Cell(fit(text, column.width - 1, glyphs.ellipsis) + " ", part))
    if (step.terminated or step.truncated) and not row.entry.sweep:
        symbol, word = ending(step, glyphs)
        cells.append(Cell(f" {symbol} {word}", "good" if step.success else "bad"))
    return cells


def _cell(column: Column, row: Row, step: Step, maze: Maze, glyphs: Glyphs) -> tuple[str, str]:
    """Text and style of one value."""
    width = column.width - 1
    chosen = "explored" if step.explored else "exploited"
    arrows = glyphs.dashed if step.explored else glyphs.solid
    mark = glyphs.explored if step.explored else glyphs.exploited
    if step.kind == "planning":
        chosen, mark = "planned", glyphs.backup
    match column.kind:
        case "t":
            return str(row.position if row.entry.sweep else step.t), "muted"
        case "state":
            return place(maze, step.state), "value"
        case "action":
            symbol = arrow(maze, step.action, arrows)
            return f"{symbol} {action_name(maze, step.action)}", chosen
        case "arrow":
            return arrow(maze, step.action, arrows), chosen
        case "how":
            return f"{mark} {chosen}", chosen
        case "mark":
            return mark, chosen
        case "choice":
            return choice(step, glyphs), "explored" if rank(step) > 1 else "exploited"
        case "choice-mark":
            return choice_mark(step, glyphs), "explored" if rank(step) > 1 else "exploited"
        case "reward":
            exact = f"{step.reward:+.4g}"  # as written in the preset, mostly: no zeros behind it
            shown = exact if len(exact) <= width and step.reward else _signed(step.reward, width)
            return shown, _tone(step.reward)
        case "before":
            return fit_number(step.before, min(width, 6)), "value"
        case "target" | "error" if not_learned_from(step):
            return glyphs.ellipsis, "muted"
        case "target":
            return fit_number(step.target, min(width, 6)), "value"
        case "chance":
            return fit_number(math.exp(step.log_prob), min(width, 6)), "value"
        case "after":
            if not step.probabilities_after:
                return glyphs.ellipsis, "muted"
            after = step.probabilities_after[step.action]
            tone = _tone(after - step.probabilities[step.action])
            return fit_number(after, min(width, 6)), tone
        case "error":
            return _signed(step.error, width), _tone(step.error)
        case "to-go":
            known = row.entry.returns
            if known is None:
                return glyphs.ellipsis, "muted"
            return fit_number(known[row.position], min(width, 6)), "value"
        case _:
            return fit_number(step.advantage, min(width, 6)), _tone(step.advantage)


def _signed(value: float, width: int) -> str:
    text = fit_number(value, min(width, 7) - 1 if value > 0 else min(width, 7))
    return f"+{text}" if value > 0 else text


def _tone(value: float) -> str:
    """Good, bad, or neither; the sign before the number says the same."""
    if math.isnan(value) or value == 0:
        return "muted"
    return "good" if value > 0 else "bad"
