"""An update of a plan policy as events: groups of routes, one whole episode, the moves made.

Shapes: `O` observations, `A` actions, `B` completions of `T` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from engine.core.errors import UserError
from engine.env.mdp import MDP
from engine.exact.evaluate import state_values
from engine.learning.events import Episode, Group, Member, Policy, Step
from engine.llm.plan_judging import Batch, Route, RouteWriter
from engine.llm.telling import KEPT_GROUPS, listed
from engine.llm.worlds import uniform_rows

if TYPE_CHECKING:
    from engine.llm.plan_learner import PlanLearner


def plan_groups(learner: PlanLearner, batch: Batch, advantages: Tensor) -> list[Group]:
    """The first groups of an update; without groups, the batch is one. `advantages` [B] or [B, T].

    Every member's `advantage` is the one each of its tokens got, or where they differ their mean.
    """
    size = batch.group_size
    groups = []
    for index in range(min(KEPT_GROUPS, len(batch.routes) // size)):
        first = index * size
        kept = [first + n for n in listed(batch.totals[first : first + size])]
        groups.append(
            Group(
                step=learner.clock,
                world_id=learner.train.first + batch.routes[first].world,
                index=index,
                size=size,
                prompt=batch.routes[first].prompt.text,
                members=tuple(
                    _member(learner.writer, batch.routes[b], mean_advantage(batch, advantages, b))
                    for b in kept
                ),
                mean=float(batch.totals[first : first + size].mean()),
                spread=float(batch.totals[first : first + size].std()),
            )
        )
    return groups


def mean_advantage(batch: Batch, advantages: Tensor, b: int) -> float:
    """What the tokens of route b were multiplied with, on average."""
    own = advantages[b] if advantages.dim() == 1 else advantages[b, : len(batch.routes[b].tokens)]
    return float(own.mean())


def _member(writer: RouteWriter, route: Route, advantage: float) -> Member:
    """`spans` are those of all moves that were read; the first of them, one for each of `actions`,
    were made before the episode ended."""
    return Member(
        actions=route.made,
        states=route.walked.states,
        total=route.total,
        advantage=advantage,
        success=route.walked.success,
        terminated=route.walked.terminated,
        truncated=route.walked.truncated,
        text=route.text,
        tokens=tuple(writer.decode([token]) for token in route.tokens),
        log_probs=route.log_probs,
        spans=route.parsed.spans,
        parts=route.parts,
        cut_off=route.cut_off,
        unreadable=route.unreadable,
    )


def told_route(learner: PlanLearner, batch: Batch, advantages: Tensor) -> Episode | None:
    """The first route of an update in which a move was made, as an episode; None without any."""
    b = next((n for n, route in enumerate(batch.routes) if route.made), None)
    if b is None:
        return None
    route, gamma = batch.routes[b], float(learner.settings.gamma)
    group = batch.totals[b // batch.group_size * batch.group_size :][: batch.group_size]
    steps = tuple(
        _step(
            learner, route, t, log_prob, float(group.mean()), mean_advantage(batch, advantages, b)
        )
        for t, log_prob in enumerate(move_log_probs(learner.writer, route))
    )
    to_go, following = [], 0.0
    for reward in reversed(route.walked.rewards):
        following = reward + gamma * following
        to_go.append(following)
    walked = route.walked
    return Episode(
        step=learner.clock,
        world_id=learner.train.first + route.world,
        index=learner.clock - 1,
        steps=steps,
        returns_to_go=tuple(reversed(to_go)),
        score=sum(walked.rewards),
        success=walked.success,
        terminated=walked.terminated,
        truncated=walked.truncated,
    )


def move_log_probs(writer: RouteWriter, route: Route) -> list[float]:
    """log π of each move made: the sum over the tokens that have a part in its word."""
    ends = [len(writer.decode(route.tokens[: n + 1])) for n in range(len(route.tokens))]
    starts = [0, *ends[:-1]]
    return [
        sum(
            log_prob
            for first, end, log_prob in zip(starts, ends, route.log_probs, strict=True)
            if first < span_end and end > span_start
        )
        for span_start, span_end in route.parsed.spans[: len(route.made)]
    ]


def _step(
    learner: PlanLearner, route: Route, t: int, log_prob: float, mean: float, advantage: float
) -> Step:
    """One move. There are no probabilities: the model decided about tokens, not in cells."""
    walked, mdp = route.walked, learner.train.mdps[route.world]
    state, landing = walked.states[t], walked.states[t + 1]
    last = t == len(walked.rewards) - 1
    action = route.made[t]
    return Step(
        step=learner.clock,
        world_id=learner.train.first + route.world,
        episode=learner.clock - 1,
        t=t,
        state=state,
        observation=int(mdp.observation[state]),
        action=action,
        log_prob=log_prob,
        reward=walked.rewards[t],
        next_state=landing,
        next_observation=int(mdp.observation[landing]),
        terminated=last and walked.terminated,
        truncated=last and walked.truncated,
        success=last and walked.success,
        fell=(last and walked.fell) or _restarted(mdp, state, action, landing),
        before=mean,
        target=route.total,
        error=route.total - mean,
        after=math.nan,
        step_size=learner.last_rate,
        gamma=float(learner.settings.gamma),
        advantage_estimate=advantage,
    )


def _restarted(mdp: MDP, state: int, action: int, landing: int) -> bool:
    """Whether the only way this move leads there is through a hole (`fall = "restart"`)."""
    met = (mdp.next_state[state, action] == landing) & (mdp.probability[state, action] > 0)
    return bool(met.any() and mdp.fall[state, action][met].all())


def made_moves(mdp: MDP, routes: Sequence[Route]) -> np.ndarray:
    """[O, A] how often each move was made in each cell."""
    visits = np.zeros((mdp.n_observations, mdp.n_actions), np.int64)
    for route in routes:
        for state, action in zip(route.walked.states, route.made, strict=False):
            visits[mdp.observation[state], action] += 1
    return visits


def made_policy(learner: PlanLearner, batch: Batch, clock: int) -> Policy:
    """What was done in the cells of the world that is shown.

    A plan policy has no π(·|s): it never looks where it is. `target` [O, A] is the share of each
    move among those that the batch's routes made in a cell, uniform in cells none of them came to;
    `values` [O] are the exact values of a walker who would go by those shares.
    """
    world = batch.routes[0].world
    mdp = learner.train.mdps[world]
    visits = made_moves(mdp, [route for route in batch.first if route.world == world])
    made = visits.sum(-1, keepdims=True)
    target = uniform_rows(visits / np.maximum(made, 1))
    values = np.zeros(mdp.n_observations)
    try:
        values[mdp.observation] = state_values(mdp, target, learner.settings.gamma)
    except UserError:  # γ = 1 and a walker who may never arrive
        values[:] = 0.0
    return Policy(
        step=clock,
        world_id=learner.train.first + world,
        target=target.astype(np.float32),
        behaviour=target.astype(np.float32),
        q=None,
        values=values.astype(np.float32),
        visits=visits,
    )
