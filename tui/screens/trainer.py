"""The trainer: one run, live or recorded, in four panels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Tab, Tabs

from engine.errors import UserError
from engine.events import Episode
from engine.runs.reader import RunReader
from tui.glossary.panel import GlossaryPanel
from tui.screens.explain import ExplainScreen
from tui.screens.replay import Replay
from tui.screens.start_form import TuneForm
from tui.screens.term_picker import TermPicker
from tui.screens.yes_no import YesNo
from tui.snapshot import Snapshot
from tui.source import Moment, SnapshotSource
from tui.widgets.curves import CurvesPanel
from tui.widgets.loop_figure import LoopFigure
from tui.widgets.maze_grid import MazeGrid
from tui.widgets.status_line import StatusLine, pace_text
from tui.widgets.terms import HasTerms, TermClicked
from tui.widgets.trajectory_log import TrajectoryLog

FOCUS: dict[str, type[Widget]] = {
    "maze": MazeGrid,
    "log": TrajectoryLog,
    "curves": CurvesPanel,
    "glossary": GlossaryPanel,
}
"""What takes the focus in each panel."""
WIDE = 120
"""From this many columns all four panels are shown, below it one at a time."""
PANELS = {
    "maze": "Ice Maze",
    "log": "Trajectory log",
    "curves": "Curves",
    "glossary": "Glossary",
}
FIRST_LAYER = 3
"""Q(s,a): where the first lessons show."""
REPLAY_RATE = 6
"""Steps a second at which a recording plays."""
PACES: tuple[float | None, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, None)
"""Steps per second that + and - go through; None is as fast as it goes."""


def next_pace(pace: float | None, up: bool) -> float | None:
    """The neighbour of a pace on the ladder; the ends stay where they are."""
    known = [float("inf") if p is None else p for p in PACES]
    now = float("inf") if pace is None else pace
    if up:
        chosen = next((p for p in known if p > now), known[-1])
    else:
        chosen = next((p for p in reversed(known) if p < now), known[0])
    return None if chosen == float("inf") else chosen


class TrainerScreen(Screen[None]):
    """Shows a run and passes on what its viewer asks of it. Leaving never stops the run."""

    CSS_PATH = "trainer.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "space",
            "toggle_pause",
            "Pause/go",
            id="run.pause",
            tooltip="Pause the run, or let it go on; in a recording, play or pause it",
        ),
        Binding(
            "full_stop",
            "step",
            "Step",
            id="run.step",
            key_display=".",
            tooltip="One step (of every agent), then pause",
        ),
        Binding(
            "e",
            "episode",
            "Episode",
            id="run.episode",
            tooltip="To the end of an episode of the agent shown, then pause",
        ),
        Binding(
            "plus,equals_sign",
            "pace(True)",
            "Faster",
            id="run.faster",
            key_display="+",
            tooltip="More steps per second, up to as fast as it goes",
        ),
        Binding(
            "minus",
            "pace(False)",
            "Slower",
            id="run.slower",
            key_display="-",
            tooltip="Fewer steps per second, down to one",
        ),
        *(
            Binding(
                str(digit),
                f"layer({digit})",
                f"Layer {digit}",
                id=f"run.layer-{digit}",
                tooltip=f"Show layer {digit} of the maze: {name}",
                show=False,
            )
            for digit, name in enumerate(
                ("the map", "V(s)", "Q(s,a)", "π as arrows", "visits", "advantages", "more"), 1
            )
        ),
        Binding(
            "v",
            "optimal_values",
            "V*",
            id="run.optimal-values",
            tooltip="Show the optimal values V* beside what it has learned",
        ),
        Binding(
            "o",
            "optimal_path",
            "Best path",
            id="run.optimal-path",
            tooltip="Mark the optimal path",
        ),
        Binding(
            "m", "next_curves", "Curves", id="run.curves", tooltip="Show the next set of curves"
        ),
        Binding(
            "t",
            "tune",
            "Tune",
            id="run.tune",
            tooltip="Change the learning rate or the exploration while it runs",
        ),
        Binding(
            "less_than_sign,comma",
            "replay(-1)",
            "Back",
            id="run.back",
            key_display="<",
            tooltip="Go back to the episode recorded before",
        ),
        Binding(
            "greater_than_sign",
            "replay(1)",
            "Forward",
            id="run.forward",
            key_display=">",
            tooltip="Go to the next recorded episode",
            show=False,
        ),
        Binding(
            "f", "follow", "Follow", id="run.follow", tooltip="Back to now: follow the run again"
        ),
        Binding("p", "next_panel", "Panel", id="run.panel", tooltip="Go to the next panel"),
        Binding(
            "g",
            "glossary",
            "Glossary",
            id="run.glossary",
            tooltip="Look up a term that the focused panel shows, or search for any",
        ),
        Binding(
            "question_mark",
            "app.help",
            "Help",
            id="app.help",
            key_display="?",
            tooltip="All keys, and what the panels show",
        ),
        Binding("x", "stop", "Stop", id="run.stop", tooltip="End the run, after a checkpoint"),
        Binding(
            "q",
            "leave",
            "Leave",
            id="run.leave",
            tooltip="Back to the library; the run goes on in the background",
        ),
    ]

    class SnapshotReady(Message):
        """The reading thread has built a snapshot (None while the run has not begun)."""

        def __init__(self, snapshot: Snapshot | None) -> None:
            self.snapshot = snapshot
            super().__init__()

    class ReadingFailed(Message):
        """The run cannot be read any more."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, path: Path, *, refresh_rate: float = 8.0) -> None:
        """`refresh_rate` is how often a second the store is looked at. Raises UserError."""
        super().__init__()
        self.path = path
        self.source = SnapshotSource(path)
        self.commands = RunReader(path)
        self.snapshot: Snapshot | None = None
        self.replay = Replay(self.source.reader.path)
        self._rate = refresh_rate
        self._pending = False
        self._shown: tuple[object, ...] = ()
        self._last_note = 0
        self._ended = ""
        self._playing = False

    # ------------------------------------------------------------ building

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield Tabs(*(Tab(title, id=f"tab-{name}") for name, title in PANELS.items()), id="tabs")
        with Container(id="panels"):
            with Vertical(id="maze", classes="panel"):
                yield LoopFigure()
                yield MazeGrid()
            with Vertical(id="log", classes="panel"):
                yield TrajectoryLog()
            with Vertical(id="curves", classes="panel"):
                yield CurvesPanel()
            with Vertical(id="glossary", classes="panel"):
                yield GlossaryPanel()
        yield Footer(compact=True)

    def on_mount(self) -> None:
        for name, title in PANELS.items():
            self.query_one(f"#{name}").border_title = title
        self._fit(self.size.width)
        self.query_one(MazeGrid).layer_number = FIRST_LAYER
        self.query_one(MazeGrid).focus()
        self.set_interval(1 / REPLAY_RATE, self._play)
        self.set_interval(1 / self._rate, self._request)
        self._request()

    def on_unmount(self) -> None:
        self.commands.close()
        self.replay.close()

    def on_resize(self) -> None:
        self._fit(self.size.width)

    def _fit(self, width: int) -> None:
        self.set_class(width < WIDE, "narrow")
        if not self.query(".panel.-active"):
            self._activate("maze")

    def _activate(self, name: str) -> None:
        """Make a panel the one that a narrow terminal shows."""
        for panel in self.query(".panel"):
            panel.set_class(panel.id == name, "-active")
        tabs = self.query_one(Tabs)
        if tabs.active != f"tab-{name}":
            tabs.active = f"tab-{name}"

    @on(Tabs.TabActivated)
    def _tab_chosen(self, message: Tabs.TabActivated) -> None:
        if message.tab.id:
            self._activate(message.tab.id.removeprefix("tab-"))

    # ------------------------------------------------------------ reading

    def _request(self) -> None:
        """Ask the thread for a snapshot, unless one is on its way."""
        if not self._pending:
            self._pending = True
            self._read(self.replay.moment)

    @work(thread=True, group="read", exit_on_error=False)
    def _read(self, moment: Moment | None) -> None:
        try:
            self.post_message(self.SnapshotReady(self.source.read(moment)))
        except UserError as error:
            self.post_message(self.ReadingFailed(str(error)))

    @on(ReadingFailed)
    def _reading_failed(self, message: ReadingFailed) -> None:
        self._pending = False
        self.replay.follow()
        self.notify(message.text, title="The run cannot be read", severity="error", markup=False)

    @on(SnapshotReady)
    def _snapshot_ready(self, message: SnapshotReady) -> None:
        self._pending = False
        snapshot = message.snapshot
        if snapshot is None:
            return
        self._say_news(snapshot)
        seen = (
            snapshot.head.live_id,
            snapshot.head.last_point_id,
            snapshot.head.generation,
            snapshot.head.state,
            snapshot.head.pace,
            self.replay.moment,
        )
        self.snapshot = snapshot
        if seen == self._shown:
            return
        self._shown = seen
        self.query_one(StatusLine).show(snapshot, self._hint(snapshot))
        for kind in (LoopFigure, MazeGrid, TrajectoryLog, CurvesPanel, GlossaryPanel):
            self.query_one(kind).show(snapshot)

    def _say_news(self, snapshot: Snapshot) -> None:
        """Notes since the last look, and how the run ended."""
        for note in snapshot.notes:
            if note.id > self._last_note:
                self._last_note = note.id
                level: Any = {"info": "information"}.get(note.level, note.level)
                text = f"{note.text} {note.remedy}".strip()
                self.notify(text, severity=level, markup=False)
        head = snapshot.head
        if head.ended and head.state != self._ended:
            self._ended = head.state
            text = {
                "finished": "The run is finished. < goes back through its recorded episodes.",
                "stopped": f"Stopped. `icemaze train --resume {snapshot.run_id}` goes on with it.",
                "failed": "The run failed; what it had written is kept.",
                "dead": "The worker is gone; what it had written is kept, and r in the library "
                "goes on from the last checkpoint.",
            }[head.state]
            bad = head.state in ("failed", "dead")
            self.notify(text, severity="error" if bad else "information", markup=False)

    def _hint(self, snapshot: Snapshot) -> str:
        """One sentence: what happens, and what a newcomer can press."""
        if not snapshot.following:
            return "A recording: Space plays, . one step, < > other episodes, f back to now."
        state = snapshot.head.state
        if snapshot.head.ended:
            return "It is over. Space replays it, m shows other curves, q goes to the library."
        if state == "starting":
            return "The worker is starting …"
        if state == "paused":
            return "Space goes on, . does one step, e an episode; Enter explains a log row."
        return "Space pauses, + - change the pace, 1-6 other layers, p next panel, ? all keys."

    # ------------------------------------------------------------ the run

    def _send(self, name: str, said: str = "", **args: Any) -> None:
        """Send a command; `said` is shown when the worker has carried it out."""
        try:
            command = self.commands.send(name, **args)
        except UserError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self._await_reply(command, said)

    @work(thread=True, group="reply", exit_on_error=False)
    def _await_reply(self, command: int, said: str) -> None:
        try:
            with RunReader(self.path) as reader:
                reply = reader.wait_reply(command)
        except UserError as error:
            self.app.call_from_thread(
                partial(self.notify, str(error), severity="warning", markup=False)
            )
            return
        if reply.refused:
            text, severity = reply.reply, "warning"
        elif said:
            text, severity = said, "information"
        else:
            return
        self.app.call_from_thread(
            partial(self.notify, text, severity=severity, markup=False, timeout=3)
        )

    @property
    def _recorded(self) -> bool:
        """Whether keys act on a recording: a chosen moment, or a run that is over."""
        ended = self.snapshot is not None and self.snapshot.head.ended
        return self.replay.moment is not None or ended

    def action_toggle_pause(self) -> None:
        if self.snapshot is None:
            return
        if self._recorded:
            self._toggle_player()
        else:
            paused = self.snapshot.head.state == "paused"
            self._send("resume" if paused else "pause")

    def action_step(self) -> None:
        if self._recorded:
            self._advance_replay()
        else:
            self._send("step", n=1)

    def action_episode(self) -> None:
        if self._recorded:
            self._show_moment(self.replay.to_end())
        else:
            self._send("episode", n=1)

    def action_pace(self, up: bool) -> None:
        if self.snapshot is None or self._recorded:
            self.notify("The pace belongs to a live run; f goes back to now.", timeout=3)
            return
        pace = next_pace(self.snapshot.head.pace, up)
        self._send("pace", said=f"Pace: {pace_text(pace)}", value=pace)

    def action_stop(self) -> None:
        if self.snapshot is not None and self.snapshot.head.ended:
            self.notify("The run is over already.", timeout=3)
            return
        question = "End this run? It writes a checkpoint first and can be resumed later."
        self.app.push_screen(YesNo(question, yes="Stop the run", no="Let it go on"), self._stop)

    def _stop(self, sure: bool | None) -> None:
        if sure:
            self._send("stop")

    def action_leave(self) -> None:
        live = self.snapshot is not None and not self.snapshot.head.ended
        self.dismiss()
        if live:
            self.app.notify(
                "The run goes on in the background. Open it again from the list of runs.",
                markup=False,
            )

    def action_tune(self) -> None:
        if self.snapshot is None or self.snapshot.head.ended:
            self.notify("Only a live run can be tuned.", timeout=3)
            return
        self.app.push_screen(TuneForm(self.snapshot.preset), self._tune)

    def _tune(self, changes: dict[str, Any] | None) -> None:
        for key, value in (changes or {}).items():
            self._send("tune", said=f"{key} is changed from here on.", key=key, value=value)

    # ------------------------------------------------------------ the recording

    def action_replay(self, by: int) -> None:
        if self.snapshot is not None:
            self._show_moment(self.replay.episode(by))

    def action_follow(self) -> None:
        self.replay.follow()
        self._playing = False
        self.query_one(CurvesPanel).follow()
        self._request()

    def _show_moment(self, found: bool) -> None:
        if not found:
            self.notify("There is no further recorded episode that way.", timeout=3)
            return
        self._request()

    def _toggle_player(self) -> None:
        self._playing = not self._playing
        if self._playing and self.replay.moment is None:
            self._show_moment(self.replay.first())

    def _play(self) -> None:
        """One step of the recording further, when it plays and the last one has been drawn."""
        if self._playing and not self._pending:
            self._playing = self.replay.advance()
            self._request()

    def _advance_replay(self) -> None:
        self._playing = False
        self._show_moment(self.replay.advance() if self.replay.moment else self.replay.first())

    @on(CurvesPanel.MomentChosen)
    def _moment_chosen(self, message: CurvesPanel.MomentChosen) -> None:
        self._show_moment(self.replay.at(message.step))

    # ------------------------------------------------------------ the panels

    def action_next_panel(self) -> None:
        names = list(PANELS)
        inside = [n for n in names if self.focused in self.query(f"#{n} *")]
        shown = [n for n in names if self.query_one(f"#{n}").has_class("-active")]
        now = (inside or shown or names)[0]
        self._enter(names[(names.index(now) + 1) % len(names)])

    def _enter(self, name: str) -> None:
        """Show a panel and put the focus into it."""
        self._activate(name)
        self.query_one(FOCUS[name]).focus()

    def action_layer(self, digit: int) -> None:
        self.query_one(MazeGrid).action_layer(digit)

    def action_optimal_values(self) -> None:
        self.query_one(MazeGrid).action_toggle_optimal_values()

    def action_optimal_path(self) -> None:
        self.query_one(MazeGrid).action_toggle_optimal_path()

    def action_next_curves(self) -> None:
        self.query_one(CurvesPanel).next_view()
        if self.has_class("narrow"):
            self._enter("curves")

    @on(TrajectoryLog.ExplainRequested)
    def _explain(self, message: TrajectoryLog.ExplainRequested) -> None:
        if self.snapshot is not None:
            screen = ExplainScreen(message.step, self.snapshot)
            self.app.push_screen(screen, self._look_up)

    @on(TrajectoryLog.EpisodeRequested)
    def _episode_requested(self, message: TrajectoryLog.EpisodeRequested) -> None:
        try:
            episode: Episode = self.commands.episode(message.episode_id)
        except UserError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self.query_one(TrajectoryLog).provide(message.episode_id, episode)

    def action_glossary(self) -> None:
        widget = self.focused
        terms = []
        while widget is not None and not terms:
            terms = widget.terms() if isinstance(widget, HasTerms) else []
            widget = widget.parent if hasattr(widget.parent, "parent") else None  # type: ignore[assignment]
        self.app.push_screen(TermPicker(terms), self._look_up)

    def _look_up(self, slug: str | None) -> None:
        """Open an entry; an empty slug opens the search."""
        if slug is None:
            return
        if slug:
            self.query_one(GlossaryPanel).open(slug)
        self._enter("glossary")

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        self._look_up(message.slug)
