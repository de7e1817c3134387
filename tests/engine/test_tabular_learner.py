"""What every tabular learner promises: reproducible, resumable, honest about each step."""

import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from engine import factory, presets
from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.exact.evaluate import evaluate, greedy
from engine.exact.evaluate_compiled import ExactFigures
from engine.exact.solve import solve
from engine.learning.events import (
    AnyEvent,
    Episode,
    Evaluation,
    Policy,
    Step,
    Tuned,
    Update,
    World,
    decode,
    encode,
)
from engine.learning.summary import next_point
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.session import Session
from engine.runs.store import RunWriter
from engine.tabular.kernels.behaviour import epsilon_greedy_policy, softmax_policy

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


def make(
    name: str = "q-learning", budget: str = "env_steps = 3000", agents: int = 4, settings: str = ""
) -> factory.Learner:
    text = PRESET.format(name=name, budget=budget, agents=agents, settings=settings)
    return factory.make_learner(presets.parse(text))


def run(learner: factory.Learner, chunk: int = 10**6) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(chunk)
    return events + learner.conclude()


def same(first: list[AnyEvent], second: list[AnyEvent]) -> bool:
    return [encode(e) for e in first] == [encode(e) for e in second]


def of(kind: type, events: list[AnyEvent]) -> list:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("name", ["q-learning", "sarsa", "value-iteration"])
def test_events_do_not_depend_on_how_the_steps_are_cut(name: str) -> None:
    budget = "updates = 120"
    whole = run(make(name, budget))
    pieces = run(make(name, budget), chunk=7)
    assert same(whole, pieces)
    assert not any(isinstance(e, Step) for e in whole)


@pytest.mark.parametrize("name", ["q-learning", "sarsa", "value-iteration"])
def test_a_loaded_state_goes_on_bit_for_bit(name: str) -> None:
    budget = "updates = 200"
    unbroken, first, second = make(name, budget), make(name, budget), make(name, budget)
    before = first.begin() + first.advance(83)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert same(before + after, run(unbroken))
    final, expected = second.state(), unbroken.state()
    assert final.keys() == expected.keys()
    assert all(final[key].tobytes() == expected[key].tobytes() for key in final)


def test_another_seed_gives_another_run() -> None:
    text = PRESET.format(name="q-learning", budget="env_steps = 500", agents=2, settings="")
    one, other = (
        factory.make_learner(presets.parse(text, overrides=[f"run.seed={n}"])) for n in (1, 2)
    )
    assert not same(run(one), run(other))


def test_an_agent_does_not_depend_on_how_many_there_are() -> None:
    alone, among = make(agents=1), make(agents=6)
    run(alone)
    run(among)
    assert (alone.state()["tables.q"][0] == among.state()["tables.q"][0]).all()


@pytest.mark.parametrize("name", ["q-learning", "sarsa"])
def test_the_kernel_compiled_equals_the_kernel_as_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, plain = make(name), make(name)
    compiled.advance(300)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr("engine.core.compiling.compiled", lambda function: function)
        patch.setattr("engine.exact.evaluate_compiled.compiled", lambda function: function)
        plain.advance(300)
    ours, theirs = compiled.state(), plain.state()
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)


@pytest.mark.parametrize("name", ["q-learning", "sarsa"])
def test_the_table_is_what_the_steps_say(name: str) -> None:
    """Replaying the arithmetic of every shown step gives the table of the watched agent."""
    learner = make(name, "env_steps = 900", settings="initial_value = 0.25")
    learner.begin()
    learner.advance(900)
    live = learner.live(0)
    q = np.full((16, 4), 0.25)
    assert [step.step for step in live.steps] == list(range(1, 901))
    for step in live.steps:
        assert step.values == tuple(q[step.observation])
        assert step.next_values == tuple(q[step.next_observation])
        assert step.before == q[step.observation, step.action]
        future = 0.0 if step.terminated else step.bootstrap
        if not step.terminated and name == "q-learning":
            assert step.bootstrap == max(step.next_values)
        if not step.terminated and name == "sarsa":
            assert step.bootstrap == step.next_values[step.next_action]
        assert step.target == step.reward + step.gamma * future
        assert step.after == step.before + step.step_size * (step.target - step.before)
        q[step.observation, step.action] = step.after
    assert (q == learner.state()["tables.q"][0]).all()
    assert live.policy is not None
    assert live.policy.visits.sum() == 900


