"""Methods that compute from the known model: value iteration and policy iteration."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from engine import factory, presets
from engine.core.errors import UserError
from engine.exact.solve import solve
from engine.learning.events import AnyEvent, Episode, Evaluation, Policy, Update, encode

pytestmark = pytest.mark.slow

LAKE = """
SFFF
FHFH
FFFH
HFFG
"""
MAZES = {
    "slippery lake": f"map = '''{LAKE}'''\nslip = 0.6666666666666666",
    "step cost": f"map = '''{LAKE}'''\nslip = 0.2\nrewards = {{step = -0.02, hole = -1.0}}",
    "walled-in ice": (
        "map = '''\nSF#F\nFF##\nHF#F\nFFFG\n'''\nrewards = {step = -0.5, goal = 0.0, hole = -9.0}"
    ),
    "windy": (
        "map = '''\nFFFFFFF\nFFFFFFF\nSFFFFGF\nFFFFFFF\n'''\nwind = [0, 0, 1, 1, 2, 1, 0]\n"
        "rewards = {goal = 0.0, step = -1.0}"
    ),
    "CliffWalking": 'gymnasium = "CliffWalking-v1"',
    "generated": "size = 12\nslip = 0.3\nrewards = {step = -0.001}",
}
NAMES = ["value-iteration", "policy-iteration"]


def make(
    name: str,
    maze: str = MAZES["step cost"],
    gamma: float = 0.97,
    updates: int = 5000,
    more: str = "",
) -> factory.Learner:
    return factory.make_learner(
        presets.parse(
            f"title = 't'\n[maze]\n{maze}\n[algorithm]\nname = '{name}'\ngamma = {gamma}\n{more}\n"
            f"[budget]\nupdates = {updates}\n[run]\nagents = 1\n"
        )
    )


def run(learner: factory.Learner, chunk: int = 10**6) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(chunk)
    return events + learner.conclude()


def last(kind: type, events: list[AnyEvent]):
    return next(event for event in reversed(events) if isinstance(event, kind))


@pytest.mark.parametrize("gamma", [0.97, 1.0])
@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("name", NAMES)
def test_planning_equals_the_solver_and_ends_by_itself(name: str, maze: str, gamma: float) -> None:
    learner = make(name, MAZES[maze], gamma, updates=100_000)
    evaluation = last(Evaluation, run(learner))
    solution = solve(learner.worlds.mdps[0], gamma)  # type: ignore[attr-defined]
    reached = solution.reachable
    values = learner.state()["tables.values"]
    size = max(1.0, np.abs(solution.values).max())
    np.testing.assert_allclose(values[reached], solution.values[reached], atol=2e-7 * size)
    assert evaluation.figures["expected_return"].mean == pytest.approx(
        evaluation.optimal_return, abs=1e-6
    )
    assert learner.counters.updates < 100_000
    if name == "policy-iteration":
        assert learner.counters.updates <= 15 < learner.counters.step


@pytest.mark.parametrize("name", NAMES)
def test_recorded_events_do_not_depend_on_how_the_sweeps_are_cut(name: str) -> None:
    whole, pieces = run(make(name)), run(make(name), chunk=3)
    assert [encode(e) for e in whole] == [encode(e) for e in pieces]


@pytest.mark.parametrize("name", NAMES)
def test_planning_goes_on_bit_for_bit_from_a_saved_state(name: str) -> None:
    unbroken, first, second = make(name), make(name), make(name)
    before = first.begin() + first.advance(37)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert [encode(e) for e in before + after] == [encode(e) for e in run(unbroken)]


def test_the_budget_counts_improvement_rounds_and_the_clock_sweeps() -> None:
    learner = make("policy-iteration", updates=2)
    events = run(learner)
    assert learner.counters.updates == 2
    counted = [(u.step, u.updates) for u in events if isinstance(u, Update)]
    assert counted[0] == (1, 0)
    rounds = [i for i, (_, n) in enumerate(counted) if i and n > counted[i - 1][1]]
    assert len(rounds) == 2
    assert counted[-1] == (learner.counters.step, 2)


def test_evaluation_sweeps_compute_the_values_of_the_policy_and_improvement_makes_it_greedy() -> (
    None
):
    learner = make("policy-iteration")
    learner.begin()
    q_of = learner._q  # type: ignore[attr-defined]
    policy = learner.state()["tables.policy"].copy()
    assert (policy == 0.25).all()
    seen = set()
    for _ in range(3000):
        before = {k: v.copy() for k, v in learner.state().items() if k.startswith("tables.")}
        learner.advance(1)
        (step, *_) = learner.live(learner.counters.step - 1).steps
        now = learner.state()
        evaluating = bool(step.step_size)
        seen.add(evaluating)
        if evaluating:
            assert (now["tables.policy"] == before["tables.policy"]).all()
            assert step.target == pytest.approx(np.dot(step.values, step.probabilities))
            assert step.after == step.target == now["tables.values"][step.state]
        else:
            assert (now["tables.values"] == before["tables.values"]).all()
            assert step.after == step.before
            best = q_of()
            taken = (now["tables.policy"] * best).sum(axis=1)
            reached = solve(learner.worlds.mdps[0], 0.97).reachable  # type: ignore[attr-defined]
            np.testing.assert_allclose(taken[reached], best.max(axis=1)[reached], atol=1e-9)
        if learner.done:
            break
    assert learner.done
    assert seen == {True, False}


def test_each_improvement_makes_no_state_worse() -> None:
    events = run(make("policy-iteration"))
    improved = [
        e for e in events if isinstance(e, Policy) and (np.sort(e.target, axis=1)[:, -1] == 1).any()
    ]
    returns = [e.figures["expected_return"].mean for e in events if isinstance(e, Evaluation)]
    assert len(improved) > 2
    assert all(b >= a - 1e-12 for a, b in pairwise(returns))
    assert returns[-1] > returns[0] + 0.5


def test_equally_good_actions_do_not_keep_it_going() -> None:
    """On open ice every way round is as short: exercise 4.4 of the book."""
    open_ice = "map = '''\nSFFFF\nFFFFF\nFFFFF\nFFFFG\n'''\nslip = 0.2\nrewards = {step = -0.01}"
    for tolerance in (1e-3, 1e-6, 1e-12):
        learner = make("policy-iteration", open_ice, more=f"tolerance = {tolerance}")
        run(learner)
        assert learner.counters.updates < 20


def test_a_cap_on_evaluation_still_reaches_the_optimum() -> None:
    for sweeps in (1, 7):
        learner = make(
            "policy-iteration", MAZES["windy"], 1.0, more=f"evaluation_sweeps = {sweeps}"
        )
        events = run(learner)
        metrics = [u.metrics["evaluation_sweeps"].mean for u in events if isinstance(u, Update)]
        assert max(metrics) == sweeps
        assert learner.done and learner.counters.updates < 5000
        evaluation = last(Evaluation, events)
        assert evaluation.figures["expected_return"].mean == pytest.approx(
            evaluation.optimal_return
        )


@pytest.mark.parametrize("name", NAMES)
def test_planning_goes_on_when_the_map_changes_after_it_had_settled(name: str) -> None:
    changing = MAZES["step cost"] + '\nchanges = [{step = 3000, map = "SFFF\\nFHFH\\nFFFH\\nHGFF"}]'
    learner = make(name, changing, updates=100_000)
    evaluation = last(Evaluation, run(learner))
    assert evaluation.world_id == 1
    assert evaluation.figures["expected_return"].mean == pytest.approx(evaluation.optimal_return)
    assert learner.counters.step > 3000


@pytest.mark.parametrize("name", NAMES)
def test_planning_goes_on_after_an_edit(name: str) -> None:
    learner = make(name, updates=100_000)
    events = run(learner)
    events += learner.edit(["SFFF", "FHFH", "FFFH", "HGFF"])
    assert not learner.done
    while not learner.done:
        events += learner.advance(10**6)
    evaluation = last(Evaluation, events + learner.conclude())
    assert evaluation.world_id == 1
    assert evaluation.figures["expected_return"].mean == pytest.approx(evaluation.optimal_return)


def test_explanations_tell_evaluation_from_improvement() -> None:
    learner = make("policy-iteration")
    events = run(learner)
    explain = learner.algorithm.explain  # type: ignore[attr-defined]
    sweeps = [e for e in events if isinstance(e, Episode)]
    told = set()
    for sweep in sweeps:
        for step in sweep.steps:
            text = explain(step)
            kind = "evaluation" if step.step_size else "improvement"
            told.add((kind, step.error > 0))
            assert f"sweep of {kind}" in text.words
            assert f"{step.target:.4g}" in text.numbers and f"{step.before:.4g}" in text.numbers
            if kind == "improvement":
                better = ["left", "down", "right", "up"][int(np.argmax(step.values))]
                assert (f"{better} is worth" in text.words) == (step.error > 0)
    assert {("evaluation", True), ("improvement", True), ("improvement", False)} <= told


def test_value_iteration_names_the_best_action_in_words() -> None:
    learner = make("value-iteration")
    run(learner)
    for step in learner.live(0).steps:
        best = ["left", "down", "right", "up"][int(np.argmax(step.values))]
        told = learner.algorithm.explain(step)  # type: ignore[attr-defined]
        assert f"offers is {best}, worth {step.after:.4g}" in told.words


@pytest.mark.parametrize("name", NAMES)
def test_what_a_planner_cannot_do_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"'neighbourhood' does not fit {name}"):
        make(name, MAZES["step cost"] + '\nobservation = "neighbourhood"')
    with pytest.raises(UserError, match="takes no steps"):
        presets.parse(
            f"title = 't'\n[maze]\nsize = 4\n[algorithm]\nname = '{name}'\n"
            "[budget]\nenv_steps = 5\n"
        )
