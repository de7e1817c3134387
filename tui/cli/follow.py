"""Following a run until it ends: what happens is read from its store, and Ctrl-C is sent there."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engine.core.errors import UserError
from engine.runs.reader import RunReader
from tui.cli.output import (
    INTERRUPTED,
    BlockedError,
    ReaderGoneError,
    complain,
    draw_attention,
    on_terminal,
    stdout,
)
from tui.cli.progress import LineReporter, Moment, Reporter
from tui.cli.streams import HUNG_UP
from tui.model.speedometer import Speedometer
from tui.watching.attention import ENDINGS

if TYPE_CHECKING:
    from engine.runs.records import Head

POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""A worker that was killed writes nothing any more: look at its state at least this often."""
UNHEARD_SECONDS = 1.0
"""After so long a signal that nobody has heeded breaks off what is in its way."""


class Signals:
    """Counts what the user asks for instead of dying of it, while the `with` block lasts.

    `interrupts`: Ctrl-C or SIGTERM. `hung_up`: the terminal is gone (not under nohup).

    Whoever follows looks at them again and again, unless it stands in a write to a full pipe, which
    goes on after a signal as if nothing had been. So an alarm follows each signal until it is
    heeded: it raises where it finds the follower.
    """

    def __init__(self) -> None:
        self.interrupts = 0
        self.hung_up = False
        self.heeded = 0
        """The interrupts that were done something about."""
        self.following = False
        """Whether a hang-up may break off whatever goes on; not while a worker is started."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._take(number, self._interrupt)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            self._take(signal.SIGHUP, self._hang_up)
        self._take(signal.SIGALRM, self._unheard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        self._before[number] = signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += 1
        self._ring()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self.hung_up = True
        self._ring()

    def _ring(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, UNHEARD_SECONDS, UNHEARD_SECONDS)

    def _unheard(self, number: int, frame: FrameType | None) -> None:
        if self.hung_up and (self.following or stdout.writing):
            raise ReaderGoneError
        if self.interrupts > self.heeded and stdout.writing:
            raise BlockedError


class Follower:
    """Tells a reporter what happens in a run.

    `known` are notes that were there before, so that a resumed run does not repeat them.
    """

    def __init__(
        self, run_dir: Path, reporter: Reporter, known: frozenset[tuple[int, str]] = frozenset()
    ) -> None:
        self.run_dir = run_dir
        self.reporter = reporter
        self.reader = RunReader(run_dir)
        self._known = set(known)
        self._speed = Speedometer()
        self._told_at = -1.0
        self._told_where = (0, False)
        """The step, and whether the run stood there, when the reporter was told last."""
        self._failure_told = False

    def follow(self, signals: Signals) -> int:
        """Until the run ends, or the user hangs up or loses patience. Returns the exit status."""
        signals.following = True
        try:
            self.reporter.started(self.run_dir, self.reader.info())
            return self._loop(signals)
        finally:
            self.reader.close()
            with contextlib.suppress(ReaderGoneError, OSError):  # no terminal to give back
                self.reporter.close()

    def _loop(self, signals: Signals) -> int:
        looked = -1.0
        while True:
            if signals.hung_up:
                return HUNG_UP  # the worker has a session of its own and goes on
            if signals.interrupts > signals.heeded:
                if signals.heeded == 0:
                    signals.heeded = 1
                    self._ask_to_stop()
                    self.reporter.stopping()
                elif self._end_worker():
                    signals.heeded = signals.interrupts
                else:
                    return INTERRUPTED
            now = time.monotonic()
            if self.reader.changed() or now - looked >= LOOK_SECONDS:
                looked = now
                head = self.reader.head()
                self._tell(head)
                if head.ended:
                    return self._end(head)
            time.sleep(POLL_SECONDS)

    def _ask_to_stop(self) -> None:
        try:
            self.reader.send("stop")
        except UserError:
            if not self.reader.head().ended:  # it may just have come to its end by itself
                raise

    def _end_worker(self) -> bool:
        """End the worker whatever it does. False when nobody can: then it is left alone."""
        # start-up time
        from engine.runs.ending import end_worker

        try:
            end_worker(self.run_dir)
        except UserError as error:
            if not self.reader.head().ended:  # it may just have come to its end by itself
                complain(str(error))
                return False
        return True  # the run's last words are told as those of any run

    def _tell(self, head: Head) -> None:
        for note in self.reader.notes():
            if (note.id, note.text) not in self._known:
                self._known.add((note.id, note.text))
                self._failure_told = self._failure_told or note.level == "error"
                self.reporter.note(note)
                if note.level == "warning":
                    self._draw_attention(note.text)
        share = budget_used(self.reader, head)
        speed, eta = self._speed.measure(head.step, share, still=stands(head))
        now = time.monotonic()
        where = (head.step, bool(head.waiting))
        if where != self._told_where and now - self._told_at >= self.reporter.interval:
            self._told_at, self._told_where = now, where
            figures, newest = self.reader.final(), self.reader.evaluation_at()
            stderr = newest.success_stderr if newest else 0.0
            self.reporter.progress(Moment(head, figures, share, speed, eta, stderr))

    def _draw_attention(self, text: str) -> None:
        """Ring where a person follows on a terminal, as far as the user wants it."""
        if isinstance(self.reporter, LineReporter) and on_terminal():
            draw_attention(self.reader.info().preset.title, text)

    def _end(self, head: Head) -> int:
        if head.state in ENDINGS:
            self._draw_attention(ENDINGS[head.state])
        figures = self.reader.final()
        if head.state in ("failed", "dead"):
            figures["status"] = "failed"
            if not self._failure_told:
                self.reporter.failed(why_it_failed(self.reader, head))
        self.reporter.finished(self.run_dir, figures)
        return {"finished": 0, "stopped": INTERRUPTED}.get(head.state, 1)


def stands(head: Head) -> bool:
    """Whether the run does nothing until somebody says so."""
    return head.state == "paused" or bool(head.waiting)


def why_it_failed(reader: RunReader, head: Head) -> str:
    """What is known about the end of a failed run or a dead worker."""
    reason = reader.error() or "it left no message"
    return f"The worker died: {reason}" if head.state == "dead" else reason


def budget_used(reader: RunReader, head: Head) -> float:
    """The share of the run's budget that is used, 0 to 1; of several limits the nearest."""
    budget = reader.info().preset.budget
    limits = {key: getattr(budget, key) for key in ("env_steps", "episodes", "updates", "seconds")}
    shares = [getattr(head, key) / limit for key, limit in limits.items() if limit]
    return min(max(shares, default=0.0), 1.0)


