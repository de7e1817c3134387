"""A screen that watches one run: looks at it on a thread, steers it, and moves through its record.

What it shows is up to its subclass: `draw` gets every new snapshot, `say` writes the lines on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import work

from engine.learning.events import Episode
from engine.runs.past.timeline import Kind
from engine.runs.records import ENDED, RunState
from tui import kinds
from tui.forms.start_form import TuneForm
from tui.library.host import host_of
from tui.library.run_actions import END_QUESTION, STILL_GOING, STOP_SECONDS
from tui.model.replay import Replay
from tui.model.run_watch import News, Notice, RunWatch
from tui.model.snapshot import Snapshot
from tui.model.source import GroupPage
from tui.ui.yes_no import YesNo
from tui.watching.attention import ENDINGS, attention
from tui.watching.machine import MachineScreen
from tui.watching.watching_screen import (
    MOST_PLAYED,
    PACES,
    WatchingScreen,
    looks_a_second,
    next_pace,
)

LOOKS, REMOTE_LOOKS = 8.0, 4.0
"""How often a second the run is looked at: here, and over a network."""
RUN_PACES = PACES[:-1]
"""Moves per second at which the recording of one run can be played."""


class RunScreen(WatchingScreen[News]):
    """Watches one run. Leaving the screen never stops it."""

    ENDINGS: ClassVar[dict[str, str]] = {
        "finished": "The run is finished. Space replays it from its first episode.",
        "stopped": "The run has stopped. r in the library goes on with it.",
    }
    """What is told when a run ends that was watched, by its state."""

    def __init__(self, path: Path, *, looks: float | None = None) -> None:
        """`looks` is how often a second the run is looked at. Raises UserError."""
        self.watcher = RunWatch(path)
        self.run_dir = path
        super().__init__(self.watcher, looks or looks_a_second(LOOKS, REMOTE_LOOKS))
        self.snapshot: Snapshot | None = None
        self.play_back = False
        """Whether the recording is played backwards."""
        self._ticks = 0
        self._in_recording = False
        self._asked_pace: tuple[float | None] | None = None
        self._unreadable = ""
        self._last_note = 0
        self._was_live = False
        self._stop_asked = False
        self._state: RunState | None = None

    # ------------------------------------------------------------ for the subclass

    def draw(self, snapshot: Snapshot) -> None:
        """Show this moment."""
        raise NotImplementedError

    def say(self, instead: str = "") -> None:
        """Show how the run stands, in words; `instead` when there is nothing to show of it."""
        raise NotImplementedError

    def provide(self, episode_id: int, episode: Episode) -> None:
        """A recorded episode that was fetched."""
        raise NotImplementedError

    @property
    def live(self) -> bool:
        """Whether there is a worker that commands reach."""
        return self.snapshot is not None and not self.snapshot.head.ended and not self._unreadable

    @property
    def recorded(self) -> bool:
        """Whether keys act on a recording: a chosen moment, or a run that is over."""
        return self._in_recording or (self.snapshot is not None and self.snapshot.head.ended)

    # ------------------------------------------------------------ looking

    def tick(self) -> None:
        """Look, unless nothing can be new."""
        # A run that is over changes only when somebody resumes or deletes it.
        self._ticks += 1
        ended = self.snapshot is not None and self.snapshot.head.ended
        if not ended or self._ticks % round(self._looks) == 0:
            self.look()

    def take(self, news: News) -> None:
        """Show what a look has brought."""
        for notice in news.notices:
            self.tell(notice)
        self._state = news.state
        if news.state in ENDED:
            self._stop_asked = False
        for episode_id, episode in news.episodes.items():
            self.provide(episode_id, episode)
        if news.stuck:
            self.playing = False
        if news.unreadable != self._unreadable:
            self._unreadable = news.unreadable
            self._in_recording = self.playing = False
            if news.unreadable:
                self.tell(Notice(news.unreadable, "error", "The run cannot be read"))
                self.say("The run cannot be read any more. q goes to the library.")
        if news.snapshot is not None:
            first, self.snapshot = self.snapshot is None, news.snapshot
            if not self.watcher.asked:
                self._in_recording = not news.snapshot.following
            if self._asked_pace == (news.snapshot.head.pace,):
                self._asked_pace = None
            self.draw(news.snapshot)
            self._tell_notes(news.snapshot, first)
            self.say()
        elif self.snapshot is None and news.state is not None and not news.unreadable:
            gone = "The worker ended before it began. q goes to the library."
            self.say(gone if news.state in ENDED else news.preparing or "The worker is starting …")
        elif news.stuck:
            self.say()

    def _tell_notes(self, snapshot: Snapshot, first: bool) -> None:
        """Notes since the last look, and how the run ended. What is long past is not told."""
        head = snapshot.head
        for note in snapshot.notes:
            past = note.id <= self._last_note or (first and (head.ended or note.step < head.step))
            if not past:
                if note.level == "warning":
                    self._draw_attention(snapshot, note.text)
                level: Any = {"info": "information"}.get(note.level, note.level)
                self.tell(Notice(f"{note.text} {note.remedy}".strip(), level))
            self._last_note = max(self._last_note, note.id)
        if head.state in ENDINGS and self._was_live:
            self._draw_attention(snapshot, ENDINGS[head.state])
        if head.ended and self._was_live and (text := self.ENDINGS.get(head.state)):
            self.tell(Notice(text))
        self._was_live = not head.ended

    def _draw_attention(self, snapshot: Snapshot, text: str) -> None:
        """Ring, as far as the user wants it. Textual has no other way to write past its screen
        than the driver, through which its own clipboard goes too."""
        driver = self.app._driver
        if (signs := attention(snapshot.preset.title, text)) and driver is not None:
            driver.write(signs)
            driver.flush()

    # ------------------------------------------------------------ steering the run

    def command(self, name: str, said: str = "", **args: Any) -> None:
        """Send a command; `said` is told when the worker has carried it out."""
        self.watcher.command(name, said, **args)
        self.look()

    def go(self, move: Callable[[Replay], bool], failing: str = "") -> None:
        """Show another moment of the recording; `failing` is told when there is none."""
        self._in_recording = True
        self.watcher.go(move, failing)
        self.look()

    def action_toggle_pause(self) -> None:
        """Pause or go on; play or pause a recording."""
        if self.recorded:
            self.playing, self.play_back = not self.playing, False
            self.say()
        elif self.snapshot is not None:
            self.command("resume" if self.snapshot.head.state == "paused" else "pause")

    def action_step(self) -> None:
        """One step."""
        if self.recorded:
            self.playing = False
            self.go(Replay.step, "That was the last recorded step.")
        else:
            self.command("step", n=1)

    def action_episode(self) -> None:
        """To the end of an episode."""
        if self.recorded:
            self.playing = False
            self.go(Replay.to_end, "That was the last recorded episode.")
        else:
            self.command("episode", n=1)

    def action_pace(self, up: bool) -> None:
        """Faster or slower, also in a recording."""
        if self.recorded:
            self.set_play_pace(next_pace(self.play_pace, up, RUN_PACES) or RUN_PACES[-1])
            self.say()
        elif self.snapshot is not None:
            # Counted from what was asked last: presses come faster than the worker's answers.
            now = self._asked_pace[0] if self._asked_pace else self.snapshot.head.pace
            pace = next_pace(now, up, kinds.of(self.snapshot.preset).clock.paces)
            self._asked_pace = (pace,)
            self.command("pace", value=pace)

    def action_stop(self) -> None:
        """End the run, if that is really meant."""
        if self._over:
            self.tell(Notice("The run is over already."))
            return
        if self._stop_asked:
            asked = YesNo(END_QUESTION, yes="End it now", no="Wait")
            self.app.push_screen(asked, self._end)
            return
        question = "End this run? It writes a checkpoint first and can be resumed later."
        self.app.push_screen(YesNo(question, yes="Stop the run", no="Let it go on"), self._stop)

    @property
    def _over(self) -> bool:
        """Whether there is nothing to stop. A run may hang before there is a picture of it."""
        if self.snapshot is not None:
            return not self.live
        return bool(self._unreadable) or self._state in ENDED

    def _stop(self, sure: bool | None) -> None:
        if sure:
            self._stop_asked = True
            self.command("stop")
            self.set_timer(STOP_SECONDS, self._say_how_to_end)

    def _say_how_to_end(self) -> None:
        if not self._over:
            self.tell(Notice(STILL_GOING, "warning"))

    def _end(self, sure: bool | None) -> None:
        if sure:
            self.tell(Notice("Ending the worker …"))
            self.watcher.end_worker()
            self.look()

    def action_export(self) -> None:
        """Write the run to files."""
        host_of(self).export_run(self.run_dir)

    def action_machine(self) -> None:
        """How busy the machine is that trains."""
        reader = self.watcher.source.reader
        load = lambda: self.in_thread(lambda: (reader.devices(), reader.machine()))  # noqa: E731
        self.app.push_screen(MachineScreen(load))

    def action_leave(self) -> None:
        """Back to the library; a live run goes on."""
        live, head = self.live, self.snapshot.head if self.snapshot else None
        self.dismiss()
        if live and head is not None:
            how = "The run goes on in the background."
            if head.state == "paused":
                how = "The run stays paused."
            elif head.waiting:
                how = "The run waits for your answers."
            self.app.notify(f"{how} Open it again from the list of runs.", markup=False)

    @work(group="tune", exclusive=True)
    async def action_tune(self) -> None:
        """Change settings while it runs."""
        shot = self.snapshot
        if shot is None or not self.live:
            self.tell(Notice("Only a live run can be tuned."))
            return
        form = TuneForm(shot.preset, await self.in_thread(self.watcher.source.tunes))
        self.app.push_screen(form, self._tune)

    def _tune(self, changes: dict[str, Any] | None) -> None:
        for key, value in (changes or {}).items():
            self.command("tune", f"{key} is changed from here on.", key=key, value=value)

    # ------------------------------------------------------------ the recording

    async def groups(self, update: int | None, by: int = 0) -> GroupPage | None:
        """What a language model's update compared, see `SnapshotSource.groups`."""
        source = self.watcher.source
        return await self.in_thread(lambda: source.groups(update, by))

    def action_replay(self, by: int) -> None:
        """To another recorded episode."""
        if self.snapshot is not None:
            way = "before" if by < 0 else "after"
            self.go(lambda replay: replay.episode(by), f"No episode is recorded {way} this one.")

    def action_follow(self) -> None:
        """Back to now."""
        self.playing = False
        self.go(Replay.follow)

    def go_to_step(self, step: int) -> None:
        """Show the run as it was at a step."""
        self.playing = False
        self.go(lambda replay: replay.until(step))

    def go_to_mark(self, kinds: Sequence[Kind], by: int, name: str) -> None:
        """Show the run as it was at the next mark of some kinds, or at the one before."""
        self.playing = False
        way = "before" if by < 0 else "after"
        failing = f"There are no {name} {way} this moment."
        self.go(lambda replay: replay.mark(kinds, by), failing)

    def action_play_back(self) -> None:
        """Play the recording backwards, or pause it. From the live edge it leads into the past."""
        if self.snapshot is not None:
            self.playing = not (self.playing and self.play_back)
            self.play_back = True
            self.say()

    def play(self) -> None:
        """So many moves of the recording further as are due, unless some still wait."""
        if self.playing and not self.watcher.asked:
            moves = max(1, round(self.play_pace / MOST_PLAYED))
            by, end = (-moves, "first") if self.play_back else (moves, "last")
            self.go(lambda replay: replay.step(by), f"That was the {end} recorded step.")
