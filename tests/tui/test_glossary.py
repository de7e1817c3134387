"""The glossary's content, its lookup, its sources and the live values."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moments import DOWN, LAKE, RIGHT, moment
from rich.console import Console

from engine import presets
from engine.errors import UserError
from engine.evaluate import optimal_figures
from engine.events import Evaluation, Metric, Step
from engine.maze import Maze, MazeSettings
from engine.presets import Budget, Run
from engine.runs.curves import Curve
from engine.runs.records import EpisodeRow, Head, NoteRow
from engine.tabular import registry
from tui.glossary import load
from tui.glossary.entries import PANELS, Entry, normal
from tui.glossary.render import plain, plain_listing, render_entry, render_listing, to_ascii
from tui.glossary.source import LONGEST, ROOT, resolve
from tui.glossary.values import VALUES, current_value
from tui.snapshot import Snapshot

GUIDE = """
    agent; environment; deployed environment; simulated environment; state; observation; action;
    time step; episode; trajectory; reward; return; return-to-go; discount factor; γ; algorithm;
    policy; behaviour policy; target policy; on-policy; off-policy; explore/exploit; bias–variance;
    credit assignment; environment specification; sample efficiency; non-stationarity;
    curse of dimensionality; observability; reward design; reward hacking; sim-to-real;
    catastrophic forgetting; generalization; safety
"""
SCREEN = """
    Q-table; action value; state value; V; V*; Q*; π; π*; advantage; TD target; TD error; δ;
    learning rate; step size; α; ε-greedy; ε; exploration; exploitation; schedule; optimistic start;
    greedy; bootstrap; terminated; truncated; max_steps; goal; prize; hole; wall; bonus tile; slip;
    wind; bump; fall; restart; MDP; transition probability; value iteration; sweep;
    Bellman equation; Bellman backup; Bellman residual; Q-learning; SARSA; success_rate;
    greedy_success_rate; expected_return; expected_score; expected_length; optimal_return;
    horizon_optimum; online_return; visits; pace; environment step; update; budget; preset; run;
    worker; checkpoint; seed; agents; independent learners; band; recording point; world; split;
    generation; resume; detached run; model-based; model-free; convergence; tabular
"""
WITHOUT_VALUE = {
    "reinforcement-learning",
    "deployed-environment",
    "checkpoint",
    "layer",
    "tune",
    "map-edit",
}
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


def empty(text: str, algorithm: str) -> Snapshot:
    """Before the first step and the first evaluation, with no policy either."""
    return completed(moment(Maze(rows=LAKE), algorithm=algorithm), text, policy=None)


# ---------------------------------------------------------------- content


def names(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split(";")]


@pytest.mark.parametrize("term", names(GUIDE) + names(SCREEN))
def test_a_term_of_the_guide_or_the_screens_has_an_entry(term: str) -> None:
    assert load().for_label(term) is not None


def test_no_two_entries_share_a_name() -> None:
    symbols = [symbol for entry in load() for symbol in entry.symbols]
    assert len(symbols) == len(set(symbols))
    owners: dict[str, str] = {}
    for entry in load():
        for name in (entry.slug, entry.title, *entry.aliases):
            assert owners.setdefault(normal(name), entry.slug) == entry.slug


def test_related_entries_exist_and_are_others() -> None:
    slugs = {entry.slug for entry in load()}
    for entry in load():
        assert set(entry.related) <= slugs - {entry.slug}, entry.slug
        assert 1 <= len(entry.related) <= 6, entry.slug


@pytest.mark.parametrize("entry", load(), ids=lambda entry: entry.slug)
def test_an_entry_is_complete(entry: Entry) -> None:
    assert 1 <= entry.meaning.count(".") <= 12
    assert 60 <= len(entry.meaning) <= 520
    assert entry.formula
    assert entry.where
    assert entry.source
    for place in entry.where:
        panel, colon, label = place.partition(": ")
        assert panel in PANELS
        assert colon and label


@pytest.mark.parametrize("entry", load(), ids=lambda entry: entry.slug)
def test_the_sources_of_an_entry_are_real_lines(entry: Entry) -> None:
    for reference in entry.source:
        excerpt = resolve(reference)
        lines = (ROOT / excerpt.file).read_text("utf-8").splitlines()
        for i, line in enumerate(excerpt.text.split("\n")):
            assert lines[excerpt.first_line - 1 + i].strip() == line.strip()
        assert excerpt.last_line - excerpt.first_line < LONGEST
        marker = reference.partition(" @ ")[2]
        assert bool(excerpt.marked) == bool(marker)
        for number in excerpt.marked:
            assert excerpt.first_line <= number <= excerpt.last_line
            assert marker in lines[number - 1]


PLACES = {"Figure": 2, "Fact": 1, "Term": 1, "term": 1, "Piece": 2, "Cell": 2, "Layer": 2}
PLACES |= {"Column": 2}
"""Which argument is a slug, by what is called with it."""


def slugs_in(file: Path) -> list[str]:
    """The slugs that a screen's source gives to its labels."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += node.args[PLACES.get(node.func.id, 99) :][:1]
        elif isinstance(node, ast.Tuple) and file.name == "maze_legend.py":
            texts = [getattr(part, "value", "") for part in node.elts]
            found += node.elts[2:3] if texts[1:2] == ["term"] else []
        elif isinstance(node, ast.Tuple) and file.name == "explain.py" and len(node.elts) == 3:
            found += node.elts[1:2]
    return [str(a.value) for a in found if isinstance(a, ast.Constant) and a.value]