def notes_so_far(run_dir: Path) -> frozenset[tuple[int, str]]:
    """The notes a run has, for `Follower(known=…)`."""
    with RunReader(run_dir) as reader:
        return frozenset((note.id, note.text) for note in reader.notes())


Job = TypeVar("Job")
Runs = TypeVar("Runs", contravariant=True)
Ended = TypeVar("Ended", contravariant=True)


class ManyRuns(Protocol[Job]):
    """What carries out several runs."""

    @property
    def done(self) -> bool: ...
    def poll(self) -> list[Job]: ...
    def stop(self) -> None: ...
    def end(self) -> list[str]: ...


class ReporterOfMany(Protocol[Runs, Ended]):
    """What tells how several runs go."""

    def stopping(self, runner: Runs, /) -> None: ...
    def ended(self, runner: Runs, job: Ended, /) -> None: ...
    def progress(self, runner: Runs, /) -> None: ...


def follow_all(
    runner: ManyRuns[Job], reporter: ReporterOfMany[Any, Job], signals: Signals
) -> int | None:
    """Until all runs have ended: None; or the exit status when the user does not wait for that."""
    signals.following = True
    while not runner.done:
        if signals.hung_up:
            return HUNG_UP  # the workers that are at it go on
        if signals.interrupts > signals.heeded:
            if signals.heeded:
                for trouble in runner.end():
                    complain(trouble)
                return INTERRUPTED
            signals.heeded = 1
            runner.stop()
            reporter.stopping(runner)
        for job in runner.poll():
            reporter.ended(runner, job)
        reporter.progress(runner)
        if not runner.done:
            time.sleep(POLL_SECONDS)
    return None
