"""Dyna-Q, Dyna-Q+ and prioritized sweeping: what they learn, remember, plan and show."""

import copy
import math

import numpy as np
import pytest

from engine import factory, presets
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Evaluation, Policy, Step, Update, encode
from engine.tabular.algorithms.prioritized_sweeping import SweepingTables
from engine.tabular.kernels.behaviour import epsilon_greedy
from engine.tabular.kernels.priority_queue import empty_queue, put, take_first
from engine.tabular.kernels.rng import seed_streams, uniform

pytestmark = pytest.mark.slow

LAKE = "map = '''\nSFFF\nFHFH\nFFFH\nHFFG\n'''\nmax_steps = 100"
MAZES = {
    "no slip": LAKE,
    "walls": (
        "map = '''\nSF#FF\nFF#FH\nF##FF\nFFFFG\n'''\nmax_steps = 60\n"
        "rewards = {step = -0.02, hole = -1.0}"
    ),
    "windy": (
        "map = '''\nFFFFF\nSFFFG\nFFFFF\n'''\nwind = [0, 1, 1, 0, 0]\nmax_steps = 80\n"
        "rewards = {goal = 0.0, step = -1.0}"
    ),
    "CliffWalking": 'gymnasium = "CliffWalking-v1"\nmax_steps = 200',
}
NAMES = ["dyna-q", "dyna-q-plus", "prioritized-sweeping"]


def make(
    name: str,
    more: str = "",
    maze: str = LAKE + "\nslip = 0.3\nrewards = {step = -0.01, hole = -0.5}",
    budget: str = "env_steps = 3000",
    agents: int = 3,
) -> factory.Learner:
    return factory.make_learner(
        presets.parse(
            f"title = 't'\n[maze]\n{maze}\n[algorithm]\nname = '{name}'\ngamma = 0.95\n{more}\n"
            f"[budget]\n{budget}\n[run]\nagents = {agents}\nseed = 5\n"
        )
    )


def run(learner: factory.Learner, chunk: int = 10**6) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(chunk)
    return events + learner.conclude()


