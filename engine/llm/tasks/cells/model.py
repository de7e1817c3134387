"""A language model asked about cells: its prompts, its policy tables, and the reference policy's.

Shapes: `W` worlds, `O` observations, `A` actions, `N` prompts (rows).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.llm.forward.agreement import Agreement
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.interruption import Interrupted, never
from engine.llm.forward.prompts import NO_PROMPT, CellPrompts, cell_prompts
from engine.llm.forward.value_head import ValueHead
from engine.llm.models import adapters
from engine.llm.models.loading import Loaded
from engine.llm.passes import Extent, extent_of
from engine.llm.tasks.base import RunState, finite
from engine.llm.tasks.cells.policy_table import PolicyTable, at_observations
from engine.llm.worlds import WorldSet

VERIFIED_PROMPTS = 4
"""How many prompts are computed the long way before the first update, to be compared."""


class CellModel:
    """The model, and the prompts of all cells of the run's mazes."""

    prompts: CellPrompts

    def __init__(self, run: RunState, loaded: Loaded, value_head: ValueHead | None) -> None:
        self.run, self.loaded, self.value_head = run, loaded, value_head
        self.write_prompts()
        self.policy = CellPolicy(
            loaded.model,
            temperature=run.settings.temperature,
            token_budget=run.preset.model.tokens_at_once(loaded.device.type),
        )

    def write_prompts(self) -> None:
        """The prompts of the mazes as they are now; ids of the test split's follow the others."""
        train, test = self.run.train, self.run.test
        mazes = [*zip(train.mazes, train.mdps, strict=True)]
        if test is not None:
            mazes += zip(test.mazes, test.mdps, strict=True)
        told = self.run.preset.model.observation_text
        tokenizer = self.loaded.tokenizer
        prompts = cell_prompts(mazes, tokenizer, told)
        self.loaded.limits.check(tokenizer, prompts.tokens, prompts.action_tokens)
        self.prompts = prompts
        self.forget_reference()

    def forget_reference(self) -> None:
        """Compute log π of the reference policy anew: which prompts share a pass shows in the last
        digits, and a resumed run must have the same."""
        self._reference_adapters = self.run.reference
        self._reference = torch.full((len(self.prompts), self.n_actions), math.nan)

    @property
    def n_actions(self) -> int:
        """A"""
        return self.run.train.mdps[0].n_actions

    def tokens_of(self, rows: Sequence[int]) -> int:
        """How many tokens some prompts have."""
        return sum(len(self.prompts.tokens[row]) for row in rows)

    def agreement(self) -> Agreement:
        """See `Task.agreement`."""
        spread = np.linspace(0, len(self.prompts) - 1, VERIFIED_PROMPTS).astype(int)
        rows = sorted({int(row) for row in spread})
        if not self.policy.packed:
            return finite(self.policy.log_probs(self.prompts, rows))
        return self.policy.agreement(self.prompts, rows)

    def extent(self, worlds: Sequence[int] | None = None) -> Extent:
        """See `Task.extent`: of the prompts of some training worlds, or of all mazes."""
        tokens = self.prompts.tokens
        if worlds is not None:
            rows = np.unique(self.prompts.row[list(worlds)])
            tokens = tuple(tokens[row] for row in rows if row != NO_PROMPT)
        return extent_of(tokens, self.policy.packed)

    def table_of(
        self,
        worlds: tuple[int, ...],
        split: WorldSet,
        keep_graph: bool = False,
        interrupted: Interrupted = never,
    ) -> PolicyTable:
        """π in some worlds of a split. Raises PutOffError, see `CellPolicy.table`."""
        prompt_of = self.prompts.row[[split.first + w for w in worlds]]
        rows = tuple(int(row) for row in np.unique(prompt_of[prompt_of != NO_PROMPT]))
        prompt_row = np.where(prompt_of == NO_PROMPT, NO_PROMPT, np.searchsorted(rows, prompt_of))
        graph = None
        # With dropout the policy that plays (without it) is not the one of a training pass.
        keep_graph = keep_graph and not self.loaded.lora.dropout
        if keep_graph and len(self.policy.split(self.prompts, rows)) == 1:
            scores = self.policy.forward(self.prompts, rows)
            graph = (scores.log_probs, scores.hidden)
        else:
            scores = self.policy.table(self.prompts, rows, interrupted)
        self.run.tokens += self.tokens_of(rows)
        temperature = self.run.settings.temperature
        logits = scores.logits.detach().double().cpu() * temperature
        pi = torch.softmax(logits, -1).numpy()
        values = torch.zeros(len(rows))
        if self.value_head is not None:
            with torch.no_grad():
                values = self.value_head(scores.hidden.detach()).cpu()
        return PolicyTable(
            worlds=worlds,
            rows=rows,
            prompt_row=prompt_row,
            log_pi=torch.log_softmax(logits / temperature, -1),
            policy=at_observations(prompt_row, pi, 1.0 / self.n_actions),
            values=values,
            graph=graph,
        )

    def reference_of(self, table: PolicyTable) -> Tensor:
        """[N, A] log π of the reference policy, computed once a prompt.

        Where nothing pulls towards it and it is only told, one maze of an update has to do, and all
        others are NaN.
        """
        if self._reference_adapters is not self.run.reference:
            self.forget_reference()
        wanted = table.rows
        if not self.run.settings.kl:
            first = table.prompt_row[0]
            wanted = tuple(table.rows[n] for n in np.unique(first[first != NO_PROMPT]))
        missing = [row for row in wanted if bool(self._reference[row].isnan().any())]
        if missing and self.run.reference:
            with adapters.exchanged(self.loaded.model, self.run.reference):
                self._reference[missing] = self.policy.log_probs(self.prompts, missing).cpu()
        elif missing:
            found = self.policy.reference_log_probs(self.prompts, missing)
            self._reference[missing] = found.cpu()
        known = self._reference[list(table.rows)].double()
        known[[n for n, row in enumerate(table.rows) if row not in wanted]] = math.nan
        return known
