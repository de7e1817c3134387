"""Linear methods: the table as a special case, exact gradients, replay, the anchor, and mazes."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from book_tools import go

from engine import factory, presets
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Evaluation, PerAgent, Policy, Update, encode
from engine.tabular.algorithms.linear_actor_critic import divergence
from engine.tabular.kernels.features import describe

pytestmark = pytest.mark.llm

LAKE = "SFFF\nFHFH\nFFFH\nHFFG"
WALLS = "SF#FF\nFF#FH\nF##FF\nFFFFG"
WINDY = "FFFFF\nSFFFG\nFFFFF"
EXACT = {"rtol": 0.0, "atol": 1e-10}
Q, AC = "linear-q-learning", "linear-actor-critic"


def make(
    name: str,
    settings: str = "",
    maze: str = "slip = 0.3\nmax_steps = 12\nrewards = {hole = -1.0, step = -0.05}",
    rows: str = LAKE,
    budget: str = "env_steps = 600",
    agents: int = 3,
    seed: int = 5,
) -> Any:
    text = f'title = "t"\n[maze]\nmap = """\n{rows}\n"""\n{maze}\n[algorithm]\nname = "{name}"\n'
    text += f"{settings}\n[budget]\n{budget}\n[run]\nagents = {agents}\nseed = {seed}\n"
    return factory.make_learner(presets.parse(text))


def run(learner: Any, chunk: int = 10**6) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(chunk)
    return events + learner.conclude()


def last(kind: type, events: list[AnyEvent]) -> Any:
    return [event for event in events if isinstance(event, kind)][-1]


def features_of(learner: Any) -> np.ndarray:
    """X [O,F] of a learner's maze."""
    observations = learner.worlds.mdps[0].n_observations
    return describe(learner.settings, learner.worlds.mazes, observations).matrix()


# ---------------------------------------------------------------- the table as a special case


@pytest.mark.parametrize(
    "settings",
    [
        "learning_rate = 0.3",
        'learning_rate = "1/n"\ninitial_value = 0.7',
        "exploration = {kind = 'softmax', start = 0.5}",
        "exploration = {kind = 'ucb', c = 0.3}",
    ],
)
def test_with_a_feature_for_each_cell_it_is_q_learning_to_the_last_bit(settings: str) -> None:
    table, linear = make("q-learning", settings), make(Q, f'features = "cell"\n{settings}')
    ours, theirs = run(linear), run(table)
    assert len(ours) == len(theirs)
    assert (linear.tables.w == table.tables.q).all()
    assert (linear.agents.random == table.agents.random).all()
    assert [encode(e) for e in linear.live(0).steps] == [encode(e) for e in table.live(0).steps]
    for mine, its in zip(ours, theirs, strict=True):
        if isinstance(mine, Update):
            metrics = dict(mine.metrics)
            assert metrics.pop("largest_weight").n == 3
            mine = msgspec.structs.replace(mine, metrics=metrics)
        if isinstance(mine, PerAgent):
            figures = dict(mine.figures)
            assert figures.pop("largest_weight").shape == (3,)
            mine = msgspec.structs.replace(mine, figures=figures)
        assert encode(mine) == encode(its)


def test_with_a_feature_for_each_cell_it_is_the_actor_critic_to_the_last_bit() -> None:
    table, linear = make("actor-critic"), make(AC, 'features = "cell"')
    run(table), run(linear)
    assert (linear.tables.theta == table.tables.theta).all()
    assert (linear.tables.w == table.tables.v).all()
    np.testing.assert_allclose(linear.tables.figures[:, :3], table.tables.figures, rtol=1e-12)
    assert [encode(e) for e in linear.live(0).steps] == [encode(e) for e in table.live(0).steps]


# ---------------------------------------------------------------- the gradients


