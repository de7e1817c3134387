"""The glossary's content, its lookup, its sources and its plain text."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from engine import factory, presets
from engine.algorithms import registry
from engine.config.preset import Budget, Run
from engine.core.errors import UserError
from engine.env.settings import MazeSettings
from engine.learning.events import Update
from engine.tabular.kernels.behaviour import LEVEL_NAMES
from tui.features.trainer import panels as trainer_panels
from tui.glossary.entries import PANELS, Entry, load, normal
from tui.glossary.render import plain, plain_listing, render_entry, render_listing, to_ascii
from tui.glossary.source import LONGEST, ROOT, resolve

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


# ---------------------------------------------------------------- content


def names(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split(";")]


@pytest.mark.parametrize("term", names(GUIDE) + names(SCREEN))
def test_a_term_of_the_guide_or_the_screens_has_an_entry(term: str) -> None:
    assert load().for_label(term) is not None


SHARED = {
    "θ": ["tolerance", "priority-queue", "logits"],
    "τ": ["trajectory", "softmax-exploration"],
    "temperature": ["temperature", "softmax-exploration"],
}
"""Names the field itself uses for several things, with the entry it leads to first."""


def test_only_names_of_several_things_are_shared() -> None:
    owners: dict[str, list[str]] = {}
    for entry in load():
        words = {normal(name) for name in (entry.slug, entry.title, *entry.aliases)}
        for name in (*dict.fromkeys(entry.symbols), *words):
            owners.setdefault(name, []).append(entry.slug)
    shared = {name: sorted(slugs) for name, slugs in owners.items() if len(slugs) > 1}
    assert shared == {name: sorted(slugs) for name, slugs in SHARED.items()}
    assert len({entry.slug for entry in load()}) == len(load())


@pytest.mark.parametrize("name", SHARED)
def test_a_name_of_several_things_leads_to_one_that_names_the_others(name: str) -> None:
    first, *others = SHARED[name]
    entry = load().find(name)
    assert entry.slug == first
    (line,) = [line for line in plain(entry, 200).split("\n") if line.startswith(f"{name} is al")]
    assert all(f"({slug})" in line for slug in others)
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(render_entry(entry))
    assert line in console.file.getvalue()
    found = [each.slug for each in load().search(name)[: len(others) + 1]]
    assert sorted(found) == sorted(SHARED[name])


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


def test_entries_may_name_every_panel_of_the_trainer_but_the_glossary() -> None:
    assert {panel.title for panel in trainer_panels.PANELS} - set(PANELS) == {"Glossary"}


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
    kinds = [MazeSettings, Budget, Run, *(a.settings for a in registry.TABLES.all())]
    fields = {name for kind in kinds for name in kind.__struct_fields__}
    assert {"gamma", "slip", "env_steps"} <= fields
    assert [name for name in sorted(fields) if load().for_label(name) is None] == []


def test_the_number_of_every_exploration_has_an_entry() -> None:
    entries = [load().for_label(name) for name in LEVEL_NAMES.values()]
    assert [entry and entry.slug for entry in entries] == ["epsilon", "temperature", "ucb"]


LEARNERS = {
    "q-learning": "changes = [{step = 2, map = 'SGF'}]\nshield = {}\nfall_budget = {}\n"
    "[deploy]\nmap = 'SGF'",
    "td-0": "slip = 0.1",
    "value-iteration": "[deploy]\nslip = 0.2",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_every_metric_of_the_learners_has_an_entry(name: str) -> None:
    text = f"title = 't'\n[budget]\nenv_steps = 5\nupdates = 5\n[algorithm]\nname = '{name}'\n"
    learner = factory.make_learner(presets.parse(f"{text}[maze]\nmap = 'SFG'\n{LEARNERS[name]}"))
    learner.begin()
    events = [*learner.advance(5), *learner.conclude()]
    metrics = {m for event in events if isinstance(event, Update) for m in event.metrics}
    assert metrics & {"online_return", "largest_change"}
    assert [name for name in sorted(metrics) if load().for_label(name) is None] == []


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
        ("UCB", "ucb"),
        ("c", "ucb"),
        ("upper confidence bound", "ucb"),
        ("softmax", "softmax-exploration"),
        ("Boltzmann", "softmax-exploration"),
        ("planning", "planning-update"),
        ("theta", "logits"),
        ("θ(s,a)", "logits"),
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
    excerpt = resolve("engine.tabular.algorithms.q_learning:q_learning @ (6.8)")
    assert excerpt.file == "engine/tabular/algorithms/q_learning.py"
    (line,) = excerpt.marked
    assert "alpha * error" in excerpt.text.split("\n")[line - excerpt.first_line]


def test_a_reference_reaches_methods_constants_and_decorated_functions() -> None:
    assert resolve("engine.learning.events:Step.advantage").text.startswith(
        "@property\ndef advantage"
    )
    assert resolve("engine.env.maze:ACTION_NAMES").text.startswith("ACTION_NAMES = ")
    assert resolve("engine.tabular.algorithms.sarsa:sarsa").text.startswith("@kernel\ndef sarsa(")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("engine.nowhere:thing", "no such module"),
        ("engine.env.build_maze:Nothing", "no 'Nothing'"),
        ("engine.env.settings:Rewards.nothing", "no 'nothing'"),
        ("engine.env.settings:Rewards @ wombat", "no line of Rewards contains 'wombat'"),
    ],
)
def test_a_wrong_reference_says_what_is_missing(reference: str, says: str) -> None:
    with pytest.raises(LookupError, match=says):
        resolve(reference)


@pytest.mark.slow
def test_sources_and_values_need_neither_numba_nor_the_algorithms() -> None:
    code = (
        "import sys; from tui.glossary import load; from tui.glossary.source import resolve;"
        "import tui.glossary.values; [resolve(r) for e in load() for r in e.source];"
        "heavy = {'numba', 'torch', 'textual', 'engine.tabular.algorithms.q_learning'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ---------------------------------------------------------------- text


def test_plain_text_has_everything_and_keeps_to_its_width() -> None:
    text = plain(load().get("td-error"), width=60)
    for part in ("TD error", "δ", "(S&B 6.5)", "Trajectory log: column error δ", "learning-rate"):
        assert part in text
    assert "engine/tabular/algorithms/q_learning.py:" in text
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
