"""The packed pass against the model's own: rounding is forgiven, wrong masks and positions not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from half_precision import computing_in
from learner_tools import learner
from route_tools import route_learner
from text_tools import text_learner

from engine.core.errors import UserError
from engine.llm import preparation
from engine.llm.forward.agreement import ROUNDED_INPUTS, Agreement, in_float32
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.packing import TOLERANCE, TokenTree
from engine.llm.learner import LlmLearner

Tiny = Callable[[str], Path]
KINDS: dict[str, Callable[[Path, str], LlmLearner]] = {
    "cells": lambda folder, how: learner(folder, overrides=[f"model.quantization={how}"]),
    "routes": lambda folder, how: route_learner(folder, "grpo", f"model.quantization={how}"),
    "text": lambda folder, how: text_learner(folder, "rule", f"model.quantization={how}"),
}


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_in_float32_the_same_weights_compute_in_float32(
    tiny_model: Tiny, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing_in(torch.bfloat16, monkeypatch)
    model = KINDS["routes"](tiny_model(architecture), "none").model.model.eval()
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        rounded = model(input_ids=ids).logits
        with in_float32(model):
            wide = model(input_ids=ids).logits
        assert rounded.dtype == torch.bfloat16 and wide.dtype == torch.float32
        away = (rounded - wide).abs().mean()
        assert 1e-3 < away < 0.1  # of logits around 1: the rounding of 8 bits
        truth = copy.deepcopy(model).float()(input_ids=ids).logits
        torch.testing.assert_close(wide, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_sound_model_in_16_bits_is_trained(
    tiny_model: Tiny, kind: str, quantization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing_in(torch.bfloat16, monkeypatch)
    made = KINDS[kind](tiny_model("llama"), quantization)  # loaded: it was not refused
    found = made.task.agreement()
    assert found.error <= 1e-5 and found.limit == TOLERANCE
    assert found.packed > 10 * found.error  # what the rounding is
    assert found.packed < 2 * found.plain < 0.1 and found.dtype == "bfloat16"


def neighbours(self: TokenTree) -> Any:
    """Tokens see all that stand before them in the row, other branches included."""
    return np.tri(len(self), dtype=bool)


def in_a_row(build: Any) -> Any:
    """Trees whose position ids count the places of the row."""

    def built(sequences: Any) -> TokenTree:
        tree: TokenTree = build(sequences)
        object.__setattr__(tree, "depth", np.arange(len(tree)))
        return tree

    return built


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("what", ["mask", "position"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_mask_or_position_is_refused_in_every_format(
    tiny_model: Tiny, kind: str, what: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing_in(dtype, monkeypatch)
    for policy in ("cell_policy", "completion_policy"):  # the first look at a model says it packs
        monkeypatch.setattr(f"engine.llm.forward.{policy}.why_not_packed", lambda model: None)
    if what == "mask":
        monkeypatch.setattr(TokenTree, "ancestors", neighbours)
    else:
        monkeypatch.setattr(TokenTree, "build", in_a_row(TokenTree.build))
    message = r"by up to [\d.e-]+ in log π, computed in float32 \(allowed 0.0001\).*another model"
    with pytest.raises(UserError, match=message):
        KINDS[kind](tiny_model("llama"), "none")


def test_what_does_not_pack_at_the_first_look_is_computed_plainly(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TokenTree, "ancestors", neighbours)
    made = KINDS["routes"](tiny_model("llama"), "none")
    policy: Any = made.task.policies[0]
    assert not policy.packed and policy.note


def test_what_is_wrong_in_16_bits_only_is_refused_too(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is off in bfloat16, by more than its rounding."""
    computing_in(torch.bfloat16, monkeypatch)
    right = CompletionPolicy.log_probs

    def off(self: CompletionPolicy, prompts: Any, completions: Any) -> torch.Tensor:
        said = right(self, prompts, completions)
        widened = torch.ones(1, dtype=torch.bfloat16).dtype == torch.float32
        return said if widened else said + 0.1

    monkeypatch.setattr(CompletionPolicy, "log_probs", off)
    with pytest.raises(UserError, match=r"in bfloat16 the packed pass is off by 0\.\d+ .*'cpu'"):
        KINDS["routes"](tiny_model("llama"), "none")


def test_the_limits() -> None:
    rounding = Agreement(1e-5, 0.04, 0.01, "bfloat16")
    assert rounding.allowed == 4 * 0.01 + 2**-7 and rounding.good
    assert not rounding._replace(packed=0.05).good
    assert not rounding._replace(error=2e-4).good
    assert Agreement(9e-5).good and not Agreement(2e-4).good
    assert not Agreement(float("nan")).finite and not rounding._replace(plain=np.nan).finite


def test_layers_that_round_what_they_read_have_a_remedy_of_their_own() -> None:
    """LLM.int8 on a GPU: in float32 too a token's log π depends on the others of the pass."""
    odd = Agreement(0.3, 0.5, 0.5, "bfloat16", ROUNDED_INPUTS)
    assert not odd.good and odd._replace(error=0.2).good
    assert "set model.quantization to 'nf4' or 'none'" in preparation._disagreement(odd)
