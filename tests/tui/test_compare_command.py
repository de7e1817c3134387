"""`icemaze compare` without a terminal: the figures at the end, and the differences."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import icemaze, objects
from trainer_tools import LEARNING, ON_POLICY, PLANNING, record

from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name, text in (("one", LEARNING), ("two", ON_POLICY), ("plan", PLANNING)):
        record(folder, text, name)
    return folder


def ids(folder: Path, *names: str) -> list[str]:
    """The ids of the runs of these names."""
    return [next(path.name for path in folder.iterdir() if f"-{n}-" in path.name) for n in names]


def test_a_line_for_each_run_with_differences_to_the_first(folder: Path) -> None:
    named = ids(folder, "one", "two")
    done = icemaze(folder, "compare", *named, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = objects(done.stdout)
    assert [first["run"], second["run"]] == named
    assert "differences" not in first
    assert (first["step"], first["state"]) == (600, "finished")
    assert first["settings"]["algorithm.name"] == "q-learning"
    assert second["settings"] == {"algorithm.name": "sarsa"}
    more = second["differences"]["expected_return"]
    means = [run["figures"]["expected_return"] for run in (first, second)]
    assert more["value"] == pytest.approx(means[1] - means[0])
    agents = [RunReader(folder / name).per_agent()["expected_return"] for name in named]
    assert [each.mean() for each in agents] == pytest.approx(means)
    assert more["low"] <= more["value"] <= more["high"]


def test_a_table_for_people(folder: Path) -> None:
    done = icemaze(folder, "compare", *ids(folder, "one", "two"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("A  ") and "Across the ice" in lines[1]
    heading = next(line for line in lines if line.startswith("figure"))
    assert heading.split() == ["figure", "A", "B", "B", "-", "A", "95", "%", "interval"]
    success = next(line for line in lines if line.startswith("success")).split()
    assert float(success[2]) - float(success[1]) == pytest.approx(float(success[3]), abs=2e-3)
    assert lines[-1].split() == ["algorithm.name", "q-learning", "sarsa"]


def test_what_must_be_known_is_said(folder: Path) -> None:
    done = icemaze(folder, "compare", *ids(folder, "one", "plan"))
    assert done.returncode == 0
    assert "Different clocks" in done.stdout
    assert "Mazes differ" in done.stdout


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("one",), "Two to four runs"),
        (("one", "one"), "named twice"),
        (("one", "no"), "starts with"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, names: tuple[str, ...], said: str) -> None:
    given = [ids(folder, name)[0] if name != "no" else name for name in names]
    done = icemaze(folder, "compare", *given)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
