"""The best deterministic policy for what can be seen, against every policy there is."""

from itertools import product

import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.mdp import MDP, reachable
from engine.env.settings import MazeSettings, Rewards
from engine.exact.evaluate import evaluate, horizon_optimum
from engine.exact.memoryless_optimum import best_memoryless, find_best

# In the two arms the way leads left from one start and right from the other, which look alike.
ARMS = "GFFSFFF\n#######\nFFFSFFG"
MAZES = {
    "two arms": {"map": ARMS, "max_steps": 20},
    "fork": {"map": "S#S\nFFF\n#G#", "slip": 0.3},
    "holes": {"map": "SFH\nFFF\nHFG", "slip": 0.2, "rewards": Rewards(step=-0.1, hole=-1)},
    "lesser": {"map": "gFS\n#F#\n#FG", "rewards": Rewards(lesser=0.6), "slip": 0.1},
    "key": {"map": "kSDG", "rewards": Rewards(step=-0.01)},
    "short": {"map": "SFFFG\n#FFF#", "max_steps": 4, "rewards": Rewards(bump=-0.2)},
}


def mdp_of(**keys) -> MDP:
    return build_mdp(build_mazes(MazeSettings(**keys))[0][1])


def by_brute_force(mdp: MDP, gamma: float) -> float:
    """The largest expected return of any deterministic policy by observation."""
    decided = np.unique(mdp.observation[reachable(mdp)])
    best = -np.inf
    for actions in product(range(mdp.n_actions), repeat=decided.size):
        table = np.zeros((mdp.n_observations, mdp.n_actions))
        table[:, 0] = 1.0
        table[decided] = np.eye(mdp.n_actions)[list(actions)]
        best = max(best, float(evaluate(mdp, table, gamma).expected_return))
    return best


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["neighbourhood", "neighbourhood+prize"])
@pytest.mark.parametrize("name", MAZES)
def test_no_policy_is_better(name, observation):
    mdp = mdp_of(**MAZES[name], observation=observation)
    decided = np.unique(mdp.observation[reachable(mdp)]).size
    best = find_best(mdp, 0.9)
    policy, figures = best.policy, best.figures
    assert (policy.sum(axis=1) == 1).all() and set(np.unique(policy)) == {0.0, 1.0}
    assert best.observations == decided
    if decided <= 6:
        assert figures.expected_return == pytest.approx(by_brute_force(mdp, 0.9), abs=1e-12)
    assert figures.expected_return <= horizon_optimum(mdp, 0.9) + 1e-12


def test_what_looks_alike_costs_and_memory_wins_it_back():
    """One start of two is lost without memory; three observations tell how far one has gone."""
    found = {}
    for memory in (1, 2, 3):
        mdp = mdp_of(**MAZES["two arms"], observation="neighbourhood", memory=memory)
        policy, figures = best_memoryless(mdp, 0.9)
        again = evaluate(mdp, policy, 0.9)
        assert again.expected_return == figures.expected_return
        found[memory] = float(figures.success_rate), float(figures.expected_return)
    assert found[1] == pytest.approx((0.5, 0.9**2 / 2))
    assert found[2] == pytest.approx((0.5, 0.9**2 / 2))
    # Having seen three times the same, and no prize, it turns: 2 moves there and 5 back.
    assert found[3] == pytest.approx((1.0, (0.9**2 + 0.9**6) / 2))
    direction = mdp_of(**MAZES["two arms"], observation="neighbourhood+prize")
    assert best_memoryless(direction, 0.9)[1].expected_return == pytest.approx(0.9**2)


def test_too_long_a_search_is_refused():
    mdp = mdp_of(**MAZES["holes"], observation="neighbourhood")
    with pytest.raises(UserError, match="6 observations more than 20 partial policies"):
        find_best(mdp, 0.9, most=20)
