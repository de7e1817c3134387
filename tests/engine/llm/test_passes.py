"""What a pass holds: chosen from free memory, less when that ends, and the same when resumed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_tools import learner, metrics, reproducible, same_state, train
from route_tools import ROUTES
from text_tools import text_learner

from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Note, Update
from engine.llm import passes
from engine.llm.forward.packing import TokenTree
from engine.llm.learner import LlmLearner
from engine.llm.models import adapters, memory
from engine.llm.models.memory import Pass

Tiny = Callable[[str], Path]


BIG = ["maze.map='''\nSFFF\nFFFF\nFFFF\nFFFG\n'''", "maze.max_steps=12"]
"""Sixteen cells: passes that can be halved."""


def cells(folder: Path, *more: str) -> LlmLearner:
    return learner(folder, overrides=[*BIG, *more])


def routes(folder: Path, *more: str) -> LlmLearner:
    return learner(folder, overrides=[*ROUTES, *more])


def texts(folder: Path, *more: str) -> LlmLearner:
    return text_learner(folder, "rule", *more)


TASKS = {"cells": cells, "routes": routes, "texts": texts}


class Card:
    """A GPU that holds passes of so many tokens; what it was asked is in `held`."""

    def __init__(self, made: LlmLearner, limit: int) -> None:
        self.limit, self.held = limit, [0]
        for policy in made.task.policies:
            self._watch(policy)

    def _watch(self, policy: Any) -> None:
        forward = policy.forward

        def limited(prompts: Any, rows: Any = None, *more: Any, **named: Any) -> Any:
            if hasattr(prompts, "tokens"):
                sequences = [prompts.tokens[row] for row in rows]
            else:
                sequences = [[*p, *c[:-1]] for p, c in zip(prompts, rows, strict=True)]
            tokens = len(TokenTree.build(sequences))
            if tokens > self.limit:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            self.held.append(tokens)
            return forward(prompts, rows, *more, **named)

        policy.forward = limited


def told(events: list[AnyEvent]) -> list[str]:
    """What was said of memory that ended."""
    notes = [event for event in events if isinstance(event, Note)]
    return [note.text for note in notes if "out of memory" in note.text]


def weights(made: LlmLearner) -> dict[str, torch.Tensor]:
    return adapters.copied_adapter(made.model.model)


# ---------------------------------------------------------------- memory ends


@pytest.mark.parametrize(
    ("kind", "limit", "times"),
    [("cells", 150, 2), ("texts", 40, 3), ("texts", 29, 4)],
)
def test_passes_are_halved_as_often_as_it_takes(
    tiny_model: Tiny, kind: str, limit: int, times: int
) -> None:
    """First they keep less, since smaller ones would be slower: these are small."""
    more = ["algorithm.epochs=2", "algorithm.learning_rate=0.001"]
    whole, made = (TASKS[kind](tiny_model("llama"), *more) for _ in range(2))
    train(whole, 2)
    train(made, 2)
    ample, card = Card(whole, 10**6), Card(made, limit)
    expected, events = train(whole, 1), train(made, 1)
    assert made.run.clock == 3 and max(card.held) <= limit < max(ample.held)
    assert len(told(events)) == times
    assert "with gradient checkpointing" in told(events)[0]
    assert f"at most {made.task.policies[0].token_budget:,} tokens" in told(events)[-1]
    assert metrics(events, "loss") == pytest.approx(metrics(expected, "loss"), abs=1e-4)
    for name, weight in weights(made).items():
        torch.testing.assert_close(weight, weights(whole)[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", TASKS)
def test_with_one_sequence_a_pass_it_gives_up_and_says_what_helps(
    tiny_model: Tiny, kind: str
) -> None:
    made = TASKS[kind](tiny_model("llama"), "algorithm.epochs=2")
    train(made, 1)
    before = made.state()
    Card(made, 10)
    with pytest.raises(UserError) as error:
        made.advance(1)
    said = str(error.value)
    assert "after update 1 with one sequence of up to" in said and "checkpointing" in said
    assert "model.quantization to 'nf4'" in said and "model.name" in said
    assert ("model.lora.rank" if kind == "cells" else "model.max_tokens") in said
    assert made.run.clock == 1
    for name, value in made.state().items():
        if name.startswith("policy."):
            np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("kind", ["cells", "texts"])
def test_a_run_resumed_after_memory_ended_cuts_its_batches_alike(
    tiny_model: Tiny, kind: str
) -> None:
    made = TASKS[kind](tiny_model("llama"))
    train(made, 1)
    card = Card(made, made.task.extent().longest + 2)
    assert told(train(made, 1))
    saved = made.state()
    resumed = TASKS[kind](tiny_model("llama"))
    resumed.load(saved)
    card.limit = 10**6
    assert [p.token_budget for p in resumed.task.policies] == [
        p.token_budget for p in made.task.policies
    ]
    assert resumed.passes.checkpointing == made.passes.checkpointing
    assert reproducible(train(made, 2)) == reproducible(train(resumed, 2))
    same_state(made, resumed)


def test_what_the_failed_pass_held_is_free_before_the_next(tiny_model: Tiny) -> None:
    made = cells(tiny_model("llama"))
    train(made, 1)
    forward, shrink = made.task.policy.forward, made.passes.shrink  # type: ignore[attr-defined]
    kept: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def failing(*args: Any) -> Any:
        made.task.policy.forward = forward  # type: ignore[attr-defined]
        scores = forward(*args)
        kept.append(weakref.ref(scores.hidden))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def watched() -> str | None:
        alive.extend(one() is not None for one in kept)
        return shrink()

    gc.disable()  # without waiting for it
    try:
        made.task.policy.forward = failing  # type: ignore[attr-defined]
        made.passes.shrink = watched  # type: ignore[method-assign]
        assert told(made.advance(1))
    finally:
        gc.enable()
    assert alive == [False]


# ---------------------------------------------------------------- chosen from free memory


def test_passes_shrink_while_that_costs_no_speed_then_keep_less_then_shrink_again() -> None:
    one, seen = Pass(8192, False), []
    for _ in range(5):
        one = memory.smaller(one, "cuda", may_checkpoint=True)
        seen.append(one)
    assert seen == [(4096, False), (2048, False), (2048, True), (1024, True), (512, True)]
    assert memory.smaller(Pass(2048, False), "cuda", may_checkpoint=False) == (1024, False)
    assert memory.smaller(Pass(512, False), "cpu", may_checkpoint=True) == (512, True)
    kinds = [memory.fitting(Pass(8192, False), lambda p, n=n: p.tokens <= n, "cuda") for n in
             (9000, 3000, 0)]  # fmt: skip
    assert kinds == [(8192, False), (2048, False), (64, True)]
    fixed = memory.fitting(Pass(512, False), lambda p: False, "cpu", may_shrink=False)
    assert fixed == (512, True)


@pytest.mark.parametrize("kind", ["cells", "texts"])
def test_where_memory_would_not_do_a_cpu_keeps_less_and_says_the_same(
    tiny_model: Tiny, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich = TASKS[kind](tiny_model("llama"))
    monkeypatch.setattr(passes, "free_memory", lambda device: 1_000_000)
    poor = TASKS[kind](tiny_model("llama"))
    assert not rich.passes.checkpointing and poor.passes.checkpointing
    assert rich.task.policies[0].token_budget == poor.task.policies[0].token_budget == 512
    expected, events = train(rich, 3), train(poor, 3)
    notes = [e.text for e in events if isinstance(e, Note) and "free for the passes" in e.text]
    assert len(notes) == 1 and "1 MB" in notes[0] and "gradient checkpointing" in notes[0]
    updates = [[e for e in told if isinstance(e, Update)] for told in (expected, events)]
    assert reproducible(updates[0]) == reproducible(updates[1])  # type: ignore[arg-type]
    for name, weight in weights(rich).items():
        assert torch.equal(weight, weights(poor)[name])


@pytest.mark.parametrize("kind", ["cells", "texts"])
def test_chosen_once_whatever_is_free_when_the_run_is_resumed(
    tiny_model: Tiny, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FOLLOWS_MEMORY", ("cuda", "cpu"))
    monkeypatch.setattr(memory, "activation_bytes", lambda shape, tokens, *more: tokens * 10**6)
    monkeypatch.setattr(passes, "free_memory", lambda device: 150 * 10**6)
    whole = TASKS[kind](tiny_model("llama"))
    budget = whole.task.policies[0].token_budget
    assert (budget, whole.passes.checkpointing) == (128, True)
    train(whole, 2)
    saved = whole.state()
    monkeypatch.undo()
    resumed = TASKS[kind](tiny_model("llama"))
    resumed.load(saved)
    assert resumed.task.policies[0].token_budget == budget
    assert reproducible(train(whole, 2)) == reproducible(train(resumed, 2))
    same_state(whole, resumed)
    older = TASKS[kind](tiny_model("llama"))
    older.load({name: value for name, value in saved.items() if name != "passes"})
    assert older.task.policies[0].token_budget == 512  # as runs of older versions had it


def test_a_budget_that_is_set_is_kept(tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "FOLLOWS_MEMORY", ("cuda", "cpu"))
    monkeypatch.setattr(passes, "free_memory", lambda device: 0)
    made = cells(tiny_model("llama"), "model.token_budget=400")
    assert made.task.policies[0].token_budget == 400 and made.passes.checkpointing
    made = cells(tiny_model("llama"), "model.gradient_checkpointing=off")
    assert made.task.policies[0].token_budget == 64 and not made.passes.checkpointing


def test_checkpointing_that_cannot_be_done_is_refused(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(transformers.LlamaForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(UserError, match=r"gradient_checkpointing: 'on'.*\(llama\); set it to"):
        cells(tiny_model("llama"), "model.gradient_checkpointing=on")
    monkeypatch.setattr(passes, "free_memory", lambda device: 0)
    assert not cells(tiny_model("llama")).passes.checkpointing
