"""What one update of a policy over cells minimises, cut by states into micro-batches at will.

Everything is computed from the whole batch beforehand and stands in rows, one for each prompt of
the batch; the loss of some rows is their share of the batch's, so the shares add up. Shapes: `N`
prompts (rows), `A` actions, `H` hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine.config.llm import LlmSettings
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.algorithms.losses import (
    Loss,
    TableBatch,
    metrics,
    mpo_loss,
)
from engine.llm.tasks.base import Objective, PartFigures, PartLoss
from engine.llm.tasks.cells.batch import RolloutBatch
from engine.llm.tasks.cells.model import CellModel
from engine.llm.tasks.cells.policy_table import PolicyTable
from engine.llm.tasks.cells.scores import Scores, batch_metrics

Rows = Sequence[int]


class TableObjective(Protocol):
    """An objective of a policy table."""

    def loss(self, log_pi: Tensor, rows: Rows) -> Loss:
        """The share of `rows`, with their log π [n, A]."""


@dataclass(frozen=True)
class SurrogateObjective:
    """The algorithm's surrogate of all steps, gathered by (prompt, action)."""

    steps: TableBatch  # of all rows [N]; its log π is that of the policy that played
    algorithm: LlmAlgorithm[LlmSettings]
    settings: LlmSettings
    entropy: float

    def loss(self, log_pi: Tensor, rows: Rows) -> Loss:
        at = list(rows)
        own = TableBatch._make(part if part is None else part[at] for part in self.steps)
        return self.algorithm.table_loss(own._replace(log_pi=log_pi), self.settings, self.entropy)


@dataclass(frozen=True)
class FitObjective:
    """The fit of the policy to a table: MPO's M-step, and the supervised warm start."""

    target: Tensor  # [N, A]
    weights: Tensor  # [N] sums to 1
    kl: float = 0.0
    log_pi_ref: Tensor | None = None  # [N, A]

    def loss(self, log_pi: Tensor, rows: Rows) -> Loss:
        at = list(rows)
        reference = None if self.log_pi_ref is None else self.log_pi_ref[at]
        return mpo_loss(log_pi, self.target[at], self.weights[at], reference, self.kl)


class CellObjective(Objective[RolloutBatch]):
    """A table's objective, and the forward passes that it takes."""

    def __init__(
        self,
        model: CellModel,
        table: PolicyTable,
        of_table: TableObjective,
        spread: dict[str, float],
        batch: RolloutBatch | None = None,
        scores: Scores | None = None,
    ) -> None:
        """`spread`: entropy and KL of the policy in `table`; without `batch` and `scores` the
        update is a supervised one."""
        self.model, self.table, self.of_table, self.spread = model, table, of_table, spread
        self.batch, self.scores = batch, scores
        self.epochs = 1 if batch is None else model.run.settings.epochs
        self.row_of_prompt = {prompt: row for row, prompt in enumerate(table.rows)}
        self._graph = table.graph

    def parts(self) -> list[list[int]]:
        return self.model.policy.split(self.model.prompts, self.table.rows)

    def loss(self, part: Sequence[int]) -> PartLoss:
        log_pi, hidden = self._forward(part)
        rows = [self.row_of_prompt[prompt] for prompt in part]
        share = self.of_table.loss(log_pi.double().cpu(), rows)
        of_values = None
        if self.scores is not None and self.scores.values is not None:
            assert self.model.value_head is not None
            # The head reads the hidden states and does not change them: see `algorithms.ppo`.
            values = self.model.value_head(hidden.detach()).cpu()
            of_values = self.scores.values.loss(values, rows)
        self.model.run.tokens += 2 * self.model.tokens_of(part)
        return PartLoss(share.loss, of_values, share.sums)

    def _forward(self, part: Sequence[int]) -> tuple[Tensor, Tensor]:
        """log π [n, A] and hidden states [n, H] of some prompts, with gradients. The first pass of
        an update need not be made where its graph is there already."""
        graph, self._graph = self._graph, None
        if graph is not None:
            return graph
        scores = self.model.policy.forward(self.model.prompts, part)
        self.model.run.tokens += self.model.tokens_of(part)
        return scores.log_probs, scores.hidden

    def metrics(self, figures: list[PartFigures], gradient_norm: float) -> dict[str, float]:
        loss = sum(part.loss for part in figures)
        update = {"gradient_norm": gradient_norm, **self.spread}
        if self.batch is None or self.scores is None:
            return {**update, "warmup_loss": loss}
        found = {"loss": loss, **metrics([part.sums for part in figures]), **update}
        if self.scores.values is not None:
            found["value_loss"] = sum(part.value_loss for part in figures)
        return found | batch_metrics(self.batch, self.scores, self.model.run.settings.gamma)
