"""The exact figures of policies: success, return, score and length within `max_steps`.

A policy turns the MDP into a Markov chain. The chain is followed forward from the start, step by
step, and what it visits is summed: success, rewards and steps are products with those visits. A
whole batch of policies is followed at once, over the states each can really be in.

Truncation at `max_steps` just ends the sum: no value is bootstrapped, none is lost.

Shapes: `N` policies, `S` states, `O` observations, `A` actions, `K` branches; `M` = (policy, state)
pairs met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.arrays import Floats, Index
from engine.core.errors import UserError
from engine.env.mdp import MDP
from engine.exact.solve import Solution, any_of, open_problem, policy_values, solve

BLOCK = 16  # steps followed between two looks at what is left
AT_ONCE = 60_000  # up to this many transitions, look at all states; above, only at those met
SMALL = 32  # up to this many states a policy, powers of a dense matrix beat single steps
NEGLIGIBLE = 1e-18  # probability of still being in the game that no figure can show


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Exact figures of each policy [...], averaged over the start distribution."""

    success_rate: Floats  # probability of success within max_steps
    expected_return: Floats  # γ-discounted reward
    expected_score: Floats  # undiscounted reward
    expected_length: Floats  # steps until termination or truncation


@dataclass(frozen=True)
class OptimalFigures:
    """The figures of π*, the stationary γ-optimal policy, and what no policy at all can beat."""

    success_rate: float
    optimal_return: float  # γ-discounted, within max_steps
    expected_score: float
    expected_length: float
    horizon_optimum: float  # the same return, of the best policy that may watch the clock


@dataclass(frozen=True, eq=False)
class _Chains:
    """The Markov chains of N policies, side by side over M (policy, state) pairs."""

    policy: Index  # [M] whose pair it is, ascending
    source: Index  # [E] edges between pairs
    target: Index  # [E]
    weight: Floats  # [E] probability
    start: Floats  # [M]
    reward: Floats  # [M] expected of one step
    success: Floats  # [M] probability that this step ends in success


def greedy(q: ArrayLike) -> Floats:
    """The greedy policy of `q` [..., A]: exact ties share the probability evenly."""
    q = np.asarray(q)
    best = q == q.max(axis=-1, keepdims=True)
    shared: Floats = best / best.sum(axis=-1, keepdims=True)
    return shared


def evaluate(
    mdp: MDP,
    policy: ArrayLike,
    gamma: float,
    max_steps: int | None = None,
    *,
    by_state: bool = False,
) -> Evaluation:
    """Exact figures of `policy` [..., O, A], or [..., S, A] with `by_state`.

    `max_steps` defaults to the MDP's. Identical policies are followed once.
    """
    given = np.asarray(policy, dtype=np.float64)
    flat = given.reshape(-1, *given.shape[-2:])
    seen: dict[bytes, int] = {}
    which = np.array([seen.setdefault(table.tobytes(), len(seen)) for table in flat], dtype=int)
    distinct = flat[np.unique(which, return_index=True)[1]]
    observation = np.arange(mdp.n_states) if by_state else mdp.observation
    chains = _chains(mdp, distinct, observation)
    horizon = mdp.max_steps if max_steps is None else max_steps
    visits, discounted = _visits(chains, len(distinct), gamma, horizon)

    def total(of_pair: Floats) -> Floats:
        sums: Floats = np.bincount(chains.policy, of_pair, len(distinct))[which]
        return sums.reshape(given.shape[:-2])

    return Evaluation(
        success_rate=total(visits * chains.success),
        expected_return=total(discounted * chains.reward),
        expected_score=total(visits * chains.reward),
        expected_length=total(visits),
    )


