"""Figures of Sutton & Barto's chapter 8 and of section 6.5, over a hundred agents and more."""

import msgspec
import numpy as np
import pytest
from book_tools import Online, go, interval, play

from engine import factory, presets
from engine.env.mdp import MDP
from engine.learning.events import Evaluation, Update

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- figure 8.2: the Dyna maze


@pytest.fixture(scope="module", params=[0, 5, 50])
def dyna_maze(request: pytest.FixtureRequest) -> tuple[int, Online]:
    return request.param, play(f"dyna-maze-{request.param}", 50)


def test_steps_per_episode_in_the_dyna_maze(dyna_maze: tuple[int, Online]) -> None:
    """14 steps are the shortest way; ε = 0.1 makes it about 16 in the long run."""
    n, online = dyna_maze
    means = online.lengths.mean(axis=1)
    assert means[0] > 500  # the first episode is blind search, whatever is planned
    near = int(np.argmax(means <= 20.0)) + 1  # first episode with an average near the optimum
    first, last = {0: (22, 35), 5: (5, 8), 50: (3, 4)}[n]
    assert first <= near <= last
    low, high = interval(online.lengths[-5:].mean(axis=0))
    assert low > 14 and high < 20
    assert online.lengths.min() >= 14


def test_what_the_third_episode_costs_depends_on_planning() -> None:
    """The book's figure at episode 3: hundreds of steps, about 60, about 18."""
    third = {n: interval(play(f"dyna-maze-{n}", 3, 400).lengths[2]) for n in (0, 5, 50)}
    assert third[0][0] > 300
    assert third[5][0] > 45 and third[5][1] < 75
    assert third[50][0] > 14 and third[50][1] < 22


# ---------------------------------------------------------------- figure 8.4: the blocking maze


def prizes(name: str) -> np.ndarray:
    """[2,N] prizes won by step 1000, when the way is blocked, and by step 3000."""
    data = msgspec.to_builtins(presets.load("dyna-q-plus", ["run.agents=200", "run.seed=3"]))
    data["algorithm"]["name"] = name
    if name == "dyna-q":
        del data["algorithm"]["kappa"]
    learner = factory.make_learner(presets.convert(data))
    won = []
    for steps in (1000, 2000):
        go(learner, steps)
        won.append(learner.agents.episode.copy())  # type: ignore[attr-defined]
    return np.array(won)


def test_curiosity_finds_the_way_that_opened() -> None:
    """No worse before the change; after it Dyna-Q+ wins about twice as many prizes."""
    plus, plain = prizes("dyna-q-plus"), prizes("dyna-q")
    low, high = interval(plus[0] - plain[0])
    assert low > -5 and high < 20
    after = (plus[1] - plus[0]) - (plain[1] - plain[0])
    assert interval(after)[0] > 20


# ---------------------------------------------------------------- section 8.4: sweeping by priority


def updates_until_optimal(name: str) -> tuple[int, int]:
    """Updates and real steps (per agent) until every agent's target policy is optimal."""
    given = [f"algorithm.name={name}", "run.agents=8", "budget.env_steps=12000"]
    learner = factory.make_learner(presets.load("maze-16x16", given))
    done = 0
    while not learner.done:
        for event in learner.advance(1_000):
            if isinstance(event, Update):
                done = event.updates
            if isinstance(event, Evaluation):
                reached = event.figures["expected_return"].low
                if reached == pytest.approx(event.optimal_return, abs=1e-9):
                    return done, event.step
    raise AssertionError(f"{name} has not solved the maze")


def test_prioritized_sweeping_needs_a_fraction_of_the_updates() -> None:
    sweeping, its_steps = updates_until_optimal("prioritized-sweeping")
    dyna, dyna_steps = updates_until_optimal("dyna-q")
    assert 5 * sweeping < dyna
    assert its_steps < dyna_steps


# ---------------------------------------------------------------- figure 6.4: the cliff


@pytest.fixture(scope="module", params=["sarsa", "q-learning"])
def cliff(request: pytest.FixtureRequest) -> tuple[str, Online]:
    return request.param, play(f"cliff-{request.param}", 500, agents=200)


def test_online_reward_on_the_cliff(cliff: tuple[str, Online]) -> None:
    """Episodes 400 to 500: SARSA earns about -25 an episode, Q-learning about -50."""
    name, online = cliff
    low, high = interval(online.scores[400:].mean(axis=0))
    if name == "sarsa":
        assert low > -30 and high < -22
    else:
        assert low > -58 and high < -42


def test_target_policies_on_the_cliff(cliff: tuple[str, Online]) -> None:
    """Q-learning's is the edge, exactly 13 steps; SARSA's ε-greedy policy keeps its distance."""
    name, online = cliff
    learner = online.learner
    target = learner.algorithm.target(learner.tables, learner.hyperparameters, learner.clock)
    greedy = learner.algorithm.greedy(learner.tables)
    scores = learner.worlds.figures("target", 0, target)["expected_score"]
    routes = [way(learner.worlds.mdps[0], policy) for policy in greedy]
    rows = [{state // 12 for state in route if 2 <= state % 12 <= 9} for route in routes]
    arrived = np.array([route[-1] == 47 for route in routes])
    if name == "q-learning":
        assert (np.abs(scores + 13.0) < 1e-9).mean() > 0.99
        assert all(row == {2} for row in rows)
    else:
        assert arrived.mean() > 0.6  # at a constant step size some greedy policies go in circles
        away = np.array([2 not in row for row in rows])[arrived]
        assert away.mean() > 0.9
        assert interval(scores)[1] < -17


def way(mdp: MDP, policy: np.ndarray) -> list[int]:
    """The states that a greedy policy [S,A] walks through without slip, at most 100."""
    states = [int(mdp.start.argmax())]
    while len(states) < 100:
        action = int(policy[states[-1]].argmax())
        end = bool(mdp.terminal[states[-1], action, 0])
        states.append(int(mdp.next_state[states[-1], action, 0]))
        if end:
            break
    return states
