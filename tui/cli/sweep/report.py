"""What `icemaze sweep` prints: JSON, plain lines, or a progress bar; and at the end a table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tui.cli.output import emit, on_terminal, say, table
from tui.cli.progress import BAR_SECONDS, LINE_SECONDS, progress_bar
from tui.ui.text import clean, number, percent

if TYPE_CHECKING:
    from engine.experiments.sweep_results import Interval, Result
    from engine.experiments.sweep_runner import SweepJob, SweepRunner

STATUSES = {0: "finished", 1: "failed", 130: "stopped"}
STEPS_HEADING = "steps to 5 %"
FOOTNOTE = (
    "Means over the agents of all seeds [95 % interval]; * is the best. Exact figures of the "
    "target policy at the end. Intervals allow for an agent that nobody has seen, as far off as "
    "the maze lets it be: more seeds or agents narrow them. runs: finished/of; a setting some of "
    "whose runs did not finish is not compared, for the others may be the lucky ones. "
    f"{STEPS_HEADING}: steps of each agent (or sweeps) until the return was within 5 % of that of "
    "π*, over the runs that got there (n/of)."
)


class Reporter(Protocol):
    """Tells somebody about a sweep."""

    def started(self, runner: SweepRunner) -> None:
        """The runs are about to start."""

    def ended(self, runner: SweepRunner, job: SweepJob) -> None:
        """A run has ended."""

    def progress(self, runner: SweepRunner) -> None:
        """Some time has passed."""

    def stopping(self, runner: SweepRunner) -> None:
        """The user asked to stop."""

    def finished(self, runner: SweepRunner, code: int) -> None:
        """The last word; `code` is the exit status."""

    def close(self) -> None:
        """Give the terminal back."""


class JsonReporter:
    """One JSON object a line."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def started(self, runner: SweepRunner) -> None:
        emit(
            event="started", sweep=runner.folder.name, path=str(runner.folder),
            preset=runner.sweep.name, grid=runner.sweep.grid, seeds=runner.sweep.seeds,
            runs=len(runner.jobs), finished=runner.count("finished"), jobs=runner.at_once,
        )  # fmt: skip

    def ended(self, runner: SweepRunner, job: SweepJob) -> None:
        run = job.run_dir.name if job.run_dir else None
        path = str(job.run_dir) if job.run_dir else None
        figures = job.outcome.figures if job.outcome else {}
        error = {"error": job.error} if job.error else {}
        emit(
            event="run", run=run, path=path, setting=runner.sweep.settings[job.cell.setting],
            seed=job.cell.seed, status=job.status, **figures, **error,
        )  # fmt: skip

    def progress(self, runner: SweepRunner) -> None:
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            emit(
                event="progress", sweep=runner.folder.name, progress=runner.share,
                finished=runner.count("finished"), running=runner.count("running"),
                failed=runner.count("failed"), runs=len(runner.jobs),
            )  # fmt: skip

    def stopping(self, runner: SweepRunner) -> None:
        pass

    def finished(self, runner: SweepRunner, code: int) -> None:
        # start-up time
        from engine.experiments.intervals import METHOD

        emit(
            event="finished", sweep=runner.folder.name, path=str(runner.folder),
            status=STATUSES[code], runs=len(runner.jobs), finished=runner.count("finished"),
            failed=runner.count("failed"), interval=METHOD,
            results=[result_fields(result) for result in results_of(runner)],
        )  # fmt: skip

    def close(self) -> None:
        pass


class LineReporter:
    """Plain lines, for pipes and log files."""

    def __init__(self) -> None:
        self._ended = 0
        self._told = time.monotonic()

    def say(self, text: str) -> None:
        """A line of its own."""
        say(text)

    def started(self, runner: SweepRunner) -> None:
        sweep, runs = runner.sweep, len(runner.jobs)
        shape = f"{_count(len(sweep.settings), 'setting')} × {_count(len(sweep.seeds), 'seed')}"
        self.say(
            f"Sweep {runner.folder.name}: {sweep.name}, {shape} = {_count(runs, 'run')}, "
            f"{runner.at_once} at once"
        )
        if fixed := {key: values[0] for key, values in sweep.grid.items() if len(values) == 1}:
            self.say(f"  with {_words(fixed)}")
        self._ended = runner.count("finished")
        if done := self._ended:
            self.say(f"  {_count(done, 'run')} finished before")

    def ended(self, runner: SweepRunner, job: SweepJob) -> None:
        sweep = runner.sweep
        setting = sweep.settings[job.cell.setting]
        varied = {key: value for key, value in setting.items() if len(sweep.grid[key]) > 1}
        what = f"{_words(varied)} " if varied else ""
        how: str = job.status
        if job.outcome:
            how = (
                f"success {percent(job.outcome.success_rate)}  "
                f"return {number(job.outcome.expected_return)}"
            )
        elif job.error:
            how += f": {job.error}"
        self._ended += 1
        self.say(f"{self._ended:>5}/{len(runner.jobs)}  {what}seed {job.cell.seed}  {how}")

    def progress(self, runner: SweepRunner) -> None:
        """Lines are for what has ended: nothing to say about the rest."""

    def stopping(self, runner: SweepRunner) -> None:
        self.say(f"Stopping: {_count(runner.count('running'), 'run')} write a checkpoint …")

    def finished(self, runner: SweepRunner, code: int) -> None:
        say()
        found = results_of(runner)
        show_table(runner, found)
        say(FOOTNOTE)
        for why in dict.fromkeys(why for result in found for why in _without(result)):
            say(f"Without an interval: {why}.")
        if failed := runner.count("failed"):
            say(f"{_count(failed, 'run')} failed; worker.log in their folders says more.")
        if code:
            say(f"`icemaze sweep --resume {runner.folder.name}` goes on with what is missing.")
        else:
            say(f"The runs are in {runner.folder}.")

    def close(self) -> None:
        pass


