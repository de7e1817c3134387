"""The trainer: one run, live or recorded, in panels."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, cast

import msgspec
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical

from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.core.user_config import Layout
from engine.env.maze import Maze
from engine.learning.events import Episode, Step
from engine.runs.lists import labels
from engine.tabular.kernels.experience import MovingAlgorithm
from tui import kinds
from tui.features.trainer import layout_memory
from tui.features.trainer.explain_dialog import ExplainScreen
from tui.features.trainer.keys import FIRST, FIRST_OVER, KEYS
from tui.features.trainer.panels import BY_NAME, NAMES, PANELS, ShowsMoments
from tui.glossary.panel import GlossaryPanel
from tui.glossary.term_picker import TermPicker
from tui.library import facts_of
from tui.library.facts_of import OVER, RESUMABLE
from tui.library.host import host_of
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_grid import MazeGrid
from tui.model.run_watch import Notice
from tui.model.snapshot import Snapshot
from tui.ui.choice_bar import ChoiceBar
from tui.ui.fact import Term
from tui.ui.key_bar import KeyBar
from tui.ui.places import Place
from tui.ui.terms import HasTerms, TermClicked
from tui.ui.text import clean
from tui.watching.curves import CurvesPanel
from tui.watching.notes import NotesScreen
from tui.watching.run_screen import RunScreen
from tui.watching.status_line import Playback, StatusLine
from tui.watching.timeline import Timeline
from tui.watching.timeline_words import at_cursor

WIDE = 120
"""From this many columns all panels are shown, below it one at a time."""
TALL = 32
"""From this many rows the timeline has two of them."""


class TrainerScreen(RunScreen):
    """The maze, the log, the curves and the glossary of one run, and the keys for all of them."""

    CSS_PATH = "trainer.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]

    @property
    def first_keys(self) -> tuple[str, ...]:
        """What the footer begins with: what changes a run only while it can be changed."""
        return FIRST_OVER if self.recorded else FIRST

    def __init__(self, path: Path, *, looks: float | None = None) -> None:
        """`looks` is how often a second the run is looked at. Raises UserError."""
        super().__init__(path, looks=looks)
        self.alone = False
        self._looked_up_from = ""
        self._was_recorded: bool | None = None
        self._kept: Layout | None = None
        """How runs of this kind were left; None until it is known of which kind this one is."""
        self._wanted_curves = ""
        self._sent: tuple[int, Maze] | None = None
        """The newest map sent, and the world that was shown then."""

    # ------------------------------------------------------------ building

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield ChoiceBar(*(panel.title for panel in PANELS), id="tabs")
        with Container(id="panels"):
            for panel in PANELS:
                with Vertical(id=panel.name, classes="panel") as box:
                    box.border_title = panel.title
                    yield from (part() for part in panel.parts)
        yield Timeline(id="timeline")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(StatusLine).own_title = clean(
            labels.read(self.watcher.source.reader.path).title
        )
        self._fit()
        self.enter(NAMES[0])

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """One panel or all, by the width."""
        wide = self.size.width >= WIDE
        self.set_class(not wide or self.alone, "-narrow")
        self.query_one(KeyBar).with_palette = wide
        self.query_one(Timeline).set_class(self.size.height < TALL, "-low")

    # ------------------------------------------------------------ what is shown

    def draw(self, snapshot: Snapshot) -> None:
        """Show this moment in all panels."""
        if self.recorded is not self._was_recorded:
            self._was_recorded = self.recorded
            self.refresh_bindings()
        for part in self._parts:
            part.show(snapshot)
        if self._kept is None or self._wanted_curves:
            self._recall(snapshot)

    def _recall(self, snapshot: Snapshot) -> None:
        """Arrange the first moment as runs of this kind were left."""
        grid, curves = self.query_one(MazeGrid), self.query_one(CurvesPanel)
        if self._kept is None:
            self._kept = layout_memory.kept(snapshot.preset)
            self._wanted_curves, self.alone = self._kept.curves, self._kept.alone
            layout_memory.arrange(grid, curves, self._kept)
            if self.alone and self._kept.panel in NAMES and self.size.width >= WIDE:
                self.enter(self._kept.panel)
            self._fit()
        if self._wanted_curves and layout_memory.arrange_curves(curves, self._wanted_curves):
            self._wanted_curves = ""

    def action_leave(self) -> None:
        """Back to the library, where the layout is kept for runs of this kind."""
        shot, before = self.snapshot, self._kept
        if shot is not None and before is not None:
            grid, curves = self.query_one(MazeGrid), self.query_one(CurvesPanel)
            panel = self.panel if self.size.width >= WIDE else before.panel
            now = layout_memory.layout_of(shot.preset, grid, curves, panel, self.alone)
            if self._wanted_curves:  # never shown: this run had no such figures yet
                now = msgspec.structs.replace(now, curves=self._wanted_curves)
            if now != before and (trouble := layout_memory.keep(shot.preset, now)):
                self.app.notify(trouble, severity="warning", markup=False)
        super().action_leave()

    @cached_property
    def _parts(self) -> tuple[ShowsMoments, ...]:
        """What draws a moment. Looking for it eight times a second would cost more than some of
        it."""
        parts = (*self.query(".panel > *"), self.query_one(Timeline))
        assert all(isinstance(part, ShowsMoments) for part in parts)
        return cast("tuple[ShowsMoments, ...]", parts)

    def say(self, instead: str = "") -> None:
        """The lines on top."""
        status, shot = self.query_one(StatusLine), self.snapshot
        if instead:
            status.say(instead)
        elif shot is not None:
            playback = (
                None if shot.following else Playback(self.playing, self.play_pace, self.play_back)
            )
            mark, hint = facts_of.symbol(shot.head.state), self._hint(shot)
            status.show(shot, mark, None if shot.following else playback, hint)

    def provide(self, episode_id: int, episode: Episode) -> None:
        """Steps for the log."""
        self.query_one(TrajectoryLog).provide(episode_id, episode)

    def _hint(self, snapshot: Snapshot) -> str:
        """One sentence: what happens, and what a newcomer can press."""
        head, hints = snapshot.head, kinds.of(snapshot.preset).hints
        if not snapshot.following:
            if mark := at_cursor(snapshot):
                return f"Here: {mark}"
            now = "the end" if head.ended else "now"
            return f"The past: space plays, b backwards, . one step, < > episodes, f goes to {now}."
        if head.state in RESUMABLE:
            how = OVER[head.state]
            return f"{how}: r in the library goes on with it. Space replays it, q leaves."
        if head.ended:
            return hints.over
        if head.state == "paused":
            return hints.paused
        if snapshot.step is None and snapshot.notes:
            return snapshot.notes[-1].text
        return hints.running.format(layers=len(self.query_one(MazeGrid).layer_choices))

    @on(Timeline.Moved)
    def _timeline_moved(self, message: Timeline.Moved) -> None:
        self.scrub(message.step)

    def scrub(self, step: int | None) -> None:
        """Show the run as it was at a step; None goes to now."""
        if step is None:
            self.action_follow()
        else:
            self.go_to_step(step)

    def action_timeline(self) -> None:
        """Into the timeline, or back to the panel."""
        timeline = self.query_one(Timeline)
        if timeline.has_focus:
            self.enter(self.panel)
        else:
            timeline.focus()

    @on(Timeline.Left)
    def _timeline_left(self) -> None:
        self.enter(self.panel)

    def action_mark(self, by: int) -> None:
        """To the next mark on the timeline, or the one before."""
        if self.snapshot is not None:
            jump = self.query_one(Timeline).jump
            self.go_to_mark(jump.kinds, by, jump.name)

    def action_mark_kind(self) -> None:
        """What the keys for the marks go to."""
        jump = self.query_one(Timeline).next_jump()
        self.tell(Notice(f"[ and ] now go to {jump.name}."))

    @work(group="fork", exclusive=True)
    async def action_fork(self) -> None:
        """Go on from the checkpoint at or before the moment shown, as a new run."""
        shot = self.snapshot
        if shot is None:
            self.tell(Notice("The run has no checkpoint yet: it is still starting."))
            return
        # start-up time
        from engine.runs.past.fork import find_point
        from tui.forms.fork_form import ForkForm

        path = self.watcher.source.reader.path
        try:
            point = await self.in_thread(lambda: find_point(path, shot.cursor))
        except UserError as error:
            self.tell(Notice(str(error), "warning"))
            return

        def start(preset: Preset | None) -> None:
            if preset is not None:
                host_of(self).fork_run(point, preset)

        self.app.push_screen(ForkForm(point), start)

    @on(CurvesPanel.MomentChosen)
    def _moment_chosen(self, message: CurvesPanel.MomentChosen) -> None:
        self.go_to_step(message.step)

    # ------------------------------------------------------------ the panels

    @property
    def panel(self) -> str:
        """The panel that has the focus, or had it last."""
        return NAMES[self.query_one("#tabs", ChoiceBar).chosen]

    def enter(self, name: str) -> None:
        """Show a panel and put the focus into it."""
        self._activate(name)
        self.query_one(BY_NAME[name].focus).focus()

    def _activate(self, name: str) -> None:
        """Make a panel the one that a narrow terminal shows."""
        for panel in self.query(".panel"):
            panel.set_class(panel.id == name, "-active")
        self.query_one("#tabs", ChoiceBar).chosen = NAMES.index(name)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The panel with the focus is the active one, however it got there."""
        for node in event.widget.ancestors:
            if node.has_class("panel") and node.id:
                self._activate(node.id)

    @on(ChoiceBar.Clicked, "#tabs")
    def _tab_clicked(self, message: ChoiceBar.Clicked) -> None:
        self.enter(NAMES[message.index])

    def places(self) -> list[Place]:
        """The panels, also those that a narrow terminal does not show now."""
        return [
            Place(panel.title, self.query_one(f"#{panel.name}"), partial(self.enter, panel.name))
            for panel in PANELS
        ]

    def action_next_panel(self) -> None:
        """The panel after this one."""
        self.enter(NAMES[(NAMES.index(self.panel) + 1) % len(NAMES)])

    def action_alone(self) -> None:
        """This panel alone, or all of them again."""
        self.alone = not self.alone
        self._fit()

    async def action_grid(self, action: str) -> None:
        """A key of the maze grid, pressed in any panel."""
        await self.query_one(MazeGrid).run_action(action)

    def action_notes(self) -> None:
        """What the run has said so far."""
        shot = self.snapshot
        if shot is None or not shot.notes:
            self.tell(Notice("The run has not said anything yet."))
        else:
            screen = NotesScreen(shot.notes, kinds.of(shot.preset).clock.unit)
            self.app.push_screen(screen, self.look_up)

    @work(group="groups", exclusive=True)
    async def action_groups(self) -> None:
        """What a language model's update compared: that of the row under the log's cursor."""
        shot = self.snapshot
        if shot is None or not kinds.of(shot.preset).has_groups:
            return
        row = self.query_one(TrajectoryLog).cursor_row if self.panel == "log" else None
        page = await self.groups(row.entry.end if row else shot.at)
        if page is None or not page.groups:
            self.tell(Notice("No group is recorded yet: the first comes with the first update."))
        elif self.app.screen is self:
            host_of(self).show_groups(self.groups, page, shot)

    def action_edit(self) -> None:
        """Change the map while the run goes on."""
        shot = self.snapshot
        try:
            self._check_edit()
        except UserError as error:
            self.tell(Notice(str(error), "warning"))
            return
        assert shot is not None
        maze = shot.world.maze
        if self._sent is not None and self._sent[0] == shot.world.id:
            maze = self._sent[1]  # sent already, and not met by the agent yet
        host_of(self).edit_map(shot, maze, self._send_map)

    def _check_edit(self) -> None:
        """Raise UserError when there is no map to be edited."""
        shot = self.snapshot
        if shot is None:
            raise UserError("The run has no map yet: it is still starting.")
        if not self.live:
            raise UserError(
                "The run is over, so its maze cannot be edited any more: start it again, and edit "
                "it while it runs."
            )
        if self.recorded:
            raise UserError(
                "This is a recorded moment: f goes to now, where the map can be edited."
            )
        if shot.world.maze.gymnasium is not None:
            raise UserError(f"The map belongs to {shot.world.maze.gymnasium} and cannot be edited.")
        if isinstance(shot.algorithm, MovingAlgorithm):
            shot.algorithm.check_edit(shot.preset.algorithm)

    def _send_map(self, rows: tuple[str, ...] | None) -> None:
        shot = self.snapshot
        if rows is not None and shot is not None:
            self._sent = (shot.world.id, msgspec.structs.replace(shot.world.maze, rows=rows))
            said = "The new map holds from the next episode on. What was learned stays, for now."
            self.command("edit", said, rows=list(rows))

    def action_next_curves(self) -> None:
        """The next set of curves."""
        self._wanted_curves = ""
        self.query_one(CurvesPanel).next_view()
        if self.has_class("-narrow"):
            self.enter("curves")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered."""
        if action == "return":
            return bool(self._looked_up_from)
        if action == "groups":
            return self.snapshot is not None and kinds.of(self.snapshot.preset).has_groups
        if action == "alone":
            return self.size.width >= WIDE
        if action == "grid" and str(parameters[0]).startswith("layer("):
            digit = int(str(parameters[0])[6:-1])
            return digit <= len(self.query_one(MazeGrid).layer_choices)
        return True

    # ------------------------------------------------------------ explanations

    def action_explain(self) -> None:
        """Explain the newest step shown."""
        if self.snapshot is not None and self.snapshot.step is not None:
            self._explain(self.snapshot.step)
        else:
            self.tell(Notice("There is no step to explain yet."))

    @on(TrajectoryLog.ExplainRequested)
    def _explain_requested(self, message: TrajectoryLog.ExplainRequested) -> None:
        self._explain(message.step)

    def _explain(self, step: Step) -> None:
        if self.snapshot is not None:
            self.app.push_screen(ExplainScreen(step, self.snapshot), self.look_up)

    @on(TrajectoryLog.EpisodeRequested)
    def _episode_requested(self, message: TrajectoryLog.EpisodeRequested) -> None:
        self.watcher.fetch(message.episode_id)
        self.look()

    def action_glossary(self) -> None:
        """Choose among the labels of the panel in focus, and those of the lines on top."""
        panel = self.query_one(f"#{self.panel}")
        shown = [
            panel.query_one(BY_NAME[self.panel].focus),
            *panel.query("*"),
            self.query_one("#status"),
        ]
        terms: list[Term] = []
        for widget in shown:
            terms += widget.terms() if isinstance(widget, HasTerms) else []
        self.app.push_screen(TermPicker(terms), self.look_up)

    def look_up(self, slug: str | None) -> None:
        """Open an entry; an empty slug opens the search, None is nothing."""
        if slug is None:
            return
        if self.panel != "glossary":
            self._looked_up_from = self.panel
        glossary = self.query_one(GlossaryPanel)
        if slug:
            glossary.open(slug)
        self.enter("glossary")
        if not slug:
            glossary.action_search()

    def action_return(self) -> None:
        """Back to where a term was looked up."""
        name, self._looked_up_from = self._looked_up_from, ""
        self.enter(name)

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        self.look_up(message.slug)
