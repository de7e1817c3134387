"""Learners under the rules of `[maze]` and `[deploy]`: what is paid, counted and resumed."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine import factory, presets
from engine.config.deploy import deployed_maze
from engine.core.errors import UserError
from engine.env.build_mdp import build_mdp, build_mdps, vetoed_moves
from engine.env.settings import Shaping
from engine.exact.evaluate import evaluate, greedy
from engine.exact.shaping import potential
from engine.exact.solve import solve
from engine.learning.events import AnyEvent, Evaluation, PerAgent, Update, World, encode

pytestmark = pytest.mark.slow

LAKE = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\nmax_steps = 40\nrewards = {step = -0.01, hole = -0.5}\n'
CHANGE = 'changes = [{step = 400, map = "SFFF\\nFHFH\\nFFFH\\nHGFF"}]\n'
SETS = """
observation = "neighbourhood+prize"
max_steps = 30
train = {count = 5, size = 4, seed = 1}
test = {count = 4, size = 4, seed = 2}
"""
RANDOM = 'exploration = {kind = "epsilon-greedy", start = 1.0}'
RULES = {
    "shaping": LAKE + "slip = 0.3\nshaping = {weight = 2.0}",
    "shield": LAKE + "slip = 0.3\nshield = {max_fall = 0.05}",
    "fall_budget": LAKE + "slip = 0.3\nfall_budget = {per_1000_steps = 20, learning_rate = 0.1}",
    "randomize": LAKE + "randomize = {slip = [0.0, 0.6], worlds = 4}",
    "revisit": LAKE + CHANGE + "revisit = 0.4",
    "sets": SETS,
    "deploy": LAKE + "slip = 0.2\n[deploy]\nslip = 0.5",
}


def make(
    maze: str,
    more: str = "",
    *,
    name: str = "q-learning",
    budget: str = "env_steps = 1500",
    agents: int = 4,
    seed: int = 5,
) -> Any:
    text = f"""
