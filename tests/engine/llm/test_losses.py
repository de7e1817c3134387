"""The losses against the papers' formulas written as loops over single terms.

Everything is float64; gradients are autograd's on both sides, through an independent expression.
"""

import numpy as np
import pytest
import torch
from loss_tools import DAPO, EXACT, LONGEST, B, loss_of, tokens

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.config.algorithm import KlEstimator
from engine.llm.algorithms import losses, ratios, surrogates
from engine.llm.algorithms.losses import TableBatch, TokenBatch, ValueBatch
from engine.llm.algorithms.surrogates import (
    Clip,
    ClippedRatio,
    ClippedWeight,
    LogProbability,
    Surrogate,
)
from engine.llm.tasks.cells.rollouts import mixed_with_uniform

STATES, A = 7, 4


def by_loops(
    algorithm: str, batch: TokenBatch, clip: Clip, kl: float, entropy: float
) -> torch.Tensor:
    """The objective of the paper, negated, term by term."""
    answers = []
    for i in range(B):
        terms = []
        n = int(batch.mask[i].sum())
        whole = batch.log_p[i, :n].exp().prod() / batch.log_p_old[i, :n].exp().prod()
        for t in range(n):
            log_p, old = batch.log_p[i, t], batch.log_p_old[i, t]
            a = batch.advantages[i] if batch.advantages.dim() == 1 else batch.advantages[i, t]
            ratio = log_p.exp() / old.exp()
            if algorithm == "rloo":
                ratio = whole
            if algorithm == "gspo":
                ratio = whole ** (1 / n)
            bounded = min(
                max(ratio, 1 - clip.low), torch.tensor(1 + clip.high, dtype=torch.float64)
            )
            term = min(ratio * a, bounded * a)
            if algorithm == "reinforce":
                term = a * log_p
            if algorithm == "cispo":
                term = float(bounded) * a * log_p
            if algorithm == "rloo":
                term = term / n  # one term an answer
            r = (batch.log_p_ref[i, t] - log_p).exp()
            term = term - kl * (r - r.log() - 1) + entropy * batch.entropy[i, t]
            terms.append(term)
        answers.append(torch.stack(terms))
    everything = torch.cat(answers)
    if algorithm in ("grpo", "gspo"):  # of GSPO's equal terms the mean is one
        return -torch.stack([answer.mean() for answer in answers]).mean()
    if algorithm == "dr-grpo":
        return -everything.sum() / (B * LONGEST)
    if algorithm in ("reinforce", "rloo"):
        return -torch.stack([answer.sum() for answer in answers]).mean()
    return -everything.mean()


