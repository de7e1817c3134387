"""The learner of language models: one loop for all tasks, whatever the model is trained to do.

The clock counts updates. An update is: collect (sample episodes or completions with the current
policy), score (compare them: advantages, or a value head's), `epochs` passes over all micro-batches
with one step of Adam after each, report. What a batch is, and what it is compared by, is the task's
(`engine.llm.tasks`); which objective follows, the algorithm's (`engine.llm.algorithms`).

Everything a learner draws comes from one explicit generator or from streams numbered by the clock,
and all it needs to go on is in `state()`: adapters, Adam's moments, generator, the task's own, best
adapters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.config.llm import LlmSettings
from engine.config.preset import LlmPreset
from engine.learning.events import AnyEvent, Episode, Live, Note, Policy, Step, Tuned
from engine.learning.learner import Counters, State
from engine.learning.tuning import tuned_settings
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.diagnosis.monitor import Diagnosis
from engine.llm.evaluator import Evaluator
from engine.llm.forward.interruption import Interrupted, PutOffError
from engine.llm.memory_guard import MemoryGuard
from engine.llm.models import adapters, loading
from engine.llm.models.memory_use import gpu_memory_limit, is_out_of_memory, memory_metrics
from engine.llm.optimizer import Optimizers
from engine.llm.passes import Passes
from engine.llm.preparation import prepare
from engine.llm.state import from_json, to_json, weights_under
from engine.llm.tasks.base import AnyTask, Objective, PartFigures, RunState
from engine.llm.tasks.recorded import update_event
from engine.llm.worlds import make_sets


@dataclass(frozen=True, eq=False)
class Learned:
    """An update that was made, of which nothing has been reported yet."""

    objective: Objective[Any]
    metrics: dict[str, float]
    seconds_training: float


class LlmLearner:
    """Trains the adapters of one language model. See `engine.learning.learner.Learner`."""

    optimizers: Optimizers

    def __init__(
        self,
        preset: LlmPreset,
        algorithm: LlmAlgorithm[LlmSettings],
        task: type[AnyTask],
    ) -> None:
        settings = preset.algorithm
        assert isinstance(settings, LlmSettings)
        self.preset, self.algorithm = preset, algorithm
        train, test = make_sets(preset.maze, settings.gamma)
        rng = np.random.default_rng(np.random.SeedSequence(preset.run.seed))
        self.run = RunState(preset, algorithm, settings, train, test, rng)
        self.task = task(self.run)
        self.diagnosis = Diagnosis(preset, algorithm, self.run.optimum, self.task.rules)
        self.evaluator = Evaluator(self.run, self.task, self.diagnosis)
        self.passes = Passes(preset.model, self.task)
        self.memory = MemoryGuard(self.passes, lambda: self.run.clock)
        self.yielded = False
        self.notify: Callable[[str], None] = lambda text: None
        self.loaded: loading.Loaded | None = None
        self._learned: Learned | None = None
        self._pending_state: State | None = None
        self._live_steps: tuple[Step, ...] = ()
        self._live_policy: Policy | None = None

    # ------------------------------------------------------------ the model

    def preparation(self) -> str:
        model = self.preset.model
        return f"Loading {model.name} ({model.quantization}), which takes some seconds."

    def prepare(self) -> None:
        if self.loaded is None:
            self.loaded, self.optimizers = prepare(self.run, self.task, self.notify)
            self.evaluator.loaded = self.loaded
            self.passes.choose(self.loaded)
            self.diagnosis.limits["gpu_memory_gib"] = gpu_memory_limit(self.loaded.device)
        if self._pending_state is not None:
            self.optimizers.load(self._pending_state)
            self.passes.load(self._pending_state)
            self._pending_state = None

    @property
    def model(self) -> loading.Loaded:
        """The model, once it is loaded."""
        assert self.loaded is not None, "prepare() comes first"
        return self.loaded

    # ------------------------------------------------------------ how far

    @property
    def interrupted(self) -> Interrupted:
        """Asked between micro-batches: whether somebody waits for the update to be put off."""
        return self.run.interrupted

    @interrupted.setter
    def interrupted(self, asked: Interrupted) -> None:
        self.run.interrupted = asked

    @property
    def counters(self) -> Counters:
        return Counters(
            step=self.run.clock,
            env_steps=self.run.env_steps,
            episodes=self.run.episodes,
            updates=self.run.clock,
            total_env_steps=self.run.env_steps,
        )

    @property
    def waiting(self) -> int:
        """For how many answers it waits."""
        return self.task.waiting

    @property
    def done(self) -> bool:
        if self.waiting:
            return False
        budget, clock = self.preset.budget, self.run.clock
        changes_to_come = any(step > clock for step in self.run.train.from_steps)
        return (budget.updates is not None and clock >= budget.updates) or (
            self.evaluator.good_enough and not changes_to_come
        )

    @property
    def watched_episodes(self) -> int:
        return self.run.clock

    # ------------------------------------------------------------ going on

    def begin(self) -> list[AnyEvent]:
        events: list[AnyEvent] = [*self.run.train.events()]
        if self.run.test is not None:
            events += self.run.test.events()
        events.append(Note(step=0, level="info", text=self.model.reason, term="device"))
        if self.passes.note is not None:
            events.append(Note(step=0, level="info", text=self.passes.note, term="micro-batch"))
        self.task.begin()
        return self._shown([*events, *self._guarded(self.initial_report)])

    def conclude(self) -> list[AnyEvent]:
        return self._shown(self._guarded(self.final_report))

    def advance(self, limit: int) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        until = self.run.clock + limit
        self.yielded = False
        while not self.done and not self.yielded:
            if self.evaluator.pending:
                events += self._guarded(self.evaluator.run_pending)
            elif self.run.clock < until:
                self.run.tokens, self.run.seconds_sampling = 0, 0.0
                events += self._guarded(partial(self.update, time.perf_counter()))
            else:
                break
        return self._shown(events)

    def _guarded(self, step: Callable[[], list[AnyEvent]]) -> list[AnyEvent]:
        """The events of a step; nothing when somebody waits, for whom it is put off."""

        def attempt() -> list[AnyEvent]:
            try:
                return step()
            except PutOffError:
                self.yielded = True
                return []

        return self.memory.run(attempt)

    # ------------------------------------------------------------ an update

    def update(self, started: float) -> list[AnyEvent]:
        """One update: collect, score, epochs × micro-batches, report.

        It happens wholly or not at all: put off or out of memory, it raises and has left no trace.
        If memory ends while it is reported, only the report is made again.
        """
        run, task = self.run, self.task
        if self._learned is None:
            with self._all_or_nothing():
                batch = None if run.warming_up else task.collect()
                sampled = time.perf_counter()
                objective = task.warm_start() if batch is None else task.score(batch)
                parts = list(enumerate(objective.parts()))
                for epoch in range(objective.epochs):
                    figures = [self._backward(objective, part, epoch, n) for n, part in parts]
                    gradient_norm = self.optimizers.step(
                        run.learning_rate, run.settings.max_grad_norm, run.value_learning_rate
                    )
            seconds = time.perf_counter() - sampled
            self._learned = Learned(objective, objective.metrics(figures, gradient_norm), seconds)
            self._move_on(objective)
        events = self._report(self._learned, started)
        self._learned = None
        return events

    def _backward(
        self, objective: Objective[Any], part: list[int], epoch: int, n: int
    ) -> PartFigures:
        """Forward and backward through micro-batch `n`; gradients gather in the parameters."""
        if epoch or n:
            self.run.give_way()
        self._seed_dropout(epoch, n)
        loss = objective.loss(part)
        loss.total.backward()  # type: ignore[no-untyped-call]
        return loss.detached()

    def _seed_dropout(self, epoch: int, n: int) -> None:
        """Make torch's own random numbers, which only dropout draws, a function of the place in the
        run: a resumed run drops the same."""
        entropy = np.random.SeedSequence([self.run.seed, self.run.clock, epoch, n])
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Inside, an update that is put off or runs out of memory is undone, and raises."""
        numbers = self.run.rng.bit_generator.state
        # With one pass the weights change at its very end, and need no copy.
        weights = self.optimizers.state() if self.run.settings.epochs > 1 else {}
        try:
            yield
        except (PutOffError, RuntimeError) as error:
            if not (isinstance(error, PutOffError) or is_out_of_memory(error)):
                raise
            self.optimizers.zero()
            if weights:
                self.optimizers.load(weights)
            self.run.rng.bit_generator.state = numbers
            self.task.undo()
            raise

    def _move_on(self, objective: Objective[Any]) -> None:
        """The update is made."""
        run = self.run
        run.clock += 1
        if objective.batch is not None:
            run.episodes += objective.batch.episodes
            run.env_steps += objective.batch.env_steps
        steps = run.train.from_steps
        if steps and run.train.current(run.clock) != run.train.current(run.clock - 1):
            self._change_map()
        self.task.accept(objective)

    # ------------------------------------------------------------ reporting

    def initial_report(self) -> list[AnyEvent]:
        """The policy before the first update. It can be repeated."""
        self.task.refresh()
        notes = self.task.notes()
        if self.task.note:
            packing = Note(step=0, level="info", text=self.task.note, term="packed-pass")
            notes = [packing, *notes]
        return [*notes, *self.evaluator.evaluate(), *self.task.initial_events()]

    def _report(self, learned: Learned, started: float) -> list[AnyEvent]:
        """What the update did, what the policy has become, and what there is to say about it."""
        run, task, memory = self.run, self.task, memory_metrics(self.model.device)
        task.refresh()
        evaluations, asked = self.evaluator.evaluate(), task.ask()
        seconds = time.perf_counter() - started
        metrics = {
            **learned.metrics,
            "seconds_sampling": run.seconds_sampling,
            "seconds_training": learned.seconds_training,
        }
        speed = {
            "learning_rate": run.last_learning_rate,
            "seconds_per_update": seconds,
            "tokens_per_second": run.tokens / seconds,
        }
        success = [e.figures["success_rate"].mean for e in evaluations if e.split == "train"]
        watched = {**metrics, **task.base_figures, **memory}
        return [
            update_event(run, {**metrics, **speed, **memory}),
            *evaluations,
            *task.events(learned.objective),
            *self.diagnosis.notes(run.clock, watched, success[-1] if success else None),
            *asked,
        ]

    def final_report(self) -> list[AnyEvent]:
        """The run's last word. It can be repeated."""
        return [*self.evaluator.compare(), *self.task.final_events()]

    # ------------------------------------------------------------ what is shown live

    def _shown(self, events: list[AnyEvent]) -> list[AnyEvent]:
        """The same, of which the newest policy and episode are what is shown live."""
        for event in events:
            if isinstance(event, Policy):
                self._live_policy = event
            elif isinstance(event, Episode):
                self._live_steps = event.steps
        return events

    def live(self, since: int) -> Live:
        counters = self.counters
        return Live(
            step=counters.step,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            steps=self._live_steps if counters.step > since or counters.step == 0 else (),
            policy=self._live_policy,
        )

    # ------------------------------------------------------------ changing

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        settings, shown = tuned_settings(self.run.settings, key, value)
        assert isinstance(settings, LlmSettings)
        self.run.settings = self.diagnosis.settings = settings
        return [Tuned(step=self.run.clock, key=key, value=shown)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        self.task.check_edit()
        train = self.run.train = self.run.train.edited(rows, self.run.clock)
        self._change_map()
        return self._shown([train.event(len(train) - 1), *self.memory.run(self._first_look)])

    def _first_look(self) -> list[AnyEvent]:
        """What the policy does on a map that it has not seen. It can be repeated."""
        self.task.refresh()
        return self.task.initial_events()

    def _change_map(self) -> None:
        """Another map holds from here on: what was best on the last one is no measure for it."""
        if self.run.settings.kl_reference == "last_map":
            self.run.reference = adapters.copied_adapter(self.model.model)
        self.evaluator.forget()
        self.diagnosis.new_map()
        self.task.map_changed()

    def prefer(self, pair: int, choice: str) -> list[AnyEvent]:
        """Take an answer about a pair. Raises UserError."""
        return self.task.answer(pair, choice)

    def score(self, pair: int, scores: tuple[float, float]) -> list[AnyEvent]:
        """Take an answer typed as two marks. Raises UserError."""
        first, second = scores
        choice = "tie" if first == second else "first" if first > second else "second"
        return self.task.answer(pair, choice, scores)

    # ------------------------------------------------------------ saving

    def state(self) -> State:
        run = self.run
        numbers = [run.clock, run.env_steps, run.episodes, self.evaluator.good_in_a_row]
        return {
            "counters": np.array(numbers, np.int64),
            "settings": to_json(run.settings),
            "rng": to_json(run.rng.bit_generator.state),
            "diagnosis": self.diagnosis.save(),
            **self.optimizers.state(),
            **self.passes.state(),
            **self.evaluator.state(),
            **{f"frozen.{name}": weight.numpy() for name, weight in run.reference.items()},
            **({"worlds": run.train.save()} if run.train.from_steps else {}),
            **self.task.state(),
        }

    def load(self, state: State) -> None:
        run = self.run
        run.clock, run.env_steps, run.episodes, self.evaluator.good_in_a_row = (
            int(n) for n in state["counters"]
        )
        run.settings = from_json(state["settings"], type(run.settings))
        run.rng.bit_generator.state = from_json(state["rng"], dict)
        run.reference = weights_under(state, "frozen.")
        self.diagnosis.load(state["diagnosis"])
        self.diagnosis.settings = run.settings
        self.evaluator.load(state)
        # Checkpoints of older versions have no worlds: theirs are those of the preset.
        if "worlds" in state and not np.array_equal(state["worlds"], run.train.save()):
            run.train = run.train.loaded(state["worlds"])
            self._live_policy = None
            if self.loaded is not None:
                self.task.reload_worlds()
        self.task.load(state)
        self._learned = None
        self._pending_state = state
        if self.loaded is not None:
            self.prepare()

    def export(self, folder: Path) -> None:
        """Write the best adapters (before the first evaluation, those there are) as a standard PEFT
        folder."""
        adapters.save_adapter(
            self.model,
            folder,
            self.evaluator.best.weights or None,
            self.algorithm.name,
            self.task.asked(),
        )
