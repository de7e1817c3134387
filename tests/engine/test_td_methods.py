"""Expected SARSA, double Q, n-step, traces, Monte Carlo and TD(0) keep what every learner promises:
runs that do not depend on how they are cut, and shown steps whose arithmetic is the tables'."""

import copy
from typing import Any

import numpy as np
import pytest

from engine import factory, presets
from engine.learning.events import AnyEvent, Evaluation, Policy, Step, Tuned, encode

pytestmark = pytest.mark.slow

PRESET = """
title = "test"
[maze]
map = \"\"\"
SFFF
FHFH
FFFH
HFFG
\"\"\"
slip = 0.3
max_steps = 30
rewards = {{step = -0.01, hole = -0.5}}
[algorithm]
name = "{name}"
{settings}
[budget]
{budget}
[run]
agents = {agents}
seed = 5
"""
EXPLORING = 'exploration = {kind = "epsilon-greedy", start = 0.5}\n'
CONTROL = {
    "expected-sarsa": EXPLORING,
    "double-q-learning": EXPLORING,
    "n-step-sarsa": EXPLORING + "n = 5\n",
    "monte-carlo": EXPLORING,
    "sarsa-lambda": EXPLORING,
    "q-lambda": EXPLORING,
    "tree-backup": EXPLORING + "n = 5\n",
    "dqn": EXPLORING + "hidden = 4\nreplay = {size = 50, batch = 4}\ntarget_every = 20\n",
}
METHODS = {
    **CONTROL,
    "td-0": "n = 3\npolicy = {left = 0.4, down = 0.1, up = 0.5}\n",
    "true-online-td": "policy = {left = 0.4, down = 0.1, up = 0.5}\n",
    "linear-td": "policy = {left = 0.4, down = 0.1, right = 0.2, up = 0.3}\ntarget_every = 3\n",
}
LEARNED = {"td-0": "values", "dqn": "w2", "true-online-td": "w", "linear-td": "w"}
"""Tables of what is learned, where it is not `q`."""
LATE = ("n-step-sarsa", "monte-carlo", "td-0", "tree-backup", "dqn")
"""They learn from a step some steps after it."""


def make(
    name: str, budget: str = "env_steps = 3000", agents: int = 3, more: str = ""
) -> factory.Learner:
    text = PRESET.format(name=name, budget=budget, agents=agents, settings=METHODS[name] + more)
    return factory.make_learner(presets.parse(text))


def run(learner: factory.Learner, chunk: int = 10**6) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(chunk)
    return events + learner.conclude()


def same(first: list[AnyEvent], second: list[AnyEvent]) -> bool:
    return [encode(e) for e in first] == [encode(e) for e in second]


def shown(learner: factory.Learner, steps: int) -> tuple[Step, ...]:
    """The watched agent's steps, as they are once `steps` steps were taken."""
    learner.begin()
    learner.advance(steps)
    return learner.live(0).steps


@pytest.mark.parametrize("budget", ["updates = 130", "episodes = 9"])
@pytest.mark.parametrize("name", METHODS)
def test_events_do_not_depend_on_how_the_steps_are_cut(name: str, budget: str) -> None:
    assert same(run(make(name, budget)), run(make(name, budget), chunk=7))


@pytest.mark.parametrize("name", METHODS)
def test_a_loaded_state_goes_on_bit_for_bit(name: str) -> None:
    unbroken, first, second = (make(name, "env_steps = 300") for _ in range(3))
    before = first.begin() + first.advance(83)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert same(before + after, run(unbroken))
    final, expected = second.state(), unbroken.state()
    assert final.keys() == expected.keys()
    assert all(final[key].tobytes() == expected[key].tobytes() for key in final)


@pytest.mark.parametrize("name", METHODS)
def test_the_kernel_compiled_equals_the_kernel_as_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, plain = make(name), make(name)
    compiled.advance(200)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr("engine.core.compiling.compiled", lambda function: function)
        patch.setattr("engine.exact.evaluate_compiled.compiled", lambda function: function)
        plain.advance(200)
    ours, theirs = compiled.state(), plain.state()
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)


