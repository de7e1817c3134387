"""Methods that learn a policy: they get there, resume, and are honest about each step."""

import copy
import math

import msgspec
import numpy as np
import pytest

from engine import factory, presets
from engine.algorithms import registry
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Episode, Evaluation, Policy, Step, Update, encode

pytestmark = pytest.mark.slow

METHODS = {
    "reinforce": "",
    "reinforce-baseline": "baseline = true",
    "actor-critic": "",
    "ppo": "",
    "grpo": "group_size = 16\nnormalise = false\nkl = 0.005",
}
QUICK = {**METHODS, "ppo": "rollout_steps = 24", "grpo": "group_size = 3"}
"""The same, learning often enough for short runs."""

MAZES = {
    "4x4": (
        'map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""\nmax_steps = 100\n'
        "rewards = {hole = -1.0, step = -0.01}"
    ),
    "walls": (
        'map = """\nSF#FF\nFF#FH\nF##FF\nFFFFG\n"""\nmax_steps = 60\n'
        "rewards = {hole = -1.0, step = -0.02}"
    ),
    "windy": (
        'map = """\nFFFFF\nSFFFG\nFFFFF\n"""\nwind = [0, 1, 1, 0, 0]\nmax_steps = 80\n'
        "rewards = {step = -0.02}"
    ),
}

SLIPPERY = MAZES["4x4"].replace("max_steps = 100", "max_steps = 12\nslip = 0.3")

PRESET = """
title = "test"
[maze]
{maze}
[algorithm]
name = "{name}"
{settings}
[budget]
{budget}
[run]
agents = {agents}
seed = {seed}
"""


def make(
    method: str,
    maze: str = SLIPPERY,
    budget: str = "env_steps = 600",
    agents: int = 3,
    seed: int = 5,
    settings: str | None = None,
) -> factory.Learner:
    text = PRESET.format(
        name=method.removesuffix("-baseline"),
        maze=maze,
        settings=QUICK[method] if settings is None else settings,
        budget=budget,
        agents=agents,
        seed=seed,
    )
    return factory.make_learner(presets.parse(text))


def run(learner: factory.Learner, chunk: int = 10**6) -> list[AnyEvent]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(chunk)
    return events + learner.conclude()


def of(kind: type, events: list[AnyEvent]) -> list:
    return [event for event in events if isinstance(event, kind)]


def episodes_of(steps: tuple[Step, ...]) -> list[list[Step]]:
    """Whole episodes."""
    found: dict[int, list[Step]] = {}
    for step in steps:
        found.setdefault(step.episode, []).append(step)
    return [e for e in found.values() if e[-1].terminated or e[-1].truncated]


# ---------------------------------------------------------------- where they get


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_stochastic_policy_itself_succeeds(method: str, maze: str, seed: int) -> None:
    """Eight agents are eight seeds; not one of ten may stay behind."""
    learner = make(method, MAZES[maze], "env_steps = 80_000", 8, seed, METHODS[method])
    last = of(Evaluation, run(learner))[-1]
    assert last.figures["success_rate"].low >= 0.95
    assert last.figures["greedy_success_rate"].mean == 1.0
    assert last.figures["expected_return"].mean == pytest.approx(last.optimal_return, abs=0.04)
    assert last.figures["expected_return"].high <= last.horizon_optimum + 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_grpo_as_published_learns_from_a_prize_alone(seed: int) -> None:
    """Divided by the std and without a KL term. At first nearly every group returns 0 alike, at
    the end nearly every group reaches the prize alike; in between they differ."""
    maze = 'map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""\nmax_steps = 100'
    events = run(make("grpo", maze, "env_steps = 30_000", 16, seed, ""))
    last = of(Evaluation, events)[-1]
    assert last.figures["success_rate"].low >= 0.95
    assert last.figures["expected_return"].low == pytest.approx(last.optimal_return, abs=0.02)
    equal = [u.metrics["equal_groups"].mean for u in of(Update, events)]
    equal = [share for share in equal if not np.isnan(share)]
    assert equal[0] > 0.6 and min(equal) < 0.3 and equal[-1] > 0.9


# ---------------------------------------------------------------- the same, however it is cut


