"""The numbers that the lessons of the lab say and that can be computed exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lesson_tools import number, says, solved, text_of, world

from engine import presets
from engine.core.arrays import Floats
from engine.env.mdp import MDP, reachable
from engine.exact.evaluate import evaluate, greedy, state_values
from engine.exact.solve import optimal_path, solve
from engine.experiments.lab.exact_figures import exact_figures
from engine.tabular.kernels.eligibility import NEGLIGIBLE
from engine.tabular.kernels.features import describe


def exact(run: str, name: str) -> float:
    return exact_figures([(run, name)])[run, name]


def uniform(mdp: MDP) -> Floats:
    return np.full((mdp.n_observations, mdp.n_actions), 1 / mdp.n_actions)


def path_risks(trained: str, used: str) -> list[float]:
    """The chance of a fall of each move on the best way of one run, under another's rules."""
    _, mdp, solution = solved(trained)
    _, worlds = world(used)
    there = worlds.mdps[0]
    way = optimal_path(mdp, solution)
    chances = (there.probability * there.fall).sum(axis=2)
    return [round(float(chances[s, solution.policy[s].argmax()]), 9) for s in way[:-1]]


# ---------------------------------------------------------------- explore-exploit


def test_two_prizes() -> None:
    name = "explore-exploit"
    preset, mdp, solution = solved("explore-greedy")
    pay, gamma = preset.maze.rewards, preset.algorithm.gamma
    assert exact("explore-greedy", "optimal_length") == 6 and preset.run.agents == 32
    says(name, "pays 0.1, two moves", "pays 1, six moves away", f"0.1 × {gamma:g} = 0.095")
    assert pay.lesser * gamma == pytest.approx(0.095)  # paid at the second move
    far = exact("explore-greedy", "optimal_return")
    assert far == pytest.approx(gamma**5) and round(far / 0.095) == 8
    says(name, f"0.95⁵ = {far:.3f}", "Eight times as much")
    says(name, f"0.5⁵ = {0.5**5:.3f}", f"0.1 × 0.5 = {0.1 * 0.5:g} is more")
    _, _, short_sighted = solved("explore-epsilon", "algorithm.gamma=0.5")
    assert mdp.start @ short_sighted.values == pytest.approx(pay.lesser * 0.5)
    assert mdp.start @ solution.values == pytest.approx(far)


def test_the_optimistic_values_are_worth_it_only_at_the_last_move() -> None:
    name = "explore-exploit"
    preset, mdp, solution = solved("explore-optimistic")
    begin = preset.algorithm.initial_value  # type: ignore[attr-defined]
    as_much = np.argwhere(np.isclose(solution.q, begin) & solution.reachable[:, None])
    last = mdp.success.any(axis=2)  # of moves that reach the large prize
    assert len(as_much) and all(last[s, a] for s, a in as_much)
    assert solution.q[solution.reachable].max() <= begin
    says(name, "values begin at 1. Only the last move to the large prize is worth as much")
    says(name, "0.1 is less than the 1 it expected", "initial_value=0.05`: below")


# ---------------------------------------------------------------- bias and variance


def test_the_walk_and_its_values() -> None:
    name = "bias-variance"
    preset, mdp, solution = solved("bias-monte-carlo")
    assert preset.algorithm.gamma == 1 and solution.reachable.sum() == 19
    values = state_values(mdp, uniform(mdp), 1.0)[solution.reachable]
    assert exact("bias-td-0", "random_return") == pytest.approx(0)
    assert sorted(values) == pytest.approx(np.linspace(-0.9, 0.9, 19))
    says(name, "along 19 cells", f"`rmse` is then {np.sqrt((values**2).mean()):.3f}")
    says(name, f"0.16 + 0.09 = {0.16 + 0.09:.2f}, and its root is {math.sqrt(0.25):g}")
    rates = {presets.load(f"bias-{run}").algorithm.learning_rate for run in RUNS}  # type: ignore[attr-defined]
    assert rates == {0.2}
    says(name, "at this step size, 0.2", "λ = 0.8")
    mixed = presets.load("bias-lambda").algorithm
    assert mixed.trace_decay == 0.8  # type: ignore[attr-defined]
    assert presets.load("bias-n-step").algorithm.n == 4  # type: ignore[attr-defined]


RUNS = ("monte-carlo", "td-0", "n-step", "lambda")


# ---------------------------------------------------------------- credit assignment