class BarReporter(LineReporter):
    """A progress bar under the lines, for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.console, self.bar, self.task = progress_bar()
        self._began = (time.monotonic(), 0.0)

    def say(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(clean(text, lines=True)), soft_wrap=True)

    def started(self, runner: SweepRunner) -> None:
        super().started(runner)
        self._began = (time.monotonic(), runner.share)
        self.bar.start()

    def progress(self, runner: SweepRunner) -> None:
        now = time.monotonic()
        if now - self._told < BAR_SECONDS:
            return
        self._told = now
        started, before = self._began
        gained = runner.share - before
        left = (1 - runner.share) * (now - started) / gained if gained > 0 else math.nan
        eta = "-" if math.isnan(left) else f"{left:.0f} s"
        words = (
            f"{runner.count('finished')}/{len(runner.jobs)} runs  "
            f"{runner.count('running')} going  ETA {eta}"
        )
        self.bar.update(self.task, completed=runner.share, words=words)
        self.bar.refresh()

    def close(self) -> None:
        self.bar.stop()


def make_reporter(as_json: bool) -> Reporter:
    """The reporter that fits whoever reads stdout."""
    if as_json:
        return JsonReporter()
    return BarReporter() if on_terminal() else LineReporter()


# ---------------------------------------------------------------- the results


def results_of(runner: SweepRunner) -> list[Result]:
    """The results of a sweep as far as its runs have finished."""
    # start-up time
    from engine.experiments.sweep_results import results

    return results(runner.sweep, {job.cell: job.outcome for job in runner.jobs if job.outcome})


def result_fields(result: Result) -> dict[str, Any]:
    """A result as plain data."""
    import msgspec

    fields: dict[str, Any] = msgspec.structs.asdict(result)
    return {
        name: _interval_fields(msgspec.structs.asdict(value))
        if isinstance(value, msgspec.Struct)
        else value
        for name, value in fields.items()
    }


def _interval_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """`why` only where there is no interval."""
    return fields if fields["why"] else {k: v for k, v in fields.items() if k != "why"}


def show_table(runner: SweepRunner, found: list[Result]) -> None:
    """One row for each setting; only the settings that differ have columns."""
    varied = [key for key, values in runner.sweep.grid.items() if len(values) > 1]
    names = [key.removeprefix("algorithm.") for key in varied]
    headings = (*names, "runs", "success rate", "expected return", STEPS_HEADING)
    rows = [_row(result, varied) for result in found]
    table(headings, rows, numbers=range(len(names), len(headings)))


def _row(result: Result, varied: list[str]) -> tuple[str, ...]:
    steps = result.steps_to_optimum
    reached = f" ({steps.n}/{result.runs})" if steps.n < result.runs else ""
    cells = {
        "success_rate": _mean(result.success_rate, lambda x: f"{100 * x:.1f}%"),
        "expected_return": _mean(result.expected_return, number),
        "steps_to_optimum": _mean(steps, lambda x: f"{x:,.0f}") + reached,
    }
    marked = [f"{text}{' *' if name in result.best else '  '}" for name, text in cells.items()]
    runs = f"{result.runs}/{result.of}"
    return (*(result.setting[key] for key in varied), runs, *marked)


def _mean(interval: Interval, write: Callable[[float], str]) -> str:
    if interval.n == 0:
        return "-"
    if math.isnan(interval.low):
        return write(interval.mean)
    return f"{write(interval.mean)} [{write(interval.low)}, {write(interval.high)}]"


def _without(result: Result) -> list[str]:
    """Why some figures have no interval."""
    measured = (result.success_rate, result.expected_return, result.steps_to_optimum)
    return [each.why for each in measured if each.why]


def _words(setting: dict[str, str]) -> str:
    return " ".join(f"{key.removeprefix('algorithm.')}={value}" for key, value in setting.items())


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
