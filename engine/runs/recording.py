"""When a session writes: what goes to disk at once, and what waits until it is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from engine.learning.events import AnyEvent, Note, Update
from engine.learning.learner import AskingLearner, HeavyLearner, Learner, State
from engine.runs import checkpoints
from engine.runs.custom_algorithm import Teller
from engine.runs.disk.full_disk import PatientDisk
from engine.runs.machine.sampler import MachineSampler
from engine.runs.notify.notifier import Notifier
from engine.runs.pacing import Clock, Stopwatch
from engine.runs.past.kept import Keeper
from engine.runs.store import LIVE_STEPS, RunWriter

CHECKPOINT_SECONDS = 2.0
"""Least time between checkpoints, which are taken at recording points, …"""
PATIENCE_SECONDS = 30.0
"""… or anywhere, when no recording point came for so long."""
COMMIT_SECONDS = 0.2
TIME_SECONDS = 1.0
"""Between two commits of a run that has nothing new but its age: each makes who watches read."""
LIVE_SECONDS = 0.25
STEPWISE_LIVE_SECONDS = 0.05
FULL_SPEED_LIVE_STEPS = 300
"""At full speed nobody can read more steps than these at a time, so no more are decoded."""
ADAPTER = "adapter"
"""Where a run keeps what others can use of it: the best adapters of a language model."""
NO_END = 2**62
"""More steps than any run does."""
KEEP_SECONDS = 0.01
"""What keeping a state costs is taken for this, until one was kept."""
OVERHEAD = 50
"""Checkpoints and live batches that take t seconds are at least 50·t seconds apart."""


def waiting(learner: Learner) -> int:
    """For how many answers a learner waits."""
    return learner.waiting if isinstance(learner, AskingLearner) else 0


class Recorder:
    """Writes what one learner says, and its state, at the right moments.

    Whatever the moments, the record itself is the same: they depend on the clock, it does not.
    """

    def __init__(
        self,
        writer: RunWriter,
        learner: Learner,
        clock: Clock,
        stopwatch: Stopwatch,
        disk: PatientDisk,
        teller: Teller,
        keeper: Keeper,
    ) -> None:
        self.writer, self.learner, self.teller = writer, learner, teller
        self.keeper = keeper
        self.clock, self.stopwatch, self.disk = clock, stopwatch, disk
        self.notifier = Notifier(writer.run_dir, str(writer.meta("title", "")))
        self._told = int(writer.meta("notified", -1))
        """The newest step whose warnings were told: a resumed run comes to them again."""
        self.machine = MachineSampler(clock)
        self._at_point = False
        self._urgent = False
        self._commit_time = self._live_time = self._checkpoint_time = clock()
        self._keep_time, self._keep_cost = clock(), KEEP_SECONDS
        self._live_cost = self._checkpoint_cost = 0.0
        self._live_step = max(0, learner.counters.step - FULL_SPEED_LIVE_STEPS)

    def take(self, events: list[AnyEvent]) -> None:
        """Record events with one of the next commits."""
        self.writer.write([self.teller.tell(event) for event in events])
        for event in events:
            if isinstance(event, Note) and event.level == "warning":
                self._notify(event)
        self._at_point = self._at_point or any(isinstance(event, Update) for event in events)

    def _notify(self, note: Note) -> None:
        """Tell the user of a warning, once."""
        if note.step > self._told:
            self.notifier.tell("diagnosis", note.step, note.text, note.remedy)
            self.writer.set_meta(notified=note.step)

    def hurry(self) -> None:
        """Commit at the next opportunity: somebody waits for it."""
        self._urgent = True

    def live(self, stepwise: bool) -> None:
        """Write the live edge. `stepwise`: somebody is watching every single step."""
        started, step = self.clock(), self.learner.counters.step
        kept = LIVE_STEPS if stepwise else FULL_SPEED_LIVE_STEPS
        live = self.learner.live(max(self._live_step, step - kept))
        self.writer.write_live(self.teller.tell(live))
        self._live_time, self._live_step = self.clock(), step
        self._live_cost = self._live_time - started
        self._urgent = self._urgent or stepwise

    def checkpoint(self, not_yet: Iterable[int] = (), *, first: bool = False) -> None:
        """Save the learner's state together with everything taken so far."""
        started = self.clock()
        counters, state = self.learner.counters, self.learner.state()
        if isinstance(self.learner, HeavyLearner):
            state = self._save_folder(counters.step, state, first)
            if counters.step >= self.keeper.due:
                self.keeper.keep(counters, state)  # the same folder, named by a second row
        self.export()
        self.writer.save_checkpoint(counters, state, first=first, not_yet=not_yet)
        self._checkpoint_time = self.clock()
        self._checkpoint_cost = self._checkpoint_time - started
        self._at_point = False
        self._urgent = True

    def export(self) -> None:
        """Put what others can use of the result, if there is such, into the run's folder."""
        if isinstance(self.learner, HeavyLearner):
            folder, export = self.writer.run_dir / ADAPTER, self.learner.export
            self._write(lambda: checkpoints.replace_folder(folder, export))

    def _save_folder(self, step: int, state: State, first: bool) -> State:
        named: State = {}
        run_dir = self.writer.run_dir
        self._write(
            lambda: named.update(checkpoints.save_folder(run_dir, step, state, first=first))
        )
        return named

    def _write(self, carry_out: Callable[[], None]) -> None:
        """Write now, or as soon as the disk allows."""
        self.disk.write(carry_out, self.learner.counters.step)

    def commit(self) -> None:
        """Write everything taken, and where the run stands."""
        self.writer.write_machine(self.machine, self.learner.counters.step)
        self.writer.set_meta(
            counters=msgspec.to_builtins(self.learner.counters),
            watched_episodes=self.learner.watched_episodes,
            seconds=self.stopwatch.seconds,
            waiting=waiting(self.learner),
        )
        self._write(self.writer.commit)
        self._commit_time, self._urgent = self.clock(), False
        if isinstance(self.learner, HeavyLearner):
            checkpoints.remove_unnamed(self.writer.run_dir, self.writer.connection)

    def write_what_is_due(self, *, stepwise: bool, not_yet: Iterable[int]) -> None:
        """Called at every tick."""
        now = self.clock()
        live_wait = STEPWISE_LIVE_SECONDS if stepwise else LIVE_SECONDS
        moved = self.learner.counters.step != self._live_step
        if moved and now - self._live_time >= max(live_wait, OVERHEAD * self._live_cost):
            self.live(stepwise)
        if self._checkpoint_is_due(now):
            self.checkpoint(not_yet)
        self._keep()
        wait = COMMIT_SECONDS if self.writer.has_rows else TIME_SECONDS
        if self._urgent or now - self._commit_time >= wait:
            self.commit()

    def before_keeping(self) -> int:
        """How many steps the learner may do until its state is to be kept."""
        if isinstance(self.learner, HeavyLearner):  # of it one of those written anyway is kept
            return NO_END
        return max(1, self.keeper.due - self.learner.counters.step)

    def _keep(self) -> None:
        """Keep the state of a table learner, which costs milliseconds, where it is due."""
        counters = self.learner.counters
        heavy = isinstance(self.learner, HeavyLearner)
        if heavy or counters.step < self.keeper.due or self.learner.done:
            return
        started = self.clock()
        soon = started - self._keep_time < OVERHEAD * self._keep_cost
        if not (soon and self.keeper.put_off()):
            self.keeper.keep(counters, self.learner.state())
            self._keep_time = self.clock()
            self._keep_cost = self._keep_time - started

    def _checkpoint_is_due(self, now: float) -> bool:
        age = now - self._checkpoint_time
        wait = CHECKPOINT_SECONDS if self._at_point else PATIENCE_SECONDS
        return age >= max(wait, OVERHEAD * self._checkpoint_cost)
