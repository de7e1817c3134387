"""Recording a file on a thread of its own, and telling on stdout how a run goes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from engine.core.errors import StorageError, UserError
from engine.runs.reader import RunReader
from tui import kinds
from tui.cli.follow import POLL_SECONDS, Signals, budget_used, why_it_failed
from tui.cli.output import INTERRUPTED, complain, draw_attention, emit, on_terminal, say
from tui.cli.progress import JsonReporter, LineReporter, Moment, Reporter
from tui.cli.streams import HUNG_UP
from tui.cli.text_words import score_words, summary_lines
from tui.model.speedometer import Speedometer
from tui.ui.text import percent, si
from tui.watching.attention import ENDINGS

if TYPE_CHECKING:
    from engine.external.follow import FollowedFile
    from engine.runs.records import RunInfo

LOOK_SECONDS = 0.25
"""How often a file is looked at while nothing is written into it."""


class Recorder:
    """Records a file while a `with` block lasts. What fails is told at its end."""

    def __init__(self, followed: FollowedFile) -> None:
        self._followed = followed
        self._over = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._record, name="recorder")
        self._error: UserError | None = None

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            complain(f"The file could not be recorded to its end: {self._error}")

    def wait(self, seconds: float) -> bool:
        """Whether there is a run by then. Raises UserError when there will be none."""
        begun = self._begun.wait(seconds)
        if self._error is not None and self._followed.run_dir is None:
            error, self._error = self._error, None
            raise error
        return begun and self._followed.run_dir is not None

    def _record(self) -> None:
        try:
            while not self._over.is_set():
                try:
                    something = self._followed.poll()
                except StorageError as error:  # a full disk: it may have room again
                    self._error, something = error, False
                else:
                    self._error = None
                if self._followed.run_dir is not None:
                    self._begun.set()
                if self._followed.ended:
                    break
                if not something:
                    self._over.wait(LOOK_SECONDS)
            self._followed.close()
        except UserError as error:
            self._error = error
            self._begun.set()


def record_once(followed: FollowedFile, as_json: bool) -> None:
    """Record what a file holds, and say as which run. Raises UserError for a file without any."""
    while followed.poll():
        pass
    followed.close()
    if followed.run_dir is None:
        raise UserError(
            f"{followed.file}: none of its lines says anything about a run. docs/watch.md says "
            "what a line may hold."
        )
    with RunReader(followed.run_dir) as reader:
        head = reader.head()
    if as_json:
        emit(
            event="recorded", run=followed.run_dir.name, path=str(followed.run_dir),
            status=head.state, updates=head.updates, completions=head.episodes,
            bad_lines=followed.bad,
        )  # fmt: skip
        return
    bad = f"; {followed.bad:,} lines could not be used (see its notes)" if followed.bad else ""
    say(
        f"Recorded as {followed.run_dir.name}: {head.updates:,} updates, {head.episodes:,} "
        f"completions{bad}. `icemaze open {followed.run_dir.name}` shows it."
    )


class LookingOn(LineReporter):
    """Plain lines about a run of another trainer."""

    def started(self, run_dir: Path, info: RunInfo) -> None:
        kind = kinds.of(info.preset)
        self.unit, self.llm = kind.clock.unit, True
        facts = ", ".join(f"{fact.label} {fact.text}" for fact in kind.model_facts())
        self.say(f"Run {run_dir.name}: {info.preset.title} ({facts})")

    def progress(self, moment: Moment) -> None:
        share = f"{percent(moment.share):>5}  " if moment.share else ""
        self.say(f"{share}{self.unit} {moment.head.step:,}  {score_words(moment.figures)}")

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None:
        self.say(
            f"{figures['status'].capitalize()} at {self.unit} {figures['updates']:,}, after "
            f"{si(figures['episodes'])} completions."
        )
        for line in summary_lines(figures):
            self.say(line)
        self.say(f"`icemaze open {run_dir.name}` shows it.")


def look_on(run_dir: Path, as_json: bool) -> int:
    """Tell of a run until it ends, or the user has seen enough. Gives the exit status."""
    reporter: Reporter = JsonReporter() if as_json else LookingOn()
    speed, told, known = Speedometer(), (-1.0, -1), set[int]()
    with Signals() as signals, RunReader(run_dir) as reader:
        signals.following = True
        reporter.started(run_dir, reader.info())
        while True:
            head = reader.head()
            for note in reader.notes():
                if note.id not in known:
                    known.add(note.id)
                    reporter.note(note)
                    if note.level == "warning" and not as_json and on_terminal():
                        draw_attention(reader.info().preset.title, note.text)
            share = budget_used(reader, head)
            measured = speed.measure(head.step, share)
            now = time.monotonic()
            if head.step != told[1] and now - told[0] >= reporter.interval:
                told = (now, head.step)
                reporter.progress(Moment(head, reader.final(), share, *measured))
            if head.ended:
                if head.state in ENDINGS and not as_json and on_terminal():
                    draw_attention(reader.info().preset.title, ENDINGS[head.state])
                figures = reader.final()
                if head.state in ("failed", "dead"):
                    figures["status"] = "failed"
                    if head.state == "dead":
                        reporter.failed(why_it_failed(reader, head))
                reporter.finished(run_dir, figures)
                return {"finished": 0, "stopped": INTERRUPTED}.get(head.state, 1)
            if signals.hung_up:
                return HUNG_UP
            if signals.interrupts:
                signals.heeded = signals.interrupts
                return INTERRUPTED
            time.sleep(POLL_SECONDS)