def test_the_corridor() -> None:
    name = "credit-assignment"
    assert exact("credit-sarsa", "optimal_length") == 5 * 3 + 2 * 2 == 19
    says(name, "all 19 on the way", "the way has 19 moves")
    assert presets.load("credit-n-step").algorithm.n == 8  # type: ignore[attr-defined]
    traced = presets.load("credit-lambda").algorithm
    says(name, f"γλ = {traced.gamma:g} × {traced.trace_decay:g}")  # type: ignore[attr-defined]
    forgotten = math.log(NEGLIGIBLE) / math.log(traced.gamma * 0.5)
    assert 28 < forgotten < 35
    says(name, "forgotten after some thirty moves")
    preset = presets.load("credit-monte-carlo")
    assert preset.maze.max_steps == 5000
    says(name, "5,000 moves long, the time limit")


# ---------------------------------------------------------------- curse of dimensionality


def test_the_rooms() -> None:
    name = "curse-of-dimensionality"
    preset, worlds = world("curse-features")
    maze = worlds.mazes[0]
    assert describe(preset.algorithm, [maze], worlds.mdps[0].n_observations).n_features == 28
    assert exact("curse-table", "states") == 81 and exact("curse-table", "table_size") == 324
    says(name, "81 × 4", f"28 × 4 = {28 * 4}", "A room of 25 cells with three keys")
    assert 25 * 2**3 == 200 and 25 * 2**10 == 25_600
    says(name, '"200"', "25 × 2³", "Ten keys would make 25,600 states")
    for keys in (1, 2, 3):
        _, mdp, solution = solved("curse-keys", f"maze.keys={keys}")
        assert mdp.n_states == 25 * 2**keys
        assert solution.steps[mdp.start > 0] == pytest.approx(8)
    says(name, "the shortest way stays eight moves long")
    assert round((81 / 16) ** 1.9) == 22 and pytest.approx(2.6, abs=0.1) == (81 / 16) ** 0.6
    says(name, "Five times as many cells", "two and a half times the steps")


# ---------------------------------------------------------------- environment specification


def test_the_rules_left_out() -> None:
    name = "environment-specification"
    _, left_out, _ = solved("rules-left-out")
    risks = [risk for risk in path_risks("rules-left-out", "rules-all") if risk]
    assert len(risks) == 5 and set(risks) == {0.1, 0.2}
    says(name, "with a chance of 0.1 or 0.2, and that adds up over five cells")
    assert [risk for risk in path_risks("rules-all", "rules-all") if risk] == [0.1, 0.1]
    says(name, "has two dangerous cells instead of five", "a chance of 0.1 each")
    assert exact("rules-left-out", "transferred_success_rate") == pytest.approx(0.40, abs=0.005)
    assert 0.3 < exact("rules-left-out", "transferred_return") < 0.4
    says(name, '"two times in five"', "It succeeds in 40 % of the episodes", "less than 0.4")
    b = exact("rules-slip", "transferred_return")
    says(name, f"It is {number(b, 2)}", "succeeds in 99 % of the episodes, after 35 moves")
    assert exact("rules-slip", "optimal_success_rate") == pytest.approx(0.99, abs=0.005)
    assert exact("rules-slip", "optimal_length") == pytest.approx(35, abs=0.5)
    assert b < exact("rules-left-out", "transferred_return")
    c = exact("rules-all", "optimal_success_rate")
    says(name, f"100 % against C's {c:.0%}".replace("78%", "78 %"))
    rules = presets.load("rules-all")
    assert (rules.maze.slip, rules.maze.rewards.bump, rules.maze.max_steps) == (0.2, -0.05, 25)
    says(name, "one move in five", "a bump costs 0.05", "cut off after 25 moves")
    assert presets.load("rules-slip").maze.max_steps == 200 and left_out.max_steps == 200
    says(name, "it has 200 moves")


# ---------------------------------------------------------------- sim-to-real


def test_the_edge_of_the_holes() -> None:
    name = "sim-to-real"
    assert not any(path_risks("sim-exact", "sim-exact"))
    preset, _ = world("sim-exact")
    assert preset.deploy is not None and preset.deploy.given["slip"] == 0.3
    assert risks_of_best_way("sim-exact", 0.3) == [0.15] * 5
    says(name, "a chance of 0.15", f"0.85⁵ = {0.85**5:.2f}", "three moves in ten sideways")
    short, long = 0.98**9, 0.98**11
    assert exact("sim-exact", "optimal_return") == pytest.approx(short)
    says(name, f"0.98⁹ = {short:.3f}", f"0.98¹¹ = {long:.3f} instead of {short:.3f}")
    slips = [maze.slip for maze in world("sim-randomized")[1].mazes]
    assert len(slips) == 6 and (min(slips), max(slips)) == (0.0, 0.6) and 0.3 not in slips
    says(name, "one of six worlds", "with slips from 0 to 0.6", "None has the real slip, 0.3")


