"""An update of a policy that writes routes as events: groups of routes, one episode, moves made.

Shapes: `O` observations, `A` actions, `B` completions of `T` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.env.mdp import MDP
from engine.learning.events import Episode, Group, Member, Policy, Step
from engine.llm.tasks import recorded
from engine.llm.tasks.base import RunState
from engine.llm.tasks.completions import CompletionObjective
from engine.llm.tasks.routes.batch import RouteBatch
from engine.llm.tasks.routes.writer import Route, RouteWriter
from engine.llm.worlds import uniform_rows


def group_events(
    run: RunState, writer: RouteWriter, objective: CompletionObjective[RouteBatch]
) -> list[Group]:
    """The first groups of an update; without groups, the batch is one.

    Every member's `advantage` is the one each of its tokens got, or where they differ their mean.
    """
    batch, routes = objective.batch, objective.batch.routes
    return recorded.group_events(
        run,
        batch.group_size,
        objective.rewards,
        lambda first: (run.train.first + routes[first].world, routes[first].prompt.text),
        lambda b: _member(
            writer, routes[b], float(objective.rewards[b]), objective.mean_advantage(b)
        ),
    )


def _member(writer: RouteWriter, route: Route, total: float, advantage: float) -> Member:
    """`spans` are those of all moves that were read; the first of them, one for each of `actions`,
    were made before the episode ended. What the KL in the reward has cost is one of its `parts`."""
    by_kl = {} if total == route.total else {"kl": total - route.total}
    return Member(
        actions=route.made,
        states=route.walked.states,
        total=total,
        advantage=advantage,
        success=route.walked.success,
        terminated=route.walked.terminated,
        truncated=route.walked.truncated,
        text=route.text,
        tokens=tuple(writer.decode([token]) for token in route.tokens),
        log_probs=route.log_probs,
        spans=route.parsed.spans,
        parts={**route.parts, **by_kl},
        cut_off=route.cut_off,
        unreadable=route.unreadable,
    )


def episode_event(
    run: RunState, writer: RouteWriter, objective: CompletionObjective[RouteBatch]
) -> Episode | None:
    """The first route of an update in which a move was made, as an episode; None without any."""
    batch = objective.batch
    b = next((n for n, route in enumerate(batch.routes) if route.made), None)
    if b is None:
        return None
    route, walked, gamma = batch.routes[b], batch.routes[b].walked, float(run.settings.gamma)
    group = objective.rewards[b // batch.group_size * batch.group_size :][: batch.group_size]
    mean, total = float(group.mean()), float(objective.rewards[b])
    steps = tuple(
        _step(run, route, t, log_prob, mean, total, objective.mean_advantage(b))
        for t, log_prob in enumerate(move_log_probs(writer, route))
    )
    to_go, following = [], 0.0
    for reward in reversed(walked.rewards):
        following = reward + gamma * following
        to_go.append(following)
    return Episode(
        step=run.clock,
        world_id=run.train.first + route.world,
        index=run.clock - 1,
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
    run: RunState,
    route: Route,
    t: int,
    log_prob: float,
    mean: float,
    total: float,
    advantage: float,
) -> Step:
    """One move of a route compared by `total`. There are no probabilities: the model decided about
    tokens, not in cells."""
    walked, mdp = route.walked, run.train.mdps[route.world]
    state, landing = walked.states[t], walked.states[t + 1]
    last = t == len(walked.rewards) - 1
    action = route.made[t]
    return Step(
        step=run.clock,
        world_id=run.train.first + route.world,
        episode=run.clock - 1,
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
        target=total,
        error=total - mean,
        after=math.nan,
        step_size=run.last_learning_rate,
        gamma=float(run.settings.gamma),
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


def policy_event(run: RunState, batch: RouteBatch) -> Policy:
    """What was done in the cells of the world that is shown.

    A policy that writes routes has no π(·|s): it never looks where it is. `target` [O, A] is the
    share of each move among those that the batch's routes made in a cell, uniform in cells none of
    them came to; `values` [O] are the exact values of a walker who would go by those shares.
    """
    world = batch.routes[0].world
    mdp = run.train.mdps[world]
    visits = made_moves(mdp, [route for route in batch.first if route.world == world])
    made = visits.sum(-1, keepdims=True)
    target = uniform_rows(visits / np.maximum(made, 1))
    return Policy(
        step=run.clock,
        world_id=run.train.first + world,
        target=target.astype(np.float32),
        behaviour=target.astype(np.float32),
        q=None,
        values=recorded.exact_values(mdp, target, run.settings.gamma).astype(np.float32),
        visits=visits,
    )
