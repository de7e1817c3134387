"""What `icemaze train` prints while it follows a run: JSON, plain lines, or a progress bar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tui import kinds
from tui.cli.output import complain, emit, on_terminal, say
from tui.cli.text_words import score_words, summary_lines, told_by_others, writes_text
from tui.ui.text import clean, number, percent, si

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from engine.runs.records import Head, NoteRow, RunInfo

LINE_SECONDS = 1.0
"""Least time between two lines of progress."""
BAR_SECONDS = 0.25
"""Least time between two drawings of the bar: over a slow connection more would queue up."""
STOPPING = "Stopping: writing a checkpoint … (Ctrl-C again ends the worker, whatever it does.)"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands now."""

    head: Head
    figures: dict[str, Any]
    """`RunReader.final()`."""
    share: float
    """Share of the budget used, 0 to 1."""
    speed: float
    """Steps (or sweeps) per second of late; NaN while unknown."""
    eta: float
    """Seconds until the budget is used up at that speed; NaN while unknown."""
    stderr: float = 0.0
    """The standard error of a sampled success rate."""


class Reporter(Protocol):
    """Tells somebody about a run."""

    interval: float
    """Least seconds between two calls of `progress`."""

    def started(self, run_dir: Path, info: RunInfo) -> None:
        """The worker is at it."""

    def note(self, note: NoteRow) -> None:
        """The learner or the worker says something."""

    def progress(self, moment: Moment) -> None:
        """Something moved."""

    def stopping(self) -> None:
        """The user asked to stop."""

    def failed(self, message: str) -> None:
        """The run failed without a note that says why."""

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None:
        """The last word."""

    def close(self) -> None:
        """Give the terminal back."""


class JsonReporter:
    """One JSON object a line (the contract with scripts)."""

    interval = LINE_SECONDS

    def __init__(self) -> None:
        self.run = ""

    def started(self, run_dir: Path, info: RunInfo) -> None:
        self.run = run_dir.name
        emit(event="started", run=self.run, path=str(run_dir))

    def note(self, note: NoteRow) -> None:
        if note.level == "error":
            emit(event="error", run=self.run, message=note.text, remedy=note.remedy)
        else:
            emit(
                event="note", run=self.run, step=note.step, level=note.level, text=note.text,
                remedy=note.remedy,
            )  # fmt: skip

    def progress(self, moment: Moment) -> None:
        figures = {name: value for name, value in moment.figures.items() if name != "metrics"}
        emit(
            event="progress", run=self.run, progress=moment.share,
            steps_per_second=moment.speed, eta_seconds=moment.eta,
            **{**figures, "status": moment.head.state}, **_llm_figures(moment),
        )  # fmt: skip

    def stopping(self) -> None:
        pass

    def failed(self, message: str) -> None:
        emit(event="error", run=self.run, message=message)

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None:
        emit(event="finished", run=run_dir.name, path=str(run_dir), **figures)

    def close(self) -> None:
        pass


def _llm_figures(moment: Moment) -> dict[str, float]:
    """What a language model's progress says besides; nothing for tables."""
    metrics: dict[str, float] = moment.figures["metrics"]
    if "tokens_per_second" not in metrics:
        return {}
    return {
        "final_success_rate": metrics.get("final_success_rate", math.nan),
        "success_stderr": moment.stderr,
        "seconds_per_update": metrics.get("seconds_per_update", math.nan),
        "tokens_per_second": metrics["tokens_per_second"],
    }


class LineReporter:
    """Plain lines, for pipes and log files."""

    interval = LINE_SECONDS

    def __init__(self) -> None:
        self.unit = "step"
        self.llm = False
        """Whether the run trains a language model."""

    def started(self, run_dir: Path, info: RunInfo) -> None:
        # start-up time
        from engine.config.preset import algorithm_name

        preset = info.preset
        kind = kinds.of(preset)
        self.unit, self.llm = kind.clock.unit, kind.llm is not None
        who = f"{algorithm_name(preset)}, {kind.learners}, seed {preset.run.seed}"
        self.say(f"Run {run_dir.name}: {preset.title} ({who})")

    def say(self, text: str) -> None:
        """A line of its own."""
        say(text)

    def note(self, note: NoteRow) -> None:
        lead = {"warning": "Warning: ", "error": "Error: "}.get(note.level, "")
        text = f"{lead}{note.text} {note.remedy}".strip()
        if note.level == "error":
            complain(text)
        else:
            self.say(text)

    def progress(self, moment: Moment) -> None:
        self.say(
            f"{percent(moment.share):>5}  {_count(moment.head.step, self.unit)}"
            f"  {self.words(moment)}"
        )

    def words(self, moment: Moment) -> str:
        """Speed, success, return and time left."""
        paused = moment.head.state == "paused"
        if self.llm:
            return _llm_words(moment, paused)
        speed = "paused" if paused else f"{si(moment.speed)} {self.unit}s/s"
        return (
            f"{speed}  success {percent(moment.figures['success_rate'])}"
            f"  return {number(moment.figures['expected_return'])}  ETA {_clock(moment.eta)}"
        )

    def stopping(self) -> None:
        self.say(STOPPING)

    def failed(self, message: str) -> None:
        complain(f"Error: {message}")

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None:
        self.say(summary(run_dir, figures))

    def close(self) -> None:
        pass