@pytest.mark.parametrize("kind", ["row+column", "tiles", "distance"])
def test_q_learning_is_semi_gradient_descent_on_the_squared_error(kind: str) -> None:
    learner = make(Q, f'features = "{kind}"\nlearning_rate = 0.2\ngamma = 0.9', agents=1)
    run(learner)
    x = torch.tensor(features_of(learner))
    w = torch.zeros(x.shape[1], 4, dtype=torch.float64)
    steps = learner.live(0).steps
    assert any(s.terminated for s in steps) and any(s.truncated for s in steps)
    for step in steps:
        w.requires_grad_(True)
        ahead = 0.0 if step.terminated else (x[step.next_observation] @ w).max().item()
        estimate = x[step.observation] @ w[:, step.action]
        np.testing.assert_allclose(step.values, (x[step.observation] @ w).detach(), **EXACT)
        error = step.reward + 0.9 * ahead - estimate
        np.testing.assert_allclose(step.error, error.item(), **EXACT)
        (down,) = torch.autograd.grad(0.5 * error**2, w)
        w = (w - 0.2 * down).detach()
        after = x[step.observation] @ w[:, step.action]
        np.testing.assert_allclose(step.after, after.item(), **EXACT)  # because ‖x‖ = 1
    np.testing.assert_allclose(learner.tables.w[0], w, **EXACT)


@pytest.mark.parametrize("kind", ["row+column", "tiles", "distance"])
def test_actor_critic_is_stochastic_gradient_ascent(kind: str) -> None:
    settings = f'features = "{kind}"\nlearning_rate = 0.3\nvalue_learning_rate = 0.2\ngamma = 0.9'
    learner = make(AC, settings, agents=1)
    run(learner)
    x = torch.tensor(features_of(learner))
    theta = torch.zeros(x.shape[1], 4, dtype=torch.float64)
    w = torch.zeros(x.shape[1], dtype=torch.float64)
    for step in learner.live(0).steps:
        theta.requires_grad_(True), w.requires_grad_(True)
        ahead = 0.0 if step.terminated else (x[step.next_observation] @ w).item()
        delta = step.reward + 0.9 * ahead - x[step.observation] @ w
        np.testing.assert_allclose(step.error, delta.item(), **EXACT)
        log_pi = torch.log_softmax(x[step.observation] @ theta, 0)
        np.testing.assert_allclose(step.probabilities, log_pi.exp().detach(), **EXACT)
        (up,) = torch.autograd.grad(0.9**step.t * delta.item() * log_pi[step.action], theta)
        (down,) = torch.autograd.grad(0.5 * delta**2, w)
        theta, w = (theta + 0.3 * up).detach(), (w - 0.2 * down).detach()
        after = torch.softmax(x[step.observation] @ theta, 0)
        np.testing.assert_allclose(step.probabilities_after, after, **EXACT)
    np.testing.assert_allclose(learner.tables.theta[0], theta, **EXACT)
    np.testing.assert_allclose(learner.tables.w[0], w, **EXACT)


def test_the_divergence_and_its_gradient_are_those_of_kl() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits = torch.tensor(rng.normal(size=4) * 2, requires_grad=True)
        old = torch.softmax(torch.tensor(rng.normal(size=4) * 2), 0)
        kl = torch.nn.functional.kl_div(torch.log_softmax(logits, 0), old, reduction="sum")
        kl.backward()
        gradient = np.zeros(4)
        now = torch.softmax(logits, 0).detach().numpy()
        assert divergence(old.numpy(), now, gradient) == pytest.approx(kl.item(), abs=1e-12)
        np.testing.assert_allclose(-gradient, logits.grad, atol=1e-12)


# ---------------------------------------------------------------- replay


def test_replay_learns_from_what_happened_and_only_from_that() -> None:
    """Every remembered move is one that was made; the newest `size` of them."""
    learner = make(Q, "replay = {size = 50, batch = 4}", agents=1)
    run(learner)
    steps = learner.live(0).steps[-50:]
    tables = learner.tables
    made = [
        (s.observation, s.action, s.next_observation, int(s.terminated), s.reward) for s in steps
    ]
    kept = [
        (*(int(n) for n in moves), float(r))
        for moves, r in zip(tables.moves[0], tables.rewards[0], strict=True)
    ]
    assert sorted(kept) == sorted(made)
    assert tables.kept[0] == 600
    assert tables.replayed[0] == 4 * 600
    assert learner.agents.updates[0] == 5 * 600
    assert {s.planned for s in steps} == {4}


