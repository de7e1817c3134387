"""What a policy that writes routes is worth: figures from sampled routes, and how sure they are.

It has no π(·|s) that could be evaluated exactly: it is sampled. Shapes: `W` worlds, `S`
states, `K` branches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from engine.core.arrays import Array
from engine.env.mdp import MDP
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.tasks.routes.rewards import Walk
from engine.llm.tasks.routes.writer import Route, RouteWriter
from engine.llm.tasks.streams import Stream
from engine.llm.worlds import WorldSet

MOST_MAZES = 64
"""Most mazes of a set that are evaluated, evenly picked."""


def figures_of(
    writer: RouteWriter,
    policy: CompletionPolicy,
    n: int,
    numbers: Stream,
    known: Sequence[Route] = (),
    greedy: Sequence[Route] = (),
) -> tuple[dict[str, Array], float]:
    """`sampled_figures` of at least `n` routes of `policy` through the mazes of a split.

    `known` and `greedy` are routes of the same policy that were written already (of a split with
    one maze and one start); what is missing is asked for.
    """
    size = len(writer.split)
    worlds = np.linspace(0, size - 1, min(size, MOST_MAZES)).astype(int).tolist()
    missing = max(0, math.ceil((n - len(known)) / len(worlds)))
    routes, likeliest = list(known), list(greedy)
    all_asks = writer.all_asks(worlds)
    if missing and len(all_asks) == len(worlds):
        routes += writer.write(policy, all_asks, missing, numbers)
    elif missing:  # mazes with several starts: one is drawn for each route
        asks = writer.asks([w for w in worlds for _ in range(missing)], numbers.moves)
        routes += writer.write(policy, asks, 1, numbers)
    if not likeliest:
        likeliest = writer.write(policy, all_asks, 0, numbers, greedy=True)
    return sampled_figures(writer.split, routes, likeliest)


def sampled_figures(
    split: WorldSet, routes: Sequence[Route], greedy: Sequence[Route]
) -> tuple[dict[str, Array], float]:
    """The figures [W] of the worlds that `routes` were written for, and the success's standard
    error.

    `greedy` holds the likeliest route from each start cell of those worlds. Means over a sample,
    all but `greedy_success_rate`: what one fixed route reaches is computed exactly. The error is
    that of a stratified sample, with (k + 1) / (n + 2) for k successes of n: a few routes that all
    succeeded do not prove that all others would.
    """
    of_world: dict[int, list[Walk]] = {}
    for route in routes:
        of_world.setdefault(route.world, []).append(route.walked)
    likeliest = dict.fromkeys(of_world, 0.0)
    for route in greedy:
        mdp = split.mdps[route.world]
        chance = success_of(mdp, route.parsed.moves, route.start)
        likeliest[route.world] += float(mdp.start[route.start]) * chance

    def means(of: Callable[[Walk], float]) -> Array:
        return np.array([np.mean([of(walked) for walked in walks]) for walks in of_world.values()])

    count = np.array([len(walks) for walks in of_world.values()])
    success = means(lambda walked: walked.success)
    likely = (success * count + 1) / (count + 2)
    stderr = math.sqrt(float((likely * (1 - likely) / count).sum())) / len(count)
    figures = {
        "success_rate": success,
        "greedy_success_rate": np.array(list(likeliest.values())),
        "expected_return": means(lambda walked: discounted(walked.rewards, split.gamma)),
        "expected_score": means(lambda walked: sum(walked.rewards)),
        "expected_length": means(lambda walked: len(walked.rewards)),
    }
    return figures, stderr


def success_of(mdp: MDP, moves: Sequence[int], start: int) -> float:
    """The probability that these moves, made blindly from `start`, reach the prize."""
    there = np.zeros(mdp.n_states)
    there[start] = 1.0
    reached = 0.0
    for action in moves[: mdp.max_steps]:
        flow = there[:, None] * mdp.probability[:, action]  # [S, K]
        reached += float((flow * mdp.success[:, action]).sum())
        going_on = np.where(mdp.terminal[:, action], 0.0, flow)
        there = np.zeros(mdp.n_states)
        np.add.at(there, mdp.next_state[:, action], going_on)
    return reached


def discounted(rewards: Sequence[float], gamma: float) -> float:
    """Σ γ^t r_t"""
    return sum(gamma**t * reward for t, reward in enumerate(rewards))