# ---------------------------------------------------------------- every method of this kind


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("name", NAMES)
def test_planning_reaches_the_optimal_target_policy(name: str, maze: str) -> None:
    explore = "exploration = {kind = 'epsilon-greedy', start = 1.0, end = 0.2, steps = 10000}"
    more = f"learning_rate = 0.5\n{explore}\n" + ("kappa = 1e-7" if name == "dyna-q-plus" else "")
    events = run(make(name, more, MAZES[maze], "env_steps = 20000", agents=4))
    evaluation = next(e for e in reversed(events) if isinstance(e, Evaluation))
    assert evaluation.figures["expected_return"].low == pytest.approx(
        evaluation.optimal_return, abs=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_how_the_steps_are_cut(name: str) -> None:
    whole, pieces = make(name, budget="env_steps = 150"), make(name, budget="env_steps = 150")
    assert [encode(e) for e in run(whole)] == [encode(e) for e in run(pieces, chunk=7)]
    ours, theirs = whole.state(), pieces.state()
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_state_goes_on_bit_for_bit(name: str) -> None:
    unbroken, first, second = (make(name, budget="env_steps = 200") for _ in range(3))
    before = first.begin() + first.advance(83)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert [encode(e) for e in before + after] == [encode(e) for e in run(unbroken)]


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_does_not_depend_on_how_many_there_are(name: str) -> None:
    alone, among = make(name, agents=1), make(name, agents=4)
    run(alone)
    run(among)
    assert (alone.state()["tables.q"][0] == among.state()["tables.q"][0]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_compiled_equals_the_kernel_as_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, plain = make(name), make(name)
    compiled.advance(150)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr("engine.core.compiling.compiled", lambda function: function)
        patch.setattr("engine.exact.evaluate_compiled.compiled", lambda function: function)
        plain.advance(150)
    ours, theirs = compiled.state(), plain.state()
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)


@pytest.mark.parametrize("name", NAMES)
def test_updates_are_counted_and_budgeted_one_by_one(name: str) -> None:
    budget = "updates = 1234\nenv_steps = 100000"
    learner = make(name, "planning_steps = 7", budget=budget)
    events = run(learner)
    state = learner.state()
    planned = state["tables.planned"].sum(axis=(1, 2))
    real = 0 if name == "prioritized-sweeping" else state["agents.steps"]
    assert (state["agents.updates"] == 1234).all()
    assert (planned + real == 1234).all()
    assert (state["tables.visits"].sum(axis=(1, 2)) == state["agents.steps"]).all()
    last = next(e for e in reversed(events) if isinstance(e, Update))
    assert last.metrics["planning_updates"].mean == pytest.approx(planned.mean())


@pytest.mark.parametrize("name", NAMES)
def test_what_was_planned_is_shown_apart_from_what_was_done(name: str) -> None:
    learner = make(name, budget="env_steps = 500")
    policy = next(e for e in reversed(run(learner)) if isinstance(e, Policy))
    state = learner.state()
    assert (policy.layers["planned"] == state["tables.planned"][0]).all()
    assert (policy.visits == state["tables.visits"][0]).all()
    steps = learner.live(0).steps
    assert sum(step.planned for step in steps) == policy.layers["planned"].sum() > 500
    assert all(step.kind == "real" for step in steps)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_last_transition_seen(name: str) -> None:
    learner = make(name, budget="env_steps = 600")
    run(learner)
    state = learner.state()
    seen: dict[tuple[int, int], Step] = {}
    for step in learner.live(0).steps:
        seen[step.observation, step.action] = step
    known = state["tables.next_observation"][0] >= 0
    assert {tuple(pair) for pair in np.argwhere(known)} == set(seen)
    for pair, step in seen.items():
        assert state["tables.next_observation"][0][pair] == step.next_observation
        assert state["tables.reward"][0][pair] == step.reward
        assert state["tables.ends"][0][pair] == step.terminated


# ---------------------------------------------------------------- Dyna-Q and Dyna-Q+


def test_without_planning_dyna_q_is_q_learning() -> None:
    dyna, plain = make("dyna-q", "planning_steps = 0"), make("q-learning")
    run(dyna)
    run(plain)
    assert (dyna.state()["tables.q"] == plain.state()["tables.q"]).all()
    assert dyna.state()["tables.planned"].sum() == 0


def by_the_book(learner: factory.Learner, plus: bool, n: int, kappa: float) -> np.ndarray:
    """Q [O,A] of the watched agent: the box of section 8.2 with dictionaries, on its moves.

    The moves are the shown ones; only the draws for exploring and planning are made again.
    """
    random = seed_streams(5, 3)[0]
    q = np.zeros((16, 4))
    model: dict[int, dict[int, tuple[float, int, bool]]] = {}
    tried_at: dict[tuple[int, int], int] = {}
    for now, step in enumerate(learner.live(0).steps, 1):
        s, a = step.observation, step.action
        assert step.values == tuple(q[s]) and step.next_values == tuple(q[step.next_observation])
        chosen, explored = epsilon_greedy(q[s], 0.1, random)
        assert (chosen, explored) == (a, step.explored)
        uniform(random)  # the ice's own draw
        future = 0.0 if step.terminated else q[step.next_observation].max()
        assert step.target == step.reward + 0.95 * future
        q[s, a] += 0.1 * (step.target - q[s, a])
        assert step.after == q[s, a]
        assert step.planned == n
        model.setdefault(s, {})[a] = (step.reward, step.next_observation, step.terminated)
        tried_at[s, a] = now
        for _ in range(n):
            p = list(model)[int(uniform(random) * len(model))]
            choices = range(4) if plus else sorted(model[p])
            b = choices[int(uniform(random) * len(choices))]
            reward, to, ends = model[p].get(b, (0.0, p, False))
            bonus = kappa * math.sqrt(now - tried_at.get((p, b), 0)) if plus else 0.0
            target = reward + bonus + 0.95 * (0.0 if ends else q[to].max())
            q[p, b] += 0.1 * (target - q[p, b])
    return q


@pytest.mark.parametrize("plus", [False, True])
def test_dyna_does_what_the_book_says(plus: bool) -> None:
    name, more = ("dyna-q-plus", "kappa = 0.01") if plus else ("dyna-q", "")
    learner = make(name, f"planning_steps = 4\n{more}", budget="env_steps = 700")
    run(learner)
    with np.errstate(over="ignore"):
        expected = by_the_book(learner, plus, 4, 0.01)
    assert (learner.state()["tables.q"][0] == expected).all()


def test_one_over_n_counts_real_and_planned_updates() -> None:
    learner = make("dyna-q", 'learning_rate = "1/n"\nplanning_steps = 3', budget="env_steps = 50")
    learner.begin()
    for _ in range(50):
        before = learner.state()
        counts = before["tables.visits"][0] + before["tables.planned"][0]
        counts = counts.copy()
        learner.advance(1)
        (step,) = learner.live(learner.counters.step - 1).steps
        assert step.step_size == 1.0 / (counts[step.observation, step.action] + 1)


@pytest.mark.parametrize("name", ["dyna-q", "dyna-q-plus"])
def test_explanations_say_how_much_was_planned(name: str) -> None:
    learner = make(name, "planning_steps = 6", budget="env_steps = 300")
    run(learner)
    explain = learner.algorithm.explain  # type: ignore[attr-defined]
    for step in learner.live(0).steps:
        told = explain(step)
        assert f"{step.after:.4g}" in told.numbers and f"{step.target:.4g}" in told.numbers
        assert "6 updates from the learned model followed" in told.words
        assert ("κ√τ" in told.words) == (name == "dyna-q-plus")
    silent = make(name, "planning_steps = 0", budget="env_steps = 10")
    run(silent)
    assert "No update from the learned model" in explain(silent.live(0).steps[0]).words


# ---------------------------------------------------------------- prioritized sweeping


def test_the_most_urgent_pair_comes_out_first() -> None:
    rng = np.random.default_rng(1)
    fields = {name: np.zeros(1) for name in SweepingTables._fields}
    tables = SweepingTables(**{**fields, **empty_queue(2, 40)})
    waiting: dict[int, float] = {}
    raised = 0
    for _ in range(3000):
        if (rng.random() < 0.6 and len(waiting) < 40) or not waiting:
            pair, priority = int(rng.integers(40)), float(rng.integers(1, 30))
            raised += waiting.get(pair, 99.0) < priority
            put(tables, 1, pair, priority)
            waiting[pair] = max(priority, waiting.get(pair, 0.0))
        else:
            pair = take_first(tables, 1)
            assert waiting.pop(pair) == max([tables.priority[1, pair], *waiting.values()])
        assert tables.queued[1] == len(waiting)
        assert set(tables.heap[1, : len(waiting)].tolist()) == set(waiting)
        assert set(np.flatnonzero(tables.slot[1] >= 0).tolist()) == set(waiting)
    assert raised > 100
    assert tables.queued[0] == 0 and (tables.slot[0] == -1).all()


def predecessors(state: dict[str, np.ndarray], agent: int) -> dict[int, set[int]]:
    """The pairs that each observation's list holds."""
    lists: dict[int, set[int]] = {}
    for o, pair in enumerate(state["tables.first_before"][agent].tolist()):
        while pair != -1:
            assert pair not in lists.setdefault(o, set())
            lists[o].add(pair)
            pair = int(state["tables.next_before"][agent, pair])
    return lists


@pytest.mark.parametrize("slip", [0.0, 0.5])
def test_predecessors_are_what_the_model_says(slip: float) -> None:
    learner = make("prioritized-sweeping", maze=f"{LAKE}\nslip = {slip}", budget="env_steps = 900")
    learner.begin()
    for _ in range(9):
        learner.advance(100)
        state = learner.state()
        for agent in range(3):
            expected: dict[int, set[int]] = {}
            to, ends = state["tables.next_observation"][agent], state["tables.ends"][agent]
            for o, a in np.argwhere((to >= 0) & ~ends).tolist():
                expected.setdefault(int(to[o, a]), set()).add(4 * o + a)
            assert predecessors(state, agent) == expected


def test_an_empty_queue_means_values_that_fit_the_model() -> None:
    """With time to finish, every known pair's error is at most θ after every step (α = 1)."""
    more = "learning_rate = 1.0\nplanning_steps = 10000\nthreshold = 0.001\ninitial_value = 0.4"
    learner = make("prioritized-sweeping", more, maze=f"{LAKE}\nrewards = {{step = -0.01}}")
    learner.begin()
    surprised = 0
    for _ in range(300):
        learner.advance(1)
        state = learner.state()
        assert (state["tables.queued"] == 0).all()
        q, to, ends = (state[f"tables.{name}"][0] for name in ("q", "next_observation", "ends"))
        known = to >= 0
        target = state["tables.reward"][0] + 0.95 * np.where(ends, 0.0, q[to].max(axis=-1))
        assert np.abs(target - q)[known].max() <= 0.001 + 1e-12
        (step,) = learner.live(learner.counters.step - 1).steps
        assert (step.step_size == 1.0) == (abs(step.error) > 0.001) == (step.planned > 0)
        assert (q[~known] == 0.4).all()
        surprised += step.planned > 0
    assert 20 < surprised < 300


def test_a_shown_step_is_updated_by_its_own_arithmetic_or_not_at_all() -> None:
    learner = make(
        "prioritized-sweeping", "planning_steps = 2", maze=LAKE, budget="env_steps = 1000"
    )
    run(learner)
    explain = learner.algorithm.explain  # type: ignore[attr-defined]
    kinds = set()
    for step in learner.live(0).steps:
        assert step.before == step.values[step.action]
        assert step.after == step.before + step.step_size * (step.target - step.before)
        assert step.step_size in (0.0, 0.1)
        told = explain(step)
        assert f"{abs(step.error):.4g}" in told.words
        assert ("is now" in told.words) == (step.step_size > 0)
        assert ("No planning update" in told.words) == (step.planned == 0)
        kinds.add((step.step_size > 0, min(step.planned, 2)))
    assert {(True, 2), (False, 2), (False, 0)} <= kinds


def test_a_budget_of_updates_alone_would_never_end() -> None:
    with pytest.raises(UserError, match=r"budget: found only updates.*add env_steps"):
        make("prioritized-sweeping", budget="updates = 100")
