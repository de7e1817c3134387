"""Every kind of mistake in a preset is one sentence: file, key, found, expected, nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import presets
from engine.config.preset import Preset
from engine.core.errors import UserError
from tui.cli import main as cli

GOOD = '''
title = "A good preset"
[maze]
map = """
SFFF
FHFH
FFFH
HFFG
"""
[algorithm]
name = "q-learning"
[budget]
env_steps = 1000
'''
MAP = GOOD[GOOD.index("map =") : GOOD.index("[algorithm]")]
ALGORITHM = 'name = "q-learning"'


def change(old: str, new: str) -> str:
    """The good preset with one mistake."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def maze(line: str) -> str:
    """The good preset with one more line in [maze]."""
    return change("[algorithm]", f"{line}\n[algorithm]")


def algorithm(line: str) -> str:
    """The good preset with one more line in [algorithm]."""
    return change(ALGORITHM, f"{ALGORITHM}\n{line}")


BAD = {
    "broken TOML": (GOOD + "foo = = 3", "not valid TOML: line 14, column 7", '"foo = = 3"'),
    "a table twice": (GOOD + "[budget]", "not valid TOML: line 14", '"[budget]"'),
    "no title": (change('title = "A good preset"', ""), "title is missing; expected text", ""),
    "no maze": (change("[maze]\n" + MAP, ""), "maze is missing; expected a table", ""),
    "no algorithm": (change(f"[algorithm]\n{ALGORITHM}", ""), "algorithm is missing", ""),
    "no algorithm name": (
        change(ALGORITHM, "gamma = 0.9"), "algorithm.name is missing", "q-learning",
    ),
    "unknown algorithm": (
        change("q-learning", "q-lerning"), 'algorithm.name: there is no algorithm "q-lerning"',
        "Did you mean 'q-learning'?",
    ),
    "algorithm is no table": (
        "algorithm = 3\n" + change(f"[algorithm]\n{ALGORITHM}", ""),
        "algorithm: found 3, expected a table", "",
    ),
    "unknown table": (
        GOOD + "[bugdet]\nx = 1", "bugdet: there is no such key", "Did you mean 'budget'?",
    ),
    "unknown key": (
        maze("slipp = 0.5"), "maze.slipp: there is no such key", "Did you mean 'slip'?",
    ),
    "unknown key of the algorithm": (
        algorithm("learning_rat = 0.1"), "algorithm.learning_rat: there is no such key",
        "Did you mean 'learning_rate'?",
    ),
    "unknown key in a nested table": (
        algorithm("learning_rate = {start = 1.0, ende = 0.0, steps = 5}"),
        "algorithm.learning_rate.ende: there is no such key", "Did you mean 'end'?",
    ),
    "key missing in a nested table": (
        algorithm("learning_rate = {start = 1.0, steps = 5}"),
        "algorithm.learning_rate.end is missing", "expected a number from 0 to 1",
    ),
    "a step size that starts beyond its target": (
        algorithm("learning_rate = {start = 5.0, end = 0.1, steps = 5}"),
        "algorithm.learning_rate.start: found 5.0, expected a number from 0 to 1", "",
    ),
    "a step size that is always 0": (
        algorithm("learning_rate = {start = 0, end = 0.0, steps = 5}"),
        "algorithm.learning_rate: found {", "nothing is learned with a step size of 0",
    ),
    "a step size of V beyond its target": (
        change(ALGORITHM, 'name = "actor-critic"\nvalue_learning_rate = 1.5'),
        "algorithm.value_learning_rate: found 1.5", "expected a number above 0 and at most 1",
    ),
    "a factor that leads to 0": (
        algorithm("learning_rate = {start = 0.5, end = 0.0, steps = 5, shape = 'exponential'}"),
        "algorithm.learning_rate: found {", "start and end must both be above 0",
    ),
    "exploring that shrinks by a factor to 0": (
        algorithm(
            "exploration = {kind = 'epsilon-greedy', end = 0.0, steps = 9, shape = 'exponential'}"
        ),
        "algorithm.exploration: found {", 'otherwise take shape = "linear"',
    ),
    "exploring that grows by a factor from 0": (
        algorithm("exploration = {kind = 'epsilon-greedy', start = 0.0, shape = 'exponential'}"),
        "algorithm.exploration: found {", "start and end must both be above 0",
    ),
    "sweeping without updates": (
        change(ALGORITHM, 'name = "prioritized-sweeping"\nplanning_steps = 0'),
        "algorithm.planning_steps: found 0", "expected a whole number from 1 to 10000",
    ),
    "text for a number": (
        change("1000", '"many"'), 'budget.env_steps: found "many"',
        "expected a whole number of at least 1",
    ),
    "a fraction of a step": (change("1000", "1.5"), "budget.env_steps: found 1.5", "whole number"),
    "true for a number": (change("1000", "true"), "budget.env_steps: found true", "whole number"),
    "a date for a number": (
        change("1000", "2020-01-01"), "budget.env_steps: found 2020-01-01", "whole number",
    ),
    "a number beyond 64 bits": (
        change("1000", "9" * 25), "budget.env_steps: found 9999", "at most 64 bits",
    ),
    "a number for text": (
        change('"A good preset"', "5"), "title: found 5", "expected text in quotes",
    ),
    "an empty title": (change("A good preset", ""), 'title: found ""', "that is not empty"),
    "too large": (maze("slip = 1.5"), "maze.slip: found 1.5", "expected a number from 0 to 1"),
    "too small": (algorithm("learning_rate = 0"), "algorithm.learning_rate: found 0", "above 0"),
    "not a number": (algorithm("gamma = nan"), "algorithm.gamma: found nan", "a finite number"),
    "infinite": (
        maze("rewards = {goal = inf}"), "maze.rewards.goal: found inf", "a finite number",
    ),
    "a word that is no choice": (
        maze('fall = "restrat"'), 'maze.fall: found "restrat", expected "end" or "restart"',
        "Did you mean 'restart'?",
    ),
    "an unknown group": (
        'group = "tabluar"\n' + GOOD, 'group: found "tabluar"', "Did you mean 'tabular'?",
    ),
    "an unknown kind of exploration": (
        algorithm('exploration = {kind = "epsilon-greed"}'),
        'algorithm.exploration.kind: found "epsilon-greed"', "Did you mean 'epsilon-greedy'?",
    ),
    "a list with a wrong member": (
        maze("wind = [0, 1.5, 0, 0]"), "maze.wind[1]: found 1.5", "expected a whole number",
    ),
    "a map with a strange tile": (
        change("SFFF", "SFXF"), "maze.map: row 1, column 3 holds 'X'", "Did you mean '#'?",
    ),
    "a ragged map": (
        change("SFFF", "SFF"), "maze.map: row 2 has 4 cells and row 1 has 3", "equally long",
    ),
    "a map without a goal": (change("HFFG", "HFFF"), "maze.map has no goal", "at least one G"),
    "a map without a start": (change("SFFF", "FFFF"), "maze.map has no start", "at least one S"),
    "a map without a way": (
        change("SFFF\nFH", "SHFF\nHH"), "maze.map: no way from a start to the goal",
        "row 1, column 1",
    ),
    "two mazes": (maze("size = 4"), "maze: found maze.map and maze.size", "exactly one of"),
    "no maze in [maze]": (change(MAP, ""), "maze: found none of them", "exactly one of"),
    "a size beyond the limit": (change(MAP, "size = 65\n"), "maze.size is 65", "2 to 64"),
    "an unknown Gymnasium env": (
        change(MAP, 'gymnasium = "CliffWalkin-v1"\n'), "no environment 'CliffWalkin-v1'",
        "Did you mean 'CliffWalking-v1'?",
    ),
    "a wind of the wrong length": (maze("wind = [1]"), "maze.wind has 1 numbers", "4 columns"),
    "a change of another size": (
        maze('changes = [{step = 5, map = "SG"}]'), "maze.changes[0].map is 1x2", "4x4",
    ),
    "no limit": (change("env_steps = 1000", ""), "budget: no limit was given", "at least one of"),
    "a budget that does not fit": (
        change("q-learning", "value-iteration"), "budget: a planner takes no steps", "updates",
    ),
    "too many agents": (
        GOOD + "[run]\nagents = 5000", "run.agents: found 5000", "a whole number from 1 to 4096",
    ),
    "a negative seed": (GOOD + "[run]\nseed = -1", "run.seed: found -1", "of at least 0"),
    "a claim without a bound": (
        GOOD + "[[expect]]\nmetric = 'success_rate'", "expect[0]: the claim about 'success_rate'",
        "add at_least or at_most",
    ),
    "a claim with an unknown key": (
        GOOD + "[[expect]]\nmetric = 'success_rate'\nat_lest = 1", "expect[0].at_lest: there is no",
        "Did you mean 'at_least'?",
    ),
    "a table for a list": (
        GOOD + "[expect]\nmetric = 'x'", 'expect: found {metric = "x"}', "expected a list",
    ),
    "values without a bound": (
        change(ALGORITHM, f"{ALGORITHM}\ngamma = 1.0").replace(
            "[algorithm]", "rewards = {step = 0.1}\n[algorithm]"
        ),
        "algorithm.gamma = 1", "unbounded",
    ),
}  # fmt: skip


