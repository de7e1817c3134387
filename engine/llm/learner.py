"""What learners of action policies and of plan policies have in common.

The clock counts updates: one update samples a batch of episodes with the current policy and learns
from it, in `epochs` passes. Everything a learner draws comes from one explicit generator, and all
it needs to go on is in `state()`: adapters, Adam's moments, generator, estimates, best adapters.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.config.llm import LlmSettings
from engine.config.preset import LlmPreset
from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.learning.events import (
    AnyEvent,
    Evaluation,
    Live,
    Metric,
    Note,
    Policy,
    Step,
    Tuned,
    Update,
)
from engine.learning.learner import Counters, State
from engine.learning.tuning import tuned_settings
from engine.llm import loading
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.diagnosis import Diagnosis
from engine.llm.memory import words
from engine.llm.memory_use import gpu_memory_limit, memory_metrics
from engine.llm.optimizer import Optimizer, named, scheduled
from engine.llm.state import from_json, to_json, under, weights_under
from engine.llm.worlds import FIGURES, SPLITS, Split, WorldSet, make_sets, mean_of

GOOD_IN_A_ROW = 3
"""Evaluations that must reach `budget.success_rate` one after the other."""
TIMED = (
    "seconds_per_update",
    "seconds_sampling",
    "seconds_training",
    "tokens_per_second",
    "memory_gib",
    "gpu_memory_gib",
)
"""Metrics that depend on the machine and its load; all others depend on preset and seed alone."""


class LlmLearner(ABC):
    """Trains the adapters of one language model. See `engine.learning.learner.Learner`."""

    def __init__(self, preset: LlmPreset, algorithm: LlmAlgorithm) -> None:
        settings = preset.algorithm
        assert isinstance(settings, LlmSettings)
        self.preset, self.algorithm = preset, algorithm
        self.settings: Any = settings
        self.train, self.test = make_sets(preset.maze, settings.gamma)
        self.rng = np.random.default_rng(np.random.SeedSequence(preset.run.seed))
        self.clock = 0
        self.env_steps = 0
        self.episodes = 0
        self.good_in_a_row = 0
        self.tokens = 0
        """Tokens computed in this update: forward passes, backward counted twice."""
        self.best: dict[str, torch.Tensor] = {}
        self.best_figures: dict[str, Array] = {}
        self.frozen: dict[str, torch.Tensor] = {}
        """The adapters as they were when the map last changed, where those are the reference."""
        self.diagnosis = Diagnosis(preset, lambda: self.here)
        self.interrupted: Callable[[], bool] = lambda: False
        """Asked between micro-batches: whether somebody waits for the update to be put off."""
        self.yielded = False
        self.owed: list[Split] = []
        """Sets of mazes whose figures are due at this update and not computed yet."""
        self.say: Callable[[str], None] = lambda text: None
        self._stage = ""
        self._live_steps: tuple[Step, ...] = ()
        self._live_policy: Policy | None = None
        self._pending: State | None = None
        self.loaded: loading.Loaded | None = None

    # ------------------------------------------------------------ the model

    def preparation(self) -> str:
        model = self.preset.model
        return f"Loading {model.name} ({model.quantization}), which takes some seconds."

    def prepare(self) -> None:
        if self.loaded is None:
            model = self.preset.model
            lora = loading.LoraSettings(model.lora.rank, model.lora.alpha, model.lora.dropout)
            try:
                self.loaded = loading.load_model(
                    model.name,
                    model.quantization,
                    model.device,
                    lora,
                    seed=self.preset.run.seed,
                    progress=self._prepared_so_far,
                )
                weights = named(list(self.loaded.model.named_parameters()))
                self.optimizer = Optimizer(weights, scheduled(self.settings.learning_rate, 0))
                self.diagnosis.limits["gpu_memory_gib"] = gpu_memory_limit(self.loaded.device)
                self.ready()
            except torch.cuda.OutOfMemoryError as error:
                raise UserError(
                    f"The GPU's memory does not hold {model.name} ({model.quantization}); expected "
                    "a smaller model.name, model.quantization = 'nf4' or model.device = 'cpu'. "
                    f"`icemaze models` shows what fits. ({error})"
                ) from error
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self.load_model_state(pending)

    def _prepared_so_far(self, stage: str, done: int, total: int) -> None:
        """Say each stage of fetching once; how far it is changes too often."""
        if stage != self._stage and not stage.startswith("Loading"):
            self.say(f"{stage} ({words(total)})." if total > 1e6 else f"{stage}.")
        self._stage = stage

    @property
    def on(self) -> loading.Loaded:
        """The model, once it is loaded."""
        assert self.loaded is not None, "prepare() comes first"
        return self.loaded

    @abstractmethod
    def ready(self) -> None:
        """Build what needs the model."""

    # ------------------------------------------------------------ how far

    @property
    def counters(self) -> Counters:
        return Counters(
            step=self.clock,
            env_steps=self.env_steps,
            episodes=self.episodes,
            updates=self.clock,
            total_env_steps=self.env_steps,
        )

    @property
    def done(self) -> bool:
        limit = self.preset.budget.updates
        changes_to_come = any(step > self.clock for step in self.train.from_steps)
        return (limit is not None and self.clock >= limit) or (
            self.preset.budget.success_rate is not None
            and self.good_in_a_row >= GOOD_IN_A_ROW
            and not changes_to_come
        )

    @property
    def here(self) -> WorldSet:
        """The training mazes the figures are about: the set, or the one maze that holds now."""
        if not self.train.from_steps:
            return self.train
        return self.train.only(self.train.current(self.clock))

    @property
    def watched_episodes(self) -> int:
        return self.clock

    @property
    def token_budget(self) -> int:
        """Most tokens of one forward pass."""
        return self.preset.model.tokens_at_once(self.on.device.type)

    @property
    def warming_up(self) -> bool:
        """Whether the next update is a supervised one."""
        return self.preset.warmup is not None and self.clock < self.preset.warmup.updates

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        return self._rate_at(self.clock)

    @property
    def last_rate(self) -> float:
        """The learning rate of the update just made."""
        return self._rate_at(self.clock - 1)

    def _rate_at(self, clock: int) -> float:
        warmup = self.preset.warmup
        if warmup is not None and clock < warmup.updates:
            return warmup.learning_rate
        return scheduled(self.settings.learning_rate, clock)

    # ------------------------------------------------------------ going on

    def begin(self) -> list[AnyEvent]:
        events: list[AnyEvent] = [*self.train.events()]
        if self.test is not None:
            events += self.test.events()
        events.append(Note(step=0, level="info", text=self.on.reason, term="device"))
        return [*events, *self._guarded(self.first_look)]

    def conclude(self) -> list[AnyEvent]:
        return self._guarded(self.last_look)

    @abstractmethod
    def first_look(self) -> list[AnyEvent]:
        """What is to be said of the policy before the first update."""

    @abstractmethod
    def last_look(self) -> list[AnyEvent]:
        """What is to be said of the policy as the run's last word. It can be repeated."""

    def advance(self, limit: int) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        until = self.clock + limit
        self.yielded = False
        while (self.owed or self.clock < until) and not self.done and not self.yielded:
            if self.owed:
                events += self._guarded(self.pay)
            else:
                started, self.tokens = time.perf_counter(), 0
                events += self._guarded(partial(self.update, started))
        return events

    def _guarded(self, step: Callable[[], list[AnyEvent]]) -> list[AnyEvent]:
        """One step; when a GPU runs out of memory, once more with smaller micro-batches.

        A step that raises has undone what it did.
        """
        try:
            return step()
        except torch.cuda.OutOfMemoryError as error:
            note = self.make_room(error)
        try:
            return [note, *step()]
        except torch.cuda.OutOfMemoryError as error:
            raise self._too_large(error) from error

    def make_room(self, error: BaseException) -> Note:
        """Halve the micro-batches and say so. Raises UserError when that was done before."""
        torch.cuda.empty_cache()
        if not self.shrink():
            raise self._too_large(error) from error
        text = "The GPU ran out of memory: micro-batches are half as large from here on."
        return Note(step=self.clock, level="warning", text=text, term="micro-batch")

    def _too_large(self, error: BaseException) -> UserError:
        return UserError(
            f"The GPU ran out of memory after update {self.clock}, even with micro-batches of "
            "half the size; lower model.token_budget, algorithm.episodes or model.lora.rank, or "
            f"set model.quantization to 'nf4'. The last checkpoint is kept. ({error})"
        )

    @abstractmethod
    def update(self, started: float) -> list[AnyEvent]:
        """One update and what is to be said of it, or nothing when `yielded`.

        When memory runs out it raises, and has undone what it did.
        """

    def pay(self) -> list[AnyEvent]:
        """The first evaluation that is owed, or nothing when `yielded`."""
        raise NotImplementedError

    @abstractmethod
    def shrink(self) -> bool:
        """Halve the token budget; False when that was done before."""

    # ------------------------------------------------------------ saying what happened

    def update_event(self, metrics: dict[str, float], started: float) -> Update:
        """The update's own figures; those of one model have no band."""
        seconds = time.perf_counter() - started
        metrics = {
            **metrics,
            "learning_rate": self.last_rate,
            "seconds_per_update": seconds,
            "tokens_per_second": self.tokens / seconds,
            **memory_metrics(self.on.device),
        }
        return Update(
            step=self.clock,
            updates=self.clock,
            episodes=self.episodes,
            total_env_steps=self.env_steps,
            metrics={
                name: Metric(value, value, value, 0 if math.isnan(value) else 1)
                for name, value in metrics.items()
            },
        )

    def judged(
        self,
        worlds: WorldSet,
        figures: dict[str, Array],
        kind: Any = "exact",
        stderr: float = 0.0,
        more: dict[str, Metric] | None = None,
    ) -> Evaluation:
        """An evaluation on the training mazes: keeps the best adapters, counts towards the end."""
        success = mean_of(figures, "success_rate")
        if self._is_best(figures):
            self.best_figures = figures
            self.best = loading.copied_adapter(self.on.model)
        wanted = self.preset.budget.success_rate
        if wanted is not None:
            self.good_in_a_row = self.good_in_a_row + 1 if success >= wanted else 0
        shown = {**self._best_so_far(), **(more or {})}
        return worlds.evaluation(self.clock, figures, shown, kind, stderr)

    def _is_best(self, figures: dict[str, Array]) -> bool:
        if not self.best_figures:
            return True

        def rank(of: dict[str, Array]) -> tuple[float, float]:
            return mean_of(of, "success_rate"), mean_of(of, "expected_return")

        return rank(figures) > rank(self.best_figures)

    def _best_so_far(self) -> dict[str, Metric]:
        from engine.learning.summary import summarise

        return {f"best_{name}": summarise(self.best_figures[name]) for name in FIGURES}

    def seed_dropout(self, *place: int) -> None:
        """Make torch's own random numbers, which only dropout draws, a function of the place in the
        run: a resumed run drops the same."""
        entropy = np.random.SeedSequence([self.preset.run.seed, self.clock, *place])
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    def diagnosed(self, told: dict[str, float], success: float | None) -> list[Note]:
        """What there is to say about an update's metrics, with causes and remedies."""
        return self.diagnosis.notes(self.clock, {**told, **memory_metrics(self.on.device)}, success)

    def live(self, since: int) -> Live:
        counters = self.counters
        return Live(
            step=self.clock,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            steps=self._live_steps if self.clock > since or self.clock == 0 else (),
            policy=self._live_policy,
        )

    # ------------------------------------------------------------ changing

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        self.settings, shown = tuned_settings(self.settings, key, value)
        self.diagnosis.settings = self.settings
        return [Tuned(step=self.clock, key=key, value=shown)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        if not self.train.from_steps:
            raise UserError(
                "This run learns on a set of random mazes (maze.train), none of which is the one "
                "to edit; only the map of a run with a single maze can be changed while it runs."
            )
        if self.train.mazes[0].observation != "cell":
            raise UserError(
                "This maze cannot be edited while it runs: the agent sees only its neighbourhood, "
                "and a new map would bring observations the run has not numbered."
            )
        self.train = self.train.edited(rows, self.clock)
        return [self.train.event(len(self.train) - 1), *self.map_changed()]

    def map_changed(self) -> list[AnyEvent]:
        """Another map holds from here on: what was best on the last one is no measure for it."""
        if self.settings.kl_reference == "last_map":
            self.frozen = loading.copied_adapter(self.on.model)
        self.best, self.best_figures = {}, {}
        self.good_in_a_row = 0
        self.diagnosis.new_map()
        return []

    # ------------------------------------------------------------ saving

    def state(self) -> State:
        numbers = [self.clock, self.env_steps, self.episodes, self.good_in_a_row]
        state: State = {
            "counters": np.array(numbers, np.int64),
            "settings": to_json(self.settings),
            "rng": to_json(self.rng.bit_generator.state),
            "diagnosis": self.diagnosis.save(),
            "owed": np.array([SPLITS.index(split) for split in self.owed], np.int64),
            **self.optimizer.state("policy"),
            **{f"best.{name}": weight.numpy() for name, weight in self.best.items()},
            **{f"best_figures.{name}": values for name, values in self.best_figures.items()},
            **{f"frozen.{name}": weight.numpy() for name, weight in self.frozen.items()},
        }
        if self.train.from_steps:
            state["worlds"] = self.train.save()
        return {**state, **self.own_state()}

    def load(self, state: State) -> None:
        self.clock, self.env_steps, self.episodes, self.good_in_a_row = (
            int(n) for n in state["counters"]
        )
        self.settings = from_json(state["settings"], type(self.settings))
        self.rng.bit_generator.state = from_json(state["rng"], dict)
        self.diagnosis.load(state["diagnosis"])
        self.diagnosis.settings = self.settings
        # Checkpoints of older versions owe nothing.
        self.owed = [SPLITS[n] for n in state.get("owed", ())]
        self.best, self.frozen = (weights_under(state, prefix) for prefix in ("best.", "frozen."))
        # Checkpoints of older versions have no worlds: theirs are those of the preset.
        if "worlds" in state and not np.array_equal(state["worlds"], self.train.save()):
            self.train = self.train.loaded(state["worlds"])
            self.use_worlds()
        self.best_figures = under(state, "best_figures.")
        self._pending = state
        if self.loaded is not None:
            self.prepare()

    def load_model_state(self, state: State) -> None:
        """What of a checkpoint belongs to the model."""
        self.optimizer.load(state, "policy")
        self.load_own_state(state)

    def use_worlds(self) -> None:
        """Make anew what depends on the training worlds, after those of a checkpoint came."""
        self._live_policy = None

    @abstractmethod
    def own_state(self) -> State:
        """What the policy form needs besides."""

    @abstractmethod
    def load_own_state(self, state: State) -> None:
        """The inverse of `own_state`."""

    def export(self, folder: Path) -> None:
        """Write the best adapters (before the first evaluation, those there are) as a standard PEFT
        folder."""
        loading.save_adapter(self.on, folder, self.best or None, self.algorithm.name)

    def with_best(self) -> Any:
        """Inside, the model has its best adapters."""
        return loading.exchanged(self.on.model, self.best)
