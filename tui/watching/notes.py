"""What the run has said so far: notes and warnings, each with what to do and a glossary entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.runs.records import NoteRow
from tui.glossary.entries import load
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.text import clean

MARKS = {"info": "i", "warning": "!", "error": "x"}
COLOURS = {"info": "$text-primary", "warning": "$text-warning", "error": "$text-error"}


class NotesScreen(Dialog[str]):
    """The notes, newest first. Dismissed with the slug of a term to look up, or with None."""

    DEFAULT_CSS = """
    NotesScreen {
        & > .box { width: 92; padding: 0 1; }
        & OptionList { height: auto; max-height: 100%; background: $surface; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("notes.close", "escape,q,n", "dismiss(None)", "Close", "Back to the panels"),
        key("notes.glossary", "g", "look_up", "Glossary",
            "Look up what the highlighted note is about, as Enter does"),
    ]  # fmt: skip

    def __init__(self, notes: Sequence[NoteRow], unit: str) -> None:
        """`unit` is what the run counts: step, sweep or update."""
        super().__init__()
        self.notes = list(reversed(notes))
        self.unit = unit

    def compose(self) -> ComposeResult:
        options = [
            Option(note_prompt(note, self.unit), id=str(i)) for i, note in enumerate(self.notes)
        ]
        with Vertical(classes="box") as box:
            box.border_title = "Notes, newest first"
            box.border_subtitle = "Enter: what it is about   Esc: close"
            yield OptionList(*options, compact=True)

    def on_mount(self) -> None:
        """The newest is highlighted."""
        notes = self.query_one(OptionList)
        notes.highlighted = 0
        notes.focus()

    def action_look_up(self) -> None:
        """The glossary entry of the highlighted note."""
        self._open(self.query_one(OptionList).highlighted)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self._open(event.option_index)

    def _open(self, index: int | None) -> None:
        if index is None:
            return

        term = self.notes[index].term
        if term in {entry.slug for entry in load()}:
            self.dismiss(term)
        else:
            self.notify("This note has no entry in the glossary.", markup=False)


def note_prompt(note: NoteRow, unit: str) -> Content:
    """A note in the list: when, what, and below what to do about it."""
    text, remedy = glyphs.plain(clean(note.text)), glyphs.plain(clean(note.remedy))
    parts: list[Content | str | tuple[str, str]] = [
        (f"{MARKS.get(note.level, 'i')} ", f"bold {COLOURS.get(note.level, '$foreground')}"),
        (f"{unit} {note.step:,}  ", "$foreground 60%"),
        text,
    ]
    if remedy:
        parts += [("\n  What to do: ", "bold"), remedy]
    return Content.assemble(*parts)
