"""The trajectory log: every step of every episode the run kept, newest at the bottom."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from engine.learning.events import Step
from tui.log.log_entries import Row
from tui.log.log_view import LogView
from tui.ui.bindings import key, move
from tui.ui.terms import post_term


class TrajectoryLog(LogView, can_focus=True):
    """Episodes as foldable rows, their steps below them.

    Follows the newest row until the cursor is moved away from it; End follows again.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        move("log.up", "up", "move(-1)", "Row up", "The cursor goes to the row above"),
        move("log.down", "down", "move(1)", "Row down", "The cursor goes to the row below"),
        move("log.page-up", "pageup", "page(-1)", "Page up", "The cursor goes a page up"),
        move("log.page-down", "pagedown", "page(1)", "Page down", "The cursor goes a page down"),
        key("log.home", "home", "go(0)", "Oldest", "Go to the oldest", show=False),
        key("log.end", "end", "follow", "Newest", "Go to the newest row and follow it"),
        key("log.fold", "left", "fold", "Fold",
            "Fold the episode, or go to its header", show=False),
        key("log.unfold", "right", "unfold", "Unfold", "Show the steps of the episode", show=False),
        key("log.explain", "enter", "choose", "Explain",
            "Explain this step's update; on an episode, fold or unfold it"),
    ]  # fmt: skip

    class ExplainRequested(Message):
        """The user wants this step's update explained."""

        def __init__(self, log: TrajectoryLog, step: Step) -> None:
            self.log = log
            self.step = step
            super().__init__()

        @property
        def control(self) -> TrajectoryLog:
            """The log the step stands in."""
            return self.log

    @property
    def cursor_row(self) -> Row | None:
        """The row the cursor is on."""
        return self._rows[self._cursor] if self._cursor >= 0 else None

    def _go(self, number: int) -> None:
        self._set_cursor(number)
        self.following = self._cursor == len(self._rows) - 1
        self._repaint_changed()

    def action_move(self, by: int) -> None:
        """A row up or down."""
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        """A page up or down."""
        self._go(self._cursor + by * max(1, self.size.height - 2))

    def action_go(self, number: int) -> None:
        """To the row of a number, from 0."""
        self._go(number)

    def action_follow(self) -> None:
        """To the newest row, and with it from now on."""
        self._go(len(self._rows) - 1)

    def action_fold(self) -> None:
        """Fold the episode; from a step, go to its header first."""
        row = self.cursor_row
        if row is None:
            return
        if row.position >= 0:
            self._go(self._cursor - row.position - 1)
        else:
            self._fold(row, is_open=False)

    def action_unfold(self) -> None:
        """Show the steps of the episode."""
        if self.cursor_row is not None:
            self._fold(self.cursor_row, is_open=True)

    def action_choose(self) -> None:
        """Explain the step under the cursor; on a header, fold or unfold."""
        row = self.cursor_row
        if row is None:
            return
        if row.step is not None:
            self.post_message(self.ExplainRequested(self, row.step))
        elif row.position < 0:
            self._fold(row, is_open=not self._is_open(row.entry))

    def _fold(self, row: Row, *, is_open: bool) -> None:
        entry = row.entry
        self._folds[entry.key] = is_open
        if is_open and entry.id is not None and entry.steps is None:
            self._requested.discard(entry.id)  # asked again, in case the answer got lost
        if is_open and self._cursor == len(self._rows) - 1:
            self.following = False
        self._list()

    async def _on_click(self, event: events.Click) -> None:
        if post_term(self, event):
            return
        offset = event.get_content_offset(self)
        if offset is None or offset.y < 1:
            return
        number = round(self.scroll_y) + offset.y - 1
        if number < len(self._rows):
            again = number == self._cursor
            self._go(number)
            if again or self._rows[number].position < 0:
                self.action_choose()

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.following = False
        super()._on_mouse_scroll_up(event)
