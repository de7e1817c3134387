"""The algorithm map: complete, derived from the algorithms' own files, and honest about LLMs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from engine.algorithms import registry
from engine.config.shipped import find_preset, shipped_names
from engine.core.errors import UserError
from engine.learning.algorithm import Algorithm
from engine.presets import algorithm_map

DESIGNED_FOR_LLMS = ["reinforce", "rloo", "grpo", "dr-grpo", "dapo", "gspo", "cispo", "ppo", "mpo"]
LONGEST = 160


@pytest.mark.parametrize("algorithm", registry.TABLES.all(), ids=lambda a: a.name)
def test_every_algorithm_of_the_shelf_says_what_the_map_needs(algorithm: Algorithm) -> None:
    for attribute in ("idea", "needs", "chosen_when"):
        text = getattr(algorithm, attribute)
        assert text and text[0].isupper() and text.endswith("."), attribute
        assert len(text) <= LONGEST, attribute
    assert algorithm.idea.count(". ") == 0
    assert algorithm.custom_file is None


def test_the_readme_counts_the_shelf() -> None:
    readme = Path(algorithm_map.__file__).parents[2] / "README.md"
    assert f" {len(registry.TABLES.names)} methods" in " ".join(readme.read_text("utf-8").split())


def test_the_map_holds_the_whole_shelf_and_the_algorithms_for_llms() -> None:
    found = algorithm_map.entries()
    assert [e.name for e in found if e.kind == "tabular"] == registry.TABLES.names
    assert [e.name for e in found if e.kind == "llm"] == DESIGNED_FOR_LLMS
    assert all(e.built for e in found)


@pytest.mark.parametrize("entry", algorithm_map.entries(), ids=lambda e: f"{e.kind}-{e.name}")
def test_an_entry_says_how_well_it_suits_language_models(entry: algorithm_map.Entry) -> None:
    text = entry.with_llms
    assert text[0].isupper() and text.endswith(".") and len(text) <= 240
    suits = text.startswith(("Suited", "In PPO's form"))
    assert suits or text.startswith(("Not ", "Seldom "))
    if entry.kind == "llm" and entry.name != "mpo":
        assert suits, "it is offered for them"


@pytest.mark.parametrize("entry", algorithm_map.entries(), ids=lambda e: f"{e.kind}-{e.name}")
def test_an_entry_is_complete(entry: algorithm_map.Entry) -> None:
    for text in (entry.title, entry.source, entry.formula, entry.idea, entry.needs):
        assert text
    assert entry.branch in {branch.slug for branch in algorithm_map.BRANCHES}
    root = Path(algorithm_map.__file__).parents[2]
    source = (root / entry.file).read_text("utf-8")
    assert f'name = "{entry.name}"' in source and "\nALGORITHM = " in source
    assert ("engine/llm/" in entry.file) == (entry.kind == "llm")


def test_every_algorithm_is_on_the_branch_its_file_says() -> None:
    where = {
        entry.name: branch.slug
        for branch in algorithm_map.tree()
        for entry in branch.entries
        if entry.kind == "tabular"
    }
    for algorithm in registry.TABLES.all():
        branch = where[algorithm.name]
        assert (branch == "planning") == (algorithm.family == "planning")
        assert (branch == "prediction") == (algorithm.family == "prediction")
        assert (branch == "tables") == (algorithm.family == "policy")
        if branch in ("on-policy", "off-policy"):
            assert branch == algorithm.policy_type and not algorithm.model_based
    for name, branch in {
        "value-iteration": "planning", "sarsa": "on-policy", "q-learning": "off-policy",
    }.items():  # fmt: skip
        assert where[name] == branch
    if "dyna-q" in where:
        assert where["dyna-q"] == "model"


def test_a_branch_comes_after_the_one_it_grows_from() -> None:
    seen = {""}
    for branch in algorithm_map.tree():
        assert branch.parent in seen
        seen.add(branch.slug)


def test_presets_are_those_that_train_with_it() -> None:
    for entry in algorithm_map.entries():
        for name in entry.presets:
            text = find_preset(name).read_text("utf-8")
            data = tomllib.loads(text)
            assert data["algorithm"]["name"] == entry.name
            assert ("model" in data) == (entry.kind == "llm")
    shown = {name for entry in algorithm_map.entries() for name in entry.presets}
    assert shown == set(shipped_names())


def test_relatives_go_both_ways() -> None:
    found = algorithm_map.entries()
    tables = {e.name: e for e in found if e.kind == "tabular"}
    for entry in found:
        if entry.kind == "llm":
            assert set(entry.relatives) <= set(tables)
            for name in entry.relatives:
                assert entry.name in tables[name].relatives and tables[name].for_llms
        assert entry.for_llms or entry.kind == "tabular"
    assert not tables["q-learning"].for_llms


def test_what_is_not_on_the_shelf_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.TABLES, "_files", {"sarsa": "sarsa"})
    assert [e.name for e in algorithm_map.entries() if e.kind == "tabular"] == ["sarsa"]
    assert all(e.relatives == () for e in algorithm_map.entries())
    slugs = [branch.slug for branch in algorithm_map.tree()]
    assert slugs == ["value", "on-policy", "policy", "llm"]


def test_a_name_finds_tables_and_language_models() -> None:
    (one,) = algorithm_map.get("Q-Learning")
    assert one.title == "Q-learning"
    (llm,) = algorithm_map.get("rloo")
    assert llm.kind == "llm" and llm.file == "engine/llm/algorithms/rloo.py"
    if "ppo" in registry.TABLES.names:
        assert [e.kind for e in algorithm_map.get("ppo")] == ["tabular", "llm"]
    with pytest.raises(UserError, match=r"no algorithm 'sarsaa'. Did you mean 'sarsa'\?"):
        algorithm_map.get("sarsaa")


def test_entries_are_plain_data() -> None:
    for entry in algorithm_map.entries():
        assert msgspec.json.decode(msgspec.json.encode(entry), type=algorithm_map.Entry) == entry
