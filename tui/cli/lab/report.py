"""What `icemaze lab run` prints while the runs of a challenge go on: JSON, lines, or a bar."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

from tui.cli.lab.results import claim_fields, claim_kind, run_fields, show_result
from tui.cli.output import emit, on_terminal, say
from tui.cli.progress import BAR_SECONDS, LINE_SECONDS, progress_bar
from tui.ui.text import clean, number, percent

if TYPE_CHECKING:
    from engine.experiments.lab.challenge import Challenge
    from engine.experiments.lab.compare import Result
    from engine.experiments.lab.runner import LabJob, LabRunner

STATUSES = {0: "finished", 1: "finished", 130: "stopped"}


class Reporter(Protocol):
    """Tells somebody about the runs of a challenge."""

    def started(self, runner: LabRunner) -> None:
        """The runs are about to start."""

    def ended(self, runner: LabRunner, job: LabJob) -> None:
        """A run has ended."""

    def progress(self, runner: LabRunner) -> None:
        """Some time has passed."""

    def stopping(self, runner: LabRunner) -> None:
        """The user asked to stop."""

    def stopped(self, runner: LabRunner) -> None:
        """The last word when the user asked to stop."""

    def finished(self, result: Result, code: int) -> None:
        """The last word; `code` is the exit status."""

    def close(self) -> None:
        """Give the terminal back."""


class JsonReporter:
    """One JSON object a line."""

    def __init__(self, challenge: Challenge) -> None:
        self.challenge = challenge
        self._told = time.monotonic()

    def started(self, runner: LabRunner) -> None:
        emit(
            event="started", challenge=self.challenge.name, number=self.challenge.number,
            title=self.challenge.title, runs=len(runner.jobs), jobs=runner.at_once,
        )  # fmt: skip

    def ended(self, runner: LabRunner, job: LabJob) -> None:
        name, change = job.task
        emit(
            event="run", preset=name, setting=change,
            run=job.run_dir.name if job.run_dir else None,
            path=str(job.run_dir) if job.run_dir else None,
            **{**job.figures, "status": job.status}, **({"error": job.error} if job.error else {}),
        )  # fmt: skip

    def progress(self, runner: LabRunner) -> None:
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            emit(
                event="progress", challenge=self.challenge.name, progress=runner.share,
                finished=runner.count("finished"), running=runner.count("running"),
                runs=len(runner.jobs),
            )  # fmt: skip

    def stopping(self, runner: LabRunner) -> None:
        pass

    def stopped(self, runner: LabRunner) -> None:
        emit(
            event="finished", challenge=self.challenge.name, status="stopped", ok=False,
            runs=len(runner.jobs), finished=runner.count("finished"),
        )  # fmt: skip

    def finished(self, result: Result, code: int) -> None:
        # start-up time
        from engine.experiments.intervals import METHOD

        for claim in result.claims:
            fields = claim_fields(claim)
            emit(event="claim", challenge=self.challenge.name, claim=claim_kind(claim), **fields)
        emit(
            event="finished", challenge=self.challenge.name, status=STATUSES[code],
            ok=result.kept, claims=len(result.claims),
            kept=sum(claim.kept for claim in result.claims),
            interval=METHOD,
            results=[run_fields(run) for run in result.runs], skipped=list(result.skipped),
        )  # fmt: skip

    def close(self) -> None:
        pass


class LineReporter:
    """Plain lines, for pipes and log files."""

    def __init__(self, challenge: Challenge) -> None:
        self.challenge = challenge
        self._ended = 0
        self._told = time.monotonic()

    def say(self, text: str) -> None:
        """A line of its own."""
        say(text)

    def started(self, runner: LabRunner) -> None:
        jobs = runner.jobs
        self.say(f"Challenge {self.challenge.number}: {self.challenge.title}")
        self.say(self.challenge.question)
        agents = sorted({job.preset.run.agents for job in jobs})
        many = " or ".join(f"{n:,}" for n in agents)
        who = "agent" if agents == [1] else "independent agents"
        runs = f"{len(jobs)} run{'' if len(jobs) == 1 else 's'}"
        self.say(f"{runs} of {many} {who}, {runner.at_once} at a time")

    def ended(self, runner: LabRunner, job: LabJob) -> None:
        self._ended += 1
        name, change = job.task
        how: str = job.status + (f": {job.error}" if job.error else "")
        if job.status == "finished":
            how = (
                f"success {percent(job.figures['success_rate'])}  "
                f"return {number(job.figures['expected_return'])}"
            )
        what = f"{name} {change}".strip()
        self.say(f"{self._ended:>4}/{len(runner.jobs)}  {what}  {how}")

    def progress(self, runner: LabRunner) -> None:
        """Lines are for what has ended: nothing to say about the rest."""

    def stopping(self, runner: LabRunner) -> None:
        running = runner.count("running")
        noun = "run writes" if running == 1 else "runs write"
        self.say(f"Stopping: {running} {noun} a checkpoint …")

    def stopped(self, runner: LabRunner) -> None:
        self.say("Stopped, so there is nothing to compare yet.")
        for job in runner.jobs:
            if job.status == "stopped" and job.run_dir:
                self.say(f"`icemaze train --resume {job.run_dir.name}` goes on with {job.task[0]}.")

    def finished(self, result: Result, code: int) -> None:
        say()
        show_result(result)

    def close(self) -> None:
        pass


class BarReporter(LineReporter):
    """A progress bar under the lines, for a person at a terminal."""

    def __init__(self, challenge: Challenge) -> None:
        super().__init__(challenge)
        self.console, self.bar, self.task = progress_bar()
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(clean(text, lines=True)), soft_wrap=True)

    def started(self, runner: LabRunner) -> None:
        super().started(runner)
        self.bar.start()

    def progress(self, runner: LabRunner) -> None:
        now = time.monotonic()
        if now - self._told < BAR_SECONDS:
            return
        self._told = now
        share = runner.share
        left = (1 - share) * (now - self._began) / share if share > 0 else math.nan
        eta = "-" if math.isnan(left) else f"{left:.0f} s"
        going = [" ".join(job.task).strip() for job in runner.jobs if job.status == "running"]
        self.bar.update(self.task, completed=share, words=f"{', '.join(going)}  ETA {eta}")
        self.bar.refresh()

    def close(self) -> None:
        self.bar.stop()


def make_reporter(challenge: Challenge, as_json: bool) -> Reporter:
    """The reporter that fits whoever reads stdout."""
    if as_json:
        return JsonReporter(challenge)
    return BarReporter(challenge) if on_terminal() else LineReporter(challenge)


def listing(challenge: Challenge) -> dict[str, Any]:
    """A challenge as one object of a list."""
    return {
        "name": challenge.name,
        "number": challenge.number,
        "title": challenge.title,
        "question": challenge.question,
        "terms": list(challenge.terms),
        "failing": challenge.failing,
        "remedies": list(challenge.remedies),
        "llm": list(challenge.llm),
    }
