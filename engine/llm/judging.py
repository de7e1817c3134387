"""What an action policy's episodes are played by, and what they teach: all in NumPy, no model.

Shapes: `W` worlds of the batch, `O` observations, `A` actions, `N` prompts (rows), `B` episodes of
`T` steps, `G` episodes of a group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine.core.arrays import Array
from engine.llm.advantages import (
    all_equal,
    gae,
    groups_to_keep,
    overlong_penalty,
    sequence_weights,
    standardised,
)
from engine.llm.estimates import Estimates, Scale, retrace, updated
from engine.llm.look import Look, at_observations
from engine.llm.losses import mpo_target
from engine.llm.objectives import Critic, Fit, Gradient
from engine.llm.optimizer import scheduled
from engine.llm.rollouts import (
    Rollouts,
    StepWeights,
    Worlds,
    at_steps,
    even_weights,
    gather,
    importance_weights,
    joined,
    make_worlds,
    mixed_with_uniform,
    sample_episodes,
)
from engine.llm.routes import expert_policy
from engine.llm.worlds import WorldSet

if TYPE_CHECKING:
    from engine.llm.action_learner import ActionLearner


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was played for an update, also what DAPO then left out."""

    first: Rollouts  # the first draw: a fair sample of the behaviour
    draws: int
    episodes: int
    steps: int
    equal_groups: float  # share of all groups drawn whose episodes are all alike


@dataclass(frozen=True, eq=False)
class Played:
    """An update's episodes and how they were judged."""

    worlds: tuple[int, ...]  # [W] ids of the training worlds
    rollouts: Rollouts
    group_size: int
    compared: Array  # [B] what episodes were compared by: their return
    advantages: Array  # [B, T] what each step's term is multiplied with
    weights: StepWeights
    visits: Array  # [W, O, A] how often each move was made
    mean_advantages: Array  # [W, O, A] 0 where a move was not made
    metrics: dict[str, float]
    critic: Critic | None
    drawn: Drawn


def worlds_of(split: WorldSet, ids: Iterable[int]) -> Worlds:
    """Some worlds of a split, ready to be sampled from."""
    return make_worlds([split.mdps[w] for w in ids])


def sampled_from(look: Look) -> Array:
    """[W, O, A] π at the sampling temperature, uniform where nothing is decided."""
    return look.at_observations(look.log_pi.exp().numpy(), 1.0 / look.policy.shape[-1])


def behaviour(learner: ActionLearner, look: Look) -> Array:
    """[W, O, A] the policy that is played: π at the sampling temperature, partly at random."""
    share = scheduled(learner.settings.uniform, learner.clock)
    return mixed_with_uniform(sampled_from(look), share)


def play(learner: ActionLearner, look: Look) -> Played:
    """Sample the update's episodes, and judge them as the algorithm does."""
    settings: Any = learner.settings
    worlds = worlds_of(learner.train, look.worlds)
    size = learner.algorithm.group_size(settings)
    rollouts, drawn = _sampled(learner, worlds, behaviour(learner, look))
    returns = rollouts.returns(settings.gamma)
    if getattr(settings, "overlong", 0):
        longest = worlds.max_steps
        returns = returns + overlong_penalty(
            rollouts.length, longest, min(settings.overlong, longest)
        )
    grouped = returns.reshape(-1, size)
    critic = None
    if by_state(learner):
        learner.estimates = _estimated(learner, look, worlds, rollouts)
        advantages = at_steps(rollouts, state_advantages(learner, look))
    elif learner.algorithm.has_critic:
        advantages, critic = _by_critic(learner, look, rollouts)
    else:
        judged = learner.algorithm.advantages(grouped, settings).reshape(-1)
        advantages = np.broadcast_to(judged[:, None], rollouts.mask.shape)
    advantages = np.where(rollouts.mask, advantages, 0.0)
    weights = _step_weights(learner, look, worlds, rollouts)
    gathered = gather(worlds, rollouts, advantages, weights)
    plain = gather(worlds, rollouts, advantages, np.ones(len(returns)))
    made = gather(worlds, rollouts, np.ones(len(returns)), np.ones(len(returns))).count_positive
    total = plain.positive + plain.negative
    used = advantages[rollouts.mask]
    return Played(
        worlds=look.worlds,
        rollouts=rollouts,
        group_size=size,
        compared=returns,
        advantages=advantages,
        weights=gathered,
        visits=made,
        mean_advantages=np.where(made > 0, total / np.maximum(made, 1), 0.0),
        metrics={
            "online_return": float(drawn.first.returns(settings.gamma).mean()),
            "online_score": float(drawn.first.score.mean()),
            "online_length": float(drawn.first.length.mean()),
            "online_success_rate": float(drawn.first.success.mean()),
            "advantage_std": float(used.std()),
            "equal_groups": drawn.equal_groups,
            "group_draws": float(drawn.draws),
        },
        drawn=drawn,
        critic=critic,
    )


