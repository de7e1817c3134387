"""One stretch of a run, from its start or a resume to its end: the learner's loop."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from engine import presets
from engine.config.preset import Preset, algorithm_name
from engine.core import phase
from engine.core.errors import LastingError, UserError
from engine.learning.events import AnyEvent, Finished, Note
from engine.learning.learner import (
    AskingLearner,
    Counters,
    HeavyLearner,
    InterpretedLearner,
    Learner,
    State,
)
from engine.runs import commands, custom_algorithm, outcome, stored
from engine.runs.compile_ahead import CompileAhead
from engine.runs.disk.full_disk import PatientDisk
from engine.runs.disk.lock import is_alive
from engine.runs.notify.notifier import Notifier
from engine.runs.pacing import TICK, Chunk, Clock, Pacer, Stopwatch
from engine.runs.past.kept import Keeper
from engine.runs.recording import Recorder, waiting
from engine.runs.store import Replay, RunWriter, not_repeated
from engine.tabular.custom.loading import CustomFileError

Status = Literal["finished", "stopped"]
Level = Literal["info", "warning", "error"]
MakeLearner = Callable[[Preset], Learner]

log = logging.getLogger("icemaze.worker")


class Task:
    """A `step` or `episode` command being carried out while the run is paused."""

    def __init__(self, command_id: int, command: commands.StepBy | commands.EpisodeBy) -> None:
        self.id = command_id
        self.command = command
        self.paced = isinstance(command, commands.EpisodeBy) and command.paced
        self._goal: int | None = None

    def remaining(self, learner: Learner) -> int:
        """How many steps to do next without overshooting; 0 when it is done."""
        by_steps = isinstance(self.command, commands.StepBy)
        now = learner.counters.step if by_steps else learner.watched_episodes
        if self._goal is None:
            self._goal = now + self.command.n
        left = max(0, self._goal - now)
        return left if by_steps else min(left, 1)


def _load(learner: Learner, state: State) -> None:
    try:
        learner.load(state)
    except UserError:
        raise
    except Exception as error:  # a state of another algorithm, or of another version, of any kind
        raise LastingError(
            "The checkpoint was written by another version of Ice Maze, or with another "
            f"algorithm than preset.toml names, and does not fit ({error}). What the run recorded "
            "can still be opened; put the old preset.toml back, or start a new run to go on."
        ) from error


LATE = 3
"""After so many steps in turn that took half of their time, plain Python is too slow for a run."""


class FolderGoneError(UserError):
    """The run's folder is not where it was."""


