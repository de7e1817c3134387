"""How much one forward and backward pass of a run holds.

Chosen from free memory before the first update, made smaller when memory ends all the same, and
kept in checkpoints: how a batch is cut shows in the last digits, and a resumed run must have the
same. Gradient checkpointing changes no digit at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from engine.config.llm import ModelSettings
from engine.learning.learner import State
from engine.llm.forward.checkpointing import can_checkpoint, check_checkpointing, set_checkpointing
from engine.llm.forward.packing import Tokens, TokenTree
from engine.llm.models import memory
from engine.llm.models.folder import read_config
from engine.llm.models.loading import Loaded
from engine.llm.models.memory import Pass
from engine.llm.models.memory_use import free_memory
from engine.llm.models.shape import shape_from_config
from engine.llm.state import from_json, to_json


class Extent(NamedTuple):
    """Tokens of the sequences that a run computes."""

    shortest: int
    longest: int
    together: int
    """In a pass that holds all of them."""


def extent_of(sequences: Sequence[Tokens], packed: bool) -> Extent:
    """That of these sequences: as a tree, or side by side."""
    lengths = [len(sequence) for sequence in sequences]
    together = sum(lengths)
    if packed:
        together = len(TokenTree.build(sequences))
    return Extent(min(lengths), max(lengths), together)


class Budgeted(Protocol):
    """A policy that cuts what it is asked into passes."""

    token_budget: int


class Passing(Protocol):
    """A task, as far as its passes go."""

    @property
    def policies(self) -> Sequence[Budgeted]:
        """All that make passes; those that sample have a `cache_budget` besides."""

    def extent(self, training: bool = False) -> Extent:
        """Tokens of the sequences that go through the model, or the most they can have; with
        `training`, of those that an update learns from."""

    def forget_passes(self) -> None:
        """Drop what was computed in passes of another size."""


class Passes:
    """The size of a run's passes. `choose` comes once the model is there."""

    loaded: Loaded
    checkpointing = False

    def __init__(self, settings: ModelSettings, task: Passing) -> None:
        self.settings, self.task = settings, task
        self.note: str | None = None
        """What was chosen, in words, where it is not what any run of the preset has."""

    # ------------------------------------------------------------ before the first update

    def choose(self, loaded: Loaded) -> None:
        """The largest passes that fit into free memory. Raises UserError for checkpointing that
        cannot be done."""
        self.loaded = loaded
        if self.settings.gradient_checkpointing == "on":
            check_checkpointing(loaded.model, loaded.name)
        where = loaded.device.type
        usual = Pass(self.settings.tokens_at_once(where), False)
        room = free_memory(loaded.device)
        chosen = self._fitting(usual, room)
        self._set(chosen)
        if chosen != usual and self.settings.gradient_checkpointing != "on":
            self.note = (
                f"{memory.words(room)} of memory are free for the passes: they hold at most "
                f"{chosen.tokens:,} tokens{_checkpointed(chosen.checkpointing)}."
            )

    def _fitting(self, usual: Pass, room: int) -> Pass:
        shape = shape_from_config(read_config(self.loaded.folder))
        forced = self.settings.gradient_checkpointing == "on"
        first = usual._replace(checkpointing=forced)
        if shape is None:  # of no shape that can be estimated: memory has to end first
            return first
        where: memory.Where = "cuda" if self.loaded.device.type == "cuda" else "cpu"
        extent = self.task.extent(training=True)
        rank = self.loaded.lora.rank
        coming = shape.lora_parameters(rank) * memory.COMING_BYTES

        def fits(one: Pass) -> bool:
            tokens = max(extent.longest, min(one.tokens, extent.together))
            needed = memory.activation_bytes(shape, tokens, where, one.checkpointing, rank)
            return coming + needed <= room

        return memory.fitting(
            first,
            fits,
            where,
            may_checkpoint=self._may_checkpoint,
            may_shrink=where in memory.FOLLOWS_MEMORY and self.settings.token_budget is None,
        )

    @property
    def _may_checkpoint(self) -> bool:
        return self.settings.gradient_checkpointing == "auto" and can_checkpoint(self.loaded.model)

    # ------------------------------------------------------------ when memory ends

    def shrink(self) -> str | None:
        """Make passes smaller, from what they really hold; says in words what they are now, None
        when they hold one sequence each and there is nothing left to shrink."""
        extent = self.task.extent()
        held = min(self._first.token_budget, extent.together)
        now = Pass(held, self.checkpointing)
        if held <= extent.shortest and not self._sampling_can_shrink(extent):
            if not self._may_checkpoint or self.checkpointing:
                return None
            smaller = now._replace(checkpointing=True)
        else:
            where: memory.Where = "cuda" if self.loaded.device.type == "cuda" else "cpu"
            smaller = memory.smaller(now, where, self._may_checkpoint)
        for policy in self.task.policies:
            if hasattr(policy, "cache_budget"):
                policy.cache_budget = max(1, min(policy.cache_budget, extent.together) // 2)
        self._set(smaller)
        self.task.forget_passes()
        return (
            f"passes hold at most {smaller.tokens:,} tokens instead of {held:,}"
            f"{_checkpointed(smaller.checkpointing)}"
        )

    def _sampling_can_shrink(self, extent: Extent) -> bool:
        budgets = [getattr(policy, "cache_budget", 0) for policy in self.task.policies]
        return max(budgets) > extent.longest

    def remedy(self) -> str:
        """How little a pass held, and what would need less, in words."""
        longest = self.task.extent().longest
        model, ways = self.settings, []
        if model.gradient_checkpointing == "off":
            ways.append("set model.gradient_checkpointing to 'auto'")
        if model.quantization != "nf4":
            ways.append("set model.quantization to 'nf4'")
        shorter = "model.lora.rank" if model.policy == "action" else "model.max_tokens"
        ways.append(f"lower {shorter}")
        return (
            f"one sequence of up to {longest:,} tokens a pass"
            f"{_checkpointed(self.checkpointing)}: {', '.join(ways)}, or choose a smaller "
            "model.name (`icemaze models` says what each takes)."
        )

    # ------------------------------------------------------------ kept in checkpoints

    def state(self) -> State:
        """What a resumed run needs to cut its batches in the same way."""
        budgets = [
            {name: getattr(policy, name) for name in BUDGETS if hasattr(policy, name)}
            for policy in self.task.policies
        ]
        return {"passes": to_json({"budgets": budgets, "checkpointing": self.checkpointing})}

    def load(self, state: State) -> None:
        """The inverse of `state`, once the model is there. Checkpoints of older versions have none:
        their runs had the preset's budget."""
        if "passes" not in state:
            return
        kept = from_json(state["passes"], dict[str, Any])
        for policy, budgets in zip(self.task.policies, kept["budgets"], strict=True):
            for name in BUDGETS:
                if name in budgets:
                    setattr(policy, name, budgets[name])
        self.checkpointing = kept["checkpointing"]
        set_checkpointing(self.loaded.model, self.checkpointing)

    @property
    def _first(self) -> Budgeted:
        return self.task.policies[0]

    def _set(self, one: Pass) -> None:
        for policy in self.task.policies:
            policy.token_budget = one.tokens
        self.checkpointing = one.checkpointing
        set_checkpointing(self.loaded.model, one.checkpointing)


BUDGETS = ("token_budget", "cache_budget", "merges")


def _checkpointed(on: bool) -> str:
    return ", with gradient checkpointing" if on else ""
