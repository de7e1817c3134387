"""Adam with moments of 32 and of 8 bits: what it does, keeps and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy as np
import pytest
import torch
from learner_tools import learner, same_state, train

from engine.core.errors import UserError
from engine.llm.optimizer import Optimizer, Optimizers

Tiny = Callable[[str], Path]

EIGHT = 'optimizer = "adam-8bit"'
RANK = ["model.lora={rank=64, alpha=128.0}"]
"""Adapters of 4,096 weights and more: bitsandbytes leaves smaller ones in 32 bits."""


def parameters() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"large": (64, 128), "small": (4, 8)}
    return {
        name: torch.randn(shape, generator=generator).requires_grad_()
        for name, shape in shapes.items()
    }


def steps(optimizer: Optimizer, n: int, first: int = 0) -> None:
    """`n` steps, with gradients that depend on their number."""
    for at in range(first, first + n):
        generator = torch.Generator().manual_seed(at)
        for p in optimizer.parameters.values():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step(1e-2, 1e9)


def test_moments_of_8_bits_take_a_quarter_and_lead_nearly_as_far() -> None:
    full, eight = Optimizer(parameters()), Optimizer(parameters(), "adam-8bit")
    steps(full, 10)
    steps(eight, 10)
    start, by_full, by_eight = (
        one["large"].detach() for one in (parameters(), full.parameters, eight.parameters)
    )
    moved = (by_full - start).norm()
    assert moved > 0.5 and (by_eight - by_full).norm() < 0.1 * moved
    torch.testing.assert_close(full.parameters["small"], eight.parameters["small"])

    def size(optimizer: Optimizer) -> int:
        kept = optimizer.state("p")
        return sum(a.nbytes for name, a in kept.items() if name.startswith("p.large."))

    assert size(full) == 8 * 64 * 128 + 4
    assert size(eight) < 0.27 * size(full)


@pytest.mark.parametrize("name", ["adam", "adam-8bit"])
def test_saved_moments_go_on_bit_for_bit(name: Any) -> None:
    whole, first = Optimizer(parameters(), name), Optimizer(parameters(), name)
    steps(whole, 6)
    steps(first, 3)
    resumed = Optimizer(parameters(), name)
    resumed.load(first.state("p"), "p")
    steps(resumed, 3, first=3)
    resumed.load(resumed.state("p"), "p")  # what an update that is undone does
    mine, theirs = resumed.state("p"), whole.state("p")
    assert mine.keys() == theirs.keys() and any(value.dtype == np.uint8 for value in mine.values())\
        == (name == "adam-8bit")  # fmt: skip
    for key, value in mine.items():
        np.testing.assert_array_equal(value, theirs[key])
    untouched = Optimizer(parameters(), name)
    whole.load(untouched.state("p"), "p")
    steps(whole, 6)
    np.testing.assert_array_equal(whole.state("p")["p.large"], theirs["p.large"])


def test_a_fused_adam_counts_where_it_computes() -> None:
    """As on a GPU: its state must be given back where its kernel looks for it."""
    whole, resumed = Optimizer(parameters()), Optimizer(parameters())
    for one in (whole, resumed):
        one.adam = torch.optim.Adam(list(one.parameters.values()), fused=True)
    steps(whole, 4)
    saved = whole.state("p")
    resumed.load(saved, "p")
    steps(whole, 2, first=4)
    steps(resumed, 2, first=4)
    np.testing.assert_array_equal(whole.state("p")["p.large"], resumed.state("p")["p.large"])


def test_a_run_with_8_bits_learns_and_resumes(tiny_model: Tiny) -> None:
    whole, first, resumed = (
        learner(tiny_model("llama"), more=EIGHT, overrides=RANK) for _ in range(3)
    )
    train(whole, 4)
    train(first, 2)
    resumed.load(first.state())
    train(resumed, 2)
    same_state(whole, resumed)
    assert any(value.dtype == np.uint8 for name, value in whole.state().items()
               if name.endswith(".state1"))  # fmt: skip
    other = learner(tiny_model("llama"), overrides=RANK)
    train(other, 4)
    for name, p in whole.optimizers.policy.parameters.items():
        moved = other.optimizers.policy.parameters[name]
        assert (p - moved).norm() < 0.2 * moved.norm() + 1e-3


def test_a_value_head_keeps_its_32_bits(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"), "ppo", more=EIGHT)
    assert isinstance(made.optimizers, Optimizers) and made.optimizers.value is not None
    assert (made.optimizers.policy.name, made.optimizers.value.name) == ("adam-8bit", "adam")


@pytest.mark.parametrize("failing", ["raises", "does nothing", "is not there"])
def test_where_8_bits_cannot_run_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    if failing == "is not there":
        monkeypatch.delattr(bitsandbytes.optim, "Adam8bit")
    else:

        def step(self: Any, closure: Any = None) -> None:
            if failing == "raises":
                raise NotImplementedError("no kernel\nfor this processor")

        monkeypatch.setattr(bitsandbytes.optim.Adam8bit, "step", step)
    with pytest.raises(UserError, match=r"^algorithm\.optimizer: 'adam-8bit'.*'adam'") as told:
        Optimizer(parameters(), "adam-8bit")
    assert "\n" not in str(told.value)
