"""Old log-probabilities by the training pass, the sampler's beside them, and weights between."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from half_precision import computing_in
from learner_tools import metrics, preset, train
from route_tools import ROUTES, route_learner
from text_tools import text_learner

from engine.core.errors import UserError
from engine.learning.events import AnyEvent
from engine.llm.algorithms.losses import TokenBatch, token_loss
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.rollout_correction import mismatch_metrics, truncated_weights
from engine.llm.algorithms.surrogates import LogProbability
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.learner import LlmLearner
from engine.llm.tasks.completions import CompletionObjective, split_of

Tiny = Callable[[str], Path]


def learner_of(kind: str, folder: Path, *more: str) -> LlmLearner:
    if kind == "text":
        return text_learner(folder, "rule", *more)
    return route_learner(folder, "grpo", *more)


def objective_of(made: LlmLearner) -> CompletionObjective[Any]:
    """What the next update minimises."""
    found = made.task.score(made.task.collect())
    assert isinstance(found, CompletionObjective)
    return found


def independent(made: LlmLearner, objective: CompletionObjective[Any]) -> list[np.ndarray]:
    """log π_train − log π_sampler of each token: by the policy's pass without gradients, and by
    what was recorded when it was drawn."""
    completions = objective.batch.completions
    trained = made.task.policy.log_probs(*split_of(completions)).numpy()
    return [trained[b, : len(c.tokens)] - np.array(c.log_probs) for b, c in enumerate(completions)]


# ---------------------------------------------------------------- what is old


@pytest.mark.parametrize("kind", ["routes", "text"])
def test_in_16_bits_every_ratio_is_1_before_a_step_and_the_mismatch_is_told(
    tiny_model: Tiny, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing_in(torch.bfloat16, monkeypatch)
    more = ["model.token_budget=130", "algorithm.episodes=16", "algorithm.group_size=8"]
    made = learner_of(kind, tiny_model("llama"), *more)
    if kind == "text":  # it asks for pairs first
        made.begin()
    objective = objective_of(made)
    away = independent(made, objective)
    parts = objective.parts()
    assert len(parts) > 1
    told = objective.metrics([objective.loss(part).detached() for part in parts], 0.0)
    assert told["ratio_mean"] == told["ratio_max"] == 1.0
    assert told["clip_fraction"] == told["approx_kl"] == 0.0
    every, wholes = np.abs(np.concatenate(away)), [math.exp(one.sum()) for one in away]
    assert told["mismatch"] == pytest.approx(every.mean(), rel=1e-6) and told["mismatch"] > 1e-4
    assert told["mismatch_max"] == pytest.approx(every.max(), rel=1e-6)
    assert told["mismatch_ratio_min"] == pytest.approx(min(wholes), rel=1e-5)
    assert told["mismatch_ratio_max"] == pytest.approx(max(wholes), rel=1e-5)


def test_in_float32_there_is_next_to_no_mismatch(tiny_model: Tiny) -> None:
    made = route_learner(tiny_model("llama"), "grpo")
    events = train(made, 2)
    assert max(metrics(events, "mismatch_max")) < 1e-5
    assert metrics(events, "ratio_max") == [1.0, 1.0]
    assert metrics(events, "mismatch_cut") == []


@pytest.mark.parametrize("epochs", [1, 3])
def test_old_is_what_the_weights_before_the_first_step_say_at_no_extra_pass(
    tiny_model: Tiny, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several passes too, and in micro-batches; each pass is made once."""
    made = route_learner(
        tiny_model("llama"), "grpo", f"algorithm.epochs={epochs}", "model.token_budget=150"
    )
    made.begin()
    before: list[np.ndarray] = []
    objectives: list[CompletionObjective[Any]] = []
    score = made.task.score

    def scored(batch: Any) -> Any:
        objective = score(batch)
        objectives.append(objective)
        before.append(made.task.policy.log_probs(*split_of(batch.completions)).numpy())
        count.clear()
        return objective

    count: list[int] = []
    forward = CompletionPolicy.forward

    def counted(self: CompletionPolicy, *args: Any) -> Any:
        count.append(1)
        return forward(self, *args)

    made.task.score = scored  # type: ignore[method-assign]
    made.task.accept = lambda objective: None  # type: ignore[method-assign]
    monkeypatch.setattr(CompletionPolicy, "forward", counted)
    monkeypatch.setattr(made, "_report", lambda learned, started: [])
    made.advance(1)
    (objective,), (old,) = objectives, before
    mask = objective.mask
    np.testing.assert_allclose(objective.log_p_old[mask], old[mask.numpy()], rtol=0, atol=1e-5)
    assert len(count) == epochs * len(objective.parts()) and len(objective.parts()) > 2
    moved = made.task.policy.log_probs(objective.prompts, objective.written)
    assert (moved - objective.log_p_old)[mask].abs().max() > 1e-2  # the weights are others by now


# ---------------------------------------------------------------- the weights


def test_the_weights_by_hand() -> None:
    away = torch.tensor([[0.1, -0.4, 0.9], [1.0, -1.5, math.nan]], dtype=torch.float64)
    used = torch.tensor([[True, True, True], [True, True, False]])
    by_token = truncated_weights(away, used, "token", 2.0)
    wanted = [[math.exp(0.1), math.exp(-0.4), 2.0], [2.0, math.exp(-1.5)]]
    assert by_token[0].tolist() == pytest.approx(wanted[0])
    assert by_token[1, :2].tolist() == pytest.approx(wanted[1])
    by_whole = truncated_weights(away, used, "sequence", 1.5)
    assert by_whole[0].tolist() == [1.5] * 3  # e^0.6 is more
    assert by_whole[1].tolist() == pytest.approx([math.exp(-0.5)] * 3)
    told = mismatch_metrics(away, used, "token", 2.0)
    assert told["mismatch"] == pytest.approx((0.1 + 0.4 + 0.9 + 1.0 + 1.5) / 5)
    assert told["mismatch_max"] == 1.5 and told["mismatch_cut"] == pytest.approx(2 / 5)
    assert told["mismatch_ratio_max"] == pytest.approx(math.exp(0.6))
    assert told["mismatch_ratio_min"] == pytest.approx(math.exp(-0.5))
    assert mismatch_metrics(away, used, "sequence", 1.5)["mismatch_cut"] == pytest.approx(3 / 5)


