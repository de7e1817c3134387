"""What Explain says of the pull to a reference policy."""

from __future__ import annotations

from typing import get_args

import pytest

from engine import presets
from engine.config.algorithm import KlEstimator
from tui.kinds.step_facts import PULLS, pulled


def test_every_combination_that_is_taken_has_words() -> None:
    wanted = {(estimator, "loss") for estimator in get_args(KlEstimator)}
    wanted |= {(estimator, "reward") for estimator in get_args(KlEstimator) if estimator != "exact"}
    assert set(PULLS) == wanted


@pytest.mark.parametrize(
    ("preset", "more", "said"),
    [
        ("grpo-table", [], "β = 0.001, k3 in the loss: it pulls on average by ∇KL(π_ref‖π)"),
        ("grpo-table", ["kl_in=reward"], "k1 in the reward: it pulls on average by ∇KL(π‖π_ref)"),
        ("grpo-table", ["kl_estimator=k1"], "k1 in the loss: it pulls nowhere on average"),
        ("llm-grpo-maze", ["kl=0.1"], "β = 0.1, exact in the loss: it pulls by ∇KL(π‖π_ref)"),
        ("llm-plan-grpo", ["kl=0.1"], "β = 0.1, k3 in the loss: it pulls on average by"),
        ("scripted-reward", [], "β = 0.1, k3 in the loss"),
    ],
)
def test_explain_says_how_a_run_is_pulled(preset: str, more: list[str], said: str) -> None:
    made = presets.load(preset, [f"algorithm.{one}" for one in more])
    (fact,) = pulled(made)
    assert said in fact.text and fact.slug == "kl-estimator"


@pytest.mark.parametrize("preset", ["llm-grpo-slippery", "ppo-table", "q-learning"])
def test_where_nothing_pulls_nothing_is_said(preset: str) -> None:
    assert pulled(presets.load(preset)) == []
