"""What a good player would do: the targets of the supervised warm start.

Without slip these are all shortest routes (breadth-first search); on slippery ice there are no
routes, and the greedy optimal policy takes their place. Shapes: `S` states, `O` observations, `A`
actions, `K` branches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.arrays import Bools, Floats
from engine.env.maze import ACTION_NAMES
from engine.env.mdp import MDP, reachable
from engine.exact.solve import TIE, solve


def distances(mdp: MDP) -> Floats:
    """[S] fewest moves to the prize, if the ice is kind; inf where no way leads there.

    Breadth-first search backwards from the transitions that succeed. With slip, every direction an
    action can turn into counts as possible.
    """
    possible = mdp.probability > 0
    onward = possible & ~mdp.terminal
    distance = np.where((mdp.success & possible).any(axis=(1, 2)), 1.0, np.inf)
    for moves in range(2, mdp.n_states + 1):
        near = onward & (distance[mdp.next_state] == moves - 1)
        found = near.any(axis=(1, 2)) & np.isinf(distance)
        if not found.any():
            break
        distance[found] = moves
    return distance


def is_deterministic(mdp: MDP) -> bool:
    """Whether every action does what it says: no slip, no random restarts."""
    return bool((mdp.probability.max(axis=2) == 1.0).all())


def shortest_actions(mdp: MDP) -> Bools:
    """[S, A] the first moves of all shortest routes; none where no way leads to the prize.

    Raises ValueError where moves have several outcomes: use `expert_policy`.
    """
    if not is_deterministic(mdp):
        raise ValueError("shortest routes need moves that do what they say")
    branch = mdp.probability.argmax(axis=2)[..., None]
    landing, ends, wins = (
        np.take_along_axis(of, branch, axis=2)[..., 0]
        for of in (mdp.next_state, mdp.terminal, mdp.success)
    )
    distance = distances(mdp)
    after = np.where(wins, 0.0, np.where(ends, np.inf, distance[landing]))  # [S, A]
    best: Bools = (after == distance[:, None] - 1) & np.isfinite(distance)[:, None]
    return best


def expert_actions(mdp: MDP, gamma: float) -> Bools:
    """[S, A] all best actions: of shortest routes, or with slip of the γ-optimal policy.

    No action in states where nothing is to be decided: at rest, cut off, or equally hopeless.
    Raises UserError as `engine.exact.solve.solve` does.
    """
    if is_deterministic(mdp):
        return shortest_actions(mdp)
    q = solve(mdp, gamma).q
    top = q.max(axis=1, keepdims=True)
    best = top - q <= TIE * np.abs(q).max(axis=1, keepdims=True)
    decides = reachable(mdp) & ~best.all(axis=1)
    chosen: Bools = best & decides[:, None]
    return chosen


def expert_policy(mdp: MDP, gamma: float) -> Floats:
    """[O, A] the best actions of each observation, the probability shared evenly among them.

    Where several states look alike, the mean over those where something is to be decided. A row of
    zeros has no target.
    """
    best = expert_actions(mdp, gamma)
    decides = best.any(axis=1)
    shared = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    total = np.zeros((mdp.n_observations, mdp.n_actions))
    np.add.at(total, mdp.observation[decides], shared[decides])
    seen = total.sum(axis=1, keepdims=True)
    policy: Floats = total / np.where(seen > 0, seen, 1.0)
    return policy


def sample_route(
    mdp: MDP, start: int, rng: np.random.Generator, actions: Bools | None = None
) -> list[int]:
    """One shortest route from `start` to the prize, as actions; ties are drawn with `rng`.

    `actions` [S, A] is `shortest_actions(mdp)`, where the caller has it. Empty if there is no way.
    Raises ValueError where moves have several outcomes.
    """
    best = shortest_actions(mdp) if actions is None else actions
    route: list[int] = []
    state, won = start, False
    while not won and best[state].any():
        action = int(rng.choice(np.flatnonzero(best[state])))
        branch = int(mdp.probability[state, action].argmax())
        won = bool(mdp.success[state, action, branch])
        state = int(mdp.next_state[state, action, branch])
        route.append(action)
    return route


def all_routes(mdp: MDP, start: int, limit: int = 1000) -> list[list[int]]:
    """All shortest routes from `start`, at most `limit` of them, in the order of the actions."""
    best = shortest_actions(mdp)
    found: list[list[int]] = []
    open_ends: list[tuple[int, list[int]]] = [(start, [])]
    while open_ends and len(found) < limit:
        state, route = open_ends.pop()
        for action in reversed(np.flatnonzero(best[state]).tolist()):
            branch = int(mdp.probability[state, action].argmax())
            longer = [*route, action]
            if mdp.success[state, action, branch]:
                found.append(longer)
            else:
                open_ends.append((int(mdp.next_state[state, action, branch]), longer))
    return found


def route_text(route: Sequence[int], names: Sequence[str] = ACTION_NAMES) -> str:
    """A route as the words a route policy is to write: `right right down`."""
    return " ".join(names[action] for action in route)
