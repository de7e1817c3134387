"""Kernels stay plain Python until compiled, and the compiled ones are found again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.core import compiling
from engine.tabular.algorithms import q_learning

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from engine.algorithms import registry
from engine.presets.schema import json_schema
json_schema()
for algorithm in registry.TABLES.all():
    assert callable(algorithm.kernel)
print(*sorted(name for name in ("numba", "torch", "textual", "rich") if name in sys.modules))
"""


def test_reading_an_algorithm_does_not_import_numba() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_the_cache_is_named_by_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(tmp_path))
    folder = compiling.cache_folder()
    assert folder.parent == tmp_path / "kernels"
    other = tmp_path / "other"
    for room in compiling.KERNEL_ROOMS:
        shutil.copytree(Path(compiling.__file__).parents[1] / room, other / room)
    monkeypatch.setattr(compiling, "__file__", str(other / "core" / "compiling.py"))
    assert compiling.cache_folder() == folder
    (other / "tabular" / "algorithms" / "q_learning.py").write_text("# changed")
    assert compiling.cache_folder() != folder


COMPILE = """
from engine import factory, presets
learner = factory.make_learner(presets.load("q-learning"))
print(bool(learner.preparation()))
learner.prepare()
print(bool(learner.preparation()))
"""


def test_the_first_compile_is_announced_and_the_second_start_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(tmp_path))
    said = [
        subprocess.run(
            [sys.executable, "-c", COMPILE], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["True", "False"], ["False", "False"]]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(blocker))
    said = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split()[0] == "True"


def test_a_kernel_is_still_a_python_function() -> None:
    assert q_learning.q_learning.__code__.co_filename.endswith("q_learning.py")
    assert compiling.compiled(q_learning.q_learning) is compiling.compiled(q_learning.q_learning)
