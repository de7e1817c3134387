"""The exact solution of an MDP: V*, Q*, π* and a proven bound on their error.

Sweeps of value iteration find a good policy, policy iteration (Sutton & Barto, section 4.3) makes
it exact, and one Bellman backup T of its values V certifies them: if max |TV − V| = ε, then TV is
within γ/(1−γ)·ε of V*, however V was found (Puterman 1994, section 6.3).

Without discounting (γ = 1) this is a stochastic shortest path problem (Bertsekas & Tsitsiklis 1991)
with one addition: where an agent can stay for ever without pay, staying is worth 0, and is modelled
as one more action, an exit that pays 0 (going round where gains and costs cancel out exactly has no
total, and is not considered). The bound is then ε times the largest expected number of
remaining steps of π*: proven against every policy that takes no longer. Problems whose values are
unbounded are refused.

Only states that can be reached from the starts are solved; all others have value 0.

Shapes: `S` states, `A` actions, `K` branches; inside, `n` open states (those reachable).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.arrays import Bools, Floats, Index
from engine.core.errors import UserError
from engine.env.mdp import MDP, reachable
from engine.exact.chain import chain_values

TIE = 1e-9  # relative difference below which two actions are equally good
BETTER = 1e-13  # relative difference above which an action replaces another
SAME_STEPS = 1e-6  # difference below which two step counts are equal; dithering costs 1
NEVER = 1e9  # stands for "for ever" when steps are counted
MAX_WARM_UP = 1_000  # sweeps before policy iteration
MAX_ROUNDS = 1_000  # of policy iteration, which takes a dozen
MAX_SWEEPS = 20_000
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Solution:
    """The γ-optimal values and π*, which is stationary and deterministic.

    Among equally good actions π* takes one with the fewest expected remaining steps, then the one
    with the lowest number: it never dithers where it could finish.
    """

    gamma: float
    values: Floats  # [S] V*
    q: Floats  # [S, A] Q*
    policy: Floats  # [S, A], one 1 a row
    steps: Floats  # [S] expected remaining steps of π*; inf where it may never end
    reachable: Bools  # [S] states an episode can be in before it ends
    error_bound: float  # |values − V*| is at most this in every reachable state
    sweeps: int  # of value iteration and rounds of policy iteration


@dataclass(frozen=True, eq=False)
class Problem:
    """The open states of an MDP. A branch that ends the episode has weight 0."""

    states: Index  # [n] their numbers in the MDP
    next: Index  # [n, A, K] successor, as a position in `states`
    weight: Floats  # [n, A, K] probability of going on there
    reward: Floats  # [n, A] expected; −inf for an action that may not be taken
    can_end: Bools  # [n, A] the episode may end in this step

    def backup(self, values: Floats, gamma: float) -> Floats:
        """Q [n, A] of one step followed by `values` [n]."""
        onward: Floats = np.einsum("sak,sak->sa", self.weight, values[self.next])
        return self.reward + gamma * onward

    def paying(self, reward: Floats, at_exit: Floats) -> Problem:
        """The same moves for another `reward` [n, A], and a last action that ends and pays."""
        wide = ((0, 0), (0, 1), (0, 0))
        return Problem(
            states=self.states,
            next=np.pad(self.next, wide),
            weight=np.pad(self.weight, wide),
            reward=np.column_stack([reward, at_exit]),
            can_end=np.pad(self.can_end, wide[:2], constant_values=True),
        )

    def lead_to(self, targets: Bools, allowed: Bools) -> Bools:
        """[n] states from which `targets` [n] may be reached by `allowed` [n, A] actions."""
        possible = (self.weight > 0) & allowed[..., None]
        way = targets
        while True:
            wider: Bools = way | (possible & way[self.next]).any(axis=(1, 2))
            if (wider == way).all():
                return way
            way = wider


def any_of(mask: Bools) -> Bools:
    """Whether any is true along the last axis."""
    result: Bools = np.logical_or.reduce(mask, axis=-1)
    return result


def open_problem(mdp: MDP) -> Problem:
    """The reachable states of `mdp`, renumbered among themselves."""
    states = np.flatnonzero(reachable(mdp))
    position = np.zeros(mdp.n_states, dtype=np.int64)
    position[states] = np.arange(states.size)
    probability, terminal = mdp.probability[states], mdp.terminal[states]
    weight = probability * ~terminal
    return Problem(
        states=states,
        next=np.where(weight > 0, position[mdp.next_state[states]], 0),
        weight=weight,
        reward=np.einsum("sak,sak->sa", probability, mdp.reward[states]),
        can_end=any_of((probability > 0) & terminal),
    )


def solve(mdp: MDP, gamma: float, tolerance: float = 1e-10) -> Solution:
    """V*, Q* and π*, to a bound of `tolerance` times max(1, the largest |value|).

    Where rounding does not allow that, `error_bound` says what was reached. Raises UserError if the
    values are unbounded, which only happens without discounting.
    """
    problem = open_problem(mdp)
    n = problem.states.size
    if gamma < 1:
        unpaid = np.zeros(problem.reward.shape, dtype=bool)
        chosen, before = _swept(problem, np.zeros(n), gamma)
        values, chosen, sweeps = _iterate_policies(problem, gamma, chosen)
        sweeps += before
    else:
        unpaid = _unpaid_stays(mdp, problem)
        _refuse_unbounded(problem, any_of(unpaid))
        values, chosen, sweeps = _undiscounted(problem, any_of(unpaid))
    q = problem.backup(values, gamma)
    choice, steps, to_end = _quickest(problem, q, chosen, unpaid, gamma)
    horizon = to_end.max() if gamma == 1 else gamma / (1 - gamma)

    def bound() -> float:
        size = float(np.abs(q).max())
        return float(horizon * (np.abs(q.max(axis=1) - values).max() + 4 * EPSILON * size))

    for _ in range(MAX_SWEEPS):
        if bound() <= tolerance * max(1.0, float(np.abs(q).max())):
            break
        values, before = q.max(axis=1), values
        q = problem.backup(values, gamma)
        sweeps += 1
        if np.array_equal(values, before):
            break

    def everywhere(of_open: Floats | Index) -> Floats:
        of_all = np.zeros((mdp.n_states, *of_open.shape[1:]))
        of_all[problem.states] = of_open
        return of_all

    return Solution(
        gamma=gamma,
        values=everywhere(q.max(axis=1)),
        q=everywhere(q),
        policy=np.eye(mdp.n_actions)[everywhere(choice).astype(np.int64)],
        steps=everywhere(steps),
        reachable=everywhere(np.ones(n)) > 0,
        error_bound=bound(),
        sweeps=sweeps,
    )


def optimal_path(mdp: MDP, solution: Solution) -> list[int]:
    """States of the most likely way to success under π*, from its likeliest start to the prize.

    Just the start where π* cannot succeed.
    """
    rows = np.arange(mdp.n_states)
    action = solution.policy.argmax(axis=1)
    follow, chance = mdp.next_state[rows, action], mdp.probability[rows, action]
    wins, goes_on = mdp.success[rows, action], ~mdp.terminal[rows, action]
    with np.errstate(divide="ignore"):
        log_chance = np.log(chance)
    best = np.full(mdp.n_states, -np.inf)  # log-probability of the likeliest way to success
    while True:
        ahead = np.where(goes_on, best[follow], np.where(wins, 0.0, -np.inf))
        better = (log_chance + ahead).max(axis=1)
        if np.array_equal(better, best):
            break
        best = better
    branch = (log_chance + ahead).argmax(axis=1)
    starts = np.flatnonzero(mdp.start == mdp.start.max())
    state = int(starts[best[starts].argmax()])
    path = [state]
    while np.isfinite(best[state]):
        k = branch[state]
        won = bool(wins[state, k])
        state = int(follow[state, k])
        path.append(state)
        if won:
            break
    return path


def policy_values(follow: Index, weight: Floats, reward: Floats) -> Floats:
    """`chain_values`, with UserError where the values are beyond computing."""
    values = chain_values(follow, weight, reward)
    if not np.abs(values).max() * EPSILON <= np.abs(reward).max():
        raise UserError(
            "algorithm.gamma: episodes of this problem can take so many steps that its values "
            "cannot be computed; lower algorithm.gamma (below 1) or make the goal easier to reach."
        )
    return values


def _swept(problem: Problem, values: Floats, gamma: float) -> tuple[Index, int]:
    """A policy to start from: greedy after sweeps of value iteration until little changes."""
    sweeps, little = 0, False
    while not little and sweeps < MAX_WARM_UP:
        q = problem.backup(values, gamma)
        before, values = values, q.max(axis=1)
        little = bool((np.abs(values - before) <= 0.01 * np.abs(values)).all())
        sweeps += 1
    return q.argmax(axis=1), sweeps


def _iterate_policies(problem: Problem, gamma: float, chosen: Index) -> tuple[Floats, Index, int]:
    """Policy iteration from `chosen` [n] to a policy that none betters.

    An action is replaced only by a strictly better one. Without discounting that keeps every policy
    on the way certain to end, if the first one is (and no loop pays), so long as rounding does not
    pass for an improvement: there, differences must also show next to the largest value.
    """
    rows = np.arange(chosen.size)
    better, rounds = True, 0
    while better and rounds < MAX_ROUNDS:
        values = policy_values(
            problem.next[rows, chosen],
            gamma * problem.weight[rows, chosen],
            problem.reward[rows, chosen],
        )
        q = problem.backup(values, gamma)
        now = q[rows, chosen]
        best = q.max(axis=1)
        floor = BETTER * np.abs(values).max() if gamma == 1 else 0.0
        switch = best - now > np.maximum(BETTER * np.maximum(np.abs(best), np.abs(now)), floor)
        chosen = np.where(switch, q.argmax(axis=1), chosen)
        better = bool(switch.any())
        rounds += 1
    return values, chosen, rounds


def _undiscounted(problem: Problem, stay: Bools) -> tuple[Floats, Index, int]:
    """V* [n] for γ = 1, from a policy that surely ends.

    It is the greedy one of discounted sweeps, and where that may not end, the soonest to end.
    """
    anything = np.ones(problem.reward.shape, dtype=bool)
    soonest, _ = _fewest_steps(problem, anything, stay)
    leave = problem.reward.shape[1]
    if (~stay & (soonest == leave)).any():
        raise UserError(
            f"algorithm.gamma = 1: no policy ends an episode within {NEVER:.0e} steps on average; "
            "lower algorithm.gamma below 1 or make the goal easier to reach."
        )
    exits = problem.paying(problem.reward, np.where(stay, 0.0, -np.inf))
    chosen, before = _swept(exits, np.zeros(stay.size), 1 - 1e-4)
    taken = np.arange(leave + 1) == chosen[:, None]
    ends = exits.lead_to(any_of(exits.can_end & taken), taken)
    values, chosen, sweeps = _iterate_policies(exits, 1.0, np.where(ends, chosen, soonest))
    return values, chosen, before + sweeps


def _fewest_steps(problem: Problem, allowed: Bools, stay: Bools) -> tuple[Index, Floats]:
    """The policy [n] that ends soonest by `allowed` [n, A] actions, and its Q [n, A + 1] in steps.

    The last action stands for never ending, at a price of NEVER steps (twice that where one cannot
    `stay` [n] for ever). It makes every problem solvable, and among the ways of never ending it
    favours the one that most likely ends after all. Sweeps that start from this price can only
    improve on it, which makes the policy they lead to certain to end.
    """
    price = np.where(stay, -NEVER, -2 * NEVER)
    counting = problem.paying(np.where(allowed, -1.0, -np.inf), price)
    chosen, _ = _swept(counting, price, 1.0)
    values, chosen, _ = _iterate_policies(counting, 1.0, chosen)
    return chosen, counting.backup(values, 1.0)


def _quickest(
    problem: Problem, q: Floats, chosen: Index, unpaid: Bools, gamma: float
) -> tuple[Index, Floats, Floats]:
    """π* [n]: among the optimal actions, those that end soonest, then the lowest number.

    Also its expected remaining steps [n], inf where it may never end, and the same [n] counting to
    where it stays for ever, as well as to the end.
    """
    rows = np.arange(q.shape[0])
    best = q.max(axis=1, keepdims=True)
    optimal = best - q <= TIE * np.abs(q).max(axis=1, keepdims=True)
    leave = q.shape[1]
    optimal[rows[chosen < leave], chosen[chosen < leave]] = True
    worthless = (np.abs(best) <= TIE * np.abs(q).max(axis=1, keepdims=True))[:, 0]
    stay = any_of(unpaid) & (worthless | (chosen == leave)) if gamma == 1 else rows >= 0
    _, count = _fewest_steps(problem, optimal, stay)
    real = count[:, :leave]
    never = count[:, leave] >= real.max(axis=1)
    if gamma == 1:  # only staying unpaid is worth the 0 that staying for ever is taken to be
        real = np.where(never[:, None] & ~(unpaid & optimal), -np.inf, real)
    soonest = real.max(axis=1, keepdims=True)
    choice = (real >= soonest - SAME_STEPS).argmax(axis=1)
    weight = np.where(never[:, None], 0.0, problem.weight[rows, choice])
    to_end = policy_values(problem.next[rows, choice], weight, (~never).astype(float))
    taken = np.arange(leave) == choice[:, None]
    return choice, np.where(problem.lead_to(never, taken), np.inf, to_end), to_end


def _unpaid_stays(mdp: MDP, problem: Problem) -> Bools:
    """[n, A] actions by which one can stay in the game for ever without pay."""
    paid = any_of(((mdp.reward != 0) & (mdp.probability > 0))[problem.states])
    return _stays(problem, ~paid)


def _stays(problem: Problem, allowed: Bools) -> Bools:
    """[n, A] the `allowed` actions by which an episode can be kept going for ever."""
    stays = allowed & ~problem.can_end
    while True:
        inside = any_of(stays)
        fewer = stays & (inside[problem.next] | (problem.weight == 0)).all(axis=2)
        if (fewer == stays).all():
            return stays
        stays = fewer


def _refuse_unbounded(problem: Problem, stay: Bools) -> None:
    """Raise UserError if some undiscounted value is infinite.

    Either an episode cannot end in some state (nor stay there unpaid), or some loop pays: its
    average reward is positive. The latter is tested by value iteration on the moves that cannot
    end, damped against oscillation: its largest increment is never below the best average reward.
    """
    anything = np.ones(problem.reward.shape, dtype=bool)
    trapped = ~problem.lead_to(any_of(problem.can_end) | stay, anything)
    if trapped.any():
        raise UserError(
            f"algorithm.gamma = 1: from state {problem.states[trapped][0]} an episode can never "
            "end while its steps go on counting, so its value is unbounded; lower algorithm.gamma "
            "below 1 or open a way out."
        )
    endless = _stays(problem, anything)
    if problem.reward[endless].max(initial=0.0) <= 0:
        return
    inside = any_of(endless)
    reward = np.where(endless, problem.reward, -np.inf)
    scale = float(np.abs(problem.reward).max())
    values = np.zeros(inside.size)
    check, last = 2 * inside.size, np.inf
    for sweep in range(1, MAX_SWEEPS + 1):
        q = reward + np.einsum("sak,sak->sa", problem.weight, values[problem.next])
        gain = np.where(inside, q.max(axis=1) - values, 0.0)
        largest = float(gain.max())
        if largest <= TIE * scale:
            return
        if gain[inside].min() > TIE * scale:
            break
        if sweep == check:  # a loop that pays keeps its gain, a single gift fades
            if largest > 0.9 * last:
                break
            check, last = 2 * check, largest
        values = values + gain / 2
    raise UserError(
        "algorithm.gamma = 1: in this maze an agent can collect reward for ever, so its values are "
        "unbounded; lower algorithm.gamma below 1, or make a step cost more than a loop earns "
        "(maze.rewards)."
    )
