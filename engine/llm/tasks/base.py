"""A task is what a model is trained to do: to choose moves in cells, write routes, or write text.

The learner (`engine.llm.learner`) has the loop that all tasks share: collect, score, epochs ×
micro-batches, report. A task says what that is in its world: how a batch is sampled, what an update
minimises, what the policy is worth, and which events tell of it.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

from engine.config.llm import LlmSettings, scheduled
from engine.config.preset import LlmPreset
from engine.core import phase
from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Evaluation, Metric
from engine.learning.learner import State
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.algorithms.losses import Sums
from engine.llm.diagnosis.evidence import Rule
from engine.llm.diagnosis.rules import RULES
from engine.llm.forward.agreement import Agreement
from engine.llm.forward.interruption import Interrupted, give_way, never
from engine.llm.forward.value_head import ValueHead
from engine.llm.models.loading import Loaded
from engine.llm.passes import Budgeted, Extent
from engine.llm.worlds import Split, WorldSet


@dataclass(eq=False)
class RunState:
    """Where a run stands: the learner changes it, its task reads it."""

    preset: LlmPreset
    algorithm: LlmAlgorithm[LlmSettings]
    settings: LlmSettings
    """The algorithm's settings as they are now: some can be tuned."""
    train: WorldSet
    test: WorldSet | None
    rng: np.random.Generator
    clock: int = 0
    """Updates made."""
    episodes: int = 0
    env_steps: int = 0
    tokens: int = 0
    """Tokens computed in this update: forward passes, backward counted twice."""
    seconds_sampling: float = 0.0
    """Seconds of this update spent on episodes or completions."""
    reference: dict[str, Tensor] = field(default_factory=dict)
    """Adapters of the reference policy: as they were when the map last changed, where settings want
    that; empty for the base model."""
    interrupted: Interrupted = never

    def give_way(self) -> None:
        """Raise PutOffError when somebody waits."""
        give_way(self.interrupted)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Inside, seconds count as spent on sampling."""
        started = time.perf_counter()
        try:
            with phase.during("sampling"):
                yield
        finally:
            self.seconds_sampling += time.perf_counter() - started

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        return self.preset.run.seed

    @property
    def current_worlds(self) -> WorldSet:
        """The training mazes the figures are about: the set, or the one maze that holds now."""
        if not self.train.from_steps:
            return self.train
        return self.train.only(self.train.current(self.clock))

    def optimum(self) -> float:
        """Mean success of the best policies in `current_worlds`; solved when first asked."""
        return float(np.mean([best.success_rate for best in self.current_worlds.optima]))

    @property
    def warming_up(self) -> bool:
        """Whether the next update is a supervised one."""
        return self.preset.warmup is not None and self.clock < self.preset.warmup.updates

    @property
    def entropy(self) -> float:
        """The weight of the entropy bonus in the next update."""
        return scheduled(self.settings.entropy, self.clock)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self._rate_at(self.clock)

    @property
    def last_learning_rate(self) -> float:
        """The learning rate of the update just made."""
        return self._rate_at(self.clock - 1)

    @property
    def value_learning_rate(self) -> float:
        """The learning rate of the value head, where there is one."""
        critic = self.algorithm.critic(self.settings)
        return critic.learning_rate if critic else 0.0

    def _rate_at(self, clock: int) -> float:
        warmup = self.preset.warmup
        if warmup is not None and clock < warmup.updates:
            return warmup.learning_rate
        return scheduled(self.settings.learning_rate, clock)


# ---------------------------------------------------------------- an update


class PartLoss(NamedTuple):
    """The loss of a micro-batch, its share of the batch's, with its graph."""

    policy: Tensor
    value: Tensor | None
    """Loss of the value head, where there is one."""
    sums: Sums

    @property
    def total(self) -> Tensor:
        """What to call `backward` on."""
        return self.policy if self.value is None else self.policy + self.value

    def detached(self) -> PartFigures:
        """The same without the graph."""
        value = 0.0 if self.value is None else float(self.value.detach())
        return PartFigures(float(self.policy.detach()), value, self.sums)