def state_values(mdp: MDP, policy: ArrayLike, gamma: float) -> Floats:
    """V^π [S] of `policy` [O, A] with no limit of steps, as prediction methods estimate it.

    0 in states that cannot be reached. Raises UserError if γ is 1 and the policy may go on for ever
    while its steps count.
    """
    problem = open_problem(mdp)
    n = problem.states.size
    pi = np.asarray(policy, dtype=np.float64)[mdp.observation[problem.states]]  # [n, A]
    weight = problem.weight * pi[..., None]
    reward = np.einsum("sa,sa->s", pi, problem.reward)
    if gamma == 1:
        taken = pi > 0
        endless = ~problem.lead_to(any_of(problem.can_end & taken), taken)
        if (reward[endless] != 0).any():
            raise UserError(
                f"algorithm.gamma = 1: from state {problem.states[endless][0]} this policy never "
                "ends an episode, so its value is unbounded; lower algorithm.gamma below 1."
            )
        weight = np.where(endless[:, None, None], 0.0, weight)
    values = np.zeros(mdp.n_states)
    values[problem.states] = policy_values(
        problem.next.reshape(n, -1), gamma * weight.reshape(n, -1), reward
    )
    return values


def horizon_optimum(mdp: MDP, gamma: float, max_steps: int | None = None) -> float:
    """The largest γ-discounted return any policy can expect within `max_steps`, over the starts.

    Backward induction: the policy behind it sees the state and the clock.
    """
    problem = open_problem(mdp)
    values = np.zeros(problem.states.size)
    for _ in range(mdp.max_steps if max_steps is None else max_steps):
        before, values = values, problem.backup(values, gamma).max(axis=1)
        if np.array_equal(before, values):
            break
    return float(mdp.start[problem.states] @ values)


def optimal_figures(mdp: MDP, gamma: float, solution: Solution | None = None) -> OptimalFigures:
    """What the best policies reach within `max_steps`. Raises UserError as `solve` does."""
    solution = solution or solve(mdp, gamma)
    of_pi = evaluate(mdp, solution.policy, gamma, by_state=True)
    return OptimalFigures(
        success_rate=float(of_pi.success_rate),
        optimal_return=float(of_pi.expected_return),
        expected_score=float(of_pi.expected_score),
        expected_length=float(of_pi.expected_length),
        horizon_optimum=horizon_optimum(mdp, gamma),
    )


def _chains(mdp: MDP, policies: Floats, observation: NDArray[np.integer]) -> _Chains:
    """The chains of `policies` [N, O, A], from the starts onward."""
    n, s = policies.shape[0], mdp.n_states
    onward = mdp.probability * ~mdp.terminal  # [S, A, K]
    reward = np.einsum("sak,sak->sa", mdp.probability, mdp.reward)
    success = np.einsum("sak,sak->sa", mdp.probability, mdp.success)
    met = np.zeros(n * s, dtype=bool)
    if n * mdp.next_state.size <= AT_ONCE:
        frontier = np.arange(n * s)
    else:
        frontier = (np.arange(n)[:, None] * s + np.flatnonzero(mdp.start)).ravel()
    met[frontier] = True
    pairs, rewards, successes, sources, targets, weights = [], [], [], [], [], []
    while frontier.size:
        of, state = np.divmod(frontier, s)
        pi = policies[of, observation[state]]
        row, action = np.nonzero(pi)  # most policies take few of the actions
        share, of_row, state_row = pi[row, action], of[row], state[row]
        pairs.append(frontier)
        rewards.append(np.bincount(row, share * reward[state_row, action], frontier.size))
        successes.append(np.bincount(row, share * success[state_row, action], frontier.size))
        weight = share[:, None] * onward[state_row, action]
        used = weight > 0
        target = (of_row[:, None] * s + mdp.next_state[state_row, action])[used]
        sources.append(np.repeat(frontier[row], used.sum(axis=1)))
        targets.append(target)
        weights.append(weight[used])
        frontier = np.unique(target[~met[target]])
        met[frontier] = True
    pair = np.concatenate(pairs)
    order = np.argsort(pair)
    pair = pair[order]
    position = np.zeros(n * s, dtype=np.int64)
    position[pair] = np.arange(pair.size)
    source, target, weight = _merged(
        position[np.concatenate(sources)], position[np.concatenate(targets)],
        np.concatenate(weights), pair.size,
    )  # fmt: skip
    return _Chains(
        policy=pair // s,
        source=source,
        target=target,
        weight=weight,
        start=mdp.start[pair % s],
        reward=np.concatenate(rewards).astype(float)[order],
        success=np.concatenate(successes).astype(float)[order],
    )