def progress_bar() -> tuple[Console, Progress, TaskID]:
    """A console, and on it a bar with one task: its share from 0 to 1, and `words` beside it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(highlight=False, markup=False, emoji=False)
    bar = Progress(
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[words]}", markup=False),
        console=console,
        auto_refresh=False,  # no thread: the loop that follows the runs draws
        transient=True,
    )
    return console, bar, bar.add_task("", total=1.0, words="starting")


class BarReporter(LineReporter):
    """A progress bar, for a person at a terminal."""

    interval = BAR_SECONDS

    def __init__(self) -> None:
        super().__init__()
        self.console, self.bar, self.task = progress_bar()

    def started(self, run_dir: Path, info: RunInfo) -> None:
        super().started(run_dir, info)
        self.bar.start()

    def say(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(clean(text, lines=True)), soft_wrap=True)

    def progress(self, moment: Moment) -> None:
        self.bar.update(self.task, completed=moment.share, words=self.words(moment))
        self.bar.refresh()

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None:
        self.close()
        super().finished(run_dir, figures)

    def close(self) -> None:
        self.bar.stop()


def _llm_words(moment: Moment, paused: bool) -> str:
    """What matters of a language model's run: success now and at best, and where the time goes."""
    figures = moment.figures
    metrics: dict[str, float] = figures["metrics"]
    best = figures["success_rate"]
    now = metrics.get("final_success_rate", best)
    error = f" ± {percent(moment.stderr)}" if figures["success_kind"] == "sampled" else ""
    seconds = metrics.get("seconds_per_update", math.nan)
    tokens = metrics.get("tokens_per_second", math.nan)
    speed = "paused" if paused else f"{number(seconds, 2)} s/update  {si(tokens)} tokens/s"
    if moment.head.waiting:
        speed = "waits for your answers (icemaze open)"
    how = f"success {percent(now)}{error} (best {percent(best)})"
    if writes_text(figures):
        how = score_words(figures)
    return f"{how}  {speed}  ETA {_clock(moment.eta)}"


def make_reporter(as_json: bool) -> Reporter:
    """The reporter that fits whoever reads stdout."""
    if as_json:
        return JsonReporter()
    return BarReporter() if on_terminal() else LineReporter()


def summary(run_dir: Path, figures: dict[str, Any]) -> str:
    """A run's last figures in a few lines."""
    status, seconds = figures["status"], figures["seconds"]
    lines = [f"{status.capitalize()} after {seconds:.1f} s: {counts(figures)}."]
    kind, greedy = figures["success_kind"], percent(figures["greedy_success_rate"])
    whose, more = "target policy", []
    if "final_success_rate" in figures["metrics"]:
        whose, more = "best adapters, kept", _llm_lines(figures["metrics"])
    success_lines = [
        f"  success rate     {percent(figures['success_rate']):>8}   ({kind}, {whose}; greedy "
        f"{greedy})",
        *([f"  success here is {rule}"] if (rule := figures.get("success_rule")) else []),
        *more,
        f"  expected return  {number(figures['expected_return']):>8}   (π* "
        f"{number(figures['optimal_return'])}, at most {number(figures['horizon_optimum'])})",
        f"  expected score   {number(figures['expected_score']):>8}",
        f"  expected length  {number(figures['expected_length']):>8}   steps",
    ]
    lines += summary_lines(figures) if writes_text(figures) else success_lines
    if status == "finished":
        lines.append(f"`icemaze open {run_dir.name}` replays it.")
    else:
        lines.append(what_next(run_dir, status))
    return "\n".join(lines)


def what_next(run_dir: Path, status: str) -> str:
    """What to do with a run that did not finish: to resume it, where that can help."""
    resume = f"`icemaze train --resume {run_dir.name}` goes on from the last checkpoint."
    if not run_dir.exists():
        return "If it was moved, `icemaze --runs-dir FOLDER train --resume` finds it there."
    if status != "failed":
        return resume
    # start-up time
    from engine.runs import custom_algorithm
    from engine.runs.reader import RunReader

    with RunReader(run_dir) as reader:
        remedies = [note.remedy for note in reader.notes() if note.level == "error"]
    return (custom_algorithm.instead_of_resume(remedies[-1]) if remedies else "") or resume


def _llm_lines(metrics: dict[str, float]) -> list[str]:
    """The last adapters, and the mazes that were held out."""
    lines = [f"  at the end       {percent(metrics['final_success_rate']):>8}"]
    names = {
        "best adapters": "held_out_best_success_rate",
        "optimum": "held_out_optimal_success_rate",
    }
    names["random moves"] = "held_out_random_success_rate"
    known = {label: metrics[name] for label, name in names.items() if name in metrics}
    if "best adapters" in known:
        rest = ", ".join(f"{label} {percent(x)}" for label, x in known.items())
        lines.append(f"  held-out mazes   {percent(known['best adapters']):>8}   ({rest})")
    return lines


def counts(figures: dict[str, Any]) -> str:
    """How much was done: steps and episodes per agent, sweeps, or updates of a language model."""
    if told_by_others(figures):
        completions = _count(figures["episodes"], "completion")
        return f"{_count(figures['updates'], 'update')} on {completions}"
    if "tokens_per_second" in figures["metrics"]:
        updates, episodes = figures["updates"], figures["episodes"]
        return f"{_count(updates, 'update')} on {_count(episodes, 'episode')}"
    if figures["updates"] and not figures["env_steps"]:
        return _count(figures["updates"], "sweep")
    return (
        f"{_count(figures['env_steps'], 'step')} and {_count(figures['episodes'], 'episode')} "
        "per agent"
    )


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _clock(seconds: float) -> str:
    if not seconds < 360_000:  # unknown, or four days and more: a guess nobody can use
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