class Session:
    """Drives one learner. All it knows of the outside is the store, the clock and `stop_asked`."""

    learner: Learner
    recorder: Recorder

    def __init__(
        self,
        writer: RunWriter,
        make_learner: MakeLearner,
        *,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        ahead: CompileAhead | None = None,
    ) -> None:
        self.writer = writer
        self.ahead = ahead or CompileAhead(off=True)
        self.make_learner = make_learner
        self.clock, self.sleep = clock, sleep
        self.stop_asked = False
        self.budget_seconds: float | None = None
        self.own = writer.meta(custom_algorithm.META_KEY)
        self._step_before = int(writer.meta("counters", {}).get("step", 0))
        self.paused = bool(writer.meta("paused", False))
        self.pacer = Pacer(clock, writer.meta("pace"))
        self.stopwatch = Stopwatch(clock, writer.meta("seconds", 0.0))
        self.disk = PatientDisk(writer, self.stopwatch, sleep, lambda: self.stop_asked)
        self.chunk = Chunk()
        self.tasks: deque[Task] = deque()
        self.replays: deque[Replay] = deque()
        self.notifier = Notifier(writer.run_dir, str(writer.meta("title", "")))
        self._last_command = 0
        self._last_look = -1.0
        self._interpreted = False
        self._late = 0

    # ------------------------------------------------------------ life

    def run(self) -> bool:
        """Train until the end. False when it failed; then the store says why."""
        try:
            self._begin()
            status = self._loop()
            self._finish(status)
        except Exception as error:
            # What looks like damage may be a mistake of ours after all.
            traced = (CustomFileError, stored.DamagedError)
            expected = isinstance(error, UserError) and not isinstance(error, traced)
            log.error("failed: %s", error, exc_info=None if expected else error)
            if self.writer.missing_file() and is_alive(self.writer.run_dir):
                return False  # another worker is at the folder now, and has its say there
            step = self.learner.counters.step if hasattr(self, "learner") else self._step_before
            self._fail(*custom_algorithm.failure(error, self.own, self.writer.run_dir, step))
            return False
        finally:
            self.disk.give_back()
            if hasattr(self, "recorder"):
                self.recorder.machine.stop()
            self.ahead.end()
        log.info("%s at step %d", status, self.learner.counters.step)
        return True

    def _begin(self) -> None:
        file = self.writer.run_dir / "preset.toml"
        text = stored.read_text(file)
        custom_algorithm.checked(self.writer.run_dir, self.own)
        with stored.trusted_by_nobody(file):
            preset = presets.parse(text, where="preset.toml", folder=self.writer.run_dir)
        stored.check_algorithm(file, algorithm_name(preset), self.writer.meta("algorithm"))
        custom_algorithm.record(self.writer.run_dir, preset)
        self.budget_seconds = preset.budget.seconds
        learner = self.make_learner(preset)
        restart = self.writer.rewind(lambda state: _load(learner, state))
        self.learner = learner
        if isinstance(learner, HeavyLearner):
            learner.interrupted = self._somebody_waits
            learner.notify = self._say_at_once
        teller = custom_algorithm.Teller(preset)
        heavy = isinstance(learner, HeavyLearner)
        step = learner.counters.step
        keeper = Keeper(self.writer, preset.budget, folders=heavy, begun_at=step)
        self.recorder = Recorder(
            self.writer, learner, self.clock, self.stopwatch, self.disk, teller, keeper
        )
        if isinstance(learner, InterpretedLearner) and self.pacer.is_slow:
            cold = bool(learner.preparation())
            self._interpreted = learner.interpret()
            if self._interpreted and cold:
                self.ahead.start(self.writer.run_dir)
        notes = (custom_algorithm.note(self.own), self.writer.journal_note, learner.preparation())
        for text in notes:
            if text:
                self._note("info", text)
        if restart is not None:
            self.replays.extend(restart.replays)
            for text in restart.warnings:
                self._note("warning", text)
        self.recorder.commit()
        self.recorder.machine.start()
        with phase.during("preparing"):
            learner.prepare()  # before the stopwatch starts: compiling is not training
        if restart is None:
            self.recorder.take(learner.begin())
            self.recorder.checkpoint(first=True)
        self._set_paused(self.paused)
        self.recorder.live(self._stepwise)
        self.recorder.commit()
        log.info("%s step %d", outcome.STARTED, learner.counters.step)

    def _loop(self) -> Status:
        while True:
            self._apply_replays()
            self._look_for_commands()
            self._keep_time()
            if self.stop_asked:
                return "stopped"
            if self._over():
                return "finished"
            if self._interpreted and self._needs_code and self.ahead.is_over:
                self._compile()
            limit = self._limit()
            if limit > 0:
                self._advance(limit)
            self._end_tasks()
            self._keep_time()
            self._look_for_folder()  # before anything is written over another worker's rows
            self.recorder.write_what_is_due(stepwise=self._stepwise, not_yet=self._not_yet())
            if limit == 0:
                self.sleep(TICK if self._idle else min(TICK, self.pacer.wait()))

    @property
    def _needs_code(self) -> bool:
        """Whether plain Python does not keep up, or will not."""
        return not self.pacer.is_slow or self._late >= LATE

    def _compile(self) -> None:
        """Go on in machine code, which is loaded or compiled now."""
        assert isinstance(self.learner, InterpretedLearner)
        self._interpreted = False
        self.learner.compile()
        if text := self.learner.preparation():
            self._note("info", text)
        self.recorder.commit()
        self.stopwatch.stop()  # compiling is not training
        self.learner.prepare()
        self._keep_time()
        self.pacer.restart()

    def _look_for_folder(self) -> None:
        """Raise FolderGoneError when nobody can find any more what is written here."""
        if name := self.writer.missing_file():
            raise FolderGoneError(
                f"{self.writer.run_dir / name} is gone: the run's folder was moved or deleted "
                "while the run was going, so the run has ended."
            )

    def _over(self) -> bool:
        spent = self.budget_seconds is not None and self.stopwatch.seconds >= self.budget_seconds
        return spent or self.learner.done

    def _keep_time(self) -> None:
        phase.rest(self._idle)
        if self._idle:
            self.stopwatch.stop()
        else:
            self.stopwatch.start()

    def _finish(self, status: Status) -> None:
        # The checkpoint comes before the last words: a resumed run deletes those, and goes on
        # as if it had never stopped.
        self.recorder.checkpoint(self._not_yet())
        for task in self.tasks:
            self._answer(task.id, "done", f"The run has {status}.")
        self.stopwatch.stop()
        self.recorder.take(self.learner.conclude())
        self.recorder.export()  # the last look may have found better adapters than those before
        self.recorder.live(stepwise=True)
        if status == "finished":
            self.recorder.commit()
            self._check_figures()
        self.writer.write([self._last_word(status, self.learner.counters)])
        self.recorder.commit()
        if status == "finished":
            step = self.learner.counters.step
            self.notifier.tell("finished", step, f"Finished at step {step:,}.")

    def _check_figures(self) -> None:
        """Raise LastingError when the last evaluation found nothing that is a number."""
        last = [row for row in self.writer.last_figures() if row[0] in outcome.FIGURES]
        if last and not any(mean is not None and math.isfinite(mean) for _, mean in last):
            raise LastingError(
                f"The run came to its end at step {self.learner.counters.step:,}, but none of its "
                "figures is a finite number: what it learned, or its rewards, are beyond what a "
                "number can hold."
            )

    def _fail(self, text: str, remedy: str) -> None:
        counters = self.learner.counters if hasattr(self, "learner") else Counters()
        self.stopwatch.stop()
        self.disk.give_back()  # there may be no other room for the last words
        # First with what was said before the failure; without it if just that cannot be written.
        for attempt in (1, 2):
            try:
                self._note("error", text, remedy, counters.step)
                self.writer.write([self._last_word("failed", counters, text)])
                self.writer.commit()
                self.notifier.tell("failed", counters.step, text, remedy)
                return
            except Exception as error:
                log.error("could not write the failure (attempt %d): %s", attempt, error)
                self.writer.discard()

    def _last_word(
        self, status: Literal["finished", "stopped", "failed"], counters: Counters, error: str = ""
    ) -> Finished:
        return Finished(
            step=counters.step,
            status=status,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            seconds=self.stopwatch.seconds,
            error=error,
        )

    def _note(self, level: Level, text: str, remedy: str = "", step: int | None = None) -> None:
        step = self.learner.counters.step if step is None else step
        self.writer.write([Note(step=step, level=level, text=text, remedy=remedy)])

    def _say_at_once(self, text: str) -> None:
        self._note("info", text)
        self.recorder.commit()

    # ------------------------------------------------------------ advancing

    @property
    def _idle(self) -> bool:
        # Nothing but answers can end the waiting for them.
        return (self.paused and not self.tasks) or waiting(self.learner) > 0

    @property
    def _stepwise(self) -> bool:
        return self.paused or self.pacer.pace is not None

    def _limit(self) -> int:
        """How many steps to do now: 0 when paused, or when none is due yet."""
        if self._idle:
            return 0
        limit = self.chunk.size
        task = self.tasks[0] if self.tasks else None
        if task is None or task.paced:
            due = self.pacer.due()
            limit = limit if due is None else min(limit, due)
        if task is not None:
            limit = min(limit, task.remaining(self.learner))
        if self.replays:
            limit = min(limit, self.replays[0].step - self.learner.counters.step)
        return min(limit, self.recorder.before_keeping())

    def _advance(self, limit: int) -> None:
        started, before = self.clock(), self.learner.counters.step
        events = self.learner.advance(limit)
        elapsed, steps = self.clock() - started, self.learner.counters.step - before
        late = steps > 0 and elapsed * (self.pacer.pace or 0) > steps / 2
        self._late = self._late + 1 if late else 0
        put_off = isinstance(self.learner, HeavyLearner) and self.learner.yielded
        if steps <= 0 and not self.learner.done and not put_off:
            raise RuntimeError(f"the learner made no progress at step {before}")
        if put_off:
            self._last_look = -1.0  # at once: that is what it was put off for
        else:
            self.chunk.adapt(steps, elapsed)
        self.pacer.took(steps)
        self.recorder.take(events)

    def _somebody_waits(self) -> bool:
        return self.stop_asked or self.writer.newest_command() != self._last_command

    def _apply_replays(self) -> None:
        """Repeat tunes, edits and answers the checkpoint lacks, at exactly their steps."""
        while self.replays and self.replays[0].step <= self.learner.counters.step:
            replay = self.replays.popleft()
            try:
                self.recorder.take(self._change(replay.command))
            except UserError as error:
                self._note("warning", not_repeated(replay.id, str(error)))

    def _not_yet(self) -> list[int]:
        return [replay.id for replay in self.replays]

    def _end_tasks(self) -> None:
        while self.tasks and self.tasks[0].remaining(self.learner) == 0:
            self._answer(self.tasks.popleft().id, "done")
            self.recorder.live(stepwise=True)

    # ------------------------------------------------------------ commands

    def _look_for_commands(self) -> None:
        now = self.clock()
        if now - self._last_look < TICK / 5:
            return
        self._last_look = now
        if self.writer.newest_command() == self._last_command:
            return
        for asked in self.writer.pending_commands(self._last_command):
            self._last_command = asked.id
            try:
                if asked.command is None:
                    raise UserError(asked.problem)
                self._obey(asked.id, asked.command)
            except UserError as error:
                self._answer(asked.id, "refused", str(error))
        self._last_command = max(self._last_command, self.writer.newest_command())
        self.recorder.commit()

    def _obey(self, command_id: int, command: commands.Command) -> None:
        match command:
            case commands.Pause():
                self._drop_tasks()
                self._set_paused(True)
            case commands.Resume():
                self._drop_tasks()
                self._set_paused(False)
            case commands.Stop():
                self._drop_tasks()
                self.stop_asked = True
            case commands.Pace(value=pace):
                self.pacer.change(pace)
                self.writer.set_meta(pace=pace)
            case commands.StepBy() | commands.EpisodeBy():
                self._set_paused(True)
                self.pacer.restart()
                self.tasks.append(Task(command_id, command))
                return  # answered when it is done
            case _:
                self.recorder.take(self._change(command))
                self.recorder.live(self._stepwise)
        self._answer(command_id, "done")

    def _change(self, command: commands.Command) -> list[AnyEvent]:
        if isinstance(command, commands.Tune):
            return self.learner.tune(command.key, command.value)
        if isinstance(command, commands.Edit):
            return self.learner.edit(command.rows)
        if not isinstance(self.learner, AskingLearner):
            raise UserError("This run asks nobody for preferences: its reward is computed.")
        if isinstance(command, commands.Prefer):
            return self.learner.prefer(command.pair, command.choice)
        assert isinstance(command, commands.Score)
        return self.learner.score(command.pair, command.scores)

    def _answer(self, command_id: int, status: Literal["done", "refused"], text: str = "") -> None:
        self.writer.answer(command_id, status, text, self.learner.counters.step)
        self.recorder.hurry()

    def _drop_tasks(self) -> None:
        while self.tasks:
            self._answer(self.tasks.popleft().id, "done", "Interrupted.")

    def _set_paused(self, paused: bool) -> None:
        changed, self.paused = paused != self.paused, paused
        self.writer.set_meta(state="paused" if paused else "running", paused=paused)
        if not paused:
            self.pacer.restart()
        elif changed:
            self.recorder.checkpoint(self._not_yet())
            self.recorder.live(stepwise=True)
