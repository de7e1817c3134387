"""Where a preset may come from: files as editors save them, pipes, and what is no preset at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tui
from engine import factory, presets
from engine.core.errors import UserError
from engine.exact.chain import chain_values
from engine.presets import source, toml

pytestmark = pytest.mark.slow

PRESET = '''\
title = "From somewhere"
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
env_steps = 100
'''
TITLE = "From somewhere"


@pytest.mark.parametrize(
    "data",
    [PRESET.encode("utf-8-sig"), PRESET.replace("\n", "\r\n").encode(), PRESET.encode()],
    ids=["byte-order mark", "lines of Windows", "plain"],
)
def test_a_preset_as_editors_save_it(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "saved.toml"
    file.write_bytes(data)
    assert presets.load(str(file)).title == TITLE


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_preset_may_be_piped_in(name: str, tmp_path: Path) -> None:
    root = str(Path(tui.__file__).parents[1])
    shown = subprocess.run(
        [sys.executable, "-m", "tui.start", "presets", "show", name],
        input=PRESET,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "ICEMAZE_RUNS_DIR": str(tmp_path)},
    )
    assert (shown.returncode, shown.stdout) == (0, PRESET), shown.stderr


def test_a_preset_may_come_from_a_named_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PRESET,))
    writer.start()
    assert presets.load(str(pipe)).title == TITLE
    writer.join()


def test_nobody_is_waited_for_at_a_named_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SILENCE", 0.3)
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=r"pipe\.toml: this is a pipe into which nobody wrote"):
        presets.load(str(pipe))


REFUSED = {
    "UTF-16": (PRESET.encode("utf-16"), "this is UTF-16. Expected a UTF-8 TOML file"),
    "UTF-16 without a mark": (PRESET.encode("utf-16-le"), "line 1 has a NUL byte"),
    "NUL": (PRESET.encode() + b"\0", "line 13 has a NUL byte"),
    "Latin-1": (PRESET.replace("From", "Für").encode("latin-1"), "byte 11 is no UTF-8"),
    "too long": (PRESET.encode() + b"#" * 2**20, "longer than 1,048,576 bytes"),
    "brackets": (PRESET.encode() + b"x = " + b"[" * 5000, "too many brackets"),
    "tables": (PRESET.encode() + b"x = " + b"{a = " * 5000, "too many brackets"),
    "deep": (PRESET.encode() + b"x = " + b"[" * 99 + b"]" * 99, "budget.x[0]"),
    "a long key": (PRESET.encode() + b".".join([b"a"] * 20_000) + b" = 1", "line 13: a key of"),
    "a quoted long key": (PRESET.encode() + b".".join([b'"a"'] * 20_000) + b" = 1", "a key of"),
    "a deep key": (PRESET.encode() + b".".join([b"a"] * 50) + b" = 1", "over 16 deep"),
    "digits": (PRESET.replace("100", "9" * 5000).encode(), "line 12: a number with thousands"),
    "digits of 16": (PRESET.replace("100", "0x" + "f" * 5000).encode(), "budget.env_steps: found"),
    "an escape": (PRESET.replace("From", "\x1b[31m").encode(), "Illegal character"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_preset_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    data, said = REFUSED[kind]
    file = tmp_path / "odd.toml"
    file.write_bytes(data)
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        presets.load(str(file))
    message = str(caught.value)
    assert message.startswith(f"{file}: ") and said in message
    assert message.isprintable() and len(message) < 600
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/dev/zero", "longer than"), ("/dev/null", "title is missing"), ("/", "this is a folder"),
        ("x" * 5000 + ".toml", "there is no such file"), ("y" * 5000, "There is no preset"),
        ("a\x1bb", r"a\x1bb"),
    ],
    ids=["zero", "null", "folder", "long file", "long name", "escape"],
)  # fmt: skip
def test_what_is_no_file_of_a_preset(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        presets.load(name)
    assert said in str(caught.value) and str(caught.value).isprintable()
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("budget.env_steps=" + "9" * 5000, "the value has thousands of digits"),
        ("maze.kwargs=" + "[" * 3000, "the value has thousands of brackets"),
        ("9" * 400 + "=" + "9" * 400 + "e9", "99…"),
        (".".join(["a"] * 5000) + "=1", "expected KEY=VALUE"),
        ("title=\udcff", r"\udcff"),
        ("group=a\x1bb\u202e", "group: found"),
        ("budget.env_steps=5\ntitle = 1", "budget.env_steps: found"),
    ],
)  # fmt: skip
def test_a_change_is_shown_shortened_and_printable(change: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        presets.parse(PRESET, "my.toml", [change])
    assert said in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


# ---------------------------------------------------------------- sizes and magnitudes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["run.agents=1_000_000_000"], "run.agents: found 1000000000"),
        (["maze.size=[1_000_000, 1_000_000]"], "maze.size is [1000000, 1000000]"),
        (["maze.max_steps=1000000000000000000"], "maze.max_steps: found"),
        (["budget.env_steps=1" + "0" * 30], "budget.env_steps: found 1000"),
        (["algorithm.name=dyna-q", "algorithm.planning_steps=1_000_000_000"], "planning_steps"),
        (["algorithm.name=linear-q-learning", "algorithm.tilings=1_000_000"], "algorithm.tilings"),
        (["maze.size=64", "algorithm.name=ppo", "algorithm.rollout_steps=65_536",
          "run.agents=4096"], "run.agents is 4,096, and what each learns takes"),
        (["maze.rewards={goal = 1e308}"], "maze.rewards.goal is 1e+308"),
        (["deploy.rewards={step = -1e10}"], "deploy.rewards.step is -1e+10"),
        (["algorithm.initial_value=1e308"], "algorithm.initial_value is 1e+308"),
        (["maze.gymnasium=FrozenLake-v1", "maze.kwargs={reward_schedule = [1e308, 0, 0]}"],
         "pays 1e+308"),
    ],
)  # fmt: skip
def test_what_would_take_all_memory_or_overflow_is_refused(changes: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        presets.parse(PRESET, "my.toml", changes)
    assert said in str(caught.value)


def test_values_that_would_take_all_memory_are_refused() -> None:
    n = 20_000  # states that lead to others anywhere: the matrix is full
    follow = np.random.default_rng(0).permutation(n)[:, None]
    with pytest.raises(UserError, match=r"20,000 states .* take \d+ GB of memory; take a smaller"):
        chain_values(follow, np.full((n, 1), 0.5), np.ones(n))


def test_values_without_bound_are_blamed_on_the_setting_that_did_it() -> None:
    changes = ["algorithm.name=dyna-q-plus", "algorithm.kappa=1e30", "maze.max_steps=50"]
    learner = factory.make_learner(presets.parse(PRESET, overrides=changes))
    learner.tune("algorithm.learning_rate", 0.5)
    names = learner._suspects()  # type: ignore[attr-defined]
    assert names == ["algorithm.kappa"]


def test_a_text_of_dots_is_no_long_key() -> None:
    rows = "\\n".join(["S" + "." * 63, *["F." * 32] * 62, "." * 63 + "G"])
    assert toml.read(f'map = "{rows}"\nsummary = "{"and so on. " * 300}"')