def test_every_label_that_a_screen_marks_as_a_term_has_an_entry() -> None:
    files = [f for f in (ROOT / "tui").rglob("*.py") if "glossary" not in f.parts]
    slugs = {slug for file in files for slug in slugs_in(file)}
    assert {"success-rate", "state", "td-error", "bootstrap", "epsilon"} <= slugs
    assert [slug for slug in sorted(slugs) if load().for_label(slug) is None] == []


def test_every_setting_of_a_preset_has_an_entry() -> None:
    kinds = [MazeSettings, Budget, Run, *(a.settings for a in registry.all_algorithms())]
    fields = {name for kind in kinds for name in kind.__struct_fields__}
    assert {"gamma", "slip", "env_steps"} <= fields
    assert [name for name in sorted(fields) if load().for_label(name) is None] == []


def test_every_metric_of_the_learners_has_an_entry() -> None:
    metrics = set()
    for module, method in (("learner", "_update"), ("planner", "_record")):
        tree = ast.parse((ROOT / f"engine/tabular/{module}.py").read_text("utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name == method:
                dicts = [node for node in ast.walk(function) if isinstance(node, ast.Dict)]
                keys = [key for node in dicts for key in node.keys]
                metrics |= {key.value for key in keys if isinstance(key, ast.Constant)}
    assert {"online_return", "largest_change"} <= metrics
    assert [name for name in sorted(metrics) if load().for_label(str(name)) is None] == []


# ---------------------------------------------------------------- lookup


@pytest.mark.parametrize(
    ("label", "slug"),
    [
        ("γ", "discount-factor"),
        ("gamma", "discount-factor"),
        ("TD error δ:", "td-error"),
        ("ε 0.43", "epsilon"),
        ("α = 0.1", "learning-rate"),
        ("expected_return", "expected-return"),
        ("Episodes", "episode"),
        ("success 87%", "success-rate"),
        ("A", "advantage"),
        ("a", "action"),
        ("V", "state-value"),
        ("V*", "optimal-state-value"),
        ("Band", "band"),
        ("Goal", "goal"),
        ("exploration start", None),
        ("", None),
    ],
)
def test_a_label_finds_its_entry_however_it_is_dressed(label: str, slug: str | None) -> None:
    entry = load().for_label(label)
    assert (entry and entry.slug) == slug


def test_search_ranks_names_before_mentions() -> None:
    def found(text: str) -> list[str]:
        return [entry.slug for entry in load().search(text)]

    assert found("γ")[0] == "discount-factor"
    assert found("return")[0] == "return"
    assert found("disc")[0] == "discount-factor"
    cliff = found("cliff")
    assert cliff[0] == "fall"  # by alias; SARSA only speaks of one
    assert "sarsa" in cliff
    assert found("prize greedy wombat") == []
    assert len(found("")) == len(load())


def test_find_takes_any_name_and_says_what_is_near() -> None:
    assert load().find("Learning rate").slug == "learning-rate"
    assert load().find("optimistic").slug == "optimistic-start"
    with pytest.raises(UserError, match=r"no glossary entry 'polcy'.*Did you mean 'policy'"):
        load().find("polcy")
    with pytest.raises(UserError, match=r"Nearest: .*safety"):
        load().find("accidents")
    with pytest.raises(UserError, match=r"`icemaze glossary` lists them all"):
        load().find("xyzzyqwert")


def test_get_takes_slugs_and_exact_names_only() -> None:
    assert load().get("td-error") is load().get("δ")
    with pytest.raises(KeyError):
        load().get("no-such-entry")


# ---------------------------------------------------------------- sources


def test_a_reference_marks_the_update_rule() -> None:
    excerpt = resolve("engine.tabular.q_learning:q_learning @ (6.8)")
    assert excerpt.file == "engine/tabular/q_learning.py"
    (line,) = excerpt.marked
    assert "alpha * error" in excerpt.text.split("\n")[line - excerpt.first_line]


def test_a_reference_reaches_methods_constants_and_decorated_functions() -> None:
    assert resolve("engine.events:Step.advantage").text.startswith("@property\ndef advantage")
    assert resolve("engine.maze:ACTION_NAMES").text.startswith("ACTION_NAMES = ")
    assert resolve("engine.tabular.sarsa:sarsa").text.startswith("@kernel\ndef sarsa(")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("engine.nowhere:thing", "no such module"),
        ("engine.maze:Nothing", "no 'Nothing'"),
        ("engine.maze:Rewards.nothing", "no 'nothing'"),
        ("engine.maze:Rewards @ wombat", "no line of Rewards contains 'wombat'"),
    ],
)
def test_a_wrong_reference_says_what_is_missing(reference: str, says: str) -> None:
    with pytest.raises(LookupError, match=says):
        resolve(reference)


