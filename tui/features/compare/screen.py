"""Two to four runs side by side: their mazes, one chart, one table, one cursor for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from engine.experiments.lab.lesson import FAILING, Lesson
from tui import kinds
from tui.features.compare.curves import CompareCurves
from tui.features.compare.figures import (
    Metric,
    Row,
    figure_rows,
    interval_rows,
    metrics_of,
    newest,
)
from tui.features.compare.grids import CardGrid, CompareGrids, marker
from tui.features.compare.keys import FIRST, KEYS
from tui.features.compare.runs import CompareRuns
from tui.features.compare.table import CompareTable
from tui.features.compare.watch import Comparison
from tui.glossary.glossary_dialog import GlossaryDialog, look_up
from tui.lesson.lesson_panel import LessonPanel
from tui.library.differences import differences
from tui.library.facts_of import symbol
from tui.ui import glyphs
from tui.ui.choice_bar import ChoiceBar
from tui.ui.fact import Term
from tui.ui.key_bar import KeyBar
from tui.ui.terms import HasTerms, TermClicked
from tui.ui.text import clean
from tui.watching.status_line import Fact, StatusLine, pace_text

if TYPE_CHECKING:
    from engine.experiments.lab.challenge import Challenge

WIDE, TALL = 120, 30
"""From this size on all panels are shown, below it one at a time."""
FIGURES_WIDTH, MORE_FIGURES_WIDTH = 38, 18
"""Columns of the table with one run, and of every further one with its differences."""
LEAST_CURVES = 44
"""Columns that curves have at least beside the table; with less they stand above it, if there are
`STACKED_HEIGHT` lines for both."""
STACKED_HEIGHT = 18
TITLES = {"grids": "Mazes", "curves": "Curves", "figures": "Figures", "lesson": "Lesson"}
"""The panels in their order, by id."""


class CompareScreen(CompareRuns):
    """The grids, the curves, the figures and the lesson of several runs, and the keys for all."""

    CSS_PATH = "compare.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]
    FIRST_KEYS = FIRST

    def __init__(
        self,
        runs: Sequence[Path],
        challenge: Challenge | None = None,
        lesson: Lesson | None = None,
        *,
        looks: float | None = None,
    ) -> None:
        """`looks` is how often a second the runs are looked at. Raises UserError."""
        super().__init__(runs, looks=looks)
        self.challenge, self.lesson = challenge, lesson
        self.metrics: tuple[Metric, ...] = ()
        self.metric = ""
        """Name of the figure that the chart shows."""
        self.alone = False
        self._grid_height: str | int = "1fr"
        self._table_width: str | int = "2fr"
        settings = differences([side.preset for side in self.watcher.sides])
        self._settings = [Row(each.label, "", each.told) for each in settings]

    # ------------------------------------------------------------ building

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield ChoiceBar(*(TITLES[name] for name in self.panels), id="tabs")
        with Horizontal(id="panels"):
            with Vertical(id="runs"):
                yield CompareGrids(len(self.watcher.sides), id="grids", classes="panel")
                with Horizontal(id="below"):
                    yield CompareCurves(id="curves", classes="panel")
                    yield CompareTable(id="figures", classes="panel")
            if self.lesson is not None:
                yield LessonPanel(self.lesson, id="lesson", classes="panel")
        yield KeyBar()

    @property
    def panels(self) -> tuple[str, ...]:
        """The panels there are, by id."""
        return tuple(name for name in TITLES if name != "lesson" or self.lesson is not None)

    def on_mount(self) -> None:
        """Name the panels."""
        for name in self.panels:
            if name != "grids":
                self.query_one(f"#{name}").border_title = TITLES[name]
        self._fit()
        self.enter("grids" if self.lesson is None else "lesson")

    def on_resize(self) -> None:
        """All panels, or one at a time."""
        self._fit()

    def _fit(self) -> None:
        wide = self.size.width >= WIDE and self.size.height >= TALL
        self.set_class(not wide or self.alone, "-narrow")
        self.query_one(KeyBar).with_palette = wide
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        if self.comparison is not None and self.is_attached:
            self.draw(self.comparison)

    # ------------------------------------------------------------ what is shown

    def draw(self, comparison: Comparison) -> None:
        """Show this moment of all runs."""
        wanted = self.challenge.curves if self.challenge is not None else ()
        self.metrics = metrics_of(comparison.sides, wanted)
        grids = self.query_one(CompareGrids)
        rows = figure_rows(comparison, self.metrics)
        rows += interval_rows(comparison, self.metrics)
        if self._settings:
            rows += [Row("Settings that differ", "", ()), *self._settings]
        head = [f"{side.letter} {marker(i)}" for i, side in enumerate(comparison.sides)]
        self.query_one(CompareTable).show(head, rows)
        self._share_room(grids, comparison)
        grids.show(comparison)
        self._draw_curves()
        self.say()
        self._teach(comparison)

    def _share_room(self, grids: CompareGrids, comparison: Comparison) -> None:
        """The mazes take the lines they can use, at most half of all, and the table its columns;
        what is left is the curves'. Where both have no room beside each other, the table goes
        below the curves."""
        room, table = self.query_one("#runs").size, self.query_one(CompareTable)
        wide = bool(room.height and room.width) and not self.has_class("-narrow")
        height: str | int = "1fr"
        width: str | int = "1fr"
        stacked = False
        if wide:
            height = grids.wanted_height(comparison, room.width, room.height // 2)
            wanted = FIGURES_WIDTH + MORE_FIGURES_WIDTH * (len(comparison.sides) - 1)
            width = max(wanted, table.wanted_width)
            left = room.width - table.wanted_width >= LEAST_CURVES
            stacked = not left and room.height - height >= STACKED_HEIGHT
            width = "1fr" if stacked else min(width, room.width * 3 // 5)
        if (self._grid_height, self._table_width) != (height, width):
            self._grid_height, self._table_width = height, width
            grids.styles.height, table.styles.width = height, width
        self.query_one("#below").set_class(stacked, "-stacked")

    def _draw_curves(self) -> None:
        if self.comparison is not None:
            self.query_one(CompareCurves).show(self.comparison, self.metrics, self._chosen)

    @property
    def _chosen(self) -> int:
        """The place of the figure that the chart shows."""
        names = [metric.name for metric in self.metrics]
        return names.index(self.metric) if self.metric in names else 0

    def say(self) -> None:
        """The lines on top."""
        shown = self.comparison
        if shown is None:
            return
        count = len(shown.sides)
        title = f"{count} runs" if self.challenge is None else clean(self.challenge.title)
        clock = shown.clock
        place = clock.told(shown.edge if shown.cursor is None else shown.cursor)
        facts = [self._mode(shown), Fact(place, clock.slug)]
        self.query_one(StatusLine).tell(title, facts, self._hint(shown))

    def _mode(self, shown: Comparison) -> Fact:
        live = [side for side in shown.sides if side.live]
        if shown.cursor is not None:
            how = pace_text(self.play_pace, "point") if self.playing else "paused"
            if live and not self.playing:
                how = f"{len(live)} {'paused' if shown.waiting else 'live'} meanwhile"
            return Fact(f"{glyphs.current().back} recording, {how}", "recording-point")
        heads = {side: side.snapshot.head for side in live if side.snapshot is not None}
        if not live:
            return Fact(f"{symbol('finished')} all over", "run-state")
        if not heads:
            return Fact(f"{symbol('starting')} starting", "run-state")
        state = "paused" if shown.waiting else "running"
        told = f"{symbol(state)} {len(heads)} of {len(shown.sides)} live"
        paces = {pace_text(h.pace, kinds.of(side.preset).clock.unit) for side, h in heads.items()}
        pace = paces.pop() if len(paces) == 1 else "paces differ"
        return Fact(f"{told}, {'paused' if state == 'paused' else pace}", "run-state")

    def _hint(self, shown: Comparison) -> str:
        """One sentence about what to know, then what to press."""
        waiting = [f"{s.letter}: {s.words}" for s in shown.sides if s.snapshot is None]
        said = " ".join([*waiting, *shown.remarks])
        if shown.cursor is not None:
            keys = "Left and right move all runs, End goes back to now."
        elif shown.waiting:
            keys = "Space lets all go on, . does one step of all, left goes back in time."
        elif any(side.live for side in shown.sides):
            keys = "Space pauses all, left goes back in time, m shows another figure."
        else:
            keys = "Space replays all, left goes back in time, m shows another figure."
        if self.lesson is not None and self.has_class("-narrow"):
            keys = f"Tab: next panel. {keys}"
        return f"{said} {keys}".strip()

    def _teach(self, comparison: Comparison) -> None:
        """Let the lesson know how the runs do now, wherever the cursor is."""
        if self.lesson is None:
            return
        figures: dict[str, dict[str, float]] = {}
        finished = set()
        for side in comparison.sides:
            fails = side.preset_name == self.lesson.failing
            for name in (side.preset_name, *([FAILING] if fails else [])):
                figures.setdefault(name, newest(side))
                if side.snapshot is not None and side.snapshot.head.ended:
                    finished.add(name)
        self.query_one(LessonPanel).take(figures, finished)

    # ------------------------------------------------------------ the panels

    @property
    def panel(self) -> str:
        """The panel that has the focus, or had it last."""
        return self.panels[self.query_one("#tabs", ChoiceBar).chosen]

    def enter(self, name: str) -> None:
        """Show a panel and put the focus into it."""
        self._activate(name)
        self.query_one(f"#{name}").focus()

    def _activate(self, name: str) -> None:
        for panel in self.query(".panel"):
            panel.set_class(panel.id == name, "-active")
        self.query_one("#below").set_class(name in ("curves", "figures"), "-active")
        self.query_one("#runs").set_class(name == "lesson", "-hidden")
        self.query_one("#tabs", ChoiceBar).chosen = self.panels.index(name)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The panel with the focus is the active one, however it got there."""
        for node in (event.widget, *event.widget.ancestors):
            if isinstance(node, Widget) and node.has_class("panel") and node.id:
                self._activate(node.id)

    @on(ChoiceBar.Clicked, "#tabs")
    def _tab_clicked(self, message: ChoiceBar.Clicked) -> None:
        self.enter(self.panels[message.index])

    def action_next_panel(self, by: int = 1) -> None:
        """The panel after this one, or before it."""
        self.enter(self.panels[(self.panels.index(self.panel) + by) % len(self.panels)])

    def action_alone(self) -> None:
        """This panel alone, or all again."""
        self.alone = not self.alone
        self._fit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered."""
        if action == "alone":
            return self.size.width >= WIDE and self.size.height >= TALL
        if action == "step":
            return self.comparison is None or any(side.live for side in self.comparison.sides)
        if action == "release":
            return any(grid.cursor is not None for grid in self._grids)
        if action == "grid" and str(parameters[0]).startswith("layer("):
            digit = int(str(parameters[0])[6:-1])
            return any(digit <= len(grid.layer_choices) for grid in self._grids)
        return True

    # ------------------------------------------------------------ the grids

    @property
    def _grids(self) -> list[CardGrid]:
        return self.query_one(CompareGrids).grids if self.is_mounted else []

    async def action_grid(self, action: str) -> None:
        """A key of the maze grid, for all of them."""
        await self.query_one(CompareGrids).each(action)

    def action_cell(self, down: int, right: int) -> None:
        """Inspect a cell: the first grid moves, the others of its shape follow."""
        self._grids[0].action_cursor(down, right)
        self.refresh_bindings()

    def action_release(self) -> None:
        """Inspect the agents again."""
        self.query_one(CompareGrids).every(CardGrid.action_release)
        self.refresh_bindings()

    # ------------------------------------------------------------ the curves

    def action_next_curves(self, by: int = 1) -> None:
        """The next figure, or the one before."""
        if self.metrics:
            self.metric = self.metrics[(self._chosen + by) % len(self.metrics)].name
            self._draw_curves()
            if self.has_class("-narrow"):
                self.enter("curves")

    @on(CompareCurves.MetricChosen)
    def _metric_chosen(self, message: CompareCurves.MetricChosen) -> None:
        self.metric = self.metrics[message.index].name
        self._draw_curves()

    @property
    def log_time(self) -> bool:
        """As the chart's axis is."""
        return self.query_one(CompareCurves).charts.log_x

    async def action_curves(self, action: str) -> None:
        """A key of the curves, from any panel."""
        await self.query_one(CompareCurves).run_action(action)

    @on(CompareCurves.AxisChosen)
    def _axis_chosen(self, message: CompareCurves.AxisChosen) -> None:
        """Another clock: it begins at now, for a place on the old one means nothing on it."""
        self.playing = False
        self.watcher.axis = message.axis
        self.go_to(None)

    @on(CompareCurves.CursorMoved)
    def _cursor_moved(self, message: CompareCurves.CursorMoved) -> None:
        self.playing = False
        self.go_to(message.position)

    # ------------------------------------------------------------ words

    def action_glossary(self) -> None:
        """Choose among the labels of the panel in focus, and those of the line on top."""
        terms: list[Term] = []
        for widget in (self.query_one(f"#{self.panel}"), self.query_one("#status")):
            terms += widget.terms() if isinstance(widget, HasTerms) else []
        look_up(self, terms)

    @on(LessonPanel.Point)
    def _pointed(self, message: LessonPanel.Point) -> None:
        message.stop()
        self.app.push_screen(GlossaryDialog(message.term))

    @on(LessonPanel.Highlight)
    def _lit(self, message: LessonPanel.Highlight) -> None:
        """What the lesson speaks of is lit up, and its figure is the one the chart shows."""
        message.stop()
        self.query_one(CompareTable).lit = message.terms
        self.query_one(CompareGrids).light(message.terms)
        spoken_of = [m.name for m in self.metrics if m.slug in message.terms]
        if spoken_of:
            self.metric = spoken_of[0]
            self._draw_curves()

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        self.app.push_screen(GlossaryDialog(message.slug))
