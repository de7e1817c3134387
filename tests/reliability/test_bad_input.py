"""Input that nobody should give: it is used, or refused in one sentence, and nothing else happens.

What is drawn goes through the real readers. A refusal names the file or the change, is one line of
a bearable length, and holds nothing a terminal could take for a command.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import odd_input
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from long_form import count

from engine import factory, presets
from engine.config.shipped import shipped_files
from engine.core.errors import UserError
from engine.experiments import sweeps
from engine.presets import source
from engine.runs import launch
from engine.runs.evaluation import evaluate_run
from engine.runs.reader import RunReader
from engine.runs.session import Session
from engine.runs.store import RunWriter
from tui.cli import main as cli

pytestmark = pytest.mark.slow

WHERE = "odd.toml"
LONGEST = 2_000
"""Characters of a refusal."""
MOST_SECONDS = 20.0
"""Seconds of computing that an input may take, on a slow machine."""


def examples(quick: int, long: int) -> Any:
    """Settings of hypothesis for so many inputs."""
    return settings(
        max_examples=count(quick, long),
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def used_or_refused(use: Callable[[], object], *names: str) -> None:
    """Call `use`: it may do its work, or raise a `UserError` that has one of `names` in it."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            use()
        except UserError as error:
            said = str(error)
            assert any(name in said for name in names), said
            assert said.isprintable() and len(said) <= LONGEST, ascii(said)
    assert time.process_time() - began < MOST_SECONDS


# ---------------------------------------------------------------- presets


@examples(50, 4000)
@given(odd_input.changed_texts)
def test_a_preset_with_odd_values(text: str) -> None:
    used_or_refused(lambda: presets.parse(text, WHERE), WHERE)


@examples(40, 3000)
@given(odd_input.garbled())
def test_a_preset_with_odd_bytes(data: bytes) -> None:
    def read() -> None:
        try:
            text = source.decode(data)
        except UserError as error:
            raise UserError(f"{WHERE}: {error}") from error
        presets.parse(text, WHERE)

    used_or_refused(read, WHERE)


@examples(30, 500)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_that_are_no_preset(data: bytes) -> None:
    with contextlib.suppress(UserError):
        text = source.decode(data)
        used_or_refused(lambda: presets.parse(text, WHERE), WHERE)


@pytest.mark.parametrize("name", ["[]", "{a = 1}", "[[]]", "1", "nan", '""', "2020-01-01"])
def test_an_algorithm_whose_name_is_no_text(name: str) -> None:
    for file in shipped_files().values():
        with pytest.raises(UserError, match=r"algorithm\.name: "):
            presets.load(str(file), [f"algorithm.name={name}"])


# ---------------------------------------------------------------- --set


@pytest.mark.parametrize("name", ["q-learning", "llm-grpo-maze"])
@examples(40, 1500)
@given(changes=st.lists(odd_input.overrides, min_size=1, max_size=3))
def test_odd_settings(name: str, changes: list[str]) -> None:
    text = presets.read(name).text
    used_or_refused(lambda: presets.parse(text, WHERE, changes), WHERE, "--set")


@examples(40, 1000)
@given(odd_input.maps)
def test_odd_maps(rows: str) -> None:
    text = presets.read("q-learning").text
    used_or_refused(lambda: presets.parse(text, WHERE, [f"maze.map={rows}"]), WHERE)


@examples(20, 400)
@given(odd_input.environments)
def test_odd_environments(changes: list[str]) -> None:
    text = presets.read("q-learning").text
    used_or_refused(lambda: presets.parse(text, WHERE, changes), WHERE)


@examples(40, 1000)
@given(
    st.sampled_from(["0-9", "1,2", "9" * 5000, "0-" + "9" * 30, "5-1", "-", ",", "٣", "1e3", " 1 "])
    | odd_input.texts,
    st.lists(odd_input.overrides, max_size=2),
)
def test_odd_sweeps(seeds: str, grid: list[str]) -> None:
    used_or_refused(
        lambda: sweeps.plan("q-learning", seeds, grid), "--set", "--seeds", "q-learning", "sweep"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunReader]:
    """A run that has learned something."""
    preset = presets.load("q-learning", ["budget.env_steps=300", "run.agents=2"])
    run_dir = launch.create_run(preset, "run", runs_dir=tmp_path_factory.mktemp("runs"))
    with contextlib.closing(RunWriter(run_dir)) as writer:
        assert Session(writer, factory.make_learner).run()
    with RunReader(run_dir) as reader:
        yield reader


@examples(40, 800)
@given(changes=st.lists(odd_input.maze_overrides | odd_input.overrides, min_size=1, max_size=2))
def test_odd_settings_of_an_evaluation(run: RunReader, changes: list[str]) -> None:
    used_or_refused(lambda: evaluate_run(run, changes), "eval", "--set")


# ---------------------------------------------------------------- the whole command


@examples(15, 200)
@given(data=odd_input.garbled())
def test_the_command_reads_or_refuses_it(
    data: bytes, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    file = folder / WHERE
    file.write_bytes(data)
    code = cli.run(["presets", "show", str(file)])
    out, err = capsys.readouterr()
    assert code in (0, 2) and "should not happen" not in err
    if code == 2:
        assert out == "" and err.count("\n") == 1 and err.startswith(f"icemaze: {file}: ")
    assert list(folder.iterdir()) == [file]


NAMES = st.sampled_from(["-", "..", "/dev/null", "/", "a/b", "x" * 5000, "x.toml", "~", ""])


@examples(15, 300)
@given(
    words=st.tuples(
        st.sampled_from(
            [
                ("presets", "show"), ("presets", "check"), ("lab", "run"), ("lab", "show"),
                ("train",), ("sweep",), ("eval",), ("status",),
            ]
        ),
        (NAMES | odd_input.texts).filter(lambda name: not name.startswith("-")),
        st.sampled_from(["--seed", "--agents", "--set", "--seeds", "--llm", "--json", "--no"]),
        odd_input.texts,
    )
)  # fmt: skip
def test_odd_arguments(
    words: tuple[tuple[str, ...], str, str, str],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(folder / "runs"))
    command, name, option, value = words
    code = cli.run([*command, name, option, value])
    _, err = capsys.readouterr()
    assert code == 2 and "should not happen" not in err
    assert list(folder.iterdir()) == []
