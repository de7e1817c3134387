"""The evaluations of a run: what they cost decides when they are made, and the best is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engine.core import phase
from engine.core.arrays import Array
from engine.learning.events import AnyEvent, Evaluation, Metric
from engine.learning.learner import State
from engine.learning.summary import summarise
from engine.llm.diagnosis.monitor import Diagnosis
from engine.llm.models import adapters
from engine.llm.models.loading import Loaded
from engine.llm.state import under, weights_under
from engine.llm.tasks.base import AnyTask, Measured, RunState
from engine.llm.worlds import FIGURES, SPLITS, Split, mean_of

GOOD_IN_A_ROW = 3
"""Evaluations that must reach `budget.success_rate` one after the other."""


class BestAdapters:
    """Weights by the names of `adapters.adapter_weights`, and the figures they reached; both are
    empty before the first evaluation."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        self.figures: dict[str, Array] = {}

    def offer(self, loaded: Loaded, figures: dict[str, Array]) -> None:
        """Keep the model's adapters if the `figures` they reached are the best: by success, then by
        return."""
        if not self.figures or _rank(figures) > _rank(self.figures):
            self.figures = figures
            self.weights = adapters.copied_adapter(loaded.model)

    def forget(self) -> None:
        """What was best is no measure any more."""
        self.weights, self.figures = {}, {}

    def metrics(self) -> dict[str, Metric]:
        """Their figures, to stand beside newer ones."""
        return {f"best_{name}": summarise(self.figures[name]) for name in FIGURES}

    def held_by(self, loaded: Loaded) -> bool:
        """Whether the model has exactly these adapters now."""
        return adapters.holds(loaded.model, self.weights)

    def inside(self, loaded: Loaded) -> Any:
        """A context in which the model has these adapters."""
        return adapters.exchanged(loaded.model, self.weights)

    def state(self) -> State:
        """Both as arrays."""
        return {
            **{f"best.{name}": weight.numpy() for name, weight in self.weights.items()},
            **{f"best_figures.{name}": values for name, values in self.figures.items()},
        }

    def load(self, state: State) -> None:
        """The inverse of `state`."""
        self.weights = weights_under(state, "best.")
        self.figures = under(state, "best_figures.")


def _rank(figures: dict[str, Array]) -> tuple[float, float]:
    return mean_of(figures, "success_rate"), mean_of(figures, "expected_return")


class Evaluator:
    """Has a task measure the policy, and draws the conclusions."""

    loaded: Loaded

    def __init__(self, run: RunState, task: AnyTask, diagnosis: Diagnosis) -> None:
        self.run, self.task, self.diagnosis = run, task, diagnosis
        self.best = BestAdapters()
        self.good_in_a_row = 0
        """Evaluations that reached `budget.success_rate` one after the other."""
        self.pending: list[Split] = []
        """Sets of mazes whose figures are due at this update and not computed yet."""

    @property
    def good_enough(self) -> bool:
        """Whether the run may end before its budget is used up."""
        wanted = self.run.preset.budget.success_rate
        return wanted is not None and self.good_in_a_row >= GOOD_IN_A_ROW

    def evaluate(self) -> list[Evaluation]:
        """The evaluations of this update that are made at once; the others are pending."""
        self.pending = self.task.due()
        with phase.during("evaluating"):
            return [self._evaluation(measured) for measured in self.task.evaluate_now()]

    def run_pending(self) -> list[AnyEvent]:
        """The first evaluation that is pending. Raises PutOffError."""
        split = self.pending[0]
        with phase.during("evaluating"):
            measured = self.task.evaluate(split)
        self.pending.pop(0)
        if split == "train":
            self.diagnosis.evaluated(mean_of(measured.figures, "success_rate"))
        return [self._evaluation(measured)]

    def _evaluation(self, measured: Measured) -> Evaluation:
        """The event. One on the training mazes may bring the best adapters, and counts towards the
        end."""
        if measured.worlds.split == "test":
            return measured.evaluation(self.run.clock)
        self.best.offer(self.loaded, measured.figures)
        wanted = self.run.preset.budget.success_rate
        if wanted is not None:
            good = mean_of(measured.figures, "success_rate") >= wanted
            self.good_in_a_row = self.good_in_a_row + 1 if good else 0
        return measured.evaluation(self.run.clock, self.best.metrics())

    def compare(self) -> list[AnyEvent]:
        """In the end, the newest adapters, and the best ones beside them where judging those takes
        new episodes or other mazes than they were chosen by."""
        events: list[AnyEvent] = []
        good = self.good_in_a_row
        choice = self.task.final_choice()
        if choice is not None:
            evaluation = self._evaluation(choice)
            events += [evaluation] if choice.kind == "exact" else []
        self.good_in_a_row = good
        newest = best = {split: self.task.final_figures(split) for split in self.task.final_splits}
        if newest and not self.best.held_by(self.loaded):
            with self.best.inside(self.loaded):
                best = {split: self.task.final_figures(split) for split in newest}
        for split, measured in newest.items():
            events.append(measured.beside(best[split]).evaluation(self.run.clock))
        return events

    def forget(self) -> None:
        """What was good is no measure any more."""
        self.best.forget()
        self.good_in_a_row = 0

    def state(self) -> State:
        """What has to be known to go on; how many were good is counted elsewhere."""
        pending = [SPLITS.index(split) for split in self.pending]
        return {"owed": np.array(pending, np.int64), **self.best.state()}

    def load(self, state: State) -> None:
        """The inverse of `state`."""
        # Checkpoints of older versions have no pending evaluations.
        self.pending = [SPLITS[n] for n in state.get("owed", ())]
        self.best.load(state)
