"""The routes an update learns from: groups of them, and how their tokens are judged.

Shapes: `B` completions in groups of `G`, `T` tokens of the longest one, `W` worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.config.llm import LlmSettings
from engine.core.arrays import Bools, Floats
from engine.llm.algorithms.advantages import all_equal, gae, groups_to_keep, standardised
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.tasks.completions import lengths_of
from engine.llm.tasks.routes.writer import Route, RouteWriter
from engine.llm.tasks.streams import Stream


@dataclass(frozen=True, eq=False)
class RouteBatch:
    """The routes of an update."""

    routes: tuple[Route, ...]  # [B], groups one behind the other
    group_size: int
    first: tuple[Route, ...]
    """Routes of the first draw: a fair sample of the policy, which chosen groups are not."""
    greedy: Route | None
    draws: int
    episodes: int  # completions of all draws
    env_steps: int  # moves made in all draws
    tokens: int  # drawn in all draws
    equal_groups: float  # share of all groups drawn whose routes are all alike

    @property
    def worlds(self) -> tuple[int, ...]:
        """The worlds that were played, each once."""
        return tuple(dict.fromkeys(route.world for route in self.routes))

    @property
    def totals(self) -> Floats:
        """[B] what routes are compared by."""
        return np.array([route.total for route in self.routes])

    @property
    def completions(self) -> tuple[Route, ...]:
        """[B] the routes, as what they are learned from."""
        return self.routes


def collect(
    writer: RouteWriter,
    policy: CompletionPolicy,
    algorithm: LlmAlgorithm[LlmSettings],
    settings: LlmSettings,
    per_update: int,
    numbers: Stream,
) -> RouteBatch:
    """Write the routes an update learns from; for DAPO, groups that are all equal are drawn again.

    Groups go round the mazes of the update. Methods without groups ask for every route anew.
    """
    n, size = settings.episodes, algorithm.group_size(settings)
    together = algorithm.same_start(settings)
    chosen = list(range(len(writer.split)))
    if per_update < len(writer.split):
        picked = numbers.moves.choice(len(writer.split), per_update, replace=False)
        chosen = sorted(int(w) for w in picked)
    worlds = [chosen[i % per_update] for i in range(n // together)]
    overlong = algorithm.overlong(settings)
    one_question = len(writer.all_asks(chosen)) == 1
    groups: list[list[Route]] = []  # those that are kept
    equal: list[Bools] = []
    all_routes: list[Route] = []
    first: tuple[Route, ...] = ()
    greedy: Route | None = None
    most = algorithm.draws(settings)
    draw = 0
    while worlds:
        draw += 1
        asks = writer.asks(worlds, numbers.moves)
        if one_question:  # the prompt's cache and the beginnings of routes are shared by all
            routes = writer.write(
                policy, asks[:1], len(asks) * together, numbers, overlong, greedy=draw == 1
            )
            if draw == 1:
                greedy = routes.pop()
        else:
            routes = writer.write(policy, asks, together, numbers, overlong)
        first = first or tuple(routes)
        all_routes += routes
        cut = [routes[i : i + together] for i in range(0, len(routes), together)]
        keep = np.ones(len(cut), dtype=bool)
        compared = np.array([route.total for route in routes]).reshape(-1, size)
        equal.append(all_equal(compared))
        if draw < most:  # in the end what is missing is filled with groups that teach nothing
            keep = groups_to_keep([[route.total for route in group] for group in cut])
        groups += [group for group, kept in zip(cut, keep, strict=True) if kept]
        worlds = [world for world, kept in zip(worlds, keep, strict=True) if not kept]
    return RouteBatch(
        routes=tuple(route for group in groups for route in group),
        group_size=size,
        first=first,
        greedy=greedy,
        draws=draw,
        episodes=len(all_routes),
        env_steps=sum(len(route.made) for route in all_routes),
        tokens=sum(len(route.tokens) for route in all_routes),
        equal_groups=float(np.concatenate(equal).mean()),
    )


def by_critic(
    batch: RouteBatch,
    values: Tensor,
    gamma: float,
    lambda_: float,
    penalty: Floats | None = None,
) -> tuple[Tensor, Tensor]:
    """GAE over the tokens of each route, the reward paid at its last one: advantages [B, T] of the
    whole batch standardised, and λ-returns [B, T] that the values are to be fitted to.

    `values` [B, T]: of the hidden state each token was drawn from. A route that ran into the token
    limit is over too: it is walked and paid as it stands. `penalty` [B, T] is taken off each
    token's reward.
    """
    lengths = lengths_of(batch.routes)
    mask = np.arange(values.shape[1]) < lengths[:, None]  # [B, T]
    last = np.arange(values.shape[1]) == lengths[:, None] - 1
    known = np.where(mask, values.double().numpy(), 0.0)
    following = np.concatenate([known[:, 1:], np.zeros((len(known), 1))], axis=1)
    reward = np.where(last, batch.totals[:, None], 0.0)
    if penalty is not None:
        reward = reward - penalty
    judged = gae(reward, known, following, last, np.zeros_like(last), gamma, lambda_)
    return (
        torch.from_numpy(standardised(judged.advantages, mask)).float(),
        torch.from_numpy(np.where(mask, judged.targets, 0.0)).float(),
    )


def batch_metrics(batch: RouteBatch, advantages: Tensor) -> dict[str, float]:
    """Figures of an update's routes; `advantages` [B] or [B, T], 0 behind the ends. What DAPO
    leaves out was written too: but for the advantages, figures are those of the first draw."""
    routes = batch.first
    lengths = lengths_of(batch.routes)
    mask = np.arange(lengths.max()) < lengths[:, None]
    used = np.broadcast_to(advantages.numpy().reshape(len(batch.routes), -1), mask.shape)[mask]

    def mean(of: Callable[[Route], float]) -> float:
        return float(np.mean([of(route) for route in routes]))

    return {
        "online_return": mean(lambda r: r.total),
        "online_score": mean(lambda r: sum(r.walked.rewards)),
        "online_length": mean(lambda r: len(r.made)),
        "online_success_rate": mean(lambda r: r.walked.success),
        "completion_tokens": mean(lambda r: len(r.tokens)),
        "cut_off_share": mean(lambda r: r.cut_off),
        "unreadable_share": mean(lambda r: r.unreadable),
        "advantage_std": float(used.std()),
        "equal_groups": batch.equal_groups,
        "group_draws": float(batch.draws),
        **{f"reward_{name}": mean(lambda r, n=name: r.parts[n]) for name in routes[0].parts},  # type: ignore[misc]
    }