def risks_of_best_way(name: str, slip: float) -> list[float]:
    """Of the way that is best without slip, the chances of a fall with slip, where not 0."""
    _, mdp, solution = solved(name)
    _, worlds = world(name, f"maze.slip={slip}")
    chances = (worlds.mdps[0].probability * worlds.mdps[0].fall).sum(axis=2)
    way = optimal_path(mdp, solution)[:-1]
    found = [float(chances[s, solution.policy[s].argmax()]) for s in way]
    return [round(risk, 9) for risk in found if risk]


def test_from_which_slip_on_the_safer_row_is_best() -> None:
    lengths = {}
    for slip in ("0.015", "0.017", "0.0175", "0.1", "0.3"):
        _, mdp, solution = solved("sim-exact", f"maze.slip={slip}")
        lengths[slip] = len(optimal_path(mdp, solution)) - 1
    assert lengths == {"0.015": 10, "0.017": 10, "0.0175": 12, "0.1": 12, "0.3": 12}
    says("sim-to-real", "any slip from about 0.017 on", "two moves longer", "slip of 0.3")


# ---------------------------------------------------------------- forgetting, generalization


def test_the_maps_that_are_forgotten() -> None:
    name = "forgetting"
    rehearsal = presets.load("forget-rehearsal").maze
    assert rehearsal.revisit == 0.6 and [c.step for c in rehearsal.changes] == [2000]
    assert [c.step for c in presets.load("forget-again").maze.changes] == [2000, 6000]
    says(name, "After 2,000 steps", "60 % of its episodes", "so 30 % on the old one")
    says(name, "from step 6,000 on", "within its 40 steps")
    assert presets.load("forget-plain").maze.max_steps == 40


def test_places_that_look_alike() -> None:
    name = "generalization"
    shares = {}
    for run in ("generalize-one", "generalize-many"):
        worlds = world(run)[1]
        met = np.concatenate([m.observation[reachable(m)] for m in worlds.mdps])
        held_out = [mdp for _, mdp in worlds._outside["test"]]
        places = np.concatenate([m.observation[reachable(m)] for m in held_out])
        shares[run] = np.isin(places, met).mean()
    assert len(held_out) == 16 and presets.load("generalize-many").maze.train.count == 64  # type: ignore[union-attr]
    assert round(1 / shares["generalize-one"]) == 7
    says(
        name, "only one in seven looks like", f"{shares['generalize-many']:.0%}".replace("%", " %")
    )
    assert exact("generalize-one", "optimal_length") == 3
    assert exact("generalize-one", "random_success_rate") == pytest.approx(0.25, abs=0.03)
    says(name, "about a quarter", "Its way is three moves long", "16 *held-out* mazes")


# ---------------------------------------------------------------- non-stationarity


def test_what_an_average_remembers() -> None:
    name = "non-stationarity"
    assert exact("moving-constant", "optimal_return") == pytest.approx(0.95**3)
    says(name, f"0.95³ = {0.95**3:.3f}", "four moves to the right")
    assert pytest.approx(0.6) == 400 * 0.9 / (400 + 200) and 0.9 + 0.5 * (0 - 0.9) == 0.45
    says(name, "400 × 0.9 / (400 + 200) = 0.6", "from 0.9 to 0.45 in one fall")
    preset, worlds = world("moving-constant")
    gamma = preset.algorithm.gamma
    lengths = [len(optimal_path(m, solve(m, gamma))) - 1 for m in worlds.mdps]
    assert lengths == [4, 8] and preset.maze.changes[0].step == 2000
    says(name, "The long way round takes eight moves", "From step 2,000 on")
    assert preset.budget.env_steps == 10_000
    says(name, "8,000 steps are left", "ε = 0.2", "64 agents each")


# ---------------------------------------------------------------- observability


def test_the_best_that_is_seen_and_the_best_that_draws() -> None:
    name = "observability"
    best = exact("observe-now", "observable_optimum")
    assert best == pytest.approx(0.5 * 0.9**3)
    says(name, f"0.5 × 0.9³ = {best:.4f}", f"gets {0.9**3:.3f}, twice as much")
    rows = [exact(f"observe-{run}", "observations") for run in ("now", "memory")]
    assert rows == [10, 74]
    says(name, "A's table has 10 rows", "There are 74")
    _, mdp, solution = solved("observe-chance")
    drawing = [evaluate(mdp, chance_policy(mdp, solution.q, p), 0.9) for p in np.linspace(0, 1, 41)]
    returns = [float(figures.expected_return) for figures in drawing]
    assert returns.index(max(returns)) == 20, "both sides alike"
    says(name, f"has a return of {max(returns):.2f}")
    two = world("observe-memory", "maze.memory=2")[1].observable_optimum(0)
    assert two == pytest.approx((0.9**3 + 0.9**5) / 2)
    says(name, f"of {0.9**3:.3f} and {0.9**5:.3f} is {two:.2f}")