def _merged(source: Index, target: Index, weight: Floats, m: int) -> tuple[Index, Index, Floats]:
    """Edges ordered by target, those between the same two pairs made one."""
    edge = target * m + source
    order = np.argsort(edge)
    edge, weight = edge[order], weight[order]
    first = np.flatnonzero(np.diff(edge, prepend=-1))
    target, source = np.divmod(edge[first], m)
    return source, target, np.add.reduceat(weight, first) if first.size else weight


def _visits(chains: _Chains, n: int, gamma: float, horizon: int) -> tuple[Floats, Floats]:
    """Expected visits of each pair [M] before step `horizon`, plain and discounted."""
    m = chains.policy.size
    visits, discounted = np.zeros(m), np.zeros(m)
    discounts = gamma ** np.arange(BLOCK, dtype=np.float64)
    before: Floats | None = None
    for done, block in _followed(chains, n, horizon):
        size = block.shape[0]
        if before is not None and np.array_equal(block[0], before[0]):
            _repeat(block, gamma, done, horizon, visits, discounted)
            break
        visits += block.sum(axis=0)
        discounted += gamma**done * (discounts[:size] @ block)
        if block[-1].sum() <= NEGLIGIBLE:
            break
        before = block
    return visits, discounted


def _repeat(
    block: Floats, gamma: float, done: int, horizon: int, visits: Floats, discounted: Floats
) -> None:
    """Add all remaining steps of chains that go round in `block` [BLOCK, M] for ever."""
    times, rest = divmod(horizon - done, BLOCK)
    laps = np.arange(times + 1)
    share = gamma ** (done + laps * float(BLOCK))
    for offset in range(block.shape[0]):
        here = times + (offset < rest)
        visits += here * block[offset]
        discounted += gamma**offset * share[:here].sum() * block[offset]


def _followed(chains: _Chains, n: int, horizon: int) -> Iterator[tuple[int, Floats]]:
    """The distribution over pairs after each step, as (steps before, [steps, M]) blocks."""
    widest = int(np.bincount(chains.policy, minlength=n).max())
    follow = _by_powers(chains, n, widest) if widest <= SMALL else _by_steps(chains)
    start = chains.start
    for done in range(0, horizon, BLOCK):
        block, start = follow(start)
        yield done, block[: horizon - done]


Follow = Callable[[Floats], tuple[Floats, Floats]]


def _by_steps(chains: _Chains) -> Follow:
    """Step by step along the edges: for many states."""
    first = np.flatnonzero(np.diff(chains.target, prepend=-1))
    entered = chains.target[first]
    moved = np.empty(chains.weight.size)

    def follow(start: Floats) -> tuple[Floats, Floats]:
        block = np.zeros((BLOCK + 1, start.size))
        block[0] = start
        for i in range(BLOCK if first.size else 0):
            np.take(block[i], chains.source, out=moved, mode="clip")
            np.multiply(moved, chains.weight, out=moved)
            block[i + 1][entered] = np.add.reduceat(moved, first)
        return block[:-1], block[-1]

    return follow


def _by_powers(chains: _Chains, n: int, widest: int) -> Follow:
    """A whole block at once by powers of dense matrices [N, widest, widest]: for few states."""
    first = np.searchsorted(chains.policy, np.arange(n))
    place = np.arange(chains.policy.size) - first[chains.policy]
    slot = chains.policy * widest + place
    matrix = np.zeros((n, widest, widest))
    matrix[chains.policy[chains.source], place[chains.source], place[chains.target]] = chains.weight
    powers = [matrix]
    while 2 ** len(powers) <= BLOCK:
        powers.append(powers[-1] @ powers[-1])

    def follow(start: Floats) -> tuple[Floats, Floats]:
        rows = np.zeros((n, 1, widest))
        rows.reshape(-1)[slot] = start
        for power in powers[:-1]:
            rows = np.concatenate([rows, rows @ power], axis=1)
        after = rows[:, :1] @ powers[-1]
        block = rows.transpose(1, 0, 2).reshape(BLOCK, -1)[:, slot]
        return block, after.reshape(-1)[slot]

    return follow