def _sampled(learner: ActionLearner, worlds: Worlds, table: Array) -> tuple[Rollouts, Drawn]:
    """Episodes in groups to learn from; for DAPO drawn again until enough groups differ in
    themselves."""
    settings: Any = learner.settings
    # Without groups every episode begins anew: only its return is compared with the batch's.
    size = settings.group_size if hasattr(settings, "group_size") else 1
    n_groups = max(1, settings.episodes // size)
    compared = learner.algorithm.group_size(settings)
    most = getattr(settings, "draws", 1)
    group_world = _revisited(learner, worlds.n_worlds, n_groups)
    kept: list[Rollouts] = []
    all_drawn: list[Rollouts] = []
    missing = n_groups
    for draw in range(1, most + 1):
        drawn = sample_episodes(
            worlds, table, n_groups, size, learner.rng, settings.random_starts, group_world
        )
        all_drawn.append(drawn)
        returns = drawn.returns(settings.gamma).reshape(n_groups, size)
        if most == 1:
            kept = all_drawn
            break
        wanted = np.flatnonzero(groups_to_keep(returns))[:missing]
        if draw == most:  # what is missing now is filled with groups that teach nothing
            others = np.setdiff1d(np.arange(n_groups), wanted)[: missing - len(wanted)]
            wanted = np.concatenate([wanted, others])
        kept.append(drawn.groups(wanted, size))
        missing -= len(wanted)
        if missing == 0:
            break
    equal = [all_equal(d.returns(settings.gamma).reshape(-1, compared)) for d in all_drawn]
    return joined(kept), Drawn(
        first=all_drawn[0],
        draws=len(all_drawn),
        episodes=sum(len(d.length) for d in all_drawn),
        steps=sum(int(d.length.sum()) for d in all_drawn),
        equal_groups=float(np.concatenate(equal).mean()),
    )


def _revisited(learner: ActionLearner, n_worlds: int, n_groups: int) -> Array | None:
    """[n_groups] the world each group plays in where maps met earlier are rehearsed: the newest,
    which is the batch's first, or for a share of them any; None where groups go round the worlds.
    """
    if not learner.rehearses or n_worlds == 1:
        return None
    drawn = int(n_groups * learner.preset.maze.revisit + learner.rng.random())
    of_all = learner.rng.integers(0, n_worlds, drawn)
    return np.concatenate([np.zeros(n_groups - drawn, np.int64), of_all])


def _step_weights(learner: ActionLearner, look: Look, worlds: Worlds, rollouts: Rollouts) -> Array:
    """[B, T] what each step weighs in the batch's loss, its importance weight π/b included."""
    if by_state(learner):
        weights = even_weights(worlds, rollouts)
    else:
        name, longest = learner.algorithm.weighting, worlds.max_steps
        weights = sequence_weights(name, rollouts.length, longest)[:, None]
    weighed: Array = weights * importance_weights(rollouts, sampled_from(look))
    return weighed


def _by_critic(learner: ActionLearner, look: Look, rollouts: Rollouts) -> tuple[Array, Critic]:
    """GAE from the value head, and what the head is to be fitted to."""
    settings: Any = learner.settings
    known = look.values.double().numpy()

    def value_of(observation: Array) -> Array:
        return at_observations(look.place[rollouts.world[:, None], observation], known, 0.0)

    judged = gae(
        rollouts.reward,
        np.where(rollouts.mask, value_of(rollouts.observation), 0.0),
        np.where(rollouts.mask, value_of(rollouts.next_observation), 0.0),
        rollouts.ends(rollouts.terminated),
        rollouts.ends(rollouts.truncated),
        settings.gamma,
        settings.gae_lambda,
    )
    row = look.place[rollouts.world[:, None], rollouts.observation][rollouts.mask]
    critic = Critic(
        row=torch.from_numpy(row),
        targets=torch.from_numpy(judged.targets[rollouts.mask]).float(),
        values_old=look.values,
        clip=settings.value_clip,
    )
    return standardised(judged.advantages, rollouts.mask), critic


# ---------------------------------------------------------------- advantages by state


def by_state(learner: ActionLearner) -> bool:
    """Whether moves are compared with what else was tried in the same state."""
    return learner.algorithm.fits_table or getattr(learner.settings, "credit", "") == "state"


def state_advantages(learner: ActionLearner, look: Look) -> Array:
    """[W, O, A] Q̂ − V̂ of the batch's worlds, for π at temperature 1."""
    scale: Scale = getattr(learner.settings, "scale", "global")
    return _batch_estimates(learner, look).advantages(look.policy, scale)


def _batch_estimates(learner: ActionLearner, look: Look) -> Estimates:
    at = list(look.worlds)
    return Estimates(learner.estimates.total[at], learner.estimates.tries[at])


def _estimated(learner: ActionLearner, look: Look, worlds: Worlds, rollouts: Rollouts) -> Estimates:
    """The estimates of all worlds after this batch, corrected for what was played at random."""
    settings: Any = learner.settings
    before = _batch_estimates(learner, look)
    targets = retrace(rollouts, before, look.policy, settings.gamma)
    after = updated(before, worlds, rollouts, targets, settings.decay)
    total, tries = learner.estimates.total.copy(), learner.estimates.tries.copy()
    total[list(look.worlds)], tries[list(look.worlds)] = after.total, after.tries
    return Estimates(total, tries)


# ---------------------------------------------------------------- objectives


def expert(learner: ActionLearner, look: Look) -> Fit:
    """The warm start's objective: the optimal moves of every state, all states alike."""
    best = [expert_policy(learner.train.mdps[w], learner.settings.gamma) for w in look.worlds]
    target = look.at_rows(np.stack(best), "sum")
    known = target.sum(-1, keepdims=True)
    decided = known[:, 0] > 0
    target = np.where(known > 0, target / np.where(known > 0, known, 1.0), 1.0 / target.shape[-1])
    weights = decided / max(1, decided.sum())
    return Fit(torch.from_numpy(target), torch.from_numpy(weights))


def objective(
    learner: ActionLearner, look: Look, played: Played | None, reference: torch.Tensor | None
) -> Any:
    """What this update minimises."""
    assert played is not None
    settings: Any = learner.settings
    if learner.algorithm.fits_table:
        n = len(look.rows)
        target = mpo_target(
            torch.from_numpy(np.log(look.at_rows(behaviour(learner, look), "mean"))),
            torch.from_numpy(look.at_rows(state_advantages(learner, look), "mean")),
            settings.eta,
            scheduled(settings.floor, learner.clock),
        )
        weights = torch.full((n,), 1.0 / n, dtype=torch.float64)
        return Fit(target, weights, settings.kl, reference)

    def rows(of_worlds: Array) -> torch.Tensor:
        return torch.from_numpy(look.at_rows(of_worlds, "sum"))

    w = played.weights
    return Gradient(
        log_pi_old=look.log_pi,
        positive=rows(w.positive),
        negative=rows(w.negative),
        count_positive=rows(w.count_positive),
        count_negative=rows(w.count_negative),
        visits=rows(w.visits),
        clip=learner.algorithm.clip(settings),
        kl=settings.kl,
        entropy=scheduled(settings.entropy, learner.clock),
        log_pi_ref=reference,
    )


# ---------------------------------------------------------------- what is said of the policy


def spread(look: Look, played: Played | None, reference: torch.Tensor) -> dict[str, float]:
    """Entropy and KL to the reference of the policy that played, exact in every state, averaged
    over the moves made (in the warm start over the states); the KL where `reference` [N, A] is
    known."""
    visits: Array = np.ones(len(look.rows))
    if played is not None:
        visits = look.at_rows(played.visits.sum(-1), "sum")
    weights = torch.from_numpy(visits / visits.sum())
    pi = look.log_pi.exp()
    away = (pi * (look.log_pi - reference)).sum(-1)
    known = weights * ~away.isnan()
    return {
        "entropy": float(-(weights * (pi * look.log_pi).sum(-1)).sum()),
        "reference_kl": float((known * away.nan_to_num()).sum() / known.sum()),
    }