def chance_policy(mdp: MDP, q: Floats, left: float) -> Floats:
    """The optimal moves for what is seen; where they differ, left with this chance, else right."""
    policy = np.zeros((mdp.n_observations, mdp.n_actions))
    best = greedy(q.round(9))
    for o in range(mdp.n_observations):
        states = np.flatnonzero(reachable(mdp) & (mdp.observation == o))
        wanted = best[states].argmax(axis=1) if states.size else np.zeros(1, int)
        if len(set(wanted)) == 1:
            policy[o, wanted[0]] = 1
        else:
            policy[o, 0], policy[o, 2] = left, 1 - left
    return policy


# ---------------------------------------------------------------- reward design, safety


def test_the_bonus_and_what_it_is_worth() -> None:
    name = "reward-design"
    preset = presets.load("reward-bonus")
    gamma, pay = preset.algorithm.gamma, preset.maze.rewards
    series = pay.bonus / (1 - gamma**2)
    says(name, f"0.05 / (1 − 0.98²) = {series:.2f}", "0.05 × 50 = 2.5", "more than the 1")
    assert series > pay.goal and 0.05 * 50 == 2.5
    assert 0.02 / (1 - gamma**2) == pytest.approx(0.5, abs=0.01)
    says(name, "bonus=0.02`: the series above is then worth 0.5")
    assert exact("reward-bonus", "optimal_success_rate") == 0
    farmed = exact("reward-bonus", "optimal_score")
    assert farmed > 2 * (pay.goal + pay.bonus)
    says(name, "paid about 1.05 an episode", "more than twice that")
    shaped = world("reward-shaping", "maze.shaping.weight=5")[1].mdps[0]
    assert shaped.potential is not None
    last = np.flatnonzero(shaped.success.any(axis=(1, 2)) & reachable(shaped))
    assert (1 - shaped.potential[last] < 0).all()
    says(name, "1 − 5·Φ of the last cell, less than 0")


def test_the_cliff() -> None:
    name = "safety"
    assert exact("safe-q-learning", "optimal_score") == -13
    says(name, "eleven times right along the edge, and down: 13 moves", "exact score is −13")
    start = presets.load("safe-q-learning").algorithm.exploration.start  # type: ignore[attr-defined]
    assert start * 0.25 * 1000 == 25
    says(name, "0.1 × ¼ = 25 falls in 1,000 such steps", "one move in ten")
    budget = presets.load("safe-fall-budget").maze.fall_budget
    assert budget is not None and budget.per_1000_steps == 2
    says(name, "a budget of 2 falls in 1,000 steps")


def test_the_room_of_sample_efficiency() -> None:
    name = "sample-efficiency"
    assert exact("efficiency-q-learning", "optimal_length") == 14
    preset, mdp, solution = solved("efficiency-q-learning")
    assert mdp.start @ solution.values < preset.algorithm.initial_value == 1  # type: ignore[attr-defined]
    says(name, "Fourteen, around both walls", "all values begin at 1, more than any way")
    assert presets.load("efficiency-dyna-q").algorithm.planning_steps == 20  # type: ignore[attr-defined]
    says(name, "replays twenty of them", "B makes 21 updates a step")


# ---------------------------------------------------------------- pages


def test_the_pages_about_language_models() -> None:
    chance = 1 - exact("grpo-table", "random_success_rate")
    harder = "why-llms-are-harder"
    says(harder, f"fails with chance {chance:.3f}", "0.986⁸: nine in ten", "0.986² = 0.972")
    assert chance**8 == pytest.approx(0.9, abs=0.01) and round(0.986**2, 3) == 0.972
    assert presets.load("grpo-table").algorithm.group_size == 8  # type: ignore[attr-defined]
    assert presets.load("llm-grpo-maze").algorithm.episodes == 512  # type: ignore[attr-defined]
    says(harder, "512 episodes in each update", "eight episodes of a group", '"about 97 in 100"')
    suits = "which-algorithms-suit-llms"
    vocabulary = exact("scripted-reward", "vocabulary")
    says(suits, f"adds {math.log10(vocabulary):.2f} digits", "up to 20 tokens")
    assert presets.load("scripted-reward").model.max_tokens == 20  # type: ignore[attr-defined]
    assert presets.load("n-step-sarsa").algorithm.n == 10  # type: ignore[attr-defined]
    says(suits, "waits ten moves")
    assert vocabulary == pytest.approx(50_000, rel=0.02)
    assert presets.load("scripted-reward").text.pairs == 8  # type: ignore[attr-defined,union-attr]
    says("you-are-the-reward", "The rule answers eight pairs")
    assert "93 MB" in text_of(harder)


def test_the_sentences_of_an_update() -> None:
    says("you-are-the-reward", "two dozen sentences an update")
    settings = presets.load("you-are-the-reward").algorithm
    assert settings.episodes == 24  # type: ignore[attr-defined]