def test_with_the_weights_the_gradient_is_the_policys_and_not_the_samplers() -> None:
    """Over all tokens of a vocabulary, each as often as the sampler draws it: with weights it is
    E_μ[(π/μ) A ∇log π] = ∇E_π[A] exactly, without them another vector."""
    generator = torch.manual_seed(1)
    logits = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    log_pi = torch.log_softmax(logits, -1)
    sampler = torch.log_softmax(logits.detach() + 0.3 * torch.randn(5, generator=generator), -1)
    advantage = torch.randn(5, generator=generator, dtype=torch.float64)
    used = torch.ones(5, 1, dtype=torch.bool)
    old = log_pi.detach()[:, None]

    def gradient(correction: torch.Tensor | None) -> torch.Tensor:
        batch = TokenBatch(
            log_pi[:, None], old, advantage, used, sampler.exp(), correction=correction
        )
        loss = token_loss(batch, LogProbability(), TOKEN).loss
        return -torch.autograd.grad(loss, logits, retain_graph=True)[0]

    exact = torch.autograd.grad((log_pi.exp() * advantage).sum(), logits, retain_graph=True)[0]
    weights = truncated_weights(old - sampler[:, None], used, "token", 100.0)
    torch.testing.assert_close(gradient(weights), exact, rtol=1e-10, atol=1e-12)
    assert (gradient(None) - exact).abs().max() > 0.1 * exact.abs().max()
    # One step of softmax by hand, with every weight above 1 cut.
    pi, cut = log_pi.detach().exp(), (old[:, 0] - sampler).exp().clamp(max=1.0)
    wanted = sum(
        sampler[a].exp() * cut[a] * advantage[a] * (torch.eye(5)[a] - pi) for a in range(5)
    )
    found = gradient(truncated_weights(old - sampler[:, None], used, "token", 1.0))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_run_takes_the_weights_of_its_own_sampler(tiny_model: Tiny, level: str) -> None:
    """A sampler that is made to err: the loss is that of independent weights."""
    more = [f"algorithm.rollout_correction={level}", "algorithm.rollout_cap=1.1"]
    made = route_learner(tiny_model("llama"), "reinforce", *more)
    made.begin()
    objective = objective_of(made)
    noise = torch.randn(objective.mask.shape, generator=torch.manual_seed(2))
    objective.log_p_sampler = objective.log_p_sampler + 0.3 * noise * objective.mask
    mask = objective.mask.numpy()
    log_p = made.task.policy.log_probs(objective.prompts, objective.written).numpy()
    away = np.where(mask, log_p - objective.log_p_sampler.numpy(), 0.0)
    away = away.sum(1, keepdims=True) if level == "sequence" else away
    weights = np.broadcast_to(np.minimum(np.exp(away), 1.1), mask.shape)
    advantages = objective.advantages.numpy()[:, None]
    wanted = -(mask * weights * advantages * log_p).sum() / len(mask)  # 1/B Σ_i Σ_t: REINFORCE
    figures = [objective.loss(part).detached() for part in objective.parts()]
    told = objective.metrics(figures, 0.0)
    assert told["loss"] == pytest.approx(wanted, rel=1e-4)
    assert told["mismatch_cut"] == pytest.approx((np.exp(away) > 1.1)[mask].mean() if level ==
        "token" else ((np.exp(away) > 1.1) & mask).sum() / mask.sum())  # fmt: skip
    plain = -(mask * advantages * log_p).sum() / len(mask)
    assert abs(told["loss"] - plain) > 0.01 * abs(plain)


def recorded(events: list[AnyEvent]) -> set[str]:
    return {name for event in events for name in getattr(event, "metrics", {})}


def test_a_text_run_with_a_correction_records_it_and_learns(tiny_model: Tiny) -> None:
    made = text_learner(tiny_model("llama"), "rule", "algorithm.rollout_correction=sequence")
    events = train(made, 2)
    assert {"mismatch", "mismatch_max", "mismatch_cut"} <= recorded(events)
    assert metrics(events, "mismatch_cut") == [0.0, 0.0]  # in float32 there is nothing to correct
    other = text_learner(tiny_model("llama"), "rule")
    assert metrics(events, "loss") == pytest.approx(metrics(train(other, 2), "loss"), abs=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rollout_correction=token", "rollout_correction is 'token'.*model.policy to \"route\""),
        ("rollout_cap=3", r"rollout_cap is 3.0, but an action policy"),
    ],
)
def test_cells_have_nothing_to_correct(tiny_model: Tiny, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preset(tiny_model("llama"), overrides=[f"algorithm.{setting}"])
    preset(tiny_model("llama"), overrides=[*ROUTES, f"algorithm.{setting}"])


def test_a_cap_must_be_positive(tiny_model: Tiny) -> None:
    with pytest.raises(UserError, match="rollout_cap"):
        preset(tiny_model("llama"), overrides=[*ROUTES, "algorithm.rollout_cap=0"])
