"""Whether a preset keeps its promises: run it the way a user would, and look at the figures."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import UserError
from engine.presets.claims import Claim, judge
from engine.runs import launch
from engine.runs.reader import RunReader
from tui.cli.follow import POLL_SECONDS, Follower, Signals
from tui.cli.output import INTERRUPTED, leave
from tui.cli.streams import HUNG_UP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.config.preset import Preset
    from engine.experiments.lab.challenge import Challenge
    from engine.experiments.lab.compare import Result
    from engine.experiments.lab.runner import LabJob, LabRunner
    from engine.runs.records import NoteRow, RunInfo
    from tui.cli.progress import Moment


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a preset."""

    name: str
    status: str
    seconds: float
    claims: list[Claim] = field(default_factory=list)
    error: str = ""

    @property
    def kept(self) -> bool:
        """Whether the run finished and all claims held."""
        return self.status == "finished" and all(claim.kept for claim in self.claims)


class _Silent:
    """A reporter that only remembers why a run failed."""

    interval = math.inf

    def __init__(self) -> None:
        self.error = ""

    def started(self, run_dir: Path, info: RunInfo) -> None: ...

    def note(self, note: NoteRow) -> None:
        if note.level == "error":
            self.error = note.text

    def progress(self, moment: Moment) -> None: ...

    def stopping(self) -> None: ...

    def failed(self, message: str) -> None:
        self.error = message

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def check_preset(name: str, preset: Preset, signals: Signals) -> Verdict:
    """Run `preset` in a worker, in a temporary folder, and compare its figures with its claims.

    Ends the command with exit status 130 when the user interrupts it.
    """
    with tempfile.TemporaryDirectory(prefix="icemaze-check-") as folder:
        run_dir = launch.launch(preset, name, runs_dir=Path(folder))
        reporter = _Silent()
        try:
            code = Follower(run_dir, reporter).follow(signals)
        finally:
            _end(run_dir)
        if signals.hung_up or code == INTERRUPTED:
            leave(code)
        with RunReader(run_dir) as reader:
            figures = reader.final()
    return Verdict(
        name=name,
        status=figures["status"],
        seconds=figures["seconds"],
        claims=[judge(claim, figures) for claim in preset.expect] if code == 0 else [],
        error=reporter.error,
    )


def check_challenges(
    challenges: Sequence[Challenge], jobs: list[LabJob], signals: Signals
) -> Iterator[Result]:
    """Run the jobs of some challenges in a temporary folder, each once; gives a challenge's result
    as soon as its runs have ended, in the order of the list.

    Ends the command with exit status 129 or 130 when the user interrupts it.
    """
    # start-up time
    from engine.experiments.lab.compare import results
    from engine.experiments.lab.runner import LabRunner, tasks

    waiting = list(challenges)
    with (
        tempfile.TemporaryDirectory(prefix="icemaze-check-") as folder,
        LabRunner(jobs, runs_dir=Path(folder)) as runner,
    ):
        try:
            while waiting:
                if signals.hung_up or signals.interrupts:
                    leave(HUNG_UP if signals.hung_up else INTERRUPTED)
                runner.poll()
                open_tasks = {job.task for job in jobs if not job.ended}
                while waiting and not open_tasks.intersection(tasks(waiting[0])):
                    yield results(waiting.pop(0), jobs)
                time.sleep(POLL_SECONDS)
        finally:
            _end_all(runner)


def _end_all(runner: LabRunner) -> None:
    for job in runner.jobs:
        if job.status == "running" and job.run_dir:
            _end(job.run_dir)


def _end(run_dir: Path) -> None:
    """See to it that no worker goes on in a folder that is about to vanish."""
    # start-up time
    from engine.runs.disk.lock import is_alive
    from engine.runs.ending import end_worker

    if is_alive(run_dir):
        with contextlib.suppress(UserError):  # it may just have come to its end by itself
            end_worker(run_dir)