@pytest.mark.parametrize("name", METHODS)
def test_an_agent_does_not_depend_on_how_many_there_are(name: str) -> None:
    alone, among = make(name, agents=1), make(name, agents=4)
    run(alone)
    run(among)
    table = f"tables.{LEARNED.get(name, 'q')}"
    assert (alone.state()[table][0] == among.state()[table][0]).all()


@pytest.mark.parametrize("name", METHODS)
def test_no_agent_learns_beyond_its_updates(name: str) -> None:
    learner = make(name, "updates = 101")
    run(learner)
    assert (learner.state()["agents.updates"] == 101).all()


# ---------------------------------------------------------------- the arithmetic shown


def test_expected_sarsa_shows_the_mean_over_its_policy() -> None:
    q = np.zeros((16, 4))
    for step in shown(make("expected-sarsa"), 900):
        assert step.values == tuple(q[step.observation])
        expected = 0.5 * np.mean(step.next_values) + 0.5 * max(step.next_values)
        assert step.bootstrap == pytest.approx(0.0 if step.terminated else expected, abs=1e-15)
        assert step.target == step.reward + step.gamma * step.bootstrap
        q[step.observation, step.action] = step.after


def test_double_q_shows_one_table_valued_by_the_other() -> None:
    learner = make("double-q-learning")
    learner.begin()
    learned = [0, 0]
    for count in range(600):
        before = learner.state()["tables.pair"][0].copy()
        learner.advance(1)
        (step,) = learner.live(count).steps
        pair, q = learner.state()["tables.pair"][0], learner.state()["tables.q"][0]
        s, a, s2 = step.observation, step.action, step.next_observation
        assert step.values == tuple(before.mean(axis=0)[s])
        assert step.target == step.reward + step.gamma * step.bootstrap
        assert q[s, a] == pair[:, s, a].mean()
        if step.error == 0.0:
            continue
        (k,) = np.flatnonzero((pair != before).any(axis=(1, 2)))
        learned[k] += 1
        assert step.before == before[k, s, a] and step.after == pair[k, s, a]
        assert (pair != before).sum() == 1
        if not step.terminated:
            assert before[k, s2, step.next_action] == before[k, s2].max()
            assert step.bootstrap == before[1 - k, s2, step.next_action]
    assert min(learned) > 200


@pytest.mark.parametrize("name", ["n-step-sarsa", "monte-carlo"])
def test_methods_that_wait_show_the_return_that_came(name: str) -> None:
    n = {"n-step-sarsa": 5, "monte-carlo": 30}[name]
    steps = shown(make(name), 900)
    episodes: dict[int, list[Step]] = {}
    for step in steps:
        episodes.setdefault(step.episode, []).append(step)
    episodes.popitem()  # still going on
    cut = whole = 0
    for episode in episodes.values():
        met: set[tuple[int, int]] = set()
        for step, rest in ((s, episode[s.t : s.t + n]) for s in episode):
            if name == "monte-carlo" and (step.observation, step.action) in met:
                assert step.step_size == 0.0 and step.after == step.before
                continue
            met.add((step.observation, step.action))
            total = sum(s.reward * step.gamma**k for k, s in enumerate(rest))
            total += step.gamma ** len(rest) * step.bootstrap
            assert step.target == pytest.approx(total, abs=1e-12)
            assert step.after == step.before + step.step_size * (step.target - step.before)
            assert step.step_size > 0.0
            if rest[-1].terminated:
                assert step.bootstrap == 0.0
                whole += 1
            cut += rest[-1].truncated and step.bootstrap != 0.0
    assert cut and whole