def test_a_time_limit_is_not_an_end() -> None:
    learner = make(
        settings='exploration = {kind = "epsilon-greedy", start = 1.0}', budget="env_steps = 1000"
    )
    learner.begin()
    learner.advance(1000)
    steps = learner.live(0).steps
    cut = [s for s in steps if s.truncated]
    assert cut
    assert all(s.t == 29 and not s.terminated for s in cut)
    assert all(s.target == s.reward + s.gamma * max(s.next_values) for s in cut)
    assert all(s.t < 29 or s.terminated or s.truncated for s in steps)
    for a, b in itertools.pairwise(steps):
        assert b.t == (0 if a.terminated or a.truncated else a.t + 1)
        assert b.state == (0 if a.terminated or a.truncated else a.next_state)


def test_log_probabilities_are_those_of_the_behaviour_policy() -> None:
    learner = make(
        settings='exploration = {kind = "epsilon-greedy", start = 0.4}', budget="env_steps = 600"
    )
    learner.begin()
    learner.advance(600)
    for step in learner.live(0).steps:
        best = [v == max(step.values) for v in step.values]
        chance = 0.1 + 0.6 * best[step.action] / sum(best)
        assert step.log_prob == pytest.approx(math.log(chance))
        assert step.explored or best[step.action]


@pytest.mark.parametrize("rule", ["epsilon-greedy", "softmax"])
@pytest.mark.parametrize("name", ["sarsa", "sarsa-lambda", "n-step-sarsa"])
def test_log_probabilities_of_moves_chosen_before_the_update(name: str, rule: str) -> None:
    """SARSA draws A′ first and learns then: π of that draw is that of the table before."""
    settings = f'learning_rate = 0.5\nexploration = {{kind = "{rule}", start = 0.4}}'
    learner = make(name, "env_steps = 400", agents=1, settings=settings)
    learner.begin()
    before = now = learner.state()["tables.q"][0].copy()
    steps, moved = [], 0
    while not learner.done:
        learner.advance(1)
        (step,) = learner.live(learner.counters.step - 1).steps
        policies = [
            softmax_policy(q[step.observation], 0.4)
            if rule == "softmax"
            else epsilon_greedy_policy(q[step.observation], 0.4)
            for q in (before, now)
        ]
        policy = policies[1] if step.t == 0 else policies[0]
        moved += step.t > 0 and policies[0][step.action] != policies[1][step.action]
        assert math.exp(step.log_prob) == pytest.approx(policy[step.action])
        before, now = now, learner.state()["tables.q"][0].copy()
        steps.append(step)
    assert moved > 5
    whole = make(name, "env_steps = 400", agents=1, settings=settings)
    whole.begin()
    whole.advance(400)
    assert [step.log_prob for step in whole.live(0).steps] == [step.log_prob for step in steps]


# ---------------------------------------------------------------- values without a bound


def diverging() -> Preset:
    """Traces of pairs met often are far above 1, so with α = 1 each update overshoots."""
    settings = 'learning_rate = 1.0\ntrace_decay = 1.0\ntraces = "accumulating"'
    settings += '\nexploration = {kind = "epsilon-greedy", start = 1.0}'
    text = PRESET.format(
        name="sarsa-lambda", budget="env_steps = 100_000", agents=4, settings=settings
    )
    overrides = ['maze.map="SFFFF\\nFFFFF\\nFFFFF\\nFFFFG"', "maze.max_steps=1000"]
    return presets.parse(text, overrides=overrides)


def test_values_that_grow_without_bound_end_the_run() -> None:
    learner = factory.make_learner(diverging())
    events = learner.begin()
    with pytest.raises(UserError, match=r"agents have grown without bound.*algorithm\.trace_dec"):
        while not learner.done:
            events += learner.advance(10**6)
    updates = of(Update, events)
    assert len(updates) > 20  # what came before was handed over, and all of it is of all agents
    assert all(update.metrics["td_error"].n == 4 for update in updates[-5:])
    for evaluation in of(Evaluation, events):
        assert all(f.n == 4 and math.isfinite(f.mean) for f in evaluation.figures.values())
    with pytest.raises(UserError, match="without bound"):  # nor is there a last word
        learner.conclude()