def test_a_replayed_update_is_the_update_of_a_move() -> None:
    """With room for one move, each is learned from again at once: by hand the same numbers."""
    settings = 'features = "tiles"\nlearning_rate = 0.2\ngamma = 0.9'
    learner = make(Q, f"{settings}\nreplay = {{size = 1, batch = 2}}", agents=1)
    run(learner)
    x = features_of(learner)
    w = np.zeros((x.shape[1], 4))
    for step in learner.live(0).steps:
        for _ in range(3):
            ahead = 0.0 if step.terminated else (x[step.next_observation] @ w).max()
            error = step.reward + 0.9 * ahead - x[step.observation] @ w[:, step.action]
            w[:, step.action] += 0.2 * error * x[step.observation]
    np.testing.assert_allclose(learner.tables.w[0], w, **EXACT)


def test_replay_needs_fewer_moves() -> None:
    rates = []
    for extra in ("", "replay = {size = 2000, batch = 10}"):
        settings = 'features = "cell"\nexploration = {kind = "epsilon-greedy", start = 0.3}\n'
        learner = make(Q, settings + extra, "max_steps = 100", budget="env_steps = 800", agents=128)
        go(learner, 800)
        policy = learner.algorithm.target(learner.tables, learner.hyperparameters, 800)
        rates.append(learner.worlds.figures("target", 0, policy)["success_rate"].mean())
    assert rates[1] > rates[0] + 0.1  # 0.69 against 0.48


def test_a_memory_beyond_all_measure_is_refused() -> None:
    with pytest.raises(UserError, match=r"replay\.size × run\.agents is 6,400,000"):
        make(Q, "replay = {size = 100_000}", agents=64)


# ---------------------------------------------------------------- the anchor

A_THEN_B = """
max_steps = 40
rewards = {step = -0.02}
changes = [{step = 3000, map = \"\"\"
FFFFF
FFFFF
SFFFF
FFFFF
GFFFF
\"\"\"}]
"""
A = "SFFFG\nFFFFF\nFFFFF\nFFFFF\nFFFFF"


def test_the_anchor_is_the_policy_held_when_the_map_changed() -> None:
    anchored = "anchor = {weight = 0.5}"
    learner = make(AC, anchored, A_THEN_B, A, "env_steps = 6000", agents=2)
    learner.begin()
    changed = np.zeros(2, bool)
    theta = learner.tables.theta.copy()
    while not changed.all():
        learner.advance(1)
        now = learner.tables.anchored > 0
        for i in np.flatnonzero(now & ~changed):
            assert learner.agents.world[i] == 1 and learner.clock > 3000
            assert (learner.tables.anchor[i] == theta[i]).all()
            met = learner.tables.met[i, : learner.tables.anchored[i]]
            visited = np.flatnonzero(learner.tables.visits[i].sum(-1) > 0)
            assert len(set(met.tolist())) == len(met) and set(met.tolist()) <= set(visited.tolist())
        changed = now
        theta = learner.tables.theta.copy()
    held = learner.tables.anchor.copy()
    learner.advance(500)
    assert (learner.tables.anchor == held).all()
    assert (learner.tables.theta != held).any()


def test_the_anchor_keeps_the_old_map_and_lets_the_new_one_be_learned() -> None:
    kept = {}
    for weight in (0.0, 0.1):
        settings = f'features = "row+column"\nlearning_rate = 0.2\nanchor = {{weight = {weight}}}'
        learner = make(AC, settings, A_THEN_B, A, "env_steps = 20_000", agents=16)
        events = run(learner)
        policy = learner.algorithm.target(learner.tables, learner.hyperparameters, learner.clock)
        old = learner.worlds.figures("target", 0, policy)["success_rate"]
        new = last(Evaluation, events).figures["success_rate"].mean
        kept[weight] = (old.mean(), new)
        kl = last(Update, events).metrics["anchor_kl"]
        assert kl.n == (16 if weight else 0)
        assert weight == 0 or kl.mean > 0
    assert kept[0.0][1] > 0.95 and kept[0.1][1] > 0.95
    assert kept[0.1][0] > 0.75 and kept[0.0][0] < 0.25


