"""What the glossary says each term is worth in a run, on snapshots made by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest
from moments import DOWN, LAKE, RIGHT, moment

from engine import factory, presets
from engine.env.maze import Maze
from engine.env.settings import Rewards
from engine.exact.evaluate import optimal_figures
from engine.learning.events import Evaluation, Metric, Step, Update
from engine.runs.curves import Curve
from engine.runs.records import EpisodeRow, Head, NoteRow
from tui.glossary.entries import load
from tui.glossary.values import (
    VALUES,
    bandits,
    current_value,
    language_models,
    post_training,
    preferences,
)
from tui.model.snapshot import Snapshot

pytestmark = pytest.mark.slow

WITHOUT_VALUE = {
    "smoothing",
    "reinforcement-learning",
    "deployed-environment",
    "checkpoint",
    "layer",
    "tune",
    "map-edit",
    "share-string",
    # the workbench and the algorithms for language models: about no single run
    "algorithm-map",
    "parameter-sweep",
    "confidence-interval",
    "own-algorithm",
    "adam",
    "rloo",
    "dr-grpo",
    "dapo",
    "gspo",
    "cispo",
    "mpo",
    # the lab: about no single run
    "challenge-lab",
    "lesson-prediction",
    "remedy-run",
    "understood",
    # runs of others: what it says of itself is not of one run of ours
    "external-run",
}
ELSEWHERE = {
    *language_models.VALUES,
    *preferences.VALUES,
    *bandits.VALUES,
    *post_training.VALUES,
}
"""Terms of runs that are looked at in their own tests."""
Q_LEARNING = """
title = "Q-learning crosses the ice"
[maze]
map = "SFFF\\nFHFH\\nFFFH\\nHFFG"
slip = 0.5
rewards = {goal = 1.0, hole = -0.5}
[algorithm]
name = "q-learning"
gamma = 0.99
learning_rate = 0.1
exploration = {kind = "epsilon-greedy", start = 1.0, end = 0.05, steps = 5000}
[budget]
env_steps = 50_000
[[expect]]
metric = "success_rate"
at_least = 0.99
"""
PLANNING = """
title = "Value iteration"
[maze]
map = "SFFF\\nFHFH\\nFFFH\\nHFFG"
[algorithm]
name = "value-iteration"
[budget]
updates = 100
"""


def figures(**values: float) -> dict[str, Metric]:
    return {name: Metric(mean, mean - 0.1, mean + 0.1, 16) for name, mean in values.items()}


def completed(snapshot: Snapshot, text: str, **changes: object) -> Snapshot:
    """The snapshot with the preset of `text`, and nothing else known unless given."""
    known: dict[str, object] = {
        "preset": presets.parse(text),
        "head": Head(state="running"),
        "optimal_figures": optimal_figures(snapshot.mdp, 0.99, snapshot.optimum),
    }
    return replace(snapshot, **(known | changes))


def learning(algorithm: str = "q-learning", **changes: object) -> Snapshot:
    """A run in the middle: two moves of an episode, tables, figures, curves, an ended episode."""
    text = Q_LEARNING.replace('"q-learning"', f'"{algorithm}"')
    q = np.random.default_rng(0).uniform(0, 1, (16, 4))
    maze = Maze(rows=LAKE, slip=0.5)
    steps = moment(maze, q=q, actions=[RIGHT, RIGHT]).steps
    known: dict[str, object] = {
        "head": Head(
            state="running", step=1200, env_steps=1200, episodes=80, updates=1200,
            total_env_steps=19_200, seconds=12.34, pace=4.0,
        ),
        "at": steps[-1].step,
        "optimal_path": (0, 4, 8, 9, 13, 14, 15),
        "evaluation": Evaluation(
            step=1200, world_id=0, optimal_return=0.9, horizon_optimum=0.91,
            figures=figures(
                success_rate=0.7, greedy_success_rate=0.75, expected_return=0.6,
                expected_score=0.65, expected_length=21.5,
            ),
        ),
        "curves": {
            name: Curve(x=np.array([1.0, 2.0, 3.0]), mean=np.array([0.1, value, np.nan]),
                        low=np.zeros(3), high=np.ones(3))
            for name, value in {
                "online_return": 0.25, "online_success_rate": 0.3, "online_length": 12.5,
                "exploring_share": 0.42, "falls_per_1000_steps": 31.0, "epsilon": 0.4,
                "first_optimal_step": 900.0, "recovery_steps": 120.0,
            }.items()
        },
        "episodes": (
            EpisodeRow(id=1, step=0, index=11, agent=0, world_id=0, length=7, total_return=0.951,
                       score=1.0, success=True, terminated=True, truncated=False),
        ),
        "notes": (NoteRow(id=1, step=5, level="info", text="Note.", remedy="Do it.", term=""),),
    }  # fmt: skip
    snapshot = moment(maze, q=q, steps=steps, algorithm=algorithm)
    return completed(snapshot, text, **(known | changes))


def planning() -> Snapshot:
    """A sweep of value iteration: the last backup is shown."""
    maze = Maze(rows=LAKE)
    backup = Step(
        kind="backup", step=3, episode=3, t=14, state=14, observation=14, action=2, reward=1.0,
        next_state=15, next_observation=15, before=0.5, target=1.0, error=0.5, after=1.0,
        step_size=1.0, gamma=0.99, values=(0.1, 0.2, 1.0, 0.3),
    )  # fmt: skip
    snapshot = moment(maze, steps=(backup,), algorithm="value-iteration")
    change = Curve(
        x=np.array([1.0, 3.0]), mean=np.array([1.0, 0.5]), low=np.zeros(2), high=np.ones(2)
    )
    return completed(
        snapshot,
        PLANNING,
        head=Head(state="finished", step=3, updates=3),
        curves={"largest_change": change},
    )


def thinking() -> tuple[Snapshot, ...]:
    """Runs that plan: with a learned model, with curiosity, by priority, and with the rules."""
    known = ("planning_updates", 60.0), ("queue_length", 2.5)
    rules = ("evaluation_sweeps", 12.0), ("policy_changes", 3.0)

    def curves(given: tuple[tuple[str, float], ...]) -> dict[str, Curve]:
        points, flat = np.array([1.0]), np.zeros(1)
        return {
            name: Curve(x=points, mean=np.array([value]), low=flat, high=flat)
            for name, value in given
        }

    layers = {"planned": np.ones((16, 4))}
    models = [
        learning(name, curves=curves(known))
        for name in ("dyna-q", "dyna-q-plus", "prioritized-sweeping")
    ]
    return (
        *(replace(m, policy=msgspec.structs.replace(m.policy, layers=layers)) for m in models),
        replace(planning(), curves=curves(rules)),
    )


def remembering() -> tuple[Snapshot, ...]:
    """Runs that learn from several steps: with traces, n rewards, whole episodes, two tables."""
    traces = np.zeros((16, 4))
    traces[0, 2], traces[1, 2] = 0.9, 1.0
    tables = {"first table Q1": np.zeros((16, 4)), "second table Q2": np.ones((16, 4))}
    layers = {"sarsa-lambda": {"traces": traces}, "double-q-learning": tables}
    names = ("sarsa-lambda", "double-q-learning", "n-step-sarsa", "monte-carlo")
    runs = [(learning(name), layers.get(name, {})) for name in names]
    text = "\n".join(line for line in Q_LEARNING.splitlines() if "exploration" not in line)
    error = Curve(x=np.ones(1), mean=np.array([0.125]), low=np.zeros(1), high=np.ones(1))
    judging = completed(
        moment(Maze(rows=LAKE), algorithm="td-0"),
        text.replace('"q-learning"', '"td-0"'),
        curves={"value_rmse": error},
    )
    return (
        *(replace(r, policy=msgspec.structs.replace(r.policy, layers=x)) for r, x in runs),
        judging,
    )


@cache
def improving() -> tuple[Snapshot, ...]:
    """Real runs that learn a policy: with and without a learned value, by parts and by groups."""
    text = "\n".join(
        line
        for line in Q_LEARNING.splitlines()
        if "exploration" not in line and "learning_rate" not in line
    )
    runs = []
    for name in ("reinforce", "actor-critic", "ppo", "grpo"):
        named = text.replace('"q-learning"', f'"{name}"')
        if name == "reinforce":
            named = named.replace('"reinforce"', '"reinforce"\nbaseline = true')
        learner = factory.make_learner(presets.parse(named))
        events = learner.advance(1500)
        means: dict[str, list[tuple[int, float]]] = {}
        for event in events:
            if isinstance(event, Update):
                for metric, value in event.metrics.items():
                    means.setdefault(metric, []).append((event.step, value.mean))
        curves = {
            metric: Curve(x=x, mean=y, low=y, high=y)
            for metric, points in means.items()
            for x, y in [np.array(points).T]
        }
        live = learner.live(1400)
        snapshot = moment(Maze(rows=LAKE, slip=0.5), algorithm=name, steps=live.steps)
        runs.append(completed(snapshot, named, curves=curves, policy=live.policy))
    return tuple(runs)


@cache
def featured() -> tuple[Snapshot, ...]:
    """Real runs with features: one that replays, one whose map changes, one with a network."""
    replaying = Q_LEARNING.replace(
        '"q-learning"', '"linear-q-learning"\nreplay = {size = 50, batch = 2}'
    )
    kept = [
        line
        for line in Q_LEARNING.splitlines()
        if "exploration" not in line and "learning_rate" not in line
    ]
    changing = "\n".join(kept).replace(
        '"q-learning"', '"linear-actor-critic"\nanchor = {weight = 0.5}'
    )
    change = 'changes = [{step = 500, map = "FFFF\\nSHFH\\nFFFH\\nHFFG"}]'
    changing = changing.replace("slip = 0.5", f"slip = 0.5\n{change}")
    network = Q_LEARNING.replace('"q-learning"', '"dqn"\nreplay = {size = 50}\ntarget_every = 30')
    texts = {"linear-q-learning": replaying, "linear-actor-critic": changing, "dqn": network}
    runs = []
    for name, text in texts.items():
        learner = factory.make_learner(presets.parse(text))
        points: dict[str, list[tuple[int, float]]] = {}
        for event in learner.begin() + learner.advance(1500):
            if isinstance(event, Update):
                for metric, value in event.metrics.items():
                    points.setdefault(metric, []).append((event.step, value.mean))
        curves = {
            metric: Curve(x=x, mean=y, low=y, high=y)
            for metric, known in points.items()
            for x, y in [np.array(known).T]
        }
        live = learner.live(1400)
        snapshot = moment(Maze(rows=LAKE, slip=0.5), algorithm=name, steps=live.steps)
        runs.append(completed(snapshot, text, curves=curves, policy=live.policy))
    return tuple(runs)


def test_features_are_told_in_numbers() -> None:
    replaying, changing, network = featured()
    # 25 features into 32 units, those to 4 actions, and a bias each
    weights = "964 weights of a network with 32 hidden units"
    assert said("function-approximation", network) == weights
    assert said("approximation-error", network) == ""
    assert said("target-network", network) == "made anew after every 30 updates"
    assert said("experience-replay", network).startswith("a batch of 8 moves after each move, ")
    assert said("deadly-triad", network).startswith("3 of 3")
    assert said("bairds-counterexample", network) == "not in this run"
    weights = "100 weights, for 16 observations × 4 actions"
    assert said("function-approximation", replaying) == weights
    assert said("function-approximation", changing).startswith("100 weights for π, 25 for V")
    assert said("feature", replaying).startswith("4 of 25 are on at ")
    assert said("coarse-coding", replaying) == "4 layers of blocks of 2 × 2 cells"
    assert said("approximation-error", replaying).startswith("V* of this map at best to within 0 ")
    triad = said("deadly-triad", replaying)
    assert triad.startswith("3 of 3 in this run: function approximation, bootstrapping, off-policy")
    assert "largest weight" in triad
    assert said("deadly-triad", learning()).startswith("2 of 3")
    replay = said("experience-replay", replaying)
    assert replay.startswith("2 updates from memory after each move, drawn from the last 50")
    assert "such updates so far" in replay
    assert said("anchor", changing).startswith("weight 0.5; KL to the old policy 0.")
    assert said("feature", learning()) == ""


def empty(text: str, algorithm: str) -> Snapshot:
    """Before the first step and the first evaluation, with no policy either."""
    return completed(moment(Maze(rows=LAKE), algorithm=algorithm), text, policy=None)


def test_every_entry_has_a_value_or_is_known_to_have_none() -> None:
    assert set(VALUES) == {entry.slug for entry in load()} - WITHOUT_VALUE


@cache
def one_of_each_kind() -> tuple[Snapshot, ...]:
    runs = (learning(), learning("sarsa"), planning())
    return (*runs, *thinking(), *remembering(), *improving(), *featured())


@cache
def not_yet_begun() -> tuple[Snapshot, ...]:
    return empty(Q_LEARNING, "q-learning"), empty(PLANNING, "value-iteration")


@pytest.mark.parametrize("slug", [s for s in VALUES if s not in ELSEWHERE])
def test_a_value_is_one_line_and_survives_an_empty_snapshot(slug: str) -> None:
    texts = [current_value(slug, snapshot) for snapshot in one_of_each_kind()]
    assert any(texts), f"{slug} never has a value"
    for text in (*texts, *(current_value(slug, snapshot) for snapshot in not_yet_begun())):
        assert text is None or (text.strip() == text != "" and "\n" not in text)
        assert text is None or "nan" not in text


def said(slug: str, snapshot: Snapshot) -> str:
    return current_value(slug, snapshot) or ""


def test_methods_that_remember_say_what_they_keep() -> None:
    traced, double, waiting, whole, judging = remembering()
    assert said("eligibility-trace", traced) == "2 pairs marked now, the strongest with 1"
    assert said("trace-decay", traced) == "0.9: with every step a trace keeps γλ = 0.891 of itself"
    assert said("double-q-learning", double).startswith("Q1: left 0, down 0")
    assert "Q2: left 1, down 1" in said("double-q-learning", double)
    assert said("n-step", waiting) == "4 rewards before each update"
    assert said("first-visit", whole) == "first-visit in this run"
    assert said("exploring-starts", whole) == "0% of the training episodes"
    assert said("value-rmse", judging) == "0.125, mean over agents"
    assert said("random-walk", judging) == "not in this run: its policy is random"
    assert said("prediction", judging).startswith("prediction: TD(0)")
    assert said("prediction", whole).startswith("control: Monte Carlo")
    assert "believed" in said("maximization-bias", learning())


def test_values_say_what_the_run_says() -> None:
    run = learning()
    step = run.steps[-1]
    assert said("state", run) == "1 = row 1, column 2"
    assert said("next-state", run) == "2 = row 1, column 3"
    assert said("action", run).startswith("right →, ")
    assert said("time-step", run) == "t = 1 (of at most 100)"
    assert said("trajectory", run) == "0 → 1 → 2"
    assert said("reward", run) == "0 on this step"
    assert said("return", run) == "0.951 for the last finished episode (number 11)"
    assert said("discount-factor", run) == "0.99: a reward 10 steps away counts 0.9044"
    assert said("epsilon", run) == "0.2 now (1 → 0.05 over 5,000 steps)"
    assert said("learning-rate", run) == "0.1 now (always 0.1)"
    assert said("td-error", run) == (
        f"{step.error:.4g} = target {step.target:.4g} − estimate {step.before:.4g}"
    )
    assert said("td-target", run) == f"{step.target:.4g} = 0 + 0.99 × {step.bootstrap:.4g}"
    assert said("off-policy", run) == (
        "Q-learning: behaviour explores on Q (ε-greedy, softmax or UCB), target greedy on Q: "
        "off-policy"
    )
    assert said("success-rate", run) == "0.7 (agents: 0.6 to 0.8)"
    assert said("online-return", run) == "0.25 on average lately"
    assert (
        said("transition-probability", run) == "from 1, right →: to 1: 0.25, to 2: 0.5, to 5: 0.25"
    )
    assert said("slip", run) == "0.5: the aimed way 0.5, each side 0.25"
    assert said("hole", run) == "4 holes"
    assert said("goal", run) == "15 = row 4, column 4"
    assert said("budget", run) == "1,200 of 50,000 environment steps"
    assert said("pace", run) == "4 steps per second"
    assert said("optimal-path", run) == "0 → 4 → 8 → 9 → 13 → 14 → 15 (6 moves)"
    assert said("expectation", run) == "success_rate at least 0.99"


EXPLORING = 'exploration = {kind = "epsilon-greedy", start = 1.0, end = 0.05, steps = 5000}'


def exploring(rule: str) -> Snapshot:
    """The run of Q-learning, exploring by another rule; its newest step was at 0.2."""
    run = learning()
    assert EXPLORING in Q_LEARNING
    text = Q_LEARNING.replace(EXPLORING, f"exploration = {rule}")
    return replace(run, preset=presets.parse(text))


def test_softmax_and_its_temperature_are_shown_where_they_are_used() -> None:
    run = exploring('{kind = "softmax", start = 2.0, end = 0.1, steps = 5000}')
    told = "τ = 0.2 now (2 → 0.1 over 5,000 steps)"
    assert said("softmax-exploration", run) == said("temperature", run) == told
    assert said("schedule", run).startswith("τ 2 → 0.1 over 5,000 steps; α")
    for other in ("epsilon", "epsilon-greedy", "ucb"):
        assert said(other, run) == "not in this run: it explores by softmax"
    assert said("softmax-exploration", learning()) == "not in this run: it explores ε-greedily"
    assert said("temperature", learning()) == ""


def test_the_bonus_of_ucb_is_shown_where_it_is_used() -> None:
    run = exploring('{kind = "ucb", c = 0.2}')
    visits = run.policy.visits.copy()  # type: ignore[union-attr]
    visits[1] = [1, 4, 0, 5]
    fresh = replace(run, policy=msgspec.structs.replace(run.policy, visits=visits))
    assert said("ucb", fresh) == "c = 0.2 now (always 0.2); not tried yet here: right →"
    visits[1] = [1, 4, 9, 6]  # of 20
    left, down = 0.2 * np.sqrt(np.log(20)), 0.2 * np.sqrt(np.log(20) / 4)
    assert said("ucb", fresh).startswith(
        f"c = 0.2 now (always 0.2); its bonus here: left {left:.4g}, down {down:.4g}, right "
    )
    assert said("ucb", replace(run, policy=None)) == "c = 0.2 now (always 0.2)"
    assert said("ucb", replace(run, policy=None, steps=(), at=0)) == "c = 0.2"
    assert said("schedule", run).startswith("c always 0.2; α")
    assert said("epsilon", run) == "not in this run: it explores by upper confidence bounds"
    assert said("explore-exploit", run) == ""


def test_explored_means_what_the_rule_of_exploring_makes_it() -> None:
    means = {
        "epsilon-greedy": "were drawn at random",
        "softmax": "took an action that did not look best",
        "ucb": "took an action that did not look best",
    }
    for rule, words in means.items():
        level = "c = 0.2" if rule == "ucb" else "start = 0.2"
        run = exploring(f'{{kind = "{rule}", {level}}}')
        first, last = (msgspec.structs.replace(step, explored=False) for step in run.steps)
        run = replace(run, steps=(first, last))
        assert said("exploration", run) == f"not this step; of the steps shown 0 of 2 (0%) {words}"
        marked = replace(run, steps=(first, msgspec.structs.replace(last, explored=True)))
        told = f"this step; of the steps shown 1 of 2 (50%) {words}"
        assert said("exploration", marked) == told
        assert said("exploitation", marked) == "not this step; of the steps shown: 1 of 2 (50%)"


def test_terms_of_a_course_are_told_by_the_run() -> None:
    run = learning()
    assert said("action-space", run) == "4 actions: left, down, right, up"
    assert said("reward-function", run) == "goal 1"
    cliff = Maze(rows=LAKE, rewards=Rewards(step=-1.0, goal=0.0, lesser=0.5, key=0.25))
    paid = replace(run, world=msgspec.structs.replace(run.world, maze=cliff))
    assert said("reward-function", paid) == "step -1, lesser 0.5, key 0.25"
    assert said("finite-horizon", run) == (
        "episodes and figures: 100 steps; values: no limit, γ = 0.99"
    )
    told = said("stochastic-policy", run)
    assert told == "the target policy is certain of its action in 11 of 11 (100%) observations"
    assert run.policy is not None
    even = msgspec.structs.replace(run.policy, target=np.full_like(run.policy.target, 0.25))
    assert " 0 of 11 (0%) " in said("stochastic-policy", replace(run, policy=even))
    assert said("objective", run) == "0.6 (agents: 0.5 to 0.7), within max_steps"
    assert said("policy-optimization", run).startswith("not in this run: Q-learning")
    ways = {said("generalized-policy-iteration", other) for other in one_of_each_kind()}
    assert "one backup of each state does both" in ways
    assert "half of it: TD(0) prediction evaluates a policy and improves none" in ways


def test_a_target_network_is_told_where_there_is_one() -> None:
    run = replace(learning(), preset=presets.load("dqn", ["algorithm.target_every=50"]))
    assert said("target-network", run) == "made anew after every 50 updates"
    assert said("target-network", learning()) == "none in this run"


def test_the_kind_of_policy_follows_the_algorithm() -> None:
    assert said("on-policy", learning("sarsa")).endswith(
        "target the behaviour policy itself: on-policy"
    )
    assert "neither" in said("on-policy", planning())
    assert said("sarsa", learning("sarsa")) == "yes: this run's algorithm"
    assert said("sarsa", learning()) == "not in this run, which uses Q-learning"


def test_a_sweep_is_told_as_a_sweep() -> None:
    run = planning()
    assert said("episode", run) == "sweep 3"
    assert said("bellman-backup", run) == "V(14 = row 4, column 3): 0.5 → 1"
    assert said("bellman-residual", run) == "0.5: the largest change of the last sweep"
    assert said("reward", run) == "1 expected on this step"
    assert current_value("exploration", run) is None
    assert said("pace", run) == "none: the run is finished"


def test_the_last_finished_episode_may_stand_in_the_steps_themselves() -> None:
    way = [DOWN, DOWN, RIGHT, DOWN, RIGHT, RIGHT]
    maze = Maze(rows=LAKE)
    steps = moment(maze, actions=way).steps
    run = learning(world=moment(maze).world, mdp=moment(maze).mdp, steps=steps, episodes=())
    assert said("return", run) == f"{0.99**5:.4g} for the last finished episode (number 3)"
    assert said("score", run) == "1 for the last finished episode"
    assert said("episode-length", run) == "6 steps in the last finished episode, reached the prize"
    assert said("return-to-go", run) == "1 from this last step: the reward alone"
    assert said("terminated", run) == "yes: at the prize"
    assert said("td-target", run) == "1 = the reward alone: nothing follows"


def test_worlds_without_a_map_are_told_by_numbers() -> None:
    maze = Maze(gymnasium="Taxi-v3", states=16, lattice=(4, 4), actions=("a", "b", "c", "d"))
    run = learning(world=moment(Maze(rows=LAKE)).world)
    bare = replace(run, world=type(run.world)(step=0, id=0, split="train", maze=maze))
    assert said("state", bare) == "1 (of 16)"
    assert said("slip", bare) == "as Taxi-v3 has it"
    assert current_value("hole", bare) is None
    for slug in VALUES:
        assert current_value(slug, bare) != ""


def test_aliased_observations_are_counted() -> None:
    run = learning()
    blind = replace(run, mdp=replace(run.mdp, observation=np.zeros(16, np.int32)))
    assert said("observability", blind).endswith("look like 1 observation")
    assert said("observability", run) == "nothing hidden: every state looks different"


def test_values_say_what_was_planned() -> None:
    dyna, curious, urgent, rules = thinking()
    assert said("planning-update", dyna) == "0 updates after this step; 60 per agent so far"
    assert said("learned-model", dyna).startswith("64 moves remembered, in 16 places")
    assert said("dyna-q", dyna) == "yes: this run's algorithm"
    assert said("curiosity-bonus", dyna) == ""
    assert said("curiosity-bonus", curious) == (
        "κ = 0.0003: 0.003 for a move not tried for 100 steps, 0.03 after 10,000"
    )
    assert said("priority-queue", urgent) == (
        "2.5 moves are waiting (mean over agents); θ = 0.0001"
    )
    assert said("policy-evaluation", rules) == "12 sweeps in the newest evaluation"
    assert said("policy-improvement", rules) == "3 rounds; the newest changed 3 states"