@pytest.mark.parametrize("method", METHODS)
def test_events_do_not_depend_on_how_the_steps_are_cut(method: str) -> None:
    whole, pieces = run(make(method)), run(make(method), chunk=7)
    assert [encode(e) for e in whole] == [encode(e) for e in pieces]
    assert len(of(Episode, whole)) > 3


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_state_goes_on_bit_for_bit(method: str) -> None:
    unbroken, first, second = make(method), make(method), make(method)
    before = first.begin() + first.advance(211)
    second.load(copy.deepcopy(first.state()))
    after = second.advance(10**6) + second.conclude()
    assert [encode(e) for e in before + after] == [encode(e) for e in run(unbroken)]
    final, expected = second.state(), unbroken.state()
    assert all(final[key].tobytes() == expected[key].tobytes() for key in expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_kernel_compiled_equals_the_kernel_as_python(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, plain = make(method, agents=2), make(method, agents=2)
    compiled.advance(150)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr("engine.core.compiling.compiled", lambda function: function)
        patch.setattr("engine.exact.evaluate_compiled.compiled", lambda function: function)
        plain.advance(150)
    ours, theirs = compiled.state(), plain.state()
    assert (ours["agents.state"] == theirs["agents.state"]).all()
    assert (ours["agents.random"] == theirs["agents.random"]).all()
    np.testing.assert_allclose(ours["tables.theta"], theirs["tables.theta"], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_an_agent_does_not_depend_on_how_many_there_are(method: str) -> None:
    alone, among = make(method, agents=1), make(method, agents=4)
    run(alone)
    run(among)
    assert (alone.state()["tables.theta"][0] == among.state()["tables.theta"][0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_update_budget_is_kept_to_the_update(method: str) -> None:
    learner = make(method, budget="updates = 6")
    run(learner)
    assert (learner.state()["agents.updates"] == 6).all()


# ---------------------------------------------------------------- what they say


@pytest.mark.parametrize("method", METHODS)
def test_steps_carry_the_policy_they_were_drawn_from(method: str) -> None:
    learner = make(method, agents=1)
    seen = []
    learner.begin()
    while not learner.done:
        theta = learner.state()["tables.theta"][0].copy()
        learner.advance(1)
        (step,) = learner.live(learner.counters.step - 1).steps
        row = np.exp(theta[step.observation] - theta[step.observation].max())
        np.testing.assert_allclose(step.probabilities, row / row.sum(), atol=1e-12)
        assert step.values == step.next_values == ()
        assert step.log_prob == math.log(step.probabilities[step.action])
        likeliest = max(step.probabilities)
        assert step.explored == (step.probabilities[step.action] < likeliest)
        seen.append(step.explored)
    assert 0 < sum(seen) < len(seen)


@pytest.mark.parametrize("method", METHODS)
def test_late_updates_reach_who_watched_every_step(method: str) -> None:
    """What was shown step by step, mended by what came late, is what the trace holds."""
    learner = make(method, agents=1)
    learner.begin()
    shown: dict[int, Step] = {}
    late = 0
    while not learner.done:
        before = learner.counters.step
        learner.advance(5)
        live = learner.live(before)
        assert all(step.step in shown for step in live.late)
        late += len(live.late)
        shown |= {step.step: step for step in (*live.late, *live.steps)}
    assert (late > 0) == (method != "actor-critic")
    in_trace = learner.live(0).steps
    assert [encode(shown[step.step]) for step in in_trace] == [encode(s) for s in in_trace]


@pytest.mark.parametrize("method", METHODS)
def test_recorded_episodes_have_been_learned_from(method: str) -> None:
    for episode in of(Episode, run(make(method))):
        for step in episode.steps:
            assert not math.isnan(step.advantage_estimate)
            assert sum(step.probabilities_after) == pytest.approx(1.0)
            assert step.advantage == step.advantage_estimate


@pytest.mark.parametrize("method", METHODS)
def test_the_policy_event_holds_the_stochastic_policy(method: str) -> None:
    learner = make(method)
    policy = of(Policy, run(learner))[-1]
    theta = learner.state()["tables.theta"][0]
    chances = np.exp(theta) / np.exp(theta).sum(-1, keepdims=True)
    np.testing.assert_allclose(policy.target, chances, atol=1e-6)
    assert (policy.behaviour == policy.target).all()
    assert policy.q is None
    assert policy.visits.sum() == 600
    advantage = policy.layers["advantage"]
    assert (np.isnan(advantage) | (policy.visits > 0)).all()
    assert (~np.isnan(advantage)).sum() > 8


@pytest.mark.parametrize("method", METHODS)
def test_curves_have_the_methods_own_figures(method: str) -> None:
    learner = make(method)
    update = of(Update, run(learner))[-1]
    names = learner.algorithm.figure_names  # type: ignore[attr-defined]
    assert {"entropy", "policy_gradient_norm"} <= set(names)
    known = {name for name in names if update.metrics[name].n}
    assert known == set(names) - ({"value_loss"} if method == "reinforce" else set())
    assert 0.0 < update.metrics["entropy"].mean < math.log(4)
    assert update.metrics["td_error"].n == (3 if method == "actor-critic" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_explanations_carry_the_numbers_of_the_step(method: str) -> None:
    learner = make(method, agents=1)
    learner.begin()
    learner.advance(600)
    algorithm = learner.algorithm  # type: ignore[attr-defined]
    told = 0
    for step in learner.live(0).steps:
        text = algorithm.explain(step, ("w", "s", "e", "n"))
        chance = step.probabilities[step.action]
        if not step.probabilities_after:
            assert "nothing is learned from this step before" in text.numbers
            assert math.isnan(step.advantage_estimate)
            continue
        told += 1
        after = step.probabilities_after[step.action]
        assert f"π({'wsen'[step.action]}|s): {chance:.4g} → {after:.4g}" in text.numbers
        assert f"{step.target:.4g}" in text.numbers
        if step.advantage_estimate:
            assert f"{step.advantage_estimate:+.4g}" in text.numbers + text.words
        first_pass = "the clip fraction 0: that is no error" in text.words
        assert first_pass == (method in ("ppo", "grpo"))
    assert told > 400


# ---------------------------------------------------------------- each one's own


def test_a_group_starts_in_one_state_and_shares_its_advantages() -> None:
    settings = "group_size = 4\nrandom_starts = 1.0\nnormalise = false"
    learner = make("grpo", agents=1, settings=settings, budget="env_steps = 900")
    learner.begin()
    learner.advance(900)
    episodes = episodes_of(learner.live(0).steps)
    groups = [episodes[i : i + 4] for i in range(0, len(episodes) - 3, 4)]
    assert len({group[0][0].state for group in groups}) > 3
    for group in groups:
        assert len({episode[0].state for episode in group}) == 1
        returns = [sum(s.reward * 0.99**s.t for s in episode) for episode in group]
        for episode, earned in zip(group, returns, strict=True):
            assert {s.target for s in episode} == {episode[0].target}
            assert episode[0].target == pytest.approx(earned)
            expected = pytest.approx(earned - np.mean(returns), abs=1e-12)
            assert all(s.advantage_estimate == expected for s in episode)


def test_groups_that_all_return_the_same_move_nothing_and_are_counted() -> None:
    """No rewards at all: every group is equal, Adam never gets a push, π stays uniform."""
    maze = MAZES["4x4"].replace("hole = -1.0, step = -0.01", "goal = 0.0")
    learner = make("grpo", maze, agents=2, settings="group_size = 3")
    update = of(Update, run(learner))[-1]
    assert (learner.state()["tables.theta"] == 0.0).all()
    assert learner.state()["agents.updates"].min() > 4
    assert update.metrics["equal_groups"].mean == 1.0
    assert update.metrics["policy_gradient_norm"].mean == 0.0


def test_the_reference_is_the_initial_policy_or_follows() -> None:
    fixed = make("grpo", settings="group_size = 3\nkl = 0.1")
    moving = make("grpo", settings="group_size = 3\nkl = 0.1\nreference_every = 2")
    run(fixed)
    run(moving)
    assert (fixed.state()["tables.reference"] == 0.0).all()
    groups = moving.state()["tables.groups"]
    reference, theta = moving.state()["tables.reference"], moving.state()["tables.theta"]
    assert (np.abs(reference).max(axis=(1, 2)) > 0.0).all()
    for i, done in enumerate(groups):
        assert (reference[i] == theta[i]).all() == (done % 2 == 0)


def test_a_group_that_the_maze_changed_under_is_played_anew() -> None:
    maze = SLIPPERY + '\nchanges = [{step = 100, map = "SFFF\\nFHFH\\nFFFH\\nHGFF"}]'
    learner = make("grpo", maze, agents=1, settings="group_size = 5", budget="env_steps = 300")
    learner.begin()
    learner.advance(300)
    episodes = episodes_of(learner.live(0).steps)
    old = [e for e in episodes if e[0].world_id == 0]
    new = [e for e in episodes if e[0].world_id == 1]
    learned = [not math.isnan(e[0].advantage_estimate) for e in old]
    assert learned == [True] * (len(old) // 5 * 5) + [False] * (len(old) % 5)
    assert len(old) % 5 > 0
    assert [not math.isnan(e[0].advantage_estimate) for e in new[:5]] == [True] * 5


@pytest.mark.parametrize(
    "drawn",
    [
        'map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""\nmax_steps = 40\n'
        "randomize = {slip = [0.0, 0.6], worlds = 6}",
        "max_steps = 40\nobservation = 'neighbourhood+prize'\ntrain = {size = 4, count = 64}",
    ],
)
def test_a_group_stays_in_the_world_its_first_episode_drew(drawn: str) -> None:
    maze = f"{drawn}\nrewards = {{step = -0.01, hole = -0.5}}"
    settings = "group_size = 4\nrandom_starts = 0.5"
    learner = make("grpo", maze, agents=2, settings=settings, budget="env_steps = 2500")
    run(learner)
    episodes = episodes_of(learner.live(0).steps)
    first = next(i for i, e in enumerate(episodes) if e[0].episode % 4 == 0)
    groups = [episodes[i : i + 4] for i in range(first, len(episodes) - 3, 4)]
    for group in groups:
        assert len({(episode[0].world_id, episode[0].state) for episode in group}) == 1
        assert not any(math.isnan(s.advantage_estimate) for episode in group for s in episode)
    assert len({group[0][0].world_id for group in groups}) > 4
    state = learner.state()
    assert (state["agents.updates"] == 4 * (state["agents.episode"] // 4)).all()  # four epochs each


def test_grpo_learns_where_every_episode_draws_its_world() -> None:
    maze = MAZES["4x4"] + "\nrandomize = {slip = [0.0, 0.6], worlds = 6}"
    events = run(make("grpo", maze, "env_steps = 40_000", 8, 0, "group_size = 16"))
    first, *_, last = of(Evaluation, events)
    assert last.figures["success_rate"].mean > first.figures["success_rate"].mean + 0.4


def test_worlds_met_before_do_not_break_groups_but_a_change_of_the_map_does() -> None:
    """With `revisit` a group may play an old map after the change; only the change restarts it."""
    change = '\nrevisit = 0.5\nchanges = [{step = 110, map = "SFFF\\nFHFH\\nFFFH\\nHGFF"}]'
    settings = "group_size = 5"
    learner = make("grpo", SLIPPERY + change, "env_steps = 900", 1, settings=settings)
    run(learner)
    episodes = episodes_of(learner.live(0).steps)
    before = sum(episode[0].step <= 110 for episode in episodes)
    assert before % 5 > 0  # a group was being played
    after = episodes[before:]
    groups = [after[i : i + 5] for i in range(0, len(after) - 4, 5)]
    assert all(len({episode[0].world_id for episode in group}) == 1 for group in groups)
    assert {group[0][0].world_id for group in groups} == {0, 1}


def test_ppos_first_pass_clips_nothing() -> None:
    one = "rollout_steps = 24\nminibatches = 1\nlearning_rate = 0.3\nepochs = "
    once, often = make("ppo", settings=one + "1"), make("ppo", settings=one + "8")
    figures = [of(Update, run(learner))[-1].metrics for learner in (once, often)]
    assert figures[0]["clip_fraction"].mean == 0.0
    assert figures[0]["approx_kl"].mean == 0.0
    assert figures[1]["clip_fraction"].mean > 0.0
    assert figures[1]["approx_kl"].mean > 0.0


def test_reinforce_learns_nothing_before_the_episode_ends() -> None:
    learner = make("reinforce", agents=1)
    learner.begin()
    before = learner.state()["tables.theta"].copy()
    for _ in range(60):
        learner.advance(1)
        step = learner.live(learner.counters.step - 1).steps[0]
        over = step.terminated or step.truncated
        assert (learner.state()["tables.theta"] != before).any() == over
        before = learner.state()["tables.theta"].copy()


def test_settings_that_may_change_change_the_next_update() -> None:
    learner = make("ppo")
    learner.begin()
    learner.advance(50)
    learner.tune("algorithm.epochs", 1)
    updates = learner.state()["agents.updates"].copy()
    learner.advance(24)
    assert (learner.state()["agents.updates"] - updates == 4).all()  # one pass, four minibatches
    with pytest.raises(UserError, match="cannot change"):
        learner.tune("algorithm.rollout_steps", 5)


def test_a_buffer_beyond_all_measure_is_refused() -> None:
    maze = MAZES["4x4"].replace("max_steps = 100", "max_steps = 100_000")
    with pytest.raises(UserError, match=r"group_size × maze\.max_steps"):
        make("grpo", maze, agents=64, settings="group_size = 16")


def test_their_settings_say_what_may_be_tuned() -> None:
    for name in ("reinforce", "actor-critic", "ppo", "grpo"):
        algorithm = registry.for_tables(name)
        assert (algorithm.family, algorithm.policy_type) == ("policy", "on-policy")
        schema = msgspec.json.schema(algorithm.settings)["$defs"][algorithm.settings.__name__]
        assert schema["properties"]["learning_rate"]["x-tunable"]
        assert all("description" in node or "$ref" in node or "enum" in node or "const" in node
                   for node in schema["properties"].values())  # fmt: skip
