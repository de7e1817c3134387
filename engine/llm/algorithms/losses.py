"""The losses of LLM RL: typed tensors in, a loss to minimise and its metrics out.

Two forms. Where a completion is written token by token, a term per *token* (`token_loss`). For
`policy = "action"` a term per distinct *(state, action)* of the policy table (`table_loss`,
`mpo_loss`), in value and gradient equal to one term per step. An algorithm's file says which ratio
and which surrogate the two put together.

Every term carries a weight that was computed from the whole batch (`normalisers`), and losses are
plain sums: however a batch is cut into micro-batches, the losses, gradients and metric sums of the
pieces add up to the batch's.

Shapes: `B` sequences, `T` tokens, `O` states (of all worlds, flattened), `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.config.algorithm import KlEstimator
from engine.llm.algorithms.ratios import MOST, Ratio
from engine.llm.algorithms.surrogates import Surrogate


class Sums(NamedTuple):
    """Sums over the terms of a (micro-)batch, detached: add them up, then take `metrics`."""

    terms: Tensor  # tokens, or steps with an advantage
    steps: Tensor  # tokens, or steps
    outside: Tensor  # of them with ρ outside [1 − ε_low, 1 + ε_high]
    clipped_low: Tensor  # ρ < 1 − ε_low where the clip binds, see `Surrogate.clipped`
    clipped_high: Tensor  # ρ > 1 + ε_high
    ratio: Tensor
    ratio_max: Tensor  # a maximum, not a sum
    approx_kl: Tensor  # k3 of π_old to π
    reference_kl: Tensor  # π to the reference: k3 per token, exact per state
    entropy: Tensor


class Loss(NamedTuple):
    """What to call `backward` on, and what to tell."""

    loss: Tensor  # scalar
    sums: Sums


class TokenBatch(NamedTuple):
    """Completions, rows of a batch or of a micro-batch."""

    log_p: Tensor  # [B, T] log π of the tokens, at the sampling temperature; has the gradient
    log_p_old: Tensor  # [B, T] the same before the first step of the update
    advantages: Tensor  # [B] or [B, T]
    mask: Tensor  # [B, T] 1 where a token of the completion stands
    weights: Tensor  # [B] what each token of the row weighs: a normaliser's, of the whole batch
    log_p_ref: Tensor | None = None  # [B, T] under the reference policy
    entropy: Tensor | None = None  # [B, T] of each token's distribution, with gradient
    correction: Tensor | None = None  # [B, T] weights of the surrogate: see `rollout_correction`


class TableBatch(NamedTuple):
    """A policy table and the gathered steps: see `rollouts.StepWeights`."""

    log_pi: Tensor  # [O, A] has the gradient
    log_pi_old: Tensor  # [O, A] of the policy that the ratio is taken to
    positive: Tensor  # [O, A] Σ weight · advantage over steps with advantage > 0
    negative: Tensor  # [O, A] over steps with advantage < 0 (entries ≤ 0)
    count_positive: Tensor  # [O, A] numbers of those steps
    count_negative: Tensor  # [O, A]
    visits: Tensor  # [O] Σ weight of the steps there: weighs exact KL and entropy
    weights: Tensor  # [O, A] Σ weight of the steps: weighs a KL estimated from them
    made: Tensor  # [O, A] numbers of all steps, also of those with advantage 0
    log_pi_ref: Tensor | None = None  # [O, A]


class ValueBatch(NamedTuple):
    """Predicted values and what they should have been, of tokens or of steps; any one shape."""

    values: Tensor  # has the gradient
    values_old: Tensor  # when the batch was sampled
    targets: Tensor  # λ-returns
    weights: Tensor  # what each term weighs in the whole batch, 0 for padding


def kl_estimate(estimator: KlEstimator, away: Tensor) -> Tensor:
    """An estimate of KL(π‖π_ref) from single actions, given d = log π_ref − log π; any shape.

    k1 = −d, k2 = d²/2, k3 = e^d − 1 − d (Schulman 2020, "Approximating KL divergence"). Over
    actions drawn from π, E[k1] = E[k3] = KL(π‖π_ref), and k2 and k3 are never negative. A gradient
    is another matter. What is differentiated (in the loss) gives E[∇k1] = 0, E[∇k2] = ∇KL(π‖π_ref)
    and E[∇k3] = ∇KL(π_ref‖π); what is paid (in the reward) gives E[k ∇log π]: for k1 ∇KL(π‖π_ref),
    for k3 ∇KL(π‖π_ref) − ∇KL(π_ref‖π), for k2 ∇E[k2] − ∇KL(π‖π_ref). See Zhang et al. 2025, "On
    the design of KL-regularized policy gradient algorithms for LLM reasoning", and Shah et al.
    2025, "A comedy of estimators". On later passes the actions are an older policy's, and all this
    holds the less the further π has moved.
    """
    if estimator == "k1":
        return -away
    if estimator == "k2":
        return 0.5 * away**2
    if estimator == "k3":
        return _k3(away)
    raise ValueError("the exact KL needs the chances of all actions")


def token_loss(
    batch: TokenBatch,
    surrogate: Surrogate,
    ratio: Ratio,
    kl: float = 0.0,
    entropy: float = 0.0,
    estimator: KlEstimator = "k3",
) -> Loss:
    """− Σ_i w_i Σ_t [ c surrogate(ρ, A, log π) − kl · k + entropy · H ], k by `kl_estimate`, c the
    rollout correction or 1.

    The surrogate of a completion that is one action (`Ratio.one_action`) is one term, w_i times it.
    """
    _checked(surrogate, ratio)
    used = batch.mask.bool()
    weight = torch.where(used, batch.weights[:, None], 0.0)  # [B, T]
    wide = batch.advantages if batch.advantages.dim() == 2 else batch.advantages[:, None]
    advantage = torch.where(used, wide, 0.0)
    log_p = torch.where(used, batch.log_p, 0.0)
    moved = torch.where(used, batch.log_p - batch.log_p_old, 0.0)
    rho = ratio(moved, used)
    terms = weight * surrogate.gain(rho, log_p, advantage)
    if batch.correction is not None:
        terms = terms * torch.where(used, batch.correction.detach(), 0.0)
    if ratio.one_action:  # one term, spread over its tokens so that all sums look alike
        terms = terms / used.sum(1, keepdim=True).clamp(min=1)
    loss = -terms.sum()
    to_reference = torch.zeros_like(moved)
    if batch.log_p_ref is not None:
        away = torch.where(used, batch.log_p_ref - batch.log_p, 0.0)
        to_reference = _k3(away)
        if kl:
            loss = loss + kl * (weight * kl_estimate(estimator, away)).sum()
    spread = torch.zeros_like(moved) if batch.entropy is None else batch.entropy
    spread = torch.where(used, spread, 0.0)
    if entropy:
        if batch.entropy is None:
            raise ValueError("an entropy bonus needs the entropy of each token")
        loss = loss - entropy * (weight * spread).sum()
    with torch.no_grad():
        low, high = surrogate.clipped(rho, advantage)
        sums = Sums(
            terms=used.sum(),
            steps=used.sum(),
            outside=(surrogate.outside(rho) & used).sum(),
            clipped_low=(low & used).sum(),
            clipped_high=(high & used).sum(),
            ratio=torch.where(used, rho, 0.0).sum(),
            ratio_max=torch.where(used, rho, 0.0).max(),
            approx_kl=_k3(moved).sum(),
            reference_kl=to_reference.sum(),
            entropy=spread.sum(),
        )
    return Loss(loss, _detached(sums))


def table_loss(
    batch: TableBatch,
    surrogate: Surrogate,
    kl: float = 0.0,
    entropy: float = 0.0,
    estimator: KlEstimator = "exact",
) -> Loss:
    """− Σ_{o,a} surrogate(ρ, W, log π) + Σ_o v_o (kl · KL − entropy · H).

    Equal to one term per step, because all steps of one (state, action) share ρ and log π, and the
    advantages of both signs are gathered apart (`Surrogate.gathered`). The entropy H is an exact
    sum over the actions, and so is KL (to the reference), unless another `estimator`
    (`kl_estimate`) is to take it from the steps made.
    """
    _checked(surrogate)
    log_pi, pi = batch.log_pi, batch.log_pi.exp()
    moved = log_pi - batch.log_pi_old
    rho = moved.clamp(max=MOST).exp()
    loss = -surrogate.gathered(rho, log_pi, batch.positive, batch.negative).sum()
    h = -(pi * log_pi).sum(-1)  # [O]
    to_reference = torch.zeros_like(h)
    if batch.log_pi_ref is not None:
        to_reference = (pi * (log_pi - batch.log_pi_ref)).sum(-1)
        if kl and estimator == "exact":
            loss = loss + kl * (batch.visits * to_reference).sum()
        elif kl:
            estimates = kl_estimate(estimator, batch.log_pi_ref - log_pi)  # [O, A]
            loss = loss + kl * (batch.weights * estimates).sum()
    if entropy:
        loss = loss - entropy * (batch.visits * h).sum()
    with torch.no_grad():
        count = batch.count_positive + batch.count_negative  # [O, A]
        visits = count.sum(-1)
        up = surrogate.clipped(rho, batch.count_positive)
        down = surrogate.clipped(rho, -batch.count_negative)
        sums = Sums(
            terms=count.sum(),
            steps=batch.made.sum(),
            outside=(surrogate.outside(rho) * batch.made).sum(),
            clipped_low=(up.low * batch.count_positive + down.low * batch.count_negative).sum(),
            clipped_high=(up.high * batch.count_positive + down.high * batch.count_negative).sum(),
            ratio=(rho * count).sum(),
            ratio_max=torch.where(count > 0, rho, 0.0).max(),
            approx_kl=(_k3(moved) * count).sum(),
            reference_kl=(to_reference * visits).sum(),
            entropy=(h * visits).sum(),
        )
    return Loss(loss, _detached(sums))


def mpo_target(log_pi_old: Tensor, advantages: Tensor, temperature: float, floor: float) -> Tensor:
    """q [O, A] = (1 − f) · softmax(log π_old + A/η) + f/A.

    The non-parametric improvement of MPO (Abdolmaleki et al. 2018, section 3.2.1, eq. 4: q ∝ π_old
    exp(Q/η); V̂ cancels in the softmax, so advantages do). The `floor` f keeps every action alive:
    what a policy has forgotten it cannot sample again.
    """
    improved = torch.softmax(log_pi_old + advantages / temperature, dim=-1)
    return (1 - floor) * improved + floor / log_pi_old.shape[-1]


def mpo_loss(
    log_pi: Tensor, target: Tensor, weights: Tensor, log_pi_ref: Tensor | None = None, kl: float = 0
) -> Loss:
    """Σ_o w_o KL(q ‖ π), the fit of MPO's M-step. Abdolmaleki et al. 2018, section 3.2.2, eq. 10.

    `log_pi` and `target` [O, A]; `weights` [O] of the states sum to 1 over the whole batch. It is
    the cross-entropy −Σ q log π less the entropy of q, so that 0 means fitted. `kl` adds the KL to
    the reference.
    """
    surprise = torch.xlogy(target, target) - target * log_pi
    loss = (weights * surprise.sum(-1)).sum()
    pi = log_pi.exp()
    to_reference = torch.zeros_like(weights)
    if log_pi_ref is not None:
        to_reference = (pi * (log_pi - log_pi_ref)).sum(-1)
        if kl:
            loss = loss + kl * (weights * to_reference).sum()
    with torch.no_grad():
        zero = torch.zeros((), dtype=log_pi.dtype, device=log_pi.device)
        sums = Sums(
            terms=weights.sum(),
            steps=weights.sum(),
            outside=zero,
            clipped_low=zero,
            clipped_high=zero,
            ratio=weights.sum(),
            ratio_max=zero + 1,
            approx_kl=(weights * surprise.sum(-1)).sum(),
            reference_kl=(weights * to_reference).sum(),
            entropy=-(weights * (pi * log_pi).sum(-1)).sum(),
        )
    return Loss(loss, _detached(sums))


def value_loss(batch: ValueBatch, clip: float | None = 0.2) -> Tensor:
    """½ Σ w max( (v − R)², (v_old + clip(v − v_old, ±ε) − R)² ). PPO's value loss.

    Schulman et al.'s code, described in Huang et al. 2022, "The 37 implementation details of PPO",
    detail 9; `clip` None leaves the clipped part out.
    """
    error = (batch.values - batch.targets) ** 2
    if clip is not None:
        near = batch.values_old + (batch.values - batch.values_old).clamp(-clip, clip)
        error = torch.maximum(error, (near - batch.targets) ** 2)
    return 0.5 * (batch.weights * error).sum()


def metrics(pieces: Sequence[Sums]) -> dict[str, float]:
    """Means over all terms of a batch from the sums of its micro-batches; what the clip does, as
    shares of all its steps."""
    terms = max(sum(float(piece.terms) for piece in pieces), 1e-12)
    steps = max(sum(float(piece.steps) for piece in pieces), 1e-12)

    def mean(of: Callable[[Sums], Tensor], number: float = terms) -> float:
        return sum(float(of(piece)) for piece in pieces) / number

    low = mean(lambda piece: piece.clipped_low, steps)
    high = mean(lambda piece: piece.clipped_high, steps)
    return {
        "clip_fraction": mean(lambda piece: piece.outside, steps),
        "clip_binding": low + high,
        "clip_binding_low": low,
        "clip_binding_high": high,
        "ratio_mean": mean(lambda piece: piece.ratio),
        "ratio_max": max((float(piece.ratio_max) for piece in pieces), default=0.0),
        "approx_kl": mean(lambda piece: piece.approx_kl),
        "reference_kl": mean(lambda piece: piece.reference_kl),
        "entropy": mean(lambda piece: piece.entropy),
    }


def _checked(surrogate: Surrogate, ratio: Ratio | None = None) -> None:
    """Raise TypeError for a name where a part is expected: a wrong objective trains silently."""
    if not isinstance(surrogate, Surrogate):
        raise TypeError(f"surrogate is {surrogate!r}; expected one of algorithms.surrogates")
    if not isinstance(ratio, Ratio | None):
        raise TypeError(f"ratio is {ratio!r}; expected one of algorithms.ratios")


def _k3(log_ratio: Tensor) -> Tensor:
    """Schulman's KL estimate e^d − d − 1, never negative; d = log π_ref − log π."""
    d = log_ratio.clamp(max=MOST)
    return torch.expm1(d) - d


def _detached(sums: Sums) -> Sums:
    return Sums(*(part.detach() for part in sums))