class PartFigures(NamedTuple):
    """What a micro-batch adds to the figures of its batch."""

    loss: float
    value_loss: float
    sums: Sums


class Batch(Protocol):
    """The episodes or completions that an update learns from."""

    @property
    def episodes(self) -> int:
        """How many were sampled for it, those included that were left out."""

    @property
    def env_steps(self) -> int:
        """Moves made in them."""


B = TypeVar("B", bound=Batch)


class Objective(ABC, Generic[B]):
    """What one update minimises, cut into micro-batches at will.

    All weights and advantages come from the whole batch beforehand; the loss of a part is its share
    of the batch's, so the shares add up. All parts are gone through once before the first step.
    """

    batch: B | None
    """None for a supervised update."""
    epochs: int
    """How often the update goes over all parts."""

    @abstractmethod
    def parts(self) -> list[list[int]]:
        """The rows of the batch in micro-batches that fit the token budget."""

    @abstractmethod
    def loss(self, part: Sequence[int]) -> PartLoss:
        """A forward pass through some rows, and their loss."""

    @abstractmethod
    def metrics(self, figures: list[PartFigures], gradient_norm: float) -> dict[str, float]:
        """The update's metrics, by the figures of its last epoch."""


O = TypeVar("O", bound=Objective[Any])  # noqa: E741 (an objective)

# ---------------------------------------------------------------- what a policy is worth


@dataclass(frozen=True, eq=False)
class Measured:
    """What the policy is worth in the mazes of a set, by figures [W]."""

    worlds: WorldSet
    figures: dict[str, Array]
    kind: Literal["exact", "sampled"] = "exact"
    stderr: float = 0.0
    """Standard error of the success rate, if sampled."""
    more: dict[str, Metric] = field(default_factory=dict)

    def beside(self, best: Measured) -> Measured:
        """The same, with the figures of the best adapters, which have the error that is told."""
        figures = {f"best_{name}": values for name, values in best.figures.items()}
        return replace(self, figures={**self.figures, **figures}, stderr=best.stderr)

    def evaluation(self, step: int, more: dict[str, Metric] | None = None) -> Evaluation:
        """The figures as an event."""
        shown = {**(more or {}), **self.more}
        return self.worlds.evaluation(step, self.figures, shown, self.kind, self.stderr)


