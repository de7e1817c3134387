"""The best policy for what can be seen: deterministic, one action for each observation, exact.

Where states look alike no such policy may be optimal, and finding the best is NP-hard (Littman
1994). It may also be far worse than one that draws its actions, or that remembers (Singh, Jaakkola
& Jordan 1994); for an MDP with `memory` the same search gives the best policy with that memory.

The search is branch and bound. A node fixes the actions of some observations; its bound is what a
policy could earn that obeys these and elsewhere sees the state and the clock (backward induction
over the time limit), so no policy below it earns more. Only observations that the fixed actions
lead to are branched on: once there is none left, the bound is the policy's own return, and no node
with a larger bound being left, it is the best.

Shapes: `S` states, `O` observations, `A` actions, `K` branches; inside, `n` open states and `B`
nodes looked at together.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count

import numpy as np

from engine.core.arrays import Bools, Floats, Index
from engine.core.errors import UserError
from engine.env.mdp import MDP
from engine.exact.evaluate import Evaluation, evaluate
from engine.exact.solve import Problem, open_problem

MAX_EXAMINED = 100_000
"""Nodes after which the search gives up. All policies of 8 observations are fewer."""
TOGETHER = 16
"""Nodes branched on at a time: their bounds are computed in one go."""
TIE = 1e-12
"""Relative difference of returns below which a bound promises nothing more."""
FREE = -1


@dataclass(frozen=True, eq=False)
class Best:
    """The best deterministic policy, and how it was found."""

    policy: Floats  # [O, A], one 1 a row
    figures: Evaluation
    observations: int  # in which there is something to decide
    examined: int  # partial policies whose bound was computed


def best_memoryless(mdp: MDP, gamma: float) -> tuple[Floats, Evaluation]:
    """The deterministic policy [O, A] with the largest γ-discounted return within `max_steps`,
    averaged over the starts, and its exact figures. Raises UserError as `find_best` does."""
    best = find_best(mdp, gamma)
    return best.policy, best.figures


def find_best(mdp: MDP, gamma: float, most: int = MAX_EXAMINED) -> Best:
    """`best_memoryless` with what the search took.

    Observations the policy never meets have action 0. Of equally good policies one is returned,
    always the same. Raises UserError where more than `most` partial policies would have to be
    examined.
    """
    problem = open_problem(mdp)
    distinct, which = np.unique(mdp.observation[problem.states], return_inverse=True)
    chosen, examined = _searched(mdp, problem, which.ravel(), gamma, most)
    action = np.zeros(mdp.n_observations, dtype=np.int64)
    action[distinct] = np.maximum(chosen, 0)
    policy = np.eye(mdp.n_actions)[action]
    return Best(policy, evaluate(mdp, policy, gamma), int(distinct.size), examined)


def _searched(
    mdp: MDP, problem: Problem, seen: Index, gamma: float, most: int
) -> tuple[Index, int]:
    """The action [o] of each of the o observations `seen` [n], FREE where it is never met; and how
    many nodes were examined. Best bound first, the deepest of equal ones."""
    n_seen, n_actions = int(seen.max()) + 1, mdp.n_actions
    start = mdp.start[problem.states]
    root = np.full((1, n_seen), FREE)
    bound = _bounds(problem, start, seen, root, gamma, mdp.max_steps)
    slack = TIE * max(1.0, float(np.abs(bound).max()))
    order = count()
    queue = [(-float(bound[0]), 0, next(order), root[0])]
    best, best_return = root[0], -np.inf
    examined = 1
    while queue and -queue[0][0] > best_return + slack:
        nodes: list[Index] = []
        asked: list[int] = []
        while queue and len(nodes) < TOGETHER and -queue[0][0] > best_return + slack:
            promised, _, _, node = heapq.heappop(queue)
            open_at = _next_to_decide(problem, start, seen, node)
            if open_at is not None:
                nodes.append(node)
                asked.append(open_at)
            elif -promised > best_return:
                best, best_return = node, -promised
        if not nodes:
            continue
        children = np.repeat(np.array(nodes), n_actions, axis=0)
        children[np.arange(len(children)), np.repeat(asked, n_actions)] = np.tile(
            np.arange(n_actions), len(nodes)
        )
        examined += len(children)
        if examined > most:
            raise UserError(
                f"maze.observation: to find the best policy for {n_seen} observations more than "
                f"{most:,} partial policies would have to be examined; take a smaller maze, less "
                "memory, or an agent that sees more."
            )
        bounds = _bounds(problem, start, seen, children, gamma, mdp.max_steps)
        for child, promised in zip(children, bounds.tolist(), strict=True):
            if promised > best_return + slack:
                depth = int((child != FREE).sum())
                heapq.heappush(queue, (-promised, -depth, next(order), child))
    return best, examined


def _bounds(
    problem: Problem, start: Floats, seen: Index, nodes: Index, gamma: float, horizon: int
) -> Floats:
    """[B] no policy that obeys a node [B, o] earns more within `horizon` steps from `start` [n]."""
    fixed = nodes[:, seen]  # [B, n]
    free = fixed == FREE
    at = np.maximum(fixed, 0)[..., None]
    values = np.zeros(free.shape)
    for _ in range(horizon):
        onward = np.einsum("sak,bsak->bsa", problem.weight, values[:, problem.next])
        q = problem.reward + gamma * onward  # [B, n, A]
        before = values
        values = np.where(free, q.max(axis=2), np.take_along_axis(q, at, 2)[..., 0])
        if np.array_equal(values, before):
            break
    return values @ start


def _next_to_decide(problem: Problem, start: Floats, seen: Index, node: Index) -> int | None:
    """The first FREE observation a policy that obeys `node` [o] comes to, None if there is none."""
    met: Bools = np.zeros(seen.size, dtype=bool)
    frontier = np.flatnonzero(start)
    while frontier.size:
        undecided = frontier[node[seen[frontier]] == FREE]
        if undecided.size:
            return int(seen[undecided[0]])
        met[frontier] = True
        action = node[seen[frontier]]
        possible = problem.weight[frontier, action] > 0
        following = np.unique(problem.next[frontier, action][possible])
        frontier = following[~met[following]]
    return None