title = "test"
[run]
agents = {agents}
seed = {seed}
[budget]
{budget}
[algorithm]
name = "{name}"
{more}
[maze]
{maze}
"""
    return factory.make_learner(presets.parse(text))


def run(learner: Any) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(10**6)
    return [*events, *learner.conclude()]


def of(kind: type, events: list[AnyEvent]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def steps_of(learner: Any) -> list[Any]:
    """All steps of the watched agent of a run of at most 1024 steps."""
    return list(learner.live(0).steps)


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("rule", RULES)
def test_a_loaded_state_goes_on_bit_for_bit(rule: str) -> None:
    unbroken, first, second = make(RULES[rule]), make(RULES[rule]), make(RULES[rule])
    before = first.begin() + first.advance(611)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert [encode(e) for e in before + after] == [encode(e) for e in run(unbroken)]
    final, expected = second.state(), unbroken.state()
    assert final.keys() == expected.keys()
    assert all(final[key].tobytes() == expected[key].tobytes() for key in final)


@pytest.mark.parametrize("rule", RULES)
def test_an_agent_does_not_depend_on_how_many_there_are(rule: str) -> None:
    few, many = make(RULES[rule], agents=2), make(RULES[rule], agents=5)
    (less,), (more,) = (of(PerAgent, run(learner)) for learner in (few, many))
    assert less.figures.keys() == more.figures.keys()
    for name, values in less.figures.items():
        np.testing.assert_array_equal(values, more.figures[name][:2], err_msg=name)


# ---------------------------------------------------------------- shaping


def test_shaping_acts_like_values_that_begin_at_the_potential() -> None:
    """Wiewiora (2003): Q with shaping is Q begun at Φ without it, less Φ, step for step."""
    shaped, plain = make(RULES["shaping"], RANDOM), make(LAKE + "slip = 0.3", RANDOM)
    phi = potential(plain.worlds.mdps[0], Shaping(weight=2.0), 0.99)
    plain.tables.q[...] = phi[:, None]
    for learner in (shaped, plain):
        learner.begin()
        learner.advance(1500)
    np.testing.assert_allclose(shaped.tables.q + phi[:, None], plain.tables.q, atol=1e-10)


def test_figures_are_of_true_rewards_and_shaping_is_shown_apart() -> None:
    shaped, plain = make(RULES["shaping"], RANDOM), make(LAKE + "slip = 0.3", RANDOM)
    ours, theirs = run(shaped), run(plain)
    for one, other in zip(of(Update, ours), of(Update, theirs), strict=True):
        for name in ("online_return", "online_score", "online_success_rate", "regret"):
            assert one.metrics[name].mean == pytest.approx(
                other.metrics[name].mean, abs=1e-9, nan_ok=True
            )
    assert of(Evaluation, ours)[-1].optimal_return == of(Evaluation, theirs)[-1].optimal_return
    phi = potential(plain.worlds.mdps[0], Shaping(weight=2.0), 0.99)
    for step, bare in zip(steps_of(shaped), steps_of(plain), strict=True):
        following = 0.0 if step.terminated else 0.99 * phi[step.next_state]
        assert step.extra == pytest.approx(following - phi[step.state])
        assert step.reward == pytest.approx(bare.reward, abs=1e-12)
        assert bare.extra == 0.0


# ---------------------------------------------------------------- safety


def test_the_share_of_vetoed_moves_is_the_exact_one() -> None:
    learner = make(RULES["shield"], RANDOM)
    (last,) = of(PerAgent, run(learner))
    mdp = learner.worlds.mdps[0]
    veto = vetoed_moves(learner.worlds.mazes[0], mdp)[..., None]
    counting = replace(mdp, reward=np.broadcast_to(veto, mdp.reward.shape).astype(float))
    dice = evaluate(counting, np.full((16, 4), 0.25), 0.99)
    expected = dice.expected_score / dice.expected_length
    assert 0.1 < expected < 0.9
    np.testing.assert_allclose(last.figures["shielded_share"], expected, atol=1e-12)


def test_behind_a_strict_shield_on_dry_ice_nobody_ever_falls() -> None:
    learner = make(LAKE + "shield = {}", RANDOM)
    (last,) = of(PerAgent, run(learner))
    assert (last.figures["falls_total"] == 0).all()
    (bare,) = of(PerAgent, run(make(LAKE, RANDOM)))
    assert (bare.figures["falls_total"] > 50).all()


def test_the_optimum_is_that_of_the_shielded_world() -> None:
    daring = LAKE.replace("-0.01, hole = -0.5", "-0.05") + "slip = 0.2\n"
    learner = make(daring + "shield = {}")
    learner.begin()
    shielded, bare = learner.worlds.mdps[0], build_mdp(make(daring).worlds.mazes[0])
    best = solve(shielded, 0.99)
    found = evaluate(shielded, best.policy, 0.99, by_state=True).expected_return
    assert learner.worlds.optimum(0).optimal_return == pytest.approx(float(found))
    of_bare = float(evaluate(bare, solve(bare, 0.99).policy, 0.99, by_state=True).expected_return)
    assert found < of_bare - 0.01  # the shield forbids risks that are worth taking


CLIFF = """
map = "FFFFFF\\nFFFFFF\\nSFFFFG\\nHHHHHH"
fall = "restart"
max_steps = 200
rewards = {goal = 0.0, step = -1.0}
"""


def test_the_price_of_a_fall_rises_until_falls_are_near_their_budget() -> None:
    """SARSA beside a cliff falls about 23 times in 1,000 steps; it is allowed 8."""
    settings = (
        'learning_rate = 0.2\ngamma = 1.0\nexploration = {kind = "epsilon-greedy", start = 0.1}\n'
    )
    budget = "fall_budget = {per_1000_steps = 8.0, learning_rate = 0.05}"
    rates = {}
    for rule in ("", budget):
        learner = make(CLIFF + rule, settings, name="sarsa", budget="env_steps = 60_000", agents=8)
        learner.begin()
        learner.advance(30_000)
        early = learner.progress.falls + learner.agents.stats[:, 7]
        price = learner.agents.price.copy()
        learner.advance(30_000)
        late = learner.progress.falls + learner.agents.stats[:, 7]
        rates[rule] = float((late - early).mean()) / 30
        assert (price > 0).all() == bool(rule)
    assert rates[""] > 18
    assert rates[budget] == pytest.approx(8.0, abs=1.0)
    (last,) = of(PerAgent, learner.conclude())
    np.testing.assert_array_equal(last.figures["fall_price"], learner.agents.price)


def test_without_falls_above_the_budget_there_is_no_price() -> None:
    learner = make(LAKE + "fall_budget = {per_1000_steps = 1000.0}", RANDOM)
    run(learner)
    assert (learner.agents.price == 0).all() and learner.progress.falls.sum() > 100


# ---------------------------------------------------------------- several worlds


def test_every_episode_draws_a_world_and_figures_are_means_over_all() -> None:
    learner = make(RULES["randomize"], RANDOM, agents=2)
    events = run(learner)
    worlds = of(World, events)
    assert [round(w.maze.slip, 3) for w in worlds] == [0.0, 0.2, 0.4, 0.6]
    assert {w.from_step for w in worlds} == {0}
    begun = [step.world_id for step in steps_of(learner) if step.t == 0]
    counts = np.bincount(begun, minlength=4)
    assert counts.min() > 0.15 * counts.sum()
    q, evaluation = learner.tables.q, of(Evaluation, events)[-1]
    each = [evaluate(mdp, greedy(q), 0.99) for mdp in learner.worlds.mdps]
    for name in ("success_rate", "expected_return"):
        mean = np.mean([getattr(exact, name) for exact in each])
        assert evaluation.figures[name].mean == pytest.approx(mean, abs=1e-12)
    best = np.mean([learner.worlds.optimum(w).optimal_return for w in range(4)])
    assert evaluation.optimal_return == pytest.approx(best)
    with pytest.raises(UserError, match="draws a world for each episode"):
        learner.edit(["SFFF", "FHFH", "FFFH", "HGFF"])


def test_rehearsal_goes_back_to_earlier_maps() -> None:
    shares = {}
    for share in (0.0, 0.5):
        learner = make(LAKE + CHANGE + f"revisit = {share}", RANDOM, budget="env_steps = 3000")
        learner.begin()
        learner.advance(3000)
        begun = [s.world_id for s in learner.live(2000).steps if s.t == 0]
        shares[share] = 1.0 - np.mean(begun)
    assert shares[0.0] == 0.0
    assert shares[0.5] == pytest.approx(0.25, abs=0.12)  # half of them draw one of both maps


def test_success_in_every_map_that_was_met() -> None:
    learner = make(LAKE + CHANGE)
    events = run(learner)
    for update in of(Update, events):
        assert "success_rate_map_0" in update.metrics
        assert ("success_rate_map_1" in update.metrics) == (update.step >= 400)
    (last,) = of(PerAgent, events)
    for w in (0, 1):
        exact = evaluate(learner.worlds.mdps[w], greedy(learner.tables.q), 0.99)
        found = last.figures[f"success_rate_map_{w}"]
        np.testing.assert_allclose(found, exact.success_rate, atol=1e-12)
    np.testing.assert_array_equal(last.figures["success_rate"], found)
    assert "success_rate_map_0" not in of(Update, run(make(LAKE)))[-1].metrics


def test_a_table_learns_on_a_set_of_mazes_and_is_tested_on_others() -> None:
    learner = make(SETS, agents=3)
    events = run(learner)
    worlds = of(World, events)
    assert [w.split for w in worlds] == ["train"] * 5 + ["test"] * 4
    assert [w.id for w in worlds] == list(range(9))
    mdps = build_mdps([w.maze for w in worlds])
    policy = greedy(learner.tables.q)
    success = np.stack([evaluate(mdp, policy, 0.99).success_rate for mdp in mdps])
    held_out, trained = success[5:].mean(axis=0), success[:5].mean(axis=0)
    (last,) = of(PerAgent, events)
    np.testing.assert_allclose(last.figures["held_out_success_rate"], held_out, atol=1e-12)
    np.testing.assert_allclose(last.figures["success_rate"], trained, atol=1e-12)
    tested = [e for e in of(Evaluation, events) if e.split == "test"]
    assert len(tested) == len(of(Evaluation, events)) / 2
    assert tested[-1].figures["success_rate"].mean == pytest.approx(held_out.mean())


# ---------------------------------------------------------------- deployment


@pytest.mark.parametrize("name", ["q-learning", "value-iteration"])
def test_deployed_figures_are_those_of_the_policy_in_the_deployed_maze(name: str) -> None:
    rules = "shield = {}\n[deploy]\nslip = 0.5\nmax_steps = 25\nshield = 'off'"
    learner = make(LAKE + rules, name=name, budget="env_steps = 1500\nupdates = 1500")
    events = run(learner)
    (place,) = [w for w in of(World, events) if w.split == "deploy"]
    preset_maze = learner.worlds.mazes[0]
    assert place.maze == deployed_maze(preset_maze, learner.worlds.deploy)
    assert place.maze.shield is None and place.maze.max_steps == 25
    mdp = build_mdps([preset_maze, place.maze])[1]
    policy = greedy(learner.tables.q) if name == "q-learning" else learner._target(learner._q())
    exact = evaluate(mdp, policy, 0.99)
    (last,) = of(PerAgent, events)
    for figure in ("success_rate", "expected_return"):
        found = last.figures[f"deployed_{figure}"]
        np.testing.assert_allclose(found, getattr(exact, figure), atol=1e-12)
    best = evaluate(mdp, solve(mdp, 0.99).policy, 0.99, by_state=True).expected_return
    assert last.figures["deployed_optimal_return"] == pytest.approx(float(best))
    update = of(Update, events)[-1].metrics["deployed_success_rate"].mean
    assert update == pytest.approx(float(np.mean(exact.success_rate)))


def test_an_edit_moves_the_deployed_world_along_unless_it_has_its_own_map() -> None:
    rows = ["SFFF", "FHFH", "FFFH", "HGFF"]
    follows = make(LAKE + "[deploy]\nslip = 0.5")
    follows.begin()
    follows.advance(100)
    edited, deployed = follows.edit(rows)
    assert (edited.split, edited.id, deployed.split, deployed.id) == ("train", 2, "deploy", 3)
    assert deployed.maze.rows == tuple(rows) and deployed.maze.slip == 0.5
    follows.advance(500)
    assert follows.live(590).steps[-1].world_id == 2
    assert follows.live(590).policy.world_id == 2
    stays = make(LAKE + '[deploy]\nmap = "SFFF\\nFFFF\\nFFFF\\nFFFG"')
    stays.begin()
    assert [w.split for w in stays.edit(rows)] == ["train"]


# ---------------------------------------------------------------- progress


def test_regret_and_falls_are_sums_over_what_happened() -> None:
    learner = make(LAKE + "slip = 0.3", RANDOM, agents=1, budget="env_steps = 1000")
    (last,) = of(PerAgent, run(learner))
    steps = steps_of(learner)
    ends = [i for i, s in enumerate(steps) if s.terminated or s.truncated]
    finished = steps[: ends[-1] + 1]
    best = learner.worlds.optimum(0).optimal_return
    gamma = learner.worlds.gamma
    assert gamma < 1.0
    regret = best * len(ends) - sum(gamma**s.t * s.reward for s in finished)
    assert last.figures["regret"] == pytest.approx([regret])
    assert last.figures["falls_total"].tolist() == [sum(s.fell for s in steps)]
    assert last.figures["env_steps"].tolist() == [1000]
    assert last.figures["episodes"].tolist() == [len(ends)]


def test_first_optimal_and_recovery_say_when_the_exact_return_came_close() -> None:
    changing = LAKE + CHANGE.replace("400", "2500")
    explores = 'exploration = {kind = "epsilon-greedy", start = 0.4}'
    learner = make(changing, explores, budget="env_steps = 12_000", agents=1)
    events = run(learner)
    dice = np.full((16, 4), 0.25)
    near: list[tuple[int, bool]] = []
    for evaluation in of(Evaluation, events):
        world = learner.worlds.current(evaluation.step)
        mdp, best = learner.worlds.mdps[world], evaluation.optimal_return
        least = best - 0.01 * (best - float(evaluate(mdp, dice, 0.99).expected_return))
        found = evaluation.figures["expected_return"].mean
        near.append((evaluation.step, found >= least - 1e-12))
    first = next(step for step, is_near in near if is_near)
    again = next(step for step, is_near in near if is_near and step >= 2500)
    assert 0 < first < 2500 < again
    (last,) = of(PerAgent, events)
    assert last.figures["first_optimal_step"].tolist() == [first]
    assert last.figures["recovery_steps"].tolist() == [again - 2500]
    assert 0 < last.figures["first_optimal_episode"][0] < first
    for update in of(Update, events):
        if update.step < 2500:
            assert "recovery_steps" not in update.metrics
            assert update.metrics["first_optimal_step"].n == (update.step >= first)


def test_news_of_the_prize_travels_back_one_move_an_episode() -> None:
    corridor = 'map = "SFFFFFFG"\nmax_steps = 400'
    learner = make(corridor, RANDOM, agents=1, budget="episodes = 12")
    learner.begin()
    reach = []
    while not learner.done:
        events = learner.advance(1)
        values = learner.tables.q[0].max(axis=1)
        farthest = max((7 - s for s in range(7) if values[s] > 0), default=0)
        for update in of(Update, events):
            assert update.metrics["value_reach"].mean == farthest
        reach.append((learner.counters.episodes, farthest))
    assert reach[-1][1] == 7
    for (_, before), (_, after) in itertools.pairwise(reach):
        assert after <= before + 1


def test_last_words_keep_the_newest_online_figures() -> None:
    """The last recording point coincides with the end, so nothing was counted since."""
    learner = make(LAKE, budget="env_steps = 2000")
    events = run(learner)
    (last,) = of(PerAgent, events)
    assert {values.shape for values in last.figures.values()} == {(4,)}
    online = [
        u.metrics["online_return"] for u in of(Update, events) if u.metrics["online_return"].n
    ]
    assert np.isfinite(last.figures["online_return"]).all() and online
    assert (last.figures["epsilon"] == 0.1).all()