class Task(ABC, Generic[B, O]):
    """What a model is trained to do. `O` is the objective of an update, made from a batch `B`."""

    rules: ClassVar[tuple[Rule, ...]] = RULES
    """What to watch for in its metrics."""
    note: str | None
    """Why the model's passes are not packed; None where they are."""

    def __init__(self, run: RunState) -> None:
        self.run = run
        self.base_figures: dict[str, float] = {}
        """Figures of the untouched model, for the diagnosis to compare with."""

    # ------------------------------------------------------------ the model

    @abstractmethod
    def ready(self, loaded: Loaded, value_head: ValueHead | None) -> None:
        """Build what needs the model. Raises UserError for settings under which nothing can be
        learned with it."""

    @abstractmethod
    def agreement(self) -> Agreement:
        """How far a packed pass is from the model's own, for a few prompts; where nothing is
        packed, whether what the model says is finite."""

    def asked(self) -> dict[str, Any]:
        """What the model is asked, text and tokens, for those who use the adapters elsewhere: the
        prompts of the first training maze, or all requests for text."""
        return {}

    @property
    @abstractmethod
    def policies(self) -> Sequence[Budgeted]:
        """All policies that make passes."""

    @abstractmethod
    def extent(self, training: bool = False) -> Extent:
        """Tokens of the sequences that go through the model, or the most they can have; with
        `training`, of those that an update learns from."""

    def forget_passes(self) -> None:
        """Drop what was computed in passes of another size."""

    # ------------------------------------------------------------ an update

    def begin(self) -> None:
        """Before the first update."""

    def refresh(self) -> None:
        """Look at the policy as the last update left it. It can be repeated."""

    @abstractmethod
    def collect(self) -> B:
        """Sample the episodes or completions of the next update."""

    @abstractmethod
    def score(self, batch: B) -> O:
        """Compare them (advantages, or by a value head): what the update minimises. Raises
        PutOffError."""

    def warm_start(self) -> O:
        """What a supervised update minimises."""
        raise AssertionError("nothing is known that could be shown")

    def undo(self) -> None:
        """Forget what an update that was given up has used up."""

    def accept(self, objective: O) -> None:
        """Take over what an update brought besides weights; the clock has moved on already."""

    # ------------------------------------------------------------ what is said

    def notes(self) -> list[AnyEvent]:
        """What is to be known beforehand."""
        return []

    @abstractmethod
    def initial_events(self) -> list[AnyEvent]:
        """The policy before the first update, behind its evaluations."""

    @abstractmethod
    def events(self, objective: O) -> list[AnyEvent]:
        """The policy and the batch of the update just made."""

    @abstractmethod
    def final_events(self) -> list[AnyEvent]:
        """The policy as the run's last word. They can be repeated."""

    # ------------------------------------------------------------ evaluating

    def evaluate_now(self) -> list[Measured]:
        """The evaluations that are made at this update, at once."""
        return []

    def due(self) -> list[Split]:
        """The sets that are due at this update, and take long: they are evaluated one by one."""
        return []

    def evaluate(self, split: Split) -> Measured:
        """One of those. Raises PutOffError."""
        raise AssertionError(f"{split}: nothing was due")

    def final_choice(self) -> Measured | None:
        """Figures of the newest adapters by which these may still become the best."""
        return None

    @property
    def final_splits(self) -> tuple[Split, ...]:
        """The sets in which the newest and the best adapters are compared in the end."""
        return ()

    def final_figures(self, split: Split) -> Measured:
        """What the adapters that the model has now are worth in one of those."""
        raise AssertionError(f"{split}: there are no such mazes")

    # ------------------------------------------------------------ changing

    def check_edit(self) -> None:
        """Raise UserError where the map cannot be changed while the run goes on."""
        train = self.run.train
        if not train.from_steps:
            raise UserError(
                "This run learns on a set of random mazes (maze.train), none of which is the one "
                "to edit; only the map of a run with a single maze can be changed while it runs."
            )
        if train.mazes[0].observation != "cell":
            raise UserError(
                "This maze cannot be edited while it runs: the agent sees only its neighbourhood, "
                "and a new map would bring observations the run has not numbered."
            )

    def map_changed(self) -> None:
        """Another map holds from here on; there may be one world more."""

    def reload_worlds(self) -> None:
        """Make anew what depends on the training worlds, after those of a checkpoint came."""

    @property
    def waiting(self) -> int:
        """For how many answers it waits before it can go on."""
        return 0

    def ask(self) -> list[AnyEvent]:
        """What somebody is asked after an update."""
        return []

    def answer(
        self, pair: int, choice: str, scores: tuple[float, float] | None = None
    ) -> list[AnyEvent]:
        """Take an answer, perhaps typed as two marks. Raises UserError."""
        raise UserError("This run asks nobody for preferences: its reward is computed.")

    # ------------------------------------------------------------ saving

    def state(self) -> State:
        """What it needs to go on, besides what the learner saves."""
        return {}

    def load(self, state: State) -> None:
        """Go on from `state`; the model may not be there yet."""


AnyTask = Task[Any, Any]


def finite(log_probs: Tensor) -> Agreement:
    """What is known of a model whose passes are not packed: whether what it says is finite."""
    return Agreement(0.0 if bool(log_probs.isfinite().all()) else math.nan)