def test_without_a_change_the_anchor_changes_nothing() -> None:
    free, anchored = make(AC), make(AC, "anchor = {weight = 2.0}")
    run(free), run(anchored)
    assert (free.tables.theta == anchored.tables.theta).all()


def test_the_anchor_can_be_tuned_while_it_runs() -> None:
    learner = make(AC)
    learner.begin()
    learner.tune("algorithm.anchor", {"weight": 3.0})
    assert learner.hyperparameters.anchor == 3.0
    learner.tune("algorithm.anchor.weight", 0.25)
    assert learner.hyperparameters.anchor == 0.25
    with pytest.raises(UserError, match="cannot change"):
        learner.tune("algorithm.features", "cell")


# ---------------------------------------------------------------- where they get

MAZES = {
    "lake": (LAKE, "max_steps = 100\nrewards = {hole = -1.0, step = -0.01}"),
    "walls": (WALLS, "max_steps = 60\nrewards = {hole = -1.0, step = -0.02}"),
    "windy": (WINDY, "wind = [0, 1, 1, 0, 0]\nmax_steps = 80\nrewards = {step = -0.02}"),
}


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("replay", ["", "replay = {size = 5000, batch = 4}"])
def test_linear_q_learning_solves_mazes(maze: str, replay: str) -> None:
    settings = "exploration = {kind = 'epsilon-greedy', start = 1.0, end = 0.1, steps = 20000}\n"
    settings += "learning_rate = {start = 0.3, end = 0.02, steps = 40000}\n"
    settings += f"tile_size = 2\ntilings = 4\n{replay}"
    learner = make(Q, settings, MAZES[maze][1], MAZES[maze][0], "env_steps = 40_000", 8)
    found = last(Evaluation, run(learner))
    assert found.figures["success_rate"].low == 1.0
    assert found.figures["expected_return"].low == pytest.approx(found.optimal_return, abs=0.02)


@pytest.mark.parametrize("maze", MAZES)
def test_linear_actor_critic_solves_mazes(maze: str) -> None:
    settings = "tile_size = 2\ntilings = 4"
    learner = make(AC, settings, MAZES[maze][1], MAZES[maze][0], "env_steps = 80_000", 8)
    found = last(Evaluation, run(learner))
    assert found.figures["success_rate"].low >= 0.95
    assert found.figures["greedy_success_rate"].mean == 1.0


def test_values_that_diverge_stay_numbers() -> None:
    """The weights of one agent are put where no honest update leads; it goes on, and says so."""
    learner = make(Q, agents=2)
    learner.begin()
    learner.tables.w[0] = 1e20
    events = learner.advance(600)
    assert (learner.tables.w[0] == 1e20).any() and np.isfinite(learner.tables.w).all()
    assert np.isfinite(last(Evaluation, events).figures["expected_return"].mean)
    assert last(Update, events).metrics["largest_weight"].high > 1e19


# ---------------------------------------------------------------- the same, however it is cut

SHAPES = {
    Q: "replay = {size = 64, batch = 2}",
    AC: "anchor = {weight = 0.3}",
}
CHANGING = "max_steps = 12\nslip = 0.2\nchanges = [{step = 150, map = 'FFFF\\nSHFH\\nFFFH\\nHFFG'}]"


@pytest.mark.parametrize("name", SHAPES)
def test_events_do_not_depend_on_how_the_steps_are_cut(name: str) -> None:
    maze = CHANGING.replace("\\n", "\n").replace("'", '"""')
    whole, pieces = (run(make(name, SHAPES[name], maze), chunk) for chunk in (10**6, 7))
    assert [encode(e) for e in whole] == [encode(e) for e in pieces]


