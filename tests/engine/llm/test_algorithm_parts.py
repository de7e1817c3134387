"""What algorithms for language models say of themselves, against what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loss_tools import B, loss_of, tokens

from engine import presets
from engine.algorithms import registry
from engine.algorithms.registry import LANGUAGE_MODELS
from engine.config.llm import GroupSettings
from engine.core.errors import UserError
from engine.llm.algorithms.base import Critic, Improvement, StateCredit
from engine.llm.algorithms.ratios import LENGTH_NORMALISED, SEQUENCE, TOKEN

NAMES = LANGUAGE_MODELS.names


def settings_of(name: str, **values: Any) -> Any:
    return LANGUAGE_MODELS.get(name).settings(**values)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_compared_and_what_shares_a_start(name: str) -> None:
    algorithm, settings = LANGUAGE_MODELS.get(name), settings_of(name, episodes=96)
    grouped = isinstance(settings, GroupSettings)
    assert algorithm.group_size(settings) == (16 if grouped else 96)
    assert algorithm.same_start(settings) == (16 if grouped else 1)
    assert registry.of(settings) is algorithm


@pytest.mark.parametrize("name", NAMES)
def test_only_dapo_draws_again_and_shapes_lengths(name: str) -> None:
    algorithm, settings = LANGUAGE_MODELS.get(name), settings_of(name)
    assert algorithm.draws(settings) == (4 if name == "dapo" else 1)
    assert algorithm.overlong(settings) == 0
    dapo = settings_of("dapo", draws=2, overlong=3)
    assert (
        LANGUAGE_MODELS.get("dapo").draws(dapo) == 2
        and LANGUAGE_MODELS.get("dapo").overlong(dapo) == 3
    )


@pytest.mark.parametrize("name", NAMES)
def test_who_judges_moves_by_state(name: str) -> None:
    algorithm = LANGUAGE_MODELS.get(name)
    assert algorithm.credit_by_state(settings_of(name)) == (name == "mpo")
    if isinstance(settings_of(name), GroupSettings):
        by_state = settings_of(name, credit="state", decay=0.3)
        assert algorithm.credit_by_state(by_state)
        assert algorithm.state_credit(by_state) == StateCredit(0.3, "global")
    mpo = settings_of("mpo", decay=0.4, scale="none", eta=0.5, floor=0.1)
    assert LANGUAGE_MODELS.get("mpo").state_credit(mpo) == StateCredit(0.4, "none")
    assert LANGUAGE_MODELS.get("mpo").improvement(mpo) == Improvement(0.5, 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_what_belongs_together(name: str) -> None:
    algorithm, settings = LANGUAGE_MODELS.get(name), settings_of(name)
    assert algorithm.has_critic == (algorithm.critic(settings) is not None)
    assert algorithm.fits_table == (algorithm.improvement(settings) is not None)
    assert bool(algorithm.policies) and set(algorithm.policies) <= {"action", "route", "text"}
    assert algorithm.ratio in (TOKEN, SEQUENCE, LENGTH_NORMALISED)
    ppo = settings_of("ppo", gae_lambda=0.9, value_learning_rate=0.02, value_clip=0.3)
    assert LANGUAGE_MODELS.get("ppo").critic(ppo) == Critic(0.9, 0.02, 0.3)


@pytest.mark.parametrize("name", [n for n in NAMES if LANGUAGE_MODELS.get(n).group_centred])
def test_the_first_loss_of_a_centred_algorithm_is_nothing(name: str) -> None:
    batch = tokens(name, 2, gap=0.0)
    returns = np.random.default_rng(2).normal(size=(2, B // 2))
    judged = LANGUAGE_MODELS.get(name).advantages(returns, settings_of(name)).reshape(-1)
    found = loss_of(name, batch._replace(advantages=torch.tensor(judged)))
    assert found.loss.item() == pytest.approx(0.0, abs=1e-12)
    assert bool((torch.autograd.grad(found.loss, batch.log_p)[0] != 0).any())


def test_gspo_is_refused_where_an_answer_is_one_move(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        presets.load("llm-grpo-maze", ["algorithm.name=gspo"])
    assert "gspo trains plan and text policies only, not 'action': an answer" in str(refused.value)
    plan = ["algorithm.name=gspo", "model.policy=route"]
    assert presets.load("llm-rloo-maze", plan).algorithm.__struct_config__.tag == "gspo"
    with pytest.raises(UserError, match=r"mpo trains action policies only, not 'plan'\.$"):
        presets.load("llm-plan-grpo", ["algorithm={name='mpo'}"])