def test_a_run_that_diverges_fails_and_keeps_what_it_recorded(tmp_path: Path) -> None:
    run_dir = launch.create_run(diverging(), "diverging", runs_dir=tmp_path)
    writer = RunWriter(run_dir)
    assert not Session(writer, factory.make_learner).run()
    writer.close()
    with RunReader(run_dir) as reader:
        head = reader.head()
        assert head.state == "failed"
        error = reader.error()
        assert "without bound" in error and "lower algorithm.learning_rate" in error
        assert reader.curves(["td_error"])["td_error"].x.size > 20


def test_a_tuned_step_size_has_the_same_bounds() -> None:
    learner = make(settings="learning_rate = {start = 0.5, end = 0.1, steps = 100}")
    with pytest.raises(UserError, match=r"learning_rate\.start: found 5"):
        learner.tune("algorithm.learning_rate.start", 5.0)
    with pytest.raises(UserError, match=r"start and end must both be above 0"):
        learner.tune("algorithm.learning_rate", {"start": 1, "end": 0, "steps": 9,
                                                 "shape": "exponential"})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("q-learning", "initial_value = 1e6"),
        ("double-q-learning", "initial_value = -1e30"),
        ("linear-q-learning", 'features = "tiles"\nlearning_rate = 1.0'),
        ("ppo", "rollout_steps = 16"),
    ],
)
def test_what_is_large_or_unknown_yet_has_not_diverged(name: str, settings: str) -> None:
    run(make(name, "env_steps = 300", settings=settings))


def test_recorded_episodes_are_whole_and_add_up() -> None:
    episodes = of(Episode, run(make(budget="env_steps = 5000")))
    assert len(episodes) > 20
    for episode in episodes:
        assert [s.t for s in episode.steps] == list(range(len(episode.steps)))
        assert episode.score == pytest.approx(sum(s.reward for s in episode.steps))
        total = sum(s.reward * s.gamma**s.t for s in episode.steps)
        assert episode.returns_to_go[0] == pytest.approx(total)
        assert episode.terminated != episode.truncated
        assert episode.success == (episode.steps[-1].next_state == 15)
    assert len({e.index for e in episodes}) == len(episodes)


def test_recording_points_are_log_spaced() -> None:
    updates = of(Update, run(make(budget="env_steps = 3000")))
    points = [u.step for u in updates]
    assert points[:20] == list(range(1, 21))
    for now, following in itertools.pairwise(points[:-1]):
        assert following == next_point(now, 1.03)
    assert points[-1] == 3000
    assert updates[-1].total_env_steps == 12_000


def test_online_figures_count_every_episode_of_every_agent_once() -> None:
    learner = make(budget="env_steps = 2000", agents=3)
    updates = of(Update, run(learner))
    assert updates[-1].episodes == round(learner.state()["agents.episode"].sum() / 3)
    rates = [u.metrics["exploring_share"].mean for u in updates if u.metrics["td_error"].n]
    assert 0.05 < np.mean(rates) < 0.15


def test_the_exact_figures_equal_the_plain_computation() -> None:
    learner = make(budget="env_steps = 2000")
    events = run(learner)
    evaluation = of(Evaluation, events)[-1]
    preset = presets.parse(
        PRESET.format(name="q-learning", budget="env_steps = 1", agents=1, settings="")
    )
    mdp = factory.make_learner(preset).worlds.mdps[0]  # type: ignore[attr-defined]
    exact = evaluate(mdp, greedy(learner.state()["tables.q"]), 0.99)
    for name in ("success_rate", "expected_return", "expected_score", "expected_length"):
        assert evaluation.figures[name].mean == pytest.approx(
            getattr(exact, name).mean(), abs=1e-12
        )
    rng = np.random.default_rng(0)
    figures = ExactFigures(mdp, 0.9)
    table = rng.dirichlet(np.ones(4), size=(5, 16))
    for _ in range(3):  # some policies change, some are remembered
        ours, theirs = figures.of(table), evaluate(mdp, table, 0.9)
        for name, values in ours.items():
            np.testing.assert_allclose(values, getattr(theirs, name), atol=1e-12)
        table[rng.integers(5)] = rng.dirichlet(np.ones(4), size=16)


