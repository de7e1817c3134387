"""Rules over a maze: shaping leaves optimal policies alone, a shield lets nobody fall."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine import presets
from engine.config.deploy import Deploy, deployed_maze
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp, vetoed_moves
from engine.env.maze import Maze
from engine.env.mdp import MDP, reachable
from engine.env.settings import Randomize, Rewards, Shaping, Shield
from engine.env.shield import fall_chance, shielded, vetoed
from engine.exact.evaluate import evaluate
from engine.exact.shaping import distances, potential, shaped
from engine.exact.solve import solve
from engine.presets.schema import json_schema

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
MAZES = [
    Maze(rows=LAKE, slip=0.6),
    Maze(rows=LAKE, slip=0.2, rewards=Rewards(step=-0.05, hole=-1.0)),
    Maze(rows=("SFFF", "FHFF", "F#BG"), fall="restart", rewards=Rewards(step=-0.1, bonus=0.02)),
    Maze(rows=("SFkF", "FHFH", "FFDG"), slip=0.3, rewards=Rewards(hole=-0.5)),
    Maze(rows=("FFFFF", "SFFFG", "FFFFF"), wind=(0, 1, 1, 0, 0), rewards=Rewards(step=-1.0)),
    Maze(rows=LAKE, slip=0.4, observation="neighbourhood", memory=2),
]


def best_actions(mdp: MDP, gamma: float) -> np.ndarray:
    """[n, A] which actions are optimal in each reachable state."""
    q = solve(mdp, gamma).q[reachable(mdp)]
    found: np.ndarray = q >= q.max(axis=1, keepdims=True) - 1e-8
    return found


def paid_besides(mdp: MDP, extra: np.ndarray) -> MDP:
    return replace(mdp, reward=mdp.reward + extra)


def shaping_reward(mdp: MDP, phi: Any, gamma: float) -> Any:
    """F = γΦ(s′) − Φ(s) [S, A, K] for a potential `phi` [S], with Φ(s′) = 0 where the episode ends.

    Ng, Harada & Russell (1999), equation 2. Truncation is no end: what follows still counts.
    """
    following = np.where(mdp.terminal, 0.0, phi[mdp.next_state])
    return np.where(mdp.probability > 0, gamma * following - phi[:, None, None], 0.0)


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("kind", ["distance", "value"])
@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_potential_shaping_changes_no_optimal_policy(maze: Maze, kind: Any, gamma: float) -> None:
    """Ng, Harada & Russell (1999), theorem 1: the same actions are best, and Q is less by Φ."""
    mdp = build_mdp(maze)
    with_pay = shaped(mdp, Shaping(weight=3.0, potential=kind), gamma)
    assert with_pay.potential is not None
    assert (with_pay.reward == mdp.reward).all()
    pay = shaping_reward(mdp, with_pay.potential, gamma)
    assert np.abs(pay).max() > 0
    learned = paid_besides(mdp, pay)
    assert (best_actions(mdp, gamma) == best_actions(learned, gamma)).all()
    met = reachable(mdp)
    less = solve(mdp, gamma).q - with_pay.potential[:, None]
    np.testing.assert_allclose(solve(learned, gamma).q[met], less[met], atol=1e-8)


def test_a_random_potential_changes_no_optimal_policy_either_but_a_plain_bonus_does() -> None:
    mdp = build_mdp(MAZES[1])
    rng = np.random.default_rng(0)
    for _ in range(5):
        phi = np.where(reachable(mdp), rng.normal(0.0, 5.0, mdp.n_states), 0.0)
        learned = paid_besides(mdp, shaping_reward(mdp, phi, 0.95))
        assert (best_actions(mdp, 0.95) == best_actions(learned, 0.95)).all()
    near = potential(mdp, Shaping(), 0.95)
    bonus = np.where(mdp.terminal, 0.0, near[mdp.next_state])  # pays for being near
    assert (best_actions(mdp, 0.95) != best_actions(paid_besides(mdp, bonus), 0.95)).any()


def test_any_potential_but_zero_at_the_end_would_change_what_is_best() -> None:
    """Why Φ must be 0 where an episode ends: an end that keeps its potential is a prize."""
    mdp = build_mdp(Maze(rows=("HSFG",), rewards=Rewards(step=-0.2)))
    phi = np.array([5.0, 0.0, 0.0, 0.0])
    kept = 0.9 * phi[mdp.next_state] - phi[:, None, None]
    assert (best_actions(mdp, 0.9) != best_actions(paid_besides(mdp, kept), 0.9)).any()
    right = shaping_reward(mdp, phi, 0.9)
    assert (best_actions(mdp, 0.9) == best_actions(paid_besides(mdp, right), 0.9)).all()


def test_distance_potential_counts_moves_and_falls_evenly() -> None:
    mdp = build_mdp(Maze(rows=LAKE))
    moves = [6, 5, 4, 5, 5, np.inf, 3, np.inf, 4, 3, 2, np.inf, np.inf, 2, 1, np.inf]
    assert distances(mdp).tolist() == moves
    phi = potential(mdp, Shaping(weight=2.0), 0.99)
    expected = [2.0 * (1 - m / 6) if np.isfinite(m) else 0.0 for m in moves]
    assert phi == pytest.approx(expected)


def test_distance_counts_the_way_to_the_key() -> None:
    mdp = build_mdp(Maze(rows=("kSDG",)))
    assert distances(mdp)[1] == 4  # left to the key, then right three times
    assert distances(mdp)[4 + 1] == 2  # with the key


def test_the_value_potential_is_the_optimal_value() -> None:
    mdp = build_mdp(MAZES[0])
    phi = potential(mdp, Shaping(weight=0.5, potential="value"), 0.95)
    assert phi == pytest.approx(0.5 * solve(mdp, 0.95).values)


@pytest.mark.parametrize("maze", [m for m in MAZES if "H" in "".join(m.rows)])
def test_behind_a_strict_shield_nobody_falls_where_a_safe_move_exists(maze: Maze) -> None:
    bare = build_mdp(maze)
    mdp = shielded(bare, 0.0)
    safe = (fall_chance(bare) == 0).any(axis=1)
    assert safe[reachable(bare)].any()
    assert (fall_chance(mdp)[safe] == 0).all()
    # where none is safe, every move has the least risk there is
    least = fall_chance(bare).min(axis=1, keepdims=True)
    np.testing.assert_allclose(fall_chance(mdp), np.broadcast_to(least, (len(least), 4)), atol=1e-9)
    # moves that are as safe as that stay what they were
    kept = ~vetoed(bare, 0.0)
    for name in ("next_state", "probability", "reward", "terminal", "success", "fall"):
        assert (getattr(mdp, name)[kept] == getattr(bare, name)[kept]).all()


def test_a_random_walk_behind_a_shield_falls_never_and_without_one_often() -> None:
    falling = Rewards(goal=0.0, hole=-1.0)
    rows = ("SFFF", "FHFF", "FFFF", "HFFG")
    bare = build_mdp(Maze(rows=rows, rewards=falling))
    mdp = build_mdp(Maze(rows=rows, rewards=falling, shield=Shield()))
    dice = np.full((16, 4), 0.25)
    assert evaluate(mdp, dice, 1.0).expected_score == 0.0
    assert evaluate(bare, dice, 1.0).expected_score < -0.5


def test_a_tolerant_shield_lets_small_risks_through() -> None:
    bare = build_mdp(Maze(rows=LAKE, slip=0.2))
    risk = fall_chance(bare)
    strict, tolerant = vetoed(bare, 0.0), vetoed(bare, 0.15)
    assert (tolerant <= strict).all() and tolerant.sum() < strict.sum()
    assert (risk[tolerant] > 0.15).all()
    assert not vetoed(bare, 0.95).any()


def test_vetoed_moves_are_found_with_memory_and_with_keys() -> None:
    maze = Maze(rows=("SFkF", "FHFH", "FFDG"), observation="neighbourhood", memory=2)
    mdp = build_mdp(Maze(**{**_fields(maze), "shield": Shield()}))
    veto = vetoed_moves(Maze(**{**_fields(maze), "shield": Shield()}), mdp)
    bare = build_mdp(maze)
    assert veto.shape == (mdp.n_states, 4)
    at = np.flatnonzero(mdp.cell == 1)  # above the hole
    assert veto[at, 1].all() and not veto[at, 0].any()
    assert fall_chance(bare).any() and not fall_chance(mdp)[reachable(mdp)].any()


def _fields(maze: Maze) -> dict[str, Any]:
    return {name: getattr(maze, name) for name in maze.__struct_fields__}


def test_randomised_worlds_spread_evenly() -> None:
    assert Randomize(slip=(0.0, 0.6), worlds=4).slips == pytest.approx((0.0, 0.2, 0.4, 0.6))


def test_a_deployed_maze_has_other_rules_and_the_rest_as_before() -> None:
    maze = Maze(rows=LAKE, slip=0.1, max_steps=30, shield=Shield(), shaping=Shaping())
    there = deployed_maze(maze, Deploy(slip=0.5, wind=[0, 1, 0, 0], shield="off"))
    assert there == Maze(rows=LAKE, slip=0.5, wind=(0, 1, 0, 0), max_steps=30)
    assert deployed_maze(maze, Deploy(map="SFFF\nFFFH\nFFFF\nHFFG")).rows[1] == "FFFH"


PRESET = """
title = "t"
[maze]
{maze}
[algorithm]
name = "{name}"
{more}
[budget]
env_steps = 10
updates = 10
"""
MAP = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\n'
TRAIN = 'observation = "neighbourhood"\ntrain = {count = 2, size = 4}\n'


@pytest.mark.parametrize(
    ("maze", "name", "more", "message"),
    [
        (MAP + "shaping = {wait = 1.0}", "q-learning", "", r"maze\.shaping\.wait.*'weight'"),
        (MAP + "shaping = {weight = -1.0}", "q-learning", "", r"maze\.shaping\.weight"),
        (MAP + 'shaping = {potential = "distanc"}', "q-learning", "", "Did you mean 'distance'"),
        (MAP + "shield = {max_fall = 1.5}", "q-learning", "", r"maze\.shield\.max_fall"),
        (MAP + "fall_budget = {per_1000_steps = -1}", "q-learning", "", r"per_1000_steps"),
        (MAP + "revisit = 2.0", "q-learning", "", r"maze\.revisit"),
        (MAP + "randomize = {slip = [0.6, 0.1]}", "q-learning", "", "the smaller slip first"),
        (MAP + "randomize = {slip = [0.1]}", "q-learning", "", r"maze\.randomize\.slip"),
        (MAP + "slip = 0.1\nrandomize = {slip = [0, 0.6]}", "q-learning", "", r"maze\.slip cannot"),
        (MAP + "revisit = 0.5\nrandomize = {slip = [0, 0.6]}", "q-learning", "", r"maze\.revisit"),
        (TRAIN + "randomize = {slip = [0, 0.6]}", "q-learning", "", r"maze\.train cannot"),
        ("train = {count = 2, size = 4}", "q-learning", "", r"set maze\.observation"),
        (TRAIN.replace("4}", "4, per_update = 1}"), "q-learning", "", "per_update is for language"),
        (MAP + "shaping = {}", "value-iteration", "", r"maze\.shaping does not go with value"),
        (MAP + "fall_budget = {}", "td-0", "", r"maze\.fall_budget does not go with td-0"),
        (MAP + "memory = 2", "policy-iteration", "", r"maze\.memory"),
        (MAP, "q-learning", "[deploy]", r"\[deploy\] is empty"),
        (MAP, "q-learning", "[deploy]\nslipp = 0.1", r"deploy\.slipp.*'slip'"),
        (MAP, "q-learning", '[deploy]\nmap = "SF\\nFG"', r"deploy\.map is 2x2"),
        (MAP, "q-learning", '[deploy]\nmap = "SHFF\\nHHFH\\nFFFH\\nHFFG"', r"deploy\.map.*no way"),
        (MAP, "q-learning", "[deploy]\nwind = [1]", r"deploy\.wind has 1 numbers"),
        (MAP, "q-learning", '[deploy]\nshield = "off"', r"no maze\.shield"),
        (
            MAP + "randomize = {slip = [0, 0.6]}",
            "q-learning",
            "[deploy]\nfall = 'end'",
            r"deploy\.slip is missing",
        ),
        (TRAIN, "q-learning", "[deploy]\nslip = 0.5", r"give maze\.test"),
        (
            MAP + 'changes = [{step = 5, map = "SFFF\\nFFFH\\nFFFH\\nHFFG"}]',
            "q-learning",
            "[deploy]\nslip = 0.5",
            r"deploy\.map is missing",
        ),
        (
            'gymnasium = "CliffWalking-v1"',
            "q-learning",
            "[deploy]\nslip = 0.5",
            r"deploy\.slip cannot",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(
    maze: str, name: str, more: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        presets.parse(PRESET.format(maze=maze, name=name, more=more))
    assert "\n" not in str(refused.value)


def test_language_models_are_told_what_is_for_tables() -> None:
    text = PRESET.format(maze=MAP + "shaping = {}", name="grpo", more="[model]")
    with pytest.raises(UserError, match=r"maze\.shaping is for tables"):
        presets.parse(text)


def test_the_schema_says_what_every_key_is_for() -> None:
    definitions = json_schema()["$defs"]
    for table in ("Shaping", "Shield", "FallBudget", "Randomize", "Deploy"):
        for name, node in definitions[table]["properties"].items():
            said = [node, *node.get("anyOf", [])]
            assert any("description" in each for each in said), f"{table}.{name}"
    ours = definitions["MazeSettings"]["properties"]
    for key in ("shaping", "shield", "fall_budget", "randomize", "revisit"):
        assert "description" in str(ours[key])
    assert "deploy" in definitions["Preset"]["properties"]


def test_a_preset_with_all_of_it_is_written_and_read_back() -> None:
    more = MAP + "shaping = {weight = 2.0}\nshield = {max_fall = 0.1}\nfall_budget = {}"
    text = PRESET.format(maze=more, name="q-learning", more='[deploy]\nslip = 0.3\nshield = "off"')
    preset = presets.parse(text)
    assert presets.parse(presets.dump(preset)) == preset
    assert build_mazes(preset.maze)[0][1].shield == Shield(max_fall=0.1)