ALGORITHMS = tuple(
    name for name in LANGUAGE_MODELS.names if not LANGUAGE_MODELS.get(name).fits_table
)
CLIPS = {
    "rloo": Clip(), "grpo": Clip(), "dr-grpo": Clip(), "ppo": Clip(), "dapo": DAPO,
    "gspo": Clip(3e-4, 4e-4), "cispo": Clip(1.0, 4.0),
}  # fmt: skip
"""The papers' own, which are the defaults; for CISPO see its file."""
TIGHT = {"gspo": Clip(0.05, 0.05)}
"""Under which the random completions are clipped on both sides; else DAPO's."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tight", [False, True])
def test_token_losses_are_the_papers(algorithm: str, seed: int, tight: bool) -> None:
    batch = tokens(algorithm, seed, per_token=algorithm == "ppo")
    clip = TIGHT.get(algorithm, DAPO) if tight else CLIPS.get(algorithm, Clip())
    found = loss_of(algorithm, batch, clip if tight else None, kl=0.07, entropy=0.03).loss
    expected = by_loops(algorithm, batch, clip, kl=0.07, entropy=0.03)
    torch.testing.assert_close(found, expected, **EXACT)
    inputs = (batch.log_p, batch.entropy)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, **EXACT)
    assert bool((torch.autograd.grad(
        loss_of(algorithm, batch, clip).loss, batch.log_p
    )[0] != 0).any())  # fmt: skip


def test_every_clip_has_a_reference() -> None:
    clipped = [
        n
        for n in ALGORITHMS
        if LANGUAGE_MODELS.get(n).clip(LANGUAGE_MODELS.get(n).settings()) is not None
    ]
    assert sorted(clipped) == sorted(CLIPS)


def test_gspo_follows_or_leaves_out_an_answer_as_one() -> None:
    batch = tokens("gspo", 3)
    clip = TIGHT["gspo"]
    gradient = torch.autograd.grad(loss_of("gspo", batch, clip).loss, batch.log_p)[0]
    moved = torch.where(batch.mask, batch.log_p - batch.log_p_old, 0.0).sum(1)
    n = batch.mask.sum(1)
    s, a = (moved / n).exp().detach(), batch.advantages
    followed = torch.where(a > 0, s <= 1 + clip.high, s >= 1 - clip.low)
    assert bool(followed.any()) and not bool(followed.all())
    expected = -(followed * s * a / n / B)[:, None] * batch.mask  # eq. 10: s A · mean of ∇ log π
    torch.testing.assert_close(gradient, expected, **EXACT)


def test_cispo_never_silences_a_token() -> None:
    batch = tokens("cispo", 3)
    clip = Clip(0.2, 0.28)
    found = loss_of("cispo", batch, clip)
    assert found.sums.clipped_low > 0 and found.sums.clipped_high > 0
    gradient = torch.autograd.grad(found.loss, batch.log_p)[0]
    assert bool((gradient[batch.mask] != 0).all())
    most = (1 + clip.high) * batch.advantages.abs() / batch.mask.sum()
    assert bool((gradient.abs() <= most[:, None] + 1e-12).all())
    silent = torch.autograd.grad(loss_of("dapo", batch, clip).loss, batch.log_p)[0]
    assert bool((silent[batch.mask] == 0).any())


def test_a_name_is_no_part_of_a_loss() -> None:
    batch = tokens("grpo")
    with pytest.raises(TypeError, match="ratio is 'sequence'"):
        losses.token_loss(batch, ClippedRatio(Clip()), "sequence")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="surrogate is 'grpo'"):
        losses.token_loss(batch, "grpo", ratios.TOKEN)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="surrogate is None"):
        losses.table_loss(Steps(0).batch(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_micro_batches_add_up_to_the_batch(algorithm: str) -> None:
    batch = tokens(algorithm, 5)
    batch = batch._replace(correction=torch.rand(batch.mask.shape, dtype=torch.float64))

    def rows(which: list[int]) -> TokenBatch:
        return TokenBatch(*(part[which] for part in batch))

    def figures(split: list[list[int]]) -> tuple[float, torch.Tensor, dict[str, float]]:
        pieces = [loss_of(algorithm, rows(w), TIGHT.get(algorithm, DAPO), 0.1, 0.01) for w in split]
        loss = sum(piece.loss for piece in pieces)
        gradient = torch.autograd.grad(loss, batch.log_p, retain_graph=True)[0]
        return loss.item(), gradient, losses.metrics([piece.sums for piece in pieces])

    whole = figures([list(range(B))])
    if algorithm != "reinforce":
        assert whole[2]["clip_binding_low"] > 0 and whole[2]["clip_binding_high"] > 0
    for split in ([[0], [1], [2], [3], [4], [5]], [[5, 0], [3, 1, 2], [4]], [[0, 1, 2, 3], [4, 5]]):
        loss, gradient, told = figures(split)
        assert loss == pytest.approx(whole[0], rel=1e-12)
        torch.testing.assert_close(gradient, whole[1], **EXACT)
        assert told == pytest.approx(whole[2], rel=1e-12)


@pytest.mark.parametrize("algorithm", sorted(CLIPS))
def test_on_the_first_pass_nothing_is_clipped_and_the_gradient_is_reinforces(
    algorithm: str,
) -> None:
    batch = tokens(algorithm, 1, gap=0.0)
    found = loss_of(algorithm, batch)
    told = losses.metrics([found.sums])
    assert (
        told["clip_fraction"] == told["clip_binding"] == 0
        and told["ratio_mean"] == told["ratio_max"] == 1
    )
    assert told["approx_kl"] == 0
    weights = batch.weights
    if algorithm == "rloo":  # one term an answer: the gradient reaches all of its tokens
        weights = torch.tensor(LANGUAGE_MODELS.get("rloo").normaliser(batch.mask.sum(1), LONGEST))
    plain = loss_of("reinforce", batch._replace(weights=weights)).loss
    torch.testing.assert_close(
        torch.autograd.grad(found.loss, batch.log_p)[0],
        torch.autograd.grad(plain, batch.log_p)[0],
        **EXACT,
    )


def test_metrics_count_what_is_clipped() -> None:
    log_p = torch.tensor([[0.5, -0.5, 0.5, -0.5]], dtype=torch.float64)
    batch = TokenBatch(
        log_p=log_p,
        log_p_old=torch.zeros_like(log_p),
        advantages=torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=torch.float64),
        mask=torch.ones_like(log_p),
        weights=torch.tensor([0.25], dtype=torch.float64),
    )
    told = losses.metrics([loss_of("dapo", batch, DAPO).sums])
    assert told["clip_fraction"] == 1.0  # e^±½ is outside 0.8 to 1.28, whatever the advantage
    assert told["clip_binding_high"] == told["clip_binding_low"] == 0.25
    assert told["clip_binding"] == 0.5
    assert told["ratio_max"] == pytest.approx(np.exp(0.5))
    assert told["approx_kl"] == pytest.approx((np.exp(0.5) + np.exp(-0.5)) / 2 - 1)


def test_a_huge_ratio_stays_finite() -> None:
    log_p = torch.tensor([[0.0]], dtype=torch.float32, requires_grad=True)
    batch = TokenBatch(
        log_p, torch.tensor([[-500.0]]), torch.tensor([-1.0]), torch.ones(1, 1), torch.ones(1)
    )
    found = loss_of("grpo", batch)
    assert bool(torch.isfinite(found.loss))
    assert bool(torch.isfinite(torch.autograd.grad(found.loss, log_p)[0]).all())


def test_an_entropy_bonus_without_entropies_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the entropy"):
        loss_of("grpo", tokens("grpo")._replace(entropy=None), entropy=0.1)


# ------------------------------------------------------------------------------------- the table


class Steps:
    """Single steps in a table of random logits, the way a rollout visits them."""

    def __init__(self, seed: int, n: int = 400, mixture: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.logits = torch.tensor(rng.normal(size=(STATES, A)), requires_grad=True)
        self.log_old = torch.log_softmax(torch.tensor(rng.normal(size=(STATES, A))), -1)
        self.log_ref = torch.log_softmax(torch.tensor(rng.normal(size=(STATES, A))), -1)
        old = self.log_old.exp().numpy()
        behaviour = mixed_with_uniform(old, mixture)
        self.o = rng.integers(STATES - 1, size=n)  # the last state is never visited
        self.a = np.array([rng.choice(A, p=behaviour[o]) for o in self.o])
        self.advantage = rng.normal(size=n)
        self.advantage[:20] = 0.0
        self.weight = rng.random(n) / n
        self.weight *= (old / behaviour)[self.o, self.a]  # importance

    def batch(self) -> TableBatch:
        def gathered(values: np.ndarray) -> torch.Tensor:
            table = np.zeros((STATES, A))
            np.add.at(table, (self.o, self.a), values)
            return torch.tensor(table)

        a, w = self.advantage, self.weight
        return TableBatch(
            log_pi=torch.log_softmax(self.logits, -1),
            log_pi_old=self.log_old,
            positive=gathered(w * a * (a > 0)),
            negative=gathered(w * a * (a < 0)),
            count_positive=gathered((a > 0) * 1.0),
            count_negative=gathered((a < 0) * 1.0),
            visits=gathered(w).sum(-1),
            weights=gathered(w),
            made=gathered(np.ones_like(w)),
            log_pi_ref=self.log_ref,
        )

    def one_term_per_step(
        self, what: Surrogate, kl: float, entropy: float, estimator: str = "exact"
    ) -> torch.Tensor:
        log_pi = torch.log_softmax(self.logits, -1)
        total = torch.zeros(())
        for o, a, advantage, w in zip(self.o, self.a, self.advantage, self.weight, strict=True):
            ratio = (log_pi[o, a] - self.log_old[o, a]).exp()
            gain = advantage * log_pi[o, a]
            if what.clip is not None:
                bounded = ratio.clamp(1 - what.clip.low, 1 + what.clip.high)
                if isinstance(what, ClippedWeight):
                    gain = bounded.detach() * gain
                else:
                    gain = torch.minimum(ratio * advantage, bounded * advantage)
            pi = log_pi[o].exp()
            divergence = (pi * (log_pi[o] - self.log_ref[o])).sum()
            if estimator != "exact":
                x = (self.log_ref[o, a] - log_pi[o, a]).exp()
                divergence = {"k1": -x.log(), "k2": x.log() ** 2 / 2, "k3": x - 1 - x.log()}[
                    estimator
                ]
            h = -(pi * log_pi[o]).sum()
            total = total - w * (gain - kl * divergence + entropy * h)
        return total

    def clipped(self, what: Surrogate) -> tuple[float, float, float]:
        """The shares of all steps whose ratio is outside, and which are held at the lower bound and
        at the upper."""
        assert what.clip is not None
        pi = torch.softmax(self.logits.detach(), -1).numpy()
        ratio = pi[self.o, self.a] / self.log_old.exp().numpy()[self.o, self.a]
        low, high = ratio < 1 - what.clip.low, ratio > 1 + what.clip.high
        outside, taught = (low | high).mean(), self.advantage != 0
        if isinstance(what, ClippedRatio):
            low, high = low & (self.advantage < 0), high & (self.advantage > 0)
        return outside, (low & taught).mean(), (high & taught).mean()


SURROGATES = [
    ClippedRatio(Clip()), ClippedRatio(DAPO), ClippedRatio(Clip(0.05, 0.01)), LogProbability(),
    ClippedWeight(DAPO), ClippedWeight(Clip(1.0, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
@pytest.mark.parametrize(("mixture", "estimator"), [(0.0, "exact"), (0.3, "exact"), (0.3, "k2")])
def test_the_table_equals_one_term_per_step(
    surrogate: Surrogate, mixture: float, estimator: KlEstimator
) -> None:
    steps = Steps(seed=2, mixture=mixture)
    found = losses.table_loss(steps.batch(), surrogate, 0.05, 0.02, estimator)
    expected = steps.one_term_per_step(surrogate, 0.05, 0.02, estimator)
    torch.testing.assert_close(found.loss, expected, **EXACT)
    ours = torch.autograd.grad(found.loss, steps.logits)[0]
    theirs = torch.autograd.grad(expected, steps.logits)[0]
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert float(ours[:-1].abs().max()) > 1e-3
    told = losses.metrics([found.sums])
    if surrogate.clip is None:
        assert told["clip_fraction"] == 0
        return
    names = ("clip_fraction", "clip_binding_low", "clip_binding_high")
    assert [told[name] for name in names] == pytest.approx(steps.clipped(surrogate))
    assert told["clip_binding_high"] > 0
    assert (told["clip_binding_low"] > 0) == (surrogate.clip.low < 1)
    assert told["clip_binding"] <= told["clip_fraction"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_table_loss_of_an_algorithm_is_its_surrogates(name: str) -> None:
    algorithm, batch = LANGUAGE_MODELS.get(name), Steps(3).batch()
    settings = algorithm.settings(kl=0.05)
    found = algorithm.table_loss(batch, settings, 0.02)
    expected = losses.table_loss(batch, algorithm.surrogate(settings), 0.05, 0.02)
    assert found.loss.item() == expected.loss.item()


def test_all_surrogates_are_tested() -> None:
    assert {type(one) for one in SURROGATES} == set(surrogates.Surrogate.__subclasses__())


def test_adding_signs_up_first_would_be_wrong() -> None:
    """Why the weights stay apart: with them netted the clip gives another gradient."""
    steps = Steps(seed=2)
    batch = steps.batch()
    net = batch.positive + batch.negative
    netted = batch._replace(positive=net.clamp(min=0), negative=net.clamp(max=0))
    plain = ClippedRatio(Clip())
    right, wrong = (
        torch.autograd.grad(losses.table_loss(b, plain).loss, steps.logits, retain_graph=True)[0]
        for b in (batch, netted)
    )
    assert float((right - wrong).abs().max()) > 0.1 * float(right.abs().max())


@pytest.mark.parametrize("surrogate", [ClippedRatio(DAPO), ClippedWeight(DAPO)], ids=str)
def test_states_in_micro_batches_add_up(surrogate: Surrogate) -> None:
    steps = Steps(seed=4)
    batch = steps.batch()
    whole = losses.table_loss(batch, surrogate, 0.1, 0.01)
    pieces = [
        losses.table_loss(TableBatch(*(part[rows] for part in batch)), surrogate, 0.1, 0.01)
        for rows in ([0, 3], [1], [2, 4, 5, 6])
    ]
    torch.testing.assert_close(sum(piece.loss for piece in pieces), whole.loss, **EXACT)
    assert losses.metrics([p.sums for p in pieces]) == pytest.approx(losses.metrics([whole.sums]))


def test_importance_weights_undo_the_mixture_with_uniform() -> None:
    """Σ_a b(a) · (π/b)(a) · f(a) = Σ_a π(a) f(a), and no weight exceeds 1 / (1 − m)."""
    rng = np.random.default_rng(1)
    pi = rng.dirichlet(np.full(A, 0.2), size=STATES)
    behaviour = mixed_with_uniform(pi, 0.25)
    f = rng.normal(size=(STATES, A))
    np.testing.assert_allclose((behaviour * (pi / behaviour) * f).sum(1), (pi * f).sum(1))
    np.testing.assert_allclose(behaviour.sum(1), 1.0)
    np.testing.assert_allclose(behaviour, 0.75 * pi + 0.25 / A)
    assert (pi / behaviour).max() <= 1 / 0.75 + 1e-12


# ----------------------------------------------------------------------------------- MPO and values


def test_mpo_target_is_the_exponentially_weighted_policy() -> None:
    rng = np.random.default_rng(7)
    old, q_values = rng.dirichlet(np.ones(A), size=STATES), rng.normal(size=(STATES, A))
    eta, floor = 0.5, 0.06
    expected = np.zeros((STATES, A))
    for o in range(STATES):
        unscaled = [old[o, a] * np.exp(q_values[o, a] / eta) for a in range(A)]
        for a in range(A):
            expected[o, a] = (1 - floor) * unscaled[a] / sum(unscaled) + floor / A
    log_old = torch.tensor(np.log(old))
    found = losses.mpo_target(log_old, torch.tensor(q_values), eta, floor)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    baseline = torch.tensor(rng.normal(size=(STATES, 1)))  # any V: it cancels
    shifted = losses.mpo_target(log_old, torch.tensor(q_values) - baseline, eta, floor)
    np.testing.assert_allclose(shifted.numpy(), expected, rtol=1e-12)


def test_mpo_target_maximises_the_improvement_less_its_kl() -> None:
    """Eq. 4 is the maximiser of E_q[Q] − η KL(q‖π_old): no other distribution does better."""
    rng = np.random.default_rng(8)
    old, q_values = rng.dirichlet(np.ones(A)), rng.normal(size=A)

    def objective(q: np.ndarray) -> float:
        return float(q @ q_values - 0.5 * (q * np.log(q / old)).sum())

    best = losses.mpo_target(torch.tensor(np.log(old)), torch.tensor(q_values), 0.5, 0.0).numpy()
    others = rng.dirichlet(np.ones(A), size=500)
    near = 0.99 * best + 0.01 * others
    assert max(objective(q) for q in (*others, *near)) < objective(best)


def test_the_mpo_fit_is_a_weighted_divergence_and_zero_when_fitted() -> None:
    rng = np.random.default_rng(9)
    target = torch.tensor(rng.dirichlet(np.ones(A), size=STATES))
    target[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])  # 0 log 0 = 0
    weights = torch.tensor(rng.dirichlet(np.ones(STATES)))
    logits = torch.tensor(rng.normal(size=(STATES, A)), requires_grad=True)
    found = losses.mpo_loss(torch.log_softmax(logits, -1), target, weights)
    gradient = torch.autograd.grad(found.loss, logits)[0]
    pi = torch.softmax(logits.detach(), -1)
    torch.testing.assert_close(gradient, weights[:, None] * (pi - target), **EXACT)
    expected = sum(
        w
        * sum(float(q) * np.log(float(q) / float(p)) for q, p in zip(qs, ps, strict=True) if q > 0)
        for w, qs, ps in zip(weights.tolist(), target, pi, strict=True)
    )
    assert found.loss.item() == pytest.approx(expected, rel=1e-10)
    fitted = losses.mpo_loss(target[1:].log(), target[1:], weights[1:])
    assert fitted.loss.item() == pytest.approx(0.0, abs=1e-12)
    reference = torch.log_softmax(torch.tensor(rng.normal(size=(STATES, A))), -1)
    held = losses.mpo_loss(torch.log_softmax(logits, -1), target, weights, reference, kl=0.1)
    divergence = (weights[:, None] * pi * (pi.log() - reference)).sum()
    assert held.loss.item() == pytest.approx(expected + 0.1 * float(divergence), rel=1e-10)


def test_the_value_loss_takes_the_worse_of_plain_and_clipped() -> None:
    rng = np.random.default_rng(10)
    values = torch.tensor(rng.normal(size=50), requires_grad=True)
    old, targets = torch.tensor(rng.normal(size=50)), torch.tensor(rng.normal(size=50))
    weights = torch.tensor(rng.random(50))
    found = losses.value_loss(ValueBatch(values, old, targets, weights), clip=0.2)
    total = torch.zeros(())
    for v, before, target, w in zip(values, old, targets, weights, strict=True):
        near = before + (v - before).clamp(-0.2, 0.2)
        total = total + 0.5 * w * max((v - target) ** 2, (near - target) ** 2)
    torch.testing.assert_close(found, total, **EXACT)
    torch.testing.assert_close(
        torch.autograd.grad(found, values)[0], torch.autograd.grad(total, values)[0], **EXACT
    )
    plain = losses.value_loss(ValueBatch(values, old, targets, weights), clip=None)
    torch.testing.assert_close(plain, (0.5 * weights * (values - targets) ** 2).sum(), **EXACT)