def test_on_policy_figures_are_those_of_the_exploring_policy() -> None:
    learner = make(
        "sarsa",
        settings='exploration = {kind = "epsilon-greedy", start = 0.5}',
        budget="env_steps = 4000",
    )
    evaluation = of(Evaluation, run(learner))[-1]
    q = learner.state()["tables.q"]
    mdp = learner.worlds.mdps[0]  # type: ignore[attr-defined]
    exploring = evaluate(mdp, 0.125 + 0.5 * greedy(q), 0.99)
    alone = evaluate(mdp, greedy(q), 0.99)
    assert evaluation.figures["success_rate"].mean == pytest.approx(exploring.success_rate.mean())
    assert evaluation.figures["greedy_success_rate"].mean == pytest.approx(
        alone.success_rate.mean()
    )
    assert exploring.success_rate.mean() < alone.success_rate.mean()


def test_value_iteration_equals_the_solver_and_stops_by_itself() -> None:
    learner = make("value-iteration", "updates = 100000", settings="tolerance = 1e-12")
    events = run(learner)
    solution = solve(learner.worlds.mdps[0], 0.99)  # type: ignore[attr-defined]
    reached = solution.reachable
    np.testing.assert_allclose(
        learner.state()["tables.values"][reached], solution.values[reached], atol=1e-9
    )
    assert learner.counters.updates < 2000
    assert learner.counters.total_env_steps == 0
    last = of(Evaluation, events)[-1]
    assert last.figures["expected_return"].mean == pytest.approx(last.optimal_return, abs=1e-9)


def test_a_sweep_says_what_it_did_to_every_cell() -> None:
    learner = make("value-iteration", "updates = 3")
    learner.begin()
    learner.advance(1)
    steps = learner.live(0).steps
    assert [s.state for s in steps] == [0, 1, 2, 3, 4, 6, 8, 9, 10, 13, 14]
    assert all(s.kind == "backup" and s.after == max(s.values) for s in steps)
    assert steps[-1].after > 0.5 > steps[0].after


def test_budgets_by_episodes_count_for_each_agent() -> None:
    learner = make(budget="episodes = 25", agents=5)
    run(learner)
    assert (learner.state()["agents.episode"] == 25).all()
    assert learner.counters.episodes == 25
    assert learner.counters.total_env_steps == learner.state()["agents.steps"].sum()


def test_an_optimistic_start_tries_every_action() -> None:
    hopeful = make(
        settings='initial_value = 2.0\nexploration = {kind = "epsilon-greedy", start = 0.0}'
    )
    run(hopeful)
    visits = hopeful.state()["tables.visits"]
    reached = visits.sum(axis=(0, 2)) > 0
    assert (visits[:, reached].sum(axis=0) > 0).all()


def test_one_over_n_averages_the_targets() -> None:
    learner = make(settings='learning_rate = "1/n"', budget="env_steps = 400")
    learner.begin()
    learner.advance(400)
    targets: dict[tuple[int, int], list[float]] = {}
    for step in learner.live(0).steps:
        targets.setdefault((step.observation, step.action), []).append(step.target)
    q = learner.state()["tables.q"][0]
    for (o, a), seen in targets.items():
        assert q[o, a] == pytest.approx(np.mean(seen))


CHANGING = PRESET.replace(
    "max_steps = 30",
    'max_steps = 30\nchanges = [{{step = 500, map = "SFFF\\nFHFH\\nFFFH\\nHGFF"}}]',
)


