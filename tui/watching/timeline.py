"""The timeline: the whole run from left to right, with its marks, and the cursor all panels follow.

Two lines, or one where there is little room. Arrows, the mouse and keys of the screen move the
cursor; where it is, is told by the snapshot, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.app import RenderResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widget import Widget

from engine.runs.past.timeline import Kind
from tui.model.snapshot import Snapshot, Track
from tui.ui import glyphs
from tui.ui.bindings import key, move
from tui.ui.fact import Term
from tui.ui.text import fit, si
from tui.watching.timeline_words import JUMPS, LETTERS, Jump, unit, where_to

LABEL = 5
LEAST_TRACK = 10
RIGHT = 28
"""Columns for the words on the right, where there is room for them."""
MARGINS = 2


class Timeline(Widget, can_focus=True):
    """Draws where the run stands and what happened when; asks for other moments by messages."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "timeline--live",
        "timeline--past",
        "timeline--done",
        "timeline--ahead",
        "timeline--cursor",
        "timeline--mark",
        "timeline--many",
        "timeline--words",
    }

    DEFAULT_CSS = """
    Timeline {
        height: 2;
        width: 1fr;
        padding: 0 1;
        &.-low { height: 1; }
        & > .timeline--live { color: $success; text-style: bold; }
        & > .timeline--past { color: $background; background: $warning; text-style: bold; }
        & > .timeline--done { color: $primary; }
        & > .timeline--ahead { color: $foreground 30%; }
        & > .timeline--cursor { color: $warning; text-style: bold; }
        & > .timeline--mark { color: $foreground; text-style: bold; }
        & > .timeline--many { color: $foreground 50%; }
        & > .timeline--words { color: $foreground 70%; }
        &:focus > .timeline--words { color: $foreground; text-style: bold; }
        &:focus > .timeline--cursor { text-style: bold reverse; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        move("timeline.left", "left", "scrub(-1)", "Earlier", "A little earlier in the run"),
        move("timeline.right", "right", "scrub(1)", "Later", "A little later in the run"),
        move("timeline.far-left", "pageup,shift+left", "scrub(-10)", "Much earlier",
             "Much earlier in the run"),
        move("timeline.far-right", "pagedown,shift+right", "scrub(10)", "Much later",
             "Much later in the run"),
        move("timeline.start", "home", "start", "Start", "To the first step of the run"),
        move("timeline.end", "end", "end", "Now", "Back to now"),
        key("timeline.leave", "escape,enter", "leave", "Leave",
            "From the timeline back to the panel"),
    ]  # fmt: skip

    class Moved(Message):
        """The user asked for the run as it was at a step; None for the live edge."""

        def __init__(self, step: int | None) -> None:
            self.step = step
            super().__init__()

    class Left(Message):
        """The user wants to leave the timeline for a panel."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.snapshot: Snapshot | None = None
        self._jump = 0
        self._asked: int | None = None
        """The cell that was asked for last: keys come faster than snapshots."""
        self._drawn: Content | None = None
        self._known: tuple[Track, int, dict[int, Kind]] | None = None
        """The newest marks drawn, of which track, and in how many cells."""

    @property
    def jump(self) -> Jump:
        """What the keys for the next mark and the one before look for."""
        return JUMPS[self._jump]

    def next_jump(self) -> Jump:
        """Look for the next kind of marks."""
        self._jump = (self._jump + 1) % len(JUMPS)
        self._update()
        return self.jump

    def show(self, snapshot: Snapshot) -> None:
        """Draw this moment."""
        self.snapshot = snapshot
        self._asked = None
        self._update()

    def terms(self) -> list[Term]:
        """The glossary terms of what is drawn."""
        return [Term("timeline", "timeline"), Term("checkpoint", "checkpoint")]

    # ------------------------------------------------------------ drawing

    def on_resize(self) -> None:
        """The same in another width."""
        self._update()

    def _update(self) -> None:
        """Draw, if it would look different."""
        drawn = self._draw()
        if self._drawn is None or drawn != self._drawn:
            self._drawn = drawn
            self.refresh()

    def notify_style_update(self) -> None:
        """Another theme: the words are the same, their looks are not."""
        super().notify_style_update()
        self._drawn = None

    def render(self) -> RenderResult:
        if self._drawn is None:
            self._drawn = self._draw()
        return self._drawn

    @property
    def cells(self) -> int:
        """How many columns the track has."""
        return max(self.content_size.width - LABEL - MARGINS - self._right, LEAST_TRACK)

    @property
    def _right(self) -> int:
        width = self.content_size.width
        return RIGHT if width >= 60 else max(width - LABEL - MARGINS - LEAST_TRACK, 0)

    def _cell(self, step: int) -> int:
        """The cell in which a step is drawn."""
        assert self.snapshot is not None
        return _cell(step, self.snapshot.track.end, self.cells)

    def _draw(self) -> Content:
        if self.snapshot is None:
            return Content("")
        low, cells = self.has_class("-low"), self.cells
        marks = self._marks(cells)
        label, right, second = self._words(low)
        lines = [self._line(label, self._track(marks if low else {}, cells), right)]
        if not low:
            blank = [(" ", "timeline--mark")] * cells
            for cell, kind in marks.items():
                blank[cell] = (glyphs.plain(LETTERS[kind]), _look(kind))
            lines.append(self._line(("", ""), blank, second))
        return Content("\n").join(lines)

    def _words(self, low: bool) -> tuple[tuple[str, str], str, str]:
        """The word on the left with its look, and those on the right of both lines."""
        shot = self.snapshot
        assert shot is not None
        past = not shot.following
        word = "PAST" if past else "end" if shot.head.ended else "live"
        label = (word, "timeline--past" if past else "timeline--live")
        back = f"f: to {where_to(shot)}"
        jump = f"[ ] {self.jump.name}"
        if low:
            at = f"{si(shot.at)}/{si(shot.head.step)}"
            return label, f"{at}  {back if past else jump}", ""
        return (
            label,
            f"{unit(shot)} {si(shot.at)} of {si(shot.head.step)}",
            (f"{back}  {jump}" if past else jump),
        )

    def _track(self, marks: dict[int, Kind], cells: int) -> list[tuple[str, str]]:
        """The cells of the track, with their looks: done, shown, and still to come."""
        shot = self.snapshot
        assert shot is not None
        plain = glyphs.current().ascii
        done, ahead, dot = ("=", ".", "O") if plain else ("━", "┄", "●")
        edge, here = self._cell(shot.head.step), self._cell(shot.at)
        track = [
            (done, "timeline--done") if cell <= edge else (ahead, "timeline--ahead")
            for cell in range(cells)
        ]
        for cell, kind in marks.items():
            if kind not in ("update", "episode"):  # they would hide how far the run is
                track[cell] = (LETTERS[kind], _look(kind))
        track[here] = (dot, "timeline--cursor")
        return track

    def _line(self, label: tuple[str, str], cells: list[tuple[str, str]], right: str) -> Content:
        word, look = label
        pieces = [(f"{word}", look), (" " * (LABEL - len(word)), "")]
        pieces += [*_runs(cells), (" " * MARGINS, "")]
        words = fit(glyphs.plain(right), self._right, glyphs.current().ellipsis)
        pieces.append((words, "timeline--words"))
        return Content("").join(
            Content.styled(text, self.get_visual_style(look) if look else Style())
            for text, look in pieces
            if text
        )

    def _marks(self, cells: int) -> dict[int, Kind]:
        """What is drawn in each cell that has marks."""
        shot = self.snapshot
        assert shot is not None
        track = shot.track
        if self._known is None or self._known[0] is not track or self._known[1] != cells:
            found: dict[Kind, set[int]] = {kind: set() for kind in LETTERS}
            found["update"] = {_cell(step, track.end, cells) for step in track.updates}
            found["episode"] = {_cell(step, track.end, cells) for step in track.episodes}
            for mark in track.told:
                found[mark.kind].add(_cell(mark.step, track.end, cells))
            drawn = {cell: kind for kind in LETTERS for cell in found[kind]}
            self._known = track, cells, drawn
        return self._known[2]

    # ------------------------------------------------------------ moving

    def action_scrub(self, cells: int) -> None:
        """Move the cursor by so many columns."""
        shot = self.snapshot
        if shot is not None:
            here = self._cell(shot.at) if self._asked is None else self._asked
            self._go(here + cells)

    def action_start(self) -> None:
        """To step 0."""
        self._go(0)

    def action_end(self) -> None:
        """To the live edge."""
        self.post_message(self.Moved(None))

    def action_leave(self) -> None:
        """Back to the panel."""
        self.post_message(self.Left())

    def _go(self, cell: int) -> None:
        shot = self.snapshot
        if shot is None:
            return
        self._asked = max(cell, 0)
        beyond = self._asked > self._cell(shot.head.step)
        first = -(-self._asked * shot.track.end // (self.cells - 1))  # that is drawn in the cell
        step = min(first, shot.head.step)
        self.post_message(self.Moved(None if beyond else step))

    async def _on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and self._point(event):
            self.capture_mouse()
            event.stop()

    def _on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._point(event)

    async def _on_mouse_up(self, event: events.MouseUp) -> None:
        if self.app.mouse_captured is self:
            self.release_mouse()

    def _point(self, event: events.MouseEvent) -> bool:
        """Go to where the mouse is. Whether that is somewhere on the track, or beside it."""
        cell = event.screen_x - self.content_region.x - LABEL
        if cell < -LABEL or (self.app.mouse_captured is not self and cell >= self.cells):
            return False
        cell = max(0, min(cell, self.cells - 1))
        if cell != self._asked:
            self._go(cell)
        return True

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_scrub(1)

    def _on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_scrub(-1)


def _cell(step: int, end: int, cells: int) -> int:
    """In which of so many cells from 0 to `end` a step is drawn."""
    return min(step * (cells - 1) // end, cells - 1)


def _look(kind: Kind) -> str:
    return "timeline--many" if kind in ("update", "episode") else "timeline--mark"


def _runs(cells: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbouring cells of the same look as one piece."""
    pieces: list[tuple[str, str]] = []
    for text, look in cells:
        if pieces and pieces[-1][1] == look:
            pieces[-1] = (pieces[-1][0] + text, look)
        else:
            pieces.append((text, look))
    return pieces