def test_sources_and_values_need_neither_numba_nor_the_algorithms() -> None:
    code = (
        "import sys; from tui.glossary import load; from tui.glossary.source import resolve;"
        "import tui.glossary.values; [resolve(r) for e in load() for r in e.source];"
        "heavy = {'numba', 'torch', 'textual', 'engine.tabular.q_learning'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ---------------------------------------------------------------- values


def test_every_entry_has_a_value_or_is_known_to_have_none() -> None:
    assert set(VALUES) == {entry.slug for entry in load()} - WITHOUT_VALUE


@pytest.mark.parametrize("slug", VALUES)
def test_a_value_is_one_line_and_survives_an_empty_snapshot(slug: str) -> None:
    full = (learning(), learning("sarsa"), planning())
    bare = (empty(Q_LEARNING, "q-learning"), empty(PLANNING, "value-iteration"))
    texts = [current_value(slug, snapshot) for snapshot in full]
    assert any(texts), f"{slug} never has a value"
    for text in (*texts, *(current_value(slug, snapshot) for snapshot in bare)):
        assert text is None or (text.strip() == text != "" and "\n" not in text)
        assert text is None or "nan" not in text


def said(slug: str, snapshot: Snapshot) -> str:
    return current_value(slug, snapshot) or ""


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
        "Q-learning: behaviour ε-greedy on Q, target greedy on Q: off-policy"
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


# ---------------------------------------------------------------- text


def test_plain_text_has_everything_and_keeps_to_its_width() -> None:
    text = plain(load().get("td-error"), width=60)
    for part in ("TD error", "δ", "(S&B 6.5)", "Trajectory log: column error δ", "learning-rate"):
        assert part in text
    assert "engine/tabular/q_learning.py:" in text
    assert max(map(len, text.split("\n")[3:6])) <= 60


def test_every_sign_can_be_spelled_out() -> None:
    assert to_ascii("Gₜ = Rₜ₊₁ + γ·Gₜ₊₁, 2² ≤ ∞, s′") == "G_t = R_t+1 + gamma*G_t+1, 2^2 <= inf, s'"
    for entry in load():
        text = plain(entry)
        assert to_ascii(text).isascii()
        assert to_ascii(text).count("?") == text.count("?"), entry.slug


def test_rich_shows_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(render_entry(load().get("q-learning")))
    console.print(render_listing())
    shown = console.file.getvalue()
    assert load().get("q-learning").formula in shown
    assert "The thirteen challenges" in shown


def test_the_listing_names_every_entry() -> None:
    listing = plain_listing()
    lines = {line.split()[0] for line in listing.split("\n") if line.startswith("  ")}
    assert lines == {entry.slug for entry in load()}
    assert plain_listing(ascii_only=True).isascii()
