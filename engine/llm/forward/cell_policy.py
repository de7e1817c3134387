"""`policy = "action"`: π(·|s) is the model's distribution over the action words after state s.

One packed forward pass gives the policy of every state: the prompts share their instructions and
their map, and only the few tokens in which states differ are branches (`packing`). Only the rows of
the output layer that belong to action words are computed, at the last token of every prompt.

Shapes: `N` prompts, `A` actions, `H` hidden size. Prompts are rows of `CellPrompts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.llm.forward.agreement import Agreement, agreement
from engine.llm.forward.attention import (
    adapter_off,
    evaluating,
    packed_hidden,
    plain_hidden,
    why_not_packed,
)
from engine.llm.forward.interruption import Interrupted, give_way, never
from engine.llm.forward.output_head import OutputHead
from engine.llm.forward.packing import (
    DEFAULT_TOKEN_BUDGET,
    TokenTree,
    padded_groups,
    split_by_budget,
)
from engine.llm.forward.prompts import CellPrompts
from engine.llm.models.architecture import base_of, decoder_of


class CellScores(NamedTuple):
    """What the model says of some prompts, in their order."""

    logits: Tensor  # [N, A] float32, divided by the temperature
    hidden: Tensor  # [N, H] last hidden states: what a value head reads

    @property
    def log_probs(self) -> Tensor:
        """[N, A]"""
        return torch.log_softmax(self.logits, dim=-1)


class CellPolicy:
    """The policy of a language model over the states of one or many mazes.

    `token_budget` bounds the packed tokens of one forward pass. `note` says why a model is not
    packed, None where it is; `packed=False` forces the plain path.
    """

    def __init__(
        self,
        model: Any,
        *,
        temperature: float = 1.0,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        packed: bool = True,
    ) -> None:
        self.model = model
        self.temperature = temperature
        self.token_budget = token_budget
        reason = why_not_packed(model) if packed else None
        self.packed = packed and reason is None
        self.note = reason and (
            f"Every state's prompt is computed on its own, which is slower: {reason}."
        )

    def split(self, prompts: CellPrompts, rows: Sequence[int] | None = None) -> list[list[int]]:
        """`rows` (default all) in parts that fit the token budget, one micro-batch each.

        A loss that is a sum over states gives the same gradient whatever the budget.
        """
        rows = list(range(len(prompts))) if rows is None else [int(row) for row in rows]
        tokens = [prompts.tokens[row] for row in rows]
        if self.packed:
            groups = list(split_by_budget(tokens, self.token_budget))
        else:
            groups = padded_groups([len(sequence) for sequence in tokens], self.token_budget)
        return [[rows[i] for i in group] for group in groups]

    def forward(self, prompts: CellPrompts, rows: Sequence[int] | None = None) -> CellScores:
        """The policy at `rows` (default all) in one pass, with gradients where they are enabled."""
        tokens = prompts.tokens if rows is None else [prompts.tokens[row] for row in rows]
        if self.packed:
            tree = TokenTree.build(tokens)
            hidden = packed_hidden(self.model, tree)
            hidden = hidden[torch.from_numpy(tree.last).to(hidden.device)]
        else:
            padded = plain_hidden(self.model, tokens)
            last = torch.tensor([len(sequence) - 1 for sequence in tokens], device=padded.device)
            hidden = padded[torch.arange(len(tokens), device=padded.device), last]
        head = OutputHead(self.model, self.temperature, prompts.action_tokens)
        return CellScores(head.logits(hidden), hidden)

    def table(
        self,
        prompts: CellPrompts,
        rows: Sequence[int] | None = None,
        interrupted: Interrupted = never,
    ) -> CellScores:
        """The policy at `rows` without gradients, as rollouts and evaluations read it.

        `interrupted` is asked between passes; raises PutOffError when somebody waits.
        """
        parts: list[CellScores] = []
        with evaluating(self.model):
            for part in self.split(prompts, rows):
                if parts:
                    give_way(interrupted)
                parts.append(self.forward(prompts, part))
        logits, hidden = zip(*parts, strict=True)
        return CellScores(torch.cat(logits), torch.cat(hidden))

    def log_probs(self, prompts: CellPrompts, rows: Sequence[int] | None = None) -> Tensor:
        """[N, A] log π without gradients."""
        return self.table(prompts, rows).log_probs

    def reference_log_probs(
        self, prompts: CellPrompts, rows: Sequence[int] | None = None
    ) -> Tensor:
        """[N, A] log π of the base model. It never changes: ask once for a set of prompts."""
        with adapter_off(self.model):
            return self.log_probs(prompts, rows)

    def agreement(self, prompts: CellPrompts, rows: Sequence[int] | None = None) -> Agreement:
        """How far this policy is from the model's own forward pass, prompt by prompt."""
        rows = list(range(len(prompts))) if rows is None else list(rows)
        return agreement(
            self.model,
            lambda: self.log_probs(prompts, rows).cpu(),
            lambda: torch.stack([self._naive(prompts, row) for row in rows]),
        )

    def _naive(self, prompts: CellPrompts, row: int) -> Tensor:
        """[A] log π the long way: one prompt, the whole model, all logits, nothing of ours."""
        ids = torch.tensor([prompts.tokens[row]], device=decoder_of(self.model).device)
        with evaluating(self.model):
            logits = base_of(self.model)(input_ids=ids, use_cache=False).logits[0, -1]
        chosen = logits[list(prompts.action_tokens)].float().cpu() / self.temperature
        return torch.log_softmax(chosen, dim=-1)
