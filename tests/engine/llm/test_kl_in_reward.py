"""The KL in the reward, in the three tasks of a language model: what episodes and completions are
compared by is their reward less β times the KL estimated from what was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from learner_tools import learner, metrics, train
from loss_tools import loss_of, tokens
from route_tools import route_learner
from text_tools import text_learner

from engine import presets
from engine.algorithms.registry import LANGUAGE_MODELS
from engine.core.errors import UserError
from engine.learning.events import Group
from engine.llm.algorithms.advantages import gae, rloo_advantages
from engine.llm.tasks.completions import CompletionObjective, split_of

Tiny = Callable[[str], Path]

BETA = 0.5
IN_REWARD = f'kl = {BETA}\nkl_in = "reward"'


def test_in_the_reward_it_is_not_in_the_loss() -> None:
    batch = tokens("rloo", 2)
    rloo = LANGUAGE_MODELS.get("rloo")
    there = rloo.token_loss(batch, rloo.settings(kl=BETA, kl_in="reward"), 0.0)
    assert there.loss.item() == loss_of("rloo", batch).loss.item()
    assert there.loss.item() != loss_of("rloo", batch, kl=BETA).loss.item()


@pytest.mark.parametrize("algorithm", ["rloo", "ppo"])
def test_cells(tiny_model: Tiny, algorithm: str) -> None:
    made = learner(tiny_model("llama"), algorithm, f"{IN_REWARD}\ngamma = 0.9")
    train(made, 3)  # away from the reference
    task = made.task
    batch = task.collect()
    objective = task.score(batch)
    table, rollouts = batch.table, batch.rollouts
    log_pi, ref = table.log_pi.numpy(), task.model.reference_of(table).numpy()
    cost = np.zeros(rollouts.reward.shape)
    for b, length in enumerate(rollouts.length):
        for t in range(length):
            row = table.prompt_row[rollouts.world[b], rollouts.observation[b, t]]
            a = rollouts.action[b, t]
            cost[b, t] = BETA * (log_pi[row, a] - ref[row, a])  # k1
    assert np.abs(cost).max() > 1e-3
    discounted = (cost * 0.9 ** np.arange(cost.shape[1])).sum(1)
    compared = rollouts.returns(0.9) - discounted
    np.testing.assert_allclose(objective.batch.returns, compared, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(objective.batch.rollouts.reward, rollouts.reward)
    if algorithm == "rloo":
        expected = rloo_advantages(compared.reshape(-1, batch.group_size)).reshape(-1)
        found = objective.scores.advantages[:, 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    else:
        ends = rollouts.ends(rollouts.terminated), rollouts.ends(rollouts.truncated)
        seen = (table.prompt_row[rollouts.world[:, None], o] for o in (
            rollouts.observation, rollouts.next_observation))  # fmt: skip
        v, after = (np.where(at < 0, 0.0, table.values.double().numpy()[at]) for at in seen)
        judged = gae(
            rollouts.reward - cost, np.where(rollouts.mask, v, 0.0), after, *ends, 0.9, 0.95
        )
        np.testing.assert_allclose(
            objective.scores.values.targets.numpy(), judged.targets[rollouts.mask], atol=1e-6
        )


def test_routes(tiny_model: Tiny) -> None:
    made = route_learner(
        tiny_model("llama"), "rloo", f"algorithm.kl={BETA}", "algorithm.kl_in=reward"
    )
    train(made, 3)
    task = made.task
    batch = task.collect()
    objective = task.score(batch)
    ref = task.policy.reference_log_probs(*split_of(batch.routes)).double().numpy()
    costs = [
        BETA * (np.array(route.log_probs) - ref[b, : len(route.tokens)]).sum()
        for b, route in enumerate(batch.routes)
    ]
    assert np.abs(costs).max() > 1e-3
    assert isinstance(objective, CompletionObjective)
    np.testing.assert_allclose(objective.rewards, batch.totals - costs, rtol=0, atol=1e-5)
    expected = rloo_advantages(objective.rewards.reshape(-1, batch.group_size)).reshape(-1)
    np.testing.assert_allclose(objective.advantages.numpy(), expected, rtol=0, atol=1e-6)
    groups = [e for e in train(made, 1) if isinstance(e, Group)]
    for member in groups[0].members:
        assert member.total == pytest.approx(sum(member.parts.values()))
        assert member.parts["kl"] != 0.0


def test_a_value_head_sees_it_token_by_token(tiny_model: Tiny) -> None:
    made = route_learner(
        tiny_model("llama"), "ppo", f"algorithm.kl={BETA}", "algorithm.kl_in=reward",
        "algorithm.gae_lambda=1.0", "algorithm.gamma=1.0",
    )  # fmt: skip
    train(made, 3)
    task = made.task
    batch = task.collect()
    objective = task.score(batch)
    ref = task.policy.reference_log_probs(*split_of(batch.routes)).double().numpy()
    for b, route in enumerate(batch.routes):
        paid = -BETA * (np.array(route.log_probs) - ref[b, : len(route.tokens)])
        paid[-1] += route.total
        to_go = paid[::-1].cumsum()[::-1]  # λ = γ = 1: the return that followed
        np.testing.assert_allclose(
            objective.terms.targets[b, : len(paid)].numpy(), to_go, rtol=0, atol=1e-5
        )


def test_text(tiny_model: Tiny) -> None:
    more = f"group_size = 8\n{IN_REWARD}"
    made = text_learner(tiny_model("llama"), more=more)
    events = train(made, 3)
    assert len(metrics(events, "reward_model_score")) >= 3
    task = made.task
    batch = task.collect()
    objective = task.score(batch)
    written = batch.completions
    ref = task.policy.reference_log_probs(*split_of(written)).double().numpy()
    costs = np.array(
        [
            BETA * (np.array(w.log_probs) - ref[b, : len(w.tokens)]).sum()
            for b, w in enumerate(written)
        ]
    )
    assert np.abs(costs).max() > 1e-3
    raw = objective.rewards + costs
    assert objective.told["reward_model_score"] == pytest.approx(raw.mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("preset", "more", "said"),
    [
        ("llm-plan-grpo", ["kl_estimator=exact"], "only the tokens drawn are known"),
        ("scripted-reward", ["kl_estimator=exact"], "only the tokens drawn are known"),
        ("llm-grpo-maze", ["kl_estimator=exact", "kl_in=reward"], "the same for all actions"),
        ("grpo-table", ["kl_estimator=exact", "kl_in=reward"], "the same for all actions"),
        ("llm-mpo-slippery", ["kl_in=reward"], "mpo fits the model"),
        ("llm-mpo-slippery", ["kl_estimator=k3"], "mpo fits the model"),
    ],
)
def test_what_does_not_go_together_is_refused(preset: str, more: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        presets.load(preset, [f"algorithm.{one}" for one in more])


@pytest.mark.parametrize("estimator", ["auto", "exact", "k1", "k2", "k3"])
def test_what_goes_together_is_taken(estimator: str) -> None:
    presets.load("llm-grpo-maze", [f"algorithm.kl_estimator={estimator}"])
    presets.load("grpo-table", [f"algorithm.kl_estimator={estimator}"])
    if estimator != "exact":
        for name in ("llm-plan-grpo", "grpo-table", "scripted-reward", "llm-ppo-maze"):
            more = [f"algorithm.kl_estimator={estimator}", "algorithm.kl_in=reward"]
            presets.load(name, more)
