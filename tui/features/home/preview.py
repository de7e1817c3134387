"""The right side of the home screen: what the highlighted preset or run is."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from tui.features.home.lab_list import facts_of
from tui.library.facts_of import of_preset, of_run
from tui.library.lab_shelf import LabCard
from tui.library.shelf import Outlook, PresetCard, RunCard, RunDetail
from tui.maze.map_preview import MapPreview
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.facts import Facts

BESIDE = 34
"""Columns that facts need to stand beside the map."""


class Preview(VerticalScroll, can_focus=False):
    """The map, and under or beside it the summary and the facts; scrolls by Page Up and Down."""

    DEFAULT_CSS = """
    Preview {
        & #preview-top { layout: vertical; height: auto; }
        & #preview-map { margin: 0 3 1 0; }
        & #preview-words { height: auto; width: 1fr; max-width: 90; }
        & #preview-summary { margin: 0 0 1 0; }
        & Facts { margin: 0 0 1 0; }
        & #preview-curve { display: none; height: 1fr; min-height: 9; max-height: 24; }
        &.-beside #preview-top { layout: horizontal; }
    }
    """

    def compose(self) -> ComposeResult:
        with Container(id="preview-top"):
            yield MapPreview(id="preview-map")
            with Vertical(id="preview-words"):
                yield Static(id="preview-summary", markup=False)
                yield Facts(id="preview-facts")
        yield Vertical(id="preview-curve")

    def on_mount(self) -> None:
        """Nothing is highlighted yet."""
        self._maze_of: Outlook | RunDetail | None = None

    @property
    def is_built(self) -> bool:
        """Whether all its parts are there; a list may get the focus, and ask, before they are."""
        return bool(self.query(MapPreview)) and bool(self.query(Facts))

    def show_preset(self, card: PresetCard, outlook: Outlook | None) -> None:
        """Show a preset: at once, again with its maze, and again with its optimum."""
        self._begin(card.title)
        self.query_one(Facts).show(of_preset(card, outlook))
        self._summary(card.summary)
        self._show_map(outlook)

    def show_run(self, card: RunCard, detail: RunDetail | None) -> None:
        """Show a run: at once, and with its figures when they are read."""
        self._begin(card.title)
        self.query_one(Facts).show(of_run(card, detail))
        self._summary("")
        self._show_map(detail)
        self._show_curve(detail)

    def show_challenge(self, card: LabCard, state: str, outlook: Outlook | None) -> None:
        """Show a challenge or a page of the lab, with the maze of its first run."""
        self._begin(f"{card.number}  {card.title}" if card.number else card.title)
        self.query_one(Facts).show(facts_of(card, state))
        self._summary(card.question)
        self._show_map(outlook)

    def show_nothing(self, text: str) -> None:
        """Show a sentence instead."""
        self._begin("")
        self.border_title = None
        self.query_one(Facts).show([])
        self._summary(text)
        self._show_map(None)

    def terms(self) -> list[Term]:
        """The glossary terms shown."""
        return self.query_one(Facts).terms()

    def on_resize(self) -> None:
        """More or less room for the map."""
        self._show_map(self._maze_of)

    def _begin(self, title: str) -> None:
        """Another thing is shown from its top."""
        self.query_one("#preview-curve").display = False
        text = glyphs.plain(title)
        if text != str(self.border_title):
            self.border_title = Content(text)
            self.scroll_home(animate=False)

    def _show_curve(self, detail: RunDetail | None) -> None:
        """How the run came to its figures, with the curves that the trainer shows first."""
        if detail is None or detail.preset is None or not detail.curves:
            return
        # start-up time: charts need NumPy, and only runs have curves
        from tui.features.home.run_curve import RunCurve

        box = self.query_one("#preview-curve")
        box.display = True
        if not box.query(RunCurve):
            box.mount(RunCurve())
        box.query_one(RunCurve).show_run(detail)

    def _summary(self, text: str) -> None:
        static = self.query_one("#preview-summary", Static)
        static.update(Content(glyphs.plain(text)))
        static.display = bool(text)

    def _show_map(self, source: Outlook | RunDetail | None) -> None:
        self._maze_of = source
        maze = source.maze if source else None
        picture = self.query_one(MapPreview)
        width, height = self.scrollable_content_region.size
        room = Size(max(width, 10), max(height - 2, 6))
        picture.display = maze is not None
        picture.show(maze, room)
        wide = picture.get_content_width(room, room)
        self.set_class(maze is not None and wide + BESIDE + 3 <= width, "-beside")
