"""Figures of Sutton & Barto's chapter 8 and of section 6.5, over a hundred agents and more."""

import numpy as np
import pytest
from book_tools import Online, go, interval, play

from engine import factory, presets
from engine.events import Evaluation, Update

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
    assert 14 < low and high < 20
    assert online.lengths.min() >= 14


def test_what_the_third_episode_costs_depends_on_planning() -> None:
    """The book's figure at episode 3: hundreds of steps, about 60, about 18."""
    third = {n: interval(play(f"dyna-maze-{n}", 3).lengths[2]) for n in (0, 5, 50)}
    assert third[0][0] > 300
    assert 45 < third[5][0] and third[5][1] < 85
    assert 14 < third[50][0] and third[50][1] < 20


# ---------------------------------------------------------------- figure 8.4: the blocking maze


def prizes(overrides: list[str]) -> np.ndarray:
    """[3,N] prizes won by step 1000, 1500 and 3000 in the blocking maze."""
    given = ["run.agents=100", "run.seed=3", *overrides]
    learner = factory.make_learner(presets.load("dyna-q-plus", given))
    won = []
    for steps in (1000, 500, 1500):
        go(learner, steps)
        won.append(learner.agents.episode.copy())  # type: ignore[attr-defined]
    return np.array(won)


def test_curiosity_finds_the_way_that_opened() -> None:
    """After the change Dyna-Q+ wins more prizes than the same method without the bonus."""
    plus, plain = prizes([]), prizes(["algorithm.name=dyna-q", "algorithm.kappa=0"][1:])
    early_plus, early_plain = (np.diff(each, axis=0)[0] for each in (plus, plain))
    late_plus, late_plain = (np.diff(each, axis=0)[1] for each in (plus, plain))
    assert interval(early_plus - early_plain)[0] > 0
    assert interval(late_plus - late_plain)[0] > 15
    assert interval(plus[2] - plain[2])[0] > 20


# ---------------------------------------------------------------- section 8.4: what is worth a thought


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
        assert -30 < low and high < -22
    else:
        assert -58 < low and high < -42


def test_target_policies_on_the_cliff(cliff: tuple[str, Online]) -> None:
    """Q-learning's is the edge, exactly 13 steps; SARSA's ε-greedy policy keeps its distance."""
    name, online = cliff
    learner = online.learner
    target = learner.algorithm.target(learner.tables, learner.knobs, learner.clock)
    greedy = learner.algorithm.greedy(learner.tables)
    scores = learner.worlds.figures("target", 0, target)["expected_score"]
    if name == "q-learning":
        assert (np.abs(scores + 13.0) < 1e-9).mean() > 0.99
        return
    edge = 24 + np.arange(1, 11)  # the row along the cliff
    keeps_away = greedy[:, edge, 1].max(axis=1) < 0.5
    assert keeps_away.mean() > 0.95  # nobody's best move there is down, into the cliff
    route = [_row_of_the_way(policy) for policy in greedy]
    assert np.mean([row is None or row < 2 for row in route]) > 0.9


def _row_of_the_way(policy: np.ndarray) -> int | None:
    """The lowest row on which a greedy policy [48,4] crosses the middle; None if it does not."""
    state, moves = 36, ((0, -1), (1, 0), (0, 1), (-1, 0))
    for _ in range(60):
        row, column = divmod(state, 12)
        if column == 6:
            return row
        down, right = moves[int(policy[state].argmax())]
        row, column = min(max(row + down, 0), 3), min(max(column + right, 0), 11)
        state = 12 * row + column
        if row == 3 and 1 <= column <= 10:
            state = 36
    return None
