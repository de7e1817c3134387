"""A screen that watches several runs: looks at them together, steers them, moves them in time.

What it shows is up to its subclass: `draw` gets every comparison, `say` writes the lines on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tui import kinds
from tui.features.compare.clock import moved
from tui.features.compare.watch import CompareWatch, Comparison
from tui.model.run_watch import Notice
from tui.watching.watching_screen import PLAY_PACES, WatchingScreen, looks_a_second, next_pace

LOOKS, REMOTE_LOOKS = 4.0, 2.0
"""How often a second the runs are looked at: here, and over a network."""


class CompareRuns(WatchingScreen[tuple[Comparison | None, tuple[Notice, ...]]]):
    """Watches all runs together. Leaving the screen stops no run."""

    def __init__(self, runs: Sequence[Path], *, looks: float | None = None) -> None:
        """`looks` is how often a second the runs are looked at. Raises UserError."""
        self.watcher = CompareWatch(runs)
        super().__init__(self.watcher, looks or looks_a_second(LOOKS, REMOTE_LOOKS))
        self.comparison: Comparison | None = None
        self._asked_pause: bool | None = None
        self._asked_paces: dict[int, float | None] = {}

    # ------------------------------------------------------------ for the subclass

    def draw(self, comparison: Comparison) -> None:
        """Show this moment of all runs."""
        raise NotImplementedError

    def say(self) -> None:
        """Show how the runs stand, in words."""
        raise NotImplementedError

    @property
    def log_time(self) -> bool:
        """Whether the cursor moves by columns of a logarithmic time axis."""
        return False

    def take(self, seen: tuple[Comparison | None, tuple[Notice, ...]]) -> None:
        """Show what a look has brought."""
        comparison, notices = seen
        for notice in notices:
            self.tell(notice)
        if comparison is not None:
            first, self.comparison = self.comparison is None, comparison
            self._hear(comparison)
            self.draw(comparison)
            if first:
                for remark in comparison.remarks:
                    self.tell(Notice(remark))

    # ------------------------------------------------------------ time

    def go_to(self, position: float | None) -> None:
        """Show all runs at a position of the clock; None follows them."""
        self.watcher.cursor = position
        self.look()

    def action_move(self, cells: int) -> None:
        """Back or on in time, from one recorded point to another."""
        self.playing = False
        self._move(cells)

    def _move(self, cells: int) -> None:
        shown = self.comparison
        if shown is not None:
            # From where the cursor is to be: presses come faster than the runs are read.
            here = self.watcher.cursor
            self.go_to(moved(shown.timeline, here, cells, shown.edge, self.log_time))

    def action_first(self) -> None:
        """The first recorded point."""
        self.playing = False
        if self.comparison is not None and self.comparison.timeline.size:
            self.go_to(float(self.comparison.timeline[0]))

    def action_follow(self) -> None:
        """Back to now."""
        self.playing = False
        self.go_to(None)

    def play(self) -> None:
        """The next recorded point, unless the one before still waits."""
        if self.playing and not self.watcher.asked:
            self._move(1)
            if self.watcher.cursor is None:
                self.playing = False
                self.say()

    # ------------------------------------------------------------ steering

    @property
    def _live(self) -> list[int]:
        """The runs that hear commands."""
        sides = self.comparison.sides if self.comparison is not None else ()
        return [i for i, side in enumerate(sides) if side.live]

    def _hear(self, comparison: Comparison) -> None:
        """Forget what was asked of the runs once they do it."""
        live = {i: side for i, side in enumerate(comparison.sides) if side.live}
        states = {side.state for side in live.values()}
        if not live or states == {"paused" if self._asked_pause else "running"}:
            self._asked_pause = None
        for i in list(self._asked_paces):
            shot = live[i].snapshot if i in live else None
            if i not in live or (shot and shot.head.pace == self._asked_paces[i]):
                del self._asked_paces[i]

    def action_toggle_pause(self) -> None:
        """Pause all live runs or let all go on; without any, play or pause what is recorded."""
        shown = self.comparison
        if shown is None:
            return
        if not self._live:
            self.playing = not self.playing
            if self.playing and shown.cursor is None:
                self.go_to(float(shown.timeline[0]) if shown.timeline.size else None)
            self.say()
            return
        before = self._asked_pause
        paused = shown.waiting if before is None else before
        self._asked_pause = not paused
        self._command("resume" if paused else "pause")

    def action_step(self) -> None:
        """One step of every live run."""
        self._command("step", n=1)

    def action_pace(self, up: bool) -> None:
        """Faster or slower, all runs of one clock at the same pace."""
        shown = self.comparison
        if shown is None:
            return
        if not self._live:
            self.set_play_pace(next_pace(self.play_pace, up, PLAY_PACES) or PLAY_PACES[-1])
            self.say()
            return
        chosen: dict[str, float | None] = {}
        for i in self._live:
            clock, shot = kinds.of(shown.sides[i].preset).clock, shown.sides[i].snapshot
            before = shot.head.pace if shot is not None else shown.sides[i].preset.run.pace
            now = self._asked_paces.get(i, before)
            pace = chosen.setdefault(clock.unit, next_pace(now, up, clock.paces))
            self._asked_paces[i] = pace
            self.watcher.command(i, "pace", value=pace)
        self.look()

    def _command(self, name: str, **args: int) -> None:
        for i in self._live:
            self.watcher.command(i, name, **args)
        self.look()

    def action_leave(self) -> None:
        """Back to the library; live runs go on."""
        live, shown = self._live, self.comparison
        self.dismiss()
        if live and shown is not None:
            paused = sum(shown.sides[i].state == "paused" for i in live)
            how = "The runs go on in the background."
            if paused == len(live):
                how = "The runs stay paused."
            elif paused:
                how = f"{len(live) - paused} of the runs go on in the background, {paused} paused."
            self.app.notify(f"{how} Open them from the list of runs.", markup=False)