def test_the_good_preset_is_good() -> None:
    assert presets.parse(GOOD).title == "A good preset"


def test_step_sizes_that_are_fine_are_let_through() -> None:
    fading = "algorithm.learning_rate={start = 1.0, end = 0.0, steps = 5}"
    assert presets.parse(GOOD, overrides=[fading])
    adam = ["algorithm.name=ppo", "algorithm.value_learning_rate={start = 2, end = 0, steps = 5}"]
    assert presets.parse(GOOD, overrides=adam)  # Adam's steps have another scale


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_preset_is_one_sentence_and_exit_2(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, *said = BAD[kind]
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(tmp_path / "runs"))
    file = tmp_path / "bad.toml"
    file.write_text(text)
    assert cli.run(["train", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    assert err.startswith(f"icemaze: {file}: ")
    for words in said:
        assert words in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe", "Expected a UTF-8 TOML file"), (None, "cannot be read"), (b"", "title is")],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "odd.toml"
    if content is None:
        file.symlink_to("/proc/self/mem")  # there, but reading from its start fails
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        presets.load(str(file))
    assert "odd.toml" in str(caught.value)


def test_an_override_is_named_where_it_is_wrong() -> None:
    with pytest.raises(UserError) as caught:
        presets.parse(GOOD, "good.toml", ["algorithm.gamma=2"])
    assert str(caught.value) == (
        "good.toml with --set algorithm.gamma=2: algorithm.gamma: found 2, expected a number from "
        "0 to 1."
    )


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("budget.env_steps=1e6", 1_000_000),
        ("budget.env_steps = 1_000", 1000),
        ("budget.env_steps=1E+3", 1000),
    ],
)
def test_counts_may_be_written_like_people_do(override: str, value: int) -> None:
    assert presets.parse(GOOD, overrides=[override]).budget.env_steps == value


def test_what_is_written_is_read_back() -> None:
    texts = [
        "plain",
        "two\nlines",
        'quote " and \\ slash',
        'ends with "\n',
        "\x01\x7f\t'''\"\"\"\n",
    ]
    for text in texts:
        preset = presets.parse(GOOD, overrides=["maze.size=4", "algorithm.initial_value=1e-7"])
        preset = type(preset)(**{**_fields(preset), "summary": text})
        assert presets.parse(presets.dump(preset)) == preset


def _fields(preset: Preset) -> dict[str, object]:
    return {name: getattr(preset, name) for name in preset.__struct_fields__}
