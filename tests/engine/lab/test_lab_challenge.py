"""`challenge.toml`: the shipped ones are right, and what is wrong with one is said."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from challenge_tools import CHALLENGE, COMPARE, GROWTH, make_lab

from engine import presets
from engine.config import shipped
from engine.config.shipped import CHALLENGE_FILE, find_preset, shipped_names
from engine.core.errors import UserError
from engine.experiments.lab.challenge import (
    all_challenges,
    challenge_names,
    default_statistic,
    lab_folder,
    load_challenge,
)
from engine.experiments.lab.runner import plan


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return tmp_path


# ---------------------------------------------------------------- the shipped ones


def test_every_shipped_challenge_loads_and_can_be_run() -> None:
    challenges = all_challenges()
    assert [challenge.name for challenge in challenges] == challenge_names()
    assert plan(challenges, llm=True)  # every preset, and every size of a growth, is valid


def test_a_shipped_challenge_claims_a_difference() -> None:
    for challenge in all_challenges():
        assert challenge.compare or challenge.growth_compare, challenge.name
        claims = [*challenge.compare, *challenge.growth_compare]
        assert all(claim.says for claim in claims), challenge.name


def test_no_two_shipped_presets_share_a_name() -> None:
    folder = shipped.FOLDER
    files = [*folder.glob("*.toml"), *folder.glob("lab/*/*.toml")]
    counts = Counter(path.stem for path in files if path.name != CHALLENGE_FILE)
    assert [name for name, count in counts.items() if count > 1] == []
    assert sorted(counts) == shipped_names()


def test_the_presets_of_the_lab_are_in_the_group_of_challenges() -> None:
    for path in lab_folder().glob("*/*.toml"):
        if path.name != CHALLENGE_FILE:
            assert presets.load(path.stem).group == "challenge", path.stem


# ---------------------------------------------------------------- reading


@pytest.mark.slow
def test_a_challenge_is_found_by_name_and_by_number(folder: Path) -> None:
    where = make_lab(folder, CHALLENGE + COMPARE + GROWTH)
    challenge = load_challenge("small")
    assert (challenge.name, challenge.folder) == ("small", where)
    assert challenge.presets == ("small-failing", "small-remedy")
    assert challenge.lesson == where / "lesson.md"
    (claim,) = challenge.compare
    assert (claim.kind, claim.measure, claim.at_least) == ("difference", "mean", 0.5)
    assert [growth.against for growth in challenge.growth] == ["cells", "cells"]
    assert load_challenge("1") == challenge and all_challenges() == [challenge]


@pytest.mark.slow
def test_presets_of_a_challenge_are_found_like_any_other(folder: Path) -> None:
    where = make_lab(folder)
    assert shipped_names() == ["small-failing", "small-remedy"]
    assert find_preset("small-remedy") == where / "small-remedy.toml"
    assert presets.load("small-remedy").title == "remedy"
    # As a shipped one: it is named by its file, and may have no algorithm of the user's own.
    assert presets.read("small-remedy")[1:] == ("small-remedy.toml", None)
    with pytest.raises(UserError, match="Did you mean 'small-remedy'"):
        find_preset("small-remedi")


def test_times_until_something_are_compared_by_their_median() -> None:
    assert default_statistic("first_optimal_step") == "median"
    assert default_statistic("success_rate") == "mean"


@pytest.mark.slow
def test_challenges_are_ordered_by_number(folder: Path) -> None:
    make_lab(folder, (CHALLENGE + COMPARE).replace("number = 1", "number = 2"))
    text = (CHALLENGE + COMPARE).replace("small-", "other-")
    make_lab(folder, text, "other")
    assert [challenge.name for challenge in all_challenges()] == ["other", "small"]
    (folder / "lab" / "other" / CHALLENGE_FILE).write_text(text.replace("= 1", "= 2"))
    with pytest.raises(UserError, match="number: found 2, which other has too"):
        all_challenges()


BAD = {
    "not TOML": ("number = ", "not valid TOML"),
    "an unknown key": (CHALLENGE + "titel = 1", "titel: there is no such key. Did you mean"),
    "no question": (CHALLENGE.replace("question", "#"), "question is missing; expected text"),
    "a wrong type": (CHALLENGE.replace("= 1", '= "one"'), "number: found \"one\", expected a"),
    "no remedies": (CHALLENGE.replace('["small-remedy"]', "[]"), "remedies: found [], expected a"),
    "an unknown preset": (
        CHALLENGE.replace('["small-remedy"]', '["small-remedi"]'),
        "remedies: found \"small-remedi\", expected the name of a shipped preset. Did you mean",
    ),
    "a preset twice": (CHALLENGE.replace("small-failing", "small-remedy"), "is named twice"),
    "an unknown term": (CHALLENGE.replace('"exploration"', '"explorasion"'), "glossary entry. Did"),
    "a claim without a bound": (
        CHALLENGE + COMPARE.replace("at_least = 0.5", ""), "compare[0]: the claim has no bound",
    ),
    "bounds the wrong way round": (
        CHALLENGE + COMPARE.replace("at_least", "at_most = 0.1\nat_least"), "at_least = 0.5 above",
    ),
    "a bound that is not finite": (
        CHALLENGE + COMPARE.replace("0.5", "inf"), "compare[0].at_least: found inf",
    ),
    "an unknown kind": (
        CHALLENGE + COMPARE + 'kind = "sum"', 'compare[0].kind: found "sum", expected',
    ),
    "a claim about a preset it does not run": (
        CHALLENGE + COMPARE.replace('of = "small-remedy"', 'of = "small"'),
        "compare[0].of: found \"small\", expected the name of a preset it runs",
    ),
    "growth of an unknown preset": (
        CHALLENGE + GROWTH.replace('preset = "small-remedy"', 'preset = "x"'),
        "growth[1].preset: found \"x\", expected the name of a shipped preset",
    ),
    "growth over two sizes": (
        CHALLENGE + GROWTH.replace("[4, 6, 8]", "[4, 6]"), "growth[0].values: found [4, 6], exp",
    ),
    "growth that shrinks": (
        CHALLENGE + GROWTH.replace("[4, 6, 8]", "[4, 8, 6]"), "each larger than the one before",
    ),
    "a comparison of what does not grow": (
        CHALLENGE + GROWTH.replace('against = "small-remedy"', 'against = "small"'),
        "growth_compare[0].against: found \"small\", expected the name of a preset with a",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_mistake_is_said_in_one_sentence(folder: Path, text: str, message: str) -> None:
    make_lab(folder, text)
    with pytest.raises(UserError) as caught:
        load_challenge("small", {"exploration", "greedy"})
    assert str(caught.value).startswith("small/challenge.toml: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_size_that_makes_no_maze_is_said_before_anything_runs(folder: Path) -> None:
    make_lab(folder, CHALLENGE + GROWTH.replace("maze.size", "maze.siz"))
    with pytest.raises(UserError, match=r"maze.siz: there is no such key. Did you mean 'size'"):
        plan([load_challenge("small")])


@pytest.mark.slow
def test_an_unknown_challenge_is_refused_with_what_comes_near(folder: Path) -> None:
    make_lab(folder)
    with pytest.raises(UserError, match=r"There is no challenge 'smal'\. Did you mean 'small'"):
        load_challenge("smal")
    with pytest.raises(UserError, match="There is no challenge '7'"):
        load_challenge("7")