def test_the_map_changes_at_the_next_episodes_end() -> None:
    text = CHANGING.format(name="q-learning", budget="env_steps = 700", agents=3, settings="")
    learner = factory.make_learner(presets.parse(text))
    events = learner.begin()
    events += learner.advance(700)
    assert [(w.id, w.from_step) for w in of(World, events)] == [(0, 0), (1, 500)]
    steps = learner.live(0).steps
    switch = next(i for i, s in enumerate(steps) if s.world_id == 1)
    assert steps[switch].step > 500 and steps[switch].t == 0
    assert steps[switch - 1].terminated or steps[switch - 1].truncated
    begun = [s for s in steps[:switch] if s.t == 0]
    assert all(s.step <= 500 for s in begun)
    assert {s.world_id for s in steps[switch:]} == {1}
    worlds = [e.world_id for e in of(Evaluation, events)]
    assert worlds == sorted(worlds) and set(worlds) == {0, 1}


def test_an_edit_is_a_new_world_and_survives_a_save() -> None:
    learner, other = make(), make()
    learner.begin()
    learner.advance(200)
    (world,) = learner.edit(["SFFF", "FHFH", "FFFH", "HGFF"])
    assert isinstance(world, World)
    assert (world.id, world.from_step) == (1, 200)
    other.load(copy.deepcopy(learner.state()))
    assert same(learner.advance(900), other.advance(900))
    assert learner.live(1090).steps[-1].world_id == 1
    with pytest.raises(UserError, match="no way"):
        learner.edit(["SHFF", "HHFH", "FFFH", "HGFF"])


def test_an_edit_leaves_planned_changes_as_they_are() -> None:
    text = CHANGING.format(name="q-learning", budget="env_steps = 900", agents=2, settings="")
    learner = factory.make_learner(presets.parse(text))
    learner.begin()
    learner.advance(100)
    (world,) = learner.edit(["SFFF", "FFFF", "FFFH", "HFFG"])
    assert (world.step, world.id) == (100, 2)  # type: ignore[attr-defined]
    learner.advance(800)
    met = [s.world_id for s in learner.live(0).steps if s.t == 0]
    assert list(dict.fromkeys(met)) == [0, 2, 1]


def test_tuning_changes_the_steps_that_follow() -> None:
    learner = make()
    learner.begin()
    learner.advance(100)
    (event,) = learner.tune("algorithm.learning_rate", 0.5)
    assert event == Tuned(step=100, key="algorithm.learning_rate", value=0.5)
    learner.tune("algorithm.exploration.start", 0.0)
    learner.advance(50)
    assert {s.step_size for s in learner.live(100).steps} == {0.5}
    assert not any(s.explored for s in learner.live(100).steps)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("algorithm.gamma", 0.5, "cannot change"),
        ("algorithm.learning_rat", 0.5, "Did you mean 'algorithm.learning_rate'"),
        ("algorithm.learning_rate", -1.0, "algorithm.learning_rate"),
        ("maze.slip", 0.1, "cannot change"),
    ],
)
def test_what_may_not_be_tuned_is_refused(key: str, value: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make().tune(key, value)


def test_policies_are_recorded_with_the_watched_agents_tables() -> None:
    learner = make(budget="env_steps = 1000")
    policy = of(Policy, run(learner))[-1]
    q = learner.state()["tables.q"][0]
    np.testing.assert_allclose(policy.q, q, rtol=1e-6)
    np.testing.assert_allclose(policy.target, greedy(q), rtol=1e-6)
    np.testing.assert_allclose(policy.values, q.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(policy.behaviour.sum(axis=1), 1.0, rtol=1e-6)


def test_every_event_survives_its_encoding() -> None:
    for event in run(make(budget="env_steps = 300")):
        assert encode(decode(encode(event))) == encode(event)


@pytest.mark.parametrize("name", ["q-learning", "sarsa"])
def test_explanations_carry_the_numbers_of_the_step(name: str) -> None:
    learner = make(
        name, "env_steps = 1000", settings='exploration = {kind = "epsilon-greedy", start = 1.0}'
    )
    learner.begin()
    learner.advance(1000)
    algorithm = learner.algorithm  # type: ignore[attr-defined]
    told = {"terminated": 0, "truncated": 0, "on": 0}
    for step in learner.live(0).steps:
        text = algorithm.explain(step)
        assert f"{step.after:.4g}" in text.numbers and f"{step.target:.4g}" in text.numbers
        assert ("ended" in text.words) == step.terminated
        assert ("time limit" in text.words) == step.truncated
        told["terminated" if step.terminated else "truncated" if step.truncated else "on"] += 1
    assert all(told.values())
