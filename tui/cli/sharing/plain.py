"""`icemaze open --plain`: a run as lines of text, one after the other, for screen readers and logs.

Words instead of arrows and tables, no colour, nothing that is drawn over. A live run goes on line
by line until it ends; leaving (Ctrl-C) does not stop it.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine.runs.reader import RunReader
from tui import kinds
from tui.cli.follow import budget_used, why_it_failed
from tui.cli.output import say
from tui.cli.progress import counts, what_next
from tui.kinds.base import Kind
from tui.model.steps import action_name, result, without_noise
from tui.ui.text import clean, number, percent, signed

if TYPE_CHECKING:
    from engine.env.maze import Maze
    from engine.learning.events import Step
    from engine.runs.records import Head

LOOK_SECONDS, LINE_SECONDS = 0.2, 2.0
"""Between two looks at the run, and between two lines about how far it is: what is read aloud needs
its time."""
NEWEST = 5
"""Steps that are told of what is over."""
FIGURES = {
    "success_rate": "success rate",
    "greedy_success_rate": "greedy success rate",
    "expected_return": "expected return",
    "expected_score": "expected score",
    "expected_length": "expected length",
}


def follow(run_dir: Path) -> None:
    """Tell a run from its headline to its end."""
    with RunReader(run_dir) as reader:
        _Teller(reader).tell()


class _Teller:
    """Says what there is to say about one run, each thing once."""

    def __init__(self, reader: RunReader) -> None:
        self.reader = reader
        self.kind: Kind = kinds.of(reader.info().preset)
        self._notes = 0
        self._told_at = -math.inf
        self._told_step = -1
        self._last_step: tuple[int, int, int] | None = None

    def tell(self) -> None:
        """Everything until now, then what comes."""
        head = self.reader.head()
        self._headline(head)
        self._progress(head)
        self._figures()
        self._new_notes()
        self._steps(NEWEST)
        if not head.ended:
            self._follow()
        self._end()

    def _follow(self) -> None:
        say("Following the run; Ctrl-C leaves it running.")
        while True:
            changed = self.reader.changed()
            head = self.reader.head()
            if changed:
                self._new_notes()
            if head.ended:
                self._progress(head)
                self._figures()
                return
            due = time.monotonic() - self._told_at >= LINE_SECONDS
            if due and head.step != self._told_step:
                self._progress(head)
                self._steps(1)
            time.sleep(LOOK_SECONDS)

    def _headline(self, head: Head) -> None:
        # start-up time
        from engine.config.preset import algorithm_name

        info = self.reader.info()
        say(f"Run {self.reader.id}: {info.preset.title}.")
        say(
            f"Algorithm {algorithm_name(info.preset)}, {self.kind.learners}, seed "
            f"{info.preset.run.seed}. Begun {info.created:%Y-%m-%d %H:%M} UTC."
        )

    def _progress(self, head: Head) -> None:
        self._told_at, self._told_step = time.monotonic(), head.step
        unit = self.kind.clock.unit
        waits = f", waiting for {head.waiting} of your answers" if head.waiting else ""
        say(
            f"{head.state.capitalize()} at {unit} {head.step:,}{waits}: "
            f"{percent(budget_used(self.reader, head))} of the budget used, {head.seconds:.0f} "
            f"seconds of training, success {self._success()}."
        )

    def _success(self) -> str:
        success = self.reader.success_rate()
        return "not known yet" if success is None else percent(success)

    def _figures(self) -> None:
        figures = self.reader.final()
        say(f"Done so far: {counts(figures)}.")
        optimal = {"expected_return": figures["optimal_return"]}
        for name, words in FIGURES.items():
            if not math.isnan(value := figures[name]):
                shown = percent(value) if name.endswith("rate") else number(value)
                best = optimal.get(name, math.nan)
                of = "" if math.isnan(best) else f"; of the optimal policy {number(best)}"
                say(f"{words.capitalize()}: {shown}{of}.")
        for name, value in figures["metrics"].items():
            if not math.isnan(value):
                shown = percent(value) if name.endswith("success_rate") else number(value)
                say(f"{clean(name).replace('_', ' ').capitalize()}: {shown}.")
        if rule := figures.get("success_rule"):
            say(f"Success here is {rule}.")

    def _new_notes(self) -> None:
        for note in self.reader.notes(self._notes):
            self._notes = note.id
            say(f"{note.level.capitalize()} at {note.step:,}: {note.text} {note.remedy}".strip())

    def _steps(self, most: int) -> None:
        """The newest steps that were not told yet."""
        live = self.reader.live()
        if live is None:
            return
        new = [
            step for step in live.steps if self._last_step is None or _place(step) > self._last_step
        ]
        worlds = {world.id: world.maze for world in self.reader.worlds()}
        for step in new[-most:]:
            self._last_step = _place(step)
            if step.world_id in worlds:
                say(_words(without_noise(step), worlds[step.world_id], self.kind.clock.unit))

    def _end(self) -> None:
        head = self.reader.head()
        if head.state in ("failed", "dead"):
            say(f"It failed: {why_it_failed(self.reader, head)}")
        if head.state == "finished":
            say("The run is finished.")
        else:
            say(what_next(self.reader.path, head.state).replace("`", ""))


def _place(step: Step) -> tuple[int, int, int]:
    return step.step, step.episode, step.t


def _words(step: Step, maze: Maze, unit: str) -> str:
    """A step in a sentence: where, what was done, what came of it, what was learned."""
    where, action = _cell(maze, step.state), action_name(maze, step.action)
    learned = ""
    if math.isfinite(step.before) and math.isfinite(step.after):
        learned = f" Estimate {number(step.before)} became {number(step.after)}."
    if step.kind == "backup":
        return f"Sweep {step.episode}, {where}: best action {action}.{learned}"
    how = "explored" if step.explored else "chosen"
    ended = " The episode ended." if step.terminated else ""
    if step.truncated:
        ended = " The time limit ended the episode."
    made = "in the model" if step.kind == "planning" else result(maze, step)
    return (
        f"{unit.capitalize()} {step.step:,}, episode {step.episode}, move {step.t}: from {where}, "
        f"{action} ({how}), {made}, now {_cell(maze, step.next_state)}, reward "
        f"{signed(step.reward)}.{learned}{ended}"
    )


def _cell(maze: Maze, state: int) -> str:
    if not maze.rows:
        return f"state {state}"
    row, column = maze.cell(state)
    return f"row {row + 1} column {column + 1}"