@pytest.mark.parametrize("name", ["sarsa-lambda", "q-lambda"])
@pytest.mark.parametrize("traces", ["replacing", "accumulating"])
def test_traces_replayed_from_the_steps_give_the_table(name: str, traces: str) -> None:
    """The book's loop over the whole table, fed with the steps that were shown."""
    learner = make(name, more=f'traces = "{traces}"\ntrace_decay = 0.8\n')
    q, e, most = np.zeros((16, 4)), np.zeros((16, 4)), 0.0
    for step in shown(learner, 900):
        s, a = step.observation, step.action
        assert step.values == pytest.approx(tuple(q[s]), abs=1e-9)
        cut = step.t == 0 or (name == "q-lambda" and step.values[a] < max(step.values))
        e *= 0.0 if cut else 0.99 * 0.8
        e[s, a] = 1.0 if traces == "replacing" else e[s, a] + 1.0
        assert step.step_size == pytest.approx(0.1 * e[s, a])
        if not step.terminated:
            following = step.next_values
            best = max(following) if name == "q-lambda" else following[step.next_action]
            assert step.bootstrap == best
        assert step.target == step.reward + step.gamma * step.bootstrap
        q += 0.1 * step.error * e
        most = max(most, e.max())
    np.testing.assert_allclose(q, learner.state()["tables.q"][0], atol=1e-9)
    assert (most > 1.5) == (traces == "accumulating")
    policy = learner.live(0).policy
    assert policy is not None
    np.testing.assert_allclose(policy.layers["traces"], e, atol=1e-9)


def test_td_0_shows_the_values_it_learns() -> None:
    learner = make("td-0", more='learning_rate = "1/n"\n')
    steps = shown(learner, 900)
    targets: dict[int, list[float]] = {}
    for step in steps:
        assert step.values == step.probabilities == ()
        assert step.log_prob == pytest.approx(np.log((0.4, 0.1, 0.0, 0.5)[step.action]))
        if step.step_size > 0.0:
            targets.setdefault(step.observation, []).append(step.target)
    assert len(steps) - sum(map(len, targets.values())) < 3
    values = learner.state()["tables.values"][0]
    for o, seen in targets.items():
        assert values[o] == pytest.approx(np.mean(seen))


@pytest.mark.parametrize("name", METHODS)
def test_explanations_carry_the_numbers_of_the_step(name: str) -> None:
    learner = make(name)
    algorithm: Any = learner.algorithm  # type: ignore[attr-defined]
    told = {"terminated": 0, "truncated": 0, "on": 0}
    for step in shown(learner, 1000):
        text = algorithm.explain(step, ("west", "south", "east", "north"))
        assert text.formula == algorithm.formula
        assert f"{step.before:.4g}" in text.numbers and f"{step.target:.4g}" in text.numbers
        if step.step_size > 0.0:
            assert f"{step.after:.4g}" in text.numbers and f"{step.error:+.4g}" in text.numbers
        else:
            assert name in LATE and "Nothing is learned" in text.words
        assert ("west", "south", "east", "north")[step.action] in text.words
        assert ("episode ended" in text.words) == step.terminated
        assert ("time limit" in text.words) == step.truncated
        told["terminated" if step.terminated else "truncated" if step.truncated else "on"] += 1
    assert all(told.values())


@pytest.mark.parametrize("name", CONTROL)
def test_the_figures_are_those_of_the_policy_it_learns_about(name: str) -> None:
    learner = make(name)
    events = run(learner)
    algorithm: Any = learner.algorithm  # type: ignore[attr-defined]
    policy = next(e for e in reversed(events) if isinstance(e, Policy))
    figures = next(e for e in reversed(events) if isinstance(e, Evaluation)).figures
    on_policy = algorithm.policy_type == "on-policy"
    met = policy.visits.sum(axis=1) > 0
    assert (policy.target[met].min() > 0.12) == on_policy
    assert (figures["success_rate"].mean < figures["greedy_success_rate"].mean) == on_policy
    assert policy.q is not None
    np.testing.assert_allclose(policy.values, (policy.target * policy.q).sum(axis=1), rtol=1e-5)


def test_traces_and_their_decay_can_be_tuned() -> None:
    learner = make("sarsa-lambda")
    learner.begin()
    learner.advance(50)
    (event,) = learner.tune("algorithm.trace_decay", 0.0)
    assert event == Tuned(step=50, key="algorithm.trace_decay", value=0.0)
    learner.advance(50)
    assert (learner.state()["tables.traces"] > 0).sum() == 3  # one pair of each agent
