"""What each estimator of the KL to a reference does to the gradient, on tables small enough to add
up all actions (and all completions) that can be drawn.

The exact gradients are autograd's, of the divergences written out; those of the estimators are the
losses' own, averaged over everything that can be drawn, each weighed with its chance.
"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.config.algorithm import KlEstimator, KlPlace
from engine.llm.algorithms.advantages import rloo_advantages
from engine.llm.algorithms.losses import TableBatch, TokenBatch, kl_estimate
from engine.llm.algorithms.surrogates import LogProbability

ESTIMATORS: tuple[KlEstimator, ...] = ("k1", "k2", "k3")
EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-10}
A, BETA = 4, 0.7


def policies(seed: int, shape: tuple[int, ...] = (A,)) -> tuple[Tensor, Tensor]:
    """Logits of π, with gradient, and log π_ref."""
    rng = np.random.default_rng(seed)
    theta = torch.tensor(rng.normal(size=shape) * 1.5, requires_grad=True)
    return theta, torch.log_softmax(torch.tensor(rng.normal(size=shape)), -1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum()


def gradient(of: Tensor, theta: Tensor) -> Tensor:
    return torch.autograd.grad(of, theta)[0]


class Divergences:
    """The exact ones of one row, and their gradients by θ."""

    def __init__(self, theta: Tensor, ref: Tensor) -> None:
        def log_pi() -> Tensor:
            return torch.log_softmax(theta, -1)

        half_square = (log_pi().exp() * (log_pi() - ref) ** 2 / 2).sum()
        self.value = float(kl(log_pi(), ref).detach())
        self.to_reference = gradient(kl(log_pi(), ref), theta)  # ∇KL(π‖π_ref)
        self.from_reference = gradient(kl(ref, log_pi()), theta)  # ∇KL(π_ref‖π)
        self.mean_k2 = gradient(half_square, theta)  # ∇E[k2], the drawing included

    def of(self, estimator: str, place: KlPlace) -> Tensor:
        """What the docstring of `kl_estimate` says that the mean gradient is."""
        zero = torch.zeros_like(self.to_reference)
        return {
            ("k1", "loss"): zero,
            ("k2", "loss"): self.to_reference,
            ("k3", "loss"): self.from_reference,
            ("exact", "loss"): self.to_reference,
            ("k1", "reward"): self.to_reference,
            ("k2", "reward"): self.mean_k2 - self.to_reference,
            ("k3", "reward"): self.to_reference - self.from_reference,
        }[estimator, place]


def one_token(theta: Tensor, ref: Tensor, action: int) -> TokenBatch:
    log_p = torch.log_softmax(theta, -1)[action].reshape(1, 1)
    return TokenBatch(
        log_p=log_p,
        log_p_old=log_p.detach(),
        advantages=torch.zeros(1, dtype=torch.float64),
        mask=torch.ones(1, 1),
        weights=torch.ones(1, dtype=torch.float64),
        log_p_ref=ref[action].reshape(1, 1),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_in_the_loss_of_tokens_each_estimator_pulls_by_its_own_divergence(
    estimator: KlEstimator, seed: int
) -> None:
    theta, ref = policies(seed)
    exact = Divergences(theta, ref)
    grpo = LANGUAGE_MODELS.get("grpo")
    settings = grpo.settings(kl=BETA, kl_estimator=estimator)
    pi, mean, value = torch.softmax(theta, -1).detach(), torch.zeros(A), 0.0
    for action in range(A):
        loss = grpo.token_loss(one_token(theta, ref, action), settings, 0.0).loss
        mean = mean + pi[action] * gradient(loss, theta)
        value += float(pi[action] * loss.detach()) / BETA
    torch.testing.assert_close(mean, BETA * exact.of(estimator, "loss"), **EXACT)
    if estimator == "k2":
        assert abs(value - exact.value) > 1e-3
    else:
        assert value == pytest.approx(exact.value, abs=1e-12)
    # They are not the same thing by another name:
    assert float((exact.to_reference - exact.from_reference).abs().max()) > 1e-2


@pytest.mark.parametrize("estimator", [*ESTIMATORS, "exact"])
def test_in_the_loss_of_a_table_too(estimator: KlEstimator) -> None:
    theta, ref = policies(4)
    log_pi, pi = torch.log_softmax(theta, -1)[None], torch.softmax(theta, -1).detach()[None]
    nothing = torch.zeros_like(pi)
    made = TableBatch(  # every action as often as π draws it
        log_pi, log_pi.detach(), nothing, nothing, nothing, nothing,
        visits=pi.sum(-1), weights=pi, made=pi, log_pi_ref=ref[None],
    )  # fmt: skip
    grpo = LANGUAGE_MODELS.get("grpo")
    loss = grpo.table_loss(made, grpo.settings(kl=BETA, kl_estimator=estimator), 0.0).loss
    expected = BETA * Divergences(theta, ref).of(estimator, "loss")
    torch.testing.assert_close(gradient(loss, theta), expected, **EXACT)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_in_the_reward_only_k1_pulls_by_the_divergence_to_the_reference(
    estimator: KlEstimator,
) -> None:
    theta, ref = policies(5)
    log_pi = torch.log_softmax(theta, -1)
    paid = -BETA * kl_estimate(estimator, ref - log_pi).detach()  # REINFORCE: a number, no graph
    gain = LogProbability().gain(torch.ones(A), log_pi, paid)
    found = gradient(-(log_pi.exp().detach() * gain).sum(), theta)
    expected = BETA * Divergences(theta, ref).of(estimator, "reward")
    torch.testing.assert_close(found, expected, **EXACT)


def test_near_the_reference_k2_and_k3_in_the_reward_hardly_pull_and_the_others_agree() -> None:
    """To first order in the distance: k2 and k3 in the reward begin with its square."""
    base, ref = policies(6)[0].detach(), None
    ref = torch.log_softmax(base, -1)
    away = torch.tensor([1.0, -0.5, 0.3, 0.1], dtype=torch.float64)
    sizes = []
    for distance in (1e-2, 1e-3):
        theta = (base + distance * away).requires_grad_()
        exact = Divergences(theta, ref)
        pull = exact.to_reference.norm()
        sizes.append(
            [float(exact.of(e, p).norm() / pull) for e, p in (("k2", "reward"), ("k3", "reward"))]
        )
        assert float((exact.from_reference - exact.to_reference).norm() / pull) < 2 * distance
    for far, near in zip(*sizes, strict=True):
        assert near == pytest.approx(far / 10, rel=0.1)


# --------------------------------------------------------------------------- more than one token

TOKENS, LENGTH = 3, 2


class Model:
    """A language of 3 tokens and answers of 2: all 9 can be written down. Shapes: V tokens."""

    def __init__(self, seed: int) -> None:
        self.theta, self.ref = policies(
            seed, (1 + TOKENS, TOKENS)
        )  # row 0, then a row a first token
        self.answers = list(itertools.product(range(TOKENS), repeat=LENGTH))

    def log_p(self, answer: tuple[int, ...], table: Tensor) -> Tensor:
        return torch.stack([table[0, answer[0]], table[1 + answer[0], answer[1]]])

    def log_pi(self, answer: tuple[int, ...]) -> Tensor:
        return self.log_p(answer, torch.log_softmax(self.theta, -1))

    def divergence(self) -> Tensor:
        """KL of whole answers, exact."""
        return sum(
            (
                self.log_pi(one).sum().exp()
                * (self.log_pi(one).sum() - self.log_p(one, self.ref).sum())
                for one in self.answers
            ),
            torch.zeros((), dtype=torch.float64),
        )


def test_k1_in_the_reward_is_the_gradient_of_the_kl_of_whole_answers() -> None:
    """In the loss even the exact KL of each token leaves out that π decides what is written next;
    in the reward, summed over the answer, k1 has it all."""
    model = Model(7)
    whole = gradient(model.divergence(), model.theta)
    in_reward = in_loss = torch.zeros_like(model.theta)
    for answer in model.answers:
        log_p, ref = model.log_pi(answer), model.log_p(answer, model.ref)
        chance = float(log_p.detach().sum().exp())
        cost = float(kl_estimate("k1", ref - log_p).detach().sum())
        in_reward = in_reward + chance * cost * gradient(log_p.sum(), model.theta)
        k2 = kl_estimate("k2", ref - model.log_pi(answer)).sum()
        in_loss = in_loss + chance * gradient(k2, model.theta)
    torch.testing.assert_close(in_reward, whole, **EXACT)
    assert float((in_loss - whole).abs().max()) > 1e-2  # the first token's row lacks what follows
    torch.testing.assert_close(in_loss[1:], whole[1:], **EXACT)


def test_rloo_with_k1_in_the_reward_follows_reward_minus_kl() -> None:
    """The mean over all pairs of answers of RLOO's gradient is that of E[r] − β KL."""
    model = Model(8)
    rewards = np.random.default_rng(9).normal(size=len(model.answers))
    rloo = LANGUAGE_MODELS.get("rloo")
    settings = rloo.settings(kl=BETA, kl_in="reward", group_size=2, episodes=2)
    n = len(model.answers)
    log_p = torch.stack([model.log_pi(one) for one in model.answers])  # [n, T]
    ref = torch.stack([model.log_p(one, model.ref) for one in model.answers])
    estimator = settings.estimator(moves_known=False)
    assert estimator == "k1"
    cost = BETA * kl_estimate(estimator, ref - log_p).detach().sum(1).numpy()
    chance = log_p.sum(1).exp().detach()
    mean = torch.zeros_like(model.theta)
    for pair in itertools.product(range(n), repeat=2):
        both = list(pair)
        advantages = rloo_advantages([(rewards - cost)[both]])[0]
        batch = TokenBatch(
            log_p[both], log_p[both].detach(), torch.tensor(advantages), torch.ones(2, LENGTH),
            torch.tensor(rloo.normaliser(np.full(2, LENGTH), LENGTH)), ref[both],
        )  # fmt: skip
        loss = rloo.token_loss(batch, settings, 0.0).loss
        found = torch.autograd.grad(loss, model.theta, retain_graph=True)[0]
        mean = mean + chance[both].prod() * found
    objective = (log_p.sum(1).exp() * torch.tensor(rewards)).sum() - BETA * model.divergence()
    torch.testing.assert_close(mean, -gradient(objective, model.theta), **EXACT)


def test_what_auto_means() -> None:
    settings = LANGUAGE_MODELS.get("grpo").settings
    assert settings().estimator(moves_known=True) == "exact"
    assert settings().estimator(moves_known=False) == "k3"
    assert settings(kl_in="reward").estimator(moves_known=True) == "k1"
    assert settings(kl_estimator="k2").estimator(moves_known=True) == "k2"