@pytest.mark.parametrize("name", SHAPES)
def test_a_loaded_state_goes_on_bit_for_bit(name: str) -> None:
    maze = CHANGING.replace("\\n", "\n").replace("'", '"""')
    unbroken, first, second = (make(name, SHAPES[name], maze) for _ in range(3))
    before = first.begin() + first.advance(211)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert [encode(e) for e in before + after] == [encode(e) for e in run(unbroken)]
    final, expected = second.state(), unbroken.state()
    assert all(final[key].tobytes() == expected[key].tobytes() for key in expected)


@pytest.mark.parametrize("name", SHAPES)
def test_the_kernel_compiled_equals_the_kernel_as_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maze = CHANGING.replace("\\n", "\n").replace("'", '"""').replace("150", "60")
    compiled, plain = (make(name, SHAPES[name], maze, agents=2) for _ in range(2))
    compiled.advance(150)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr("engine.core.compiling.compiled", lambda function: function)
        patch.setattr("engine.exact.evaluate_compiled.compiled", lambda function: function)
        plain.advance(150)
    ours, theirs = compiled.state(), plain.state()
    assert (ours["agents.random"] == theirs["agents.random"]).all()
    weights = "tables.w" if name == Q else "tables.theta"
    np.testing.assert_allclose(ours[weights], theirs[weights], atol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_an_agent_does_not_depend_on_how_many_there_are(name: str) -> None:
    alone, among = make(name, SHAPES[name], agents=1), make(name, SHAPES[name], agents=4)
    run(alone), run(among)
    assert (alone.tables.w[0] == among.tables.w[0]).all()


@pytest.mark.parametrize("name", SHAPES)
def test_an_update_budget_is_kept_to_the_update(name: str) -> None:
    learner = make(name, SHAPES[name], budget="updates = 7")
    run(learner)
    assert (learner.agents.updates == 7).all()


# ---------------------------------------------------------------- what they say


@pytest.mark.parametrize("name", SHAPES)
def test_the_policy_event_shows_sums_of_weights(name: str) -> None:
    learner = make(name, SHAPES[name])
    policy = last(Policy, run(learner))
    x = features_of(learner)
    if name == Q:
        np.testing.assert_allclose(policy.q, x @ learner.tables.w[0], atol=1e-6)
        np.testing.assert_allclose(policy.values, policy.q.max(-1), atol=1e-6)
    else:
        h = np.exp(x @ learner.tables.theta[0])
        np.testing.assert_allclose(policy.target, h / h.sum(-1, keepdims=True), atol=1e-6)
        np.testing.assert_allclose(policy.values, x @ learner.tables.w[0], atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_explanations_say_that_weights_are_shared(name: str) -> None:
    learner = make(name, SHAPES[name], agents=1)
    run(learner)
    for step in learner.live(0).steps[-20:]:
        told = learner.algorithm.explain(step, ("w", "s", "e", "n"))
        assert f"{step.target:.4g}" in told.numbers
        assert "sum" in told.words and "every other place" in told.words
        assert ("replayed" in told.words) == (name == Q)


@pytest.mark.parametrize("name", SHAPES)
def test_a_map_can_be_edited_unless_its_features_describe_it(name: str) -> None:
    rows = LAKE.replace("FHFH", "FFFH").split("\n")
    learner = make(name)
    learner.begin()
    learner.advance(50)
    (world,) = learner.edit(rows)
    learner.advance(50)
    assert world.id == 1 and (learner.agents.world == 1).any()
    for kind in ("distance", "surroundings"):
        fixed = make(name, f'features = "{kind}"')
        with pytest.raises(UserError, match="cannot be edited while it runs"):
            fixed.edit(rows)
        assert len(fixed.worlds.mazes) == 1


def test_features_that_cannot_be_told_are_refused_before_the_run() -> None:
    with pytest.raises(UserError, match=r"algorithm\.features is 'tiles'.*neighbourhood"):
        make(Q, maze='observation = "neighbourhood"', rows="SFFF\nFFGF\nFFFF\nFFFF")
