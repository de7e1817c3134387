"""Files written for an older engine still work: a user's own, and the copies runs keep of them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import factory, presets
from engine.algorithms.registry import algorithm_of
from engine.config import shipped
from engine.core import moved
from engine.core.errors import UserError
from engine.learning.events import encode
from engine.tabular.kernels.experience import MovingAlgorithm

pytestmark = pytest.mark.usefixtures("own_code_is_trusted")

OLD = Path(__file__).with_name("old_my_q.py")
"""The worked example as it stood before the engine got its folders."""
ROOT = Path(__file__).parents[2]

OTHER_BASE = '''
"""A file that takes from the engine what the worked example does not."""
from __future__ import annotations

from engine import tabular
from engine.errors import UserError
from engine.evaluate import greedy
from engine.maze import DIRECTIONS, build_mazes
from engine.mdp import build_mdps
from engine.presets import LlmPreset, Preset
from engine.settings import TemporalDifferenceSettings
from engine.solve import solve
from engine.tabular import features, q_learning
from engine.tabular.environment import Env, make_env
from engine.tabular.grpo import GRPOKnobs
from engine.tabular.moving import MovingAlgorithm, Size
from engine.tabular.policy_table import PolicyKnobs
from engine.tabular.q_table import Knobs, QTables


class MineSettings(TemporalDifferenceSettings, frozen=True, kw_only=True):
    """One more key, which is not used."""

    bad_news: float = 0.3


class Mine(q_learning.QLearning):
    """Q-learning that refuses a preset."""

    title = "Refusing Q-learning"
    settings = MineSettings

    def check(self, preset: Preset) -> None:
        assert not isinstance(preset, LlmPreset) and isinstance(self, MovingAlgorithm)
        mdp = build_mdps([maze for _, maze in build_mazes(preset.maze)])[0]
        raise UserError(f"{len(DIRECTIONS)} moves, {solve(mdp, 0.9).values.max():.2f}.")


ALGORITHM = Mine()
'''


def preset_of(folder: Path, code: str) -> Any:
    (folder / "my_q.py").write_text(code, "utf-8")
    shutil.copy(shipped.FOLDER / "examples" / "my-q.toml", folder)
    return presets.load(str(folder / "my-q.toml"), ["run.agents=2", "maze.slip=0.2"])


def trained(preset: Any) -> tuple[Any, Any]:
    """The tables and the figures after some steps of compiled code."""
    learner = factory.make_learner(preset)
    learner.prepare()
    events = [*learner.begin(), *learner.advance(2000), *learner.conclude()]
    return vars(learner)["tables"], [encode(event) for event in events]


@pytest.mark.slow
def test_an_old_file_learns_what_todays_learns(tmp_path: Path) -> None:
    now = shipped.FOLDER / "examples" / "my_q.py"
    texts = (OLD.read_text("utf-8"), now.read_text("utf-8"))
    assert texts[0] != texts[1]
    (old, old_events), (new, new_events) = (trained(preset_of(tmp_path, t)) for t in texts)
    assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    assert old_events == new_events and old.q.any()


OLD_HOOKS = """
    def beliefs(self, tables: Any) -> list[Array]:
        return [*super().beliefs(tables), tables.visits]

    def knob_metrics(self, knobs: Any, step: int) -> dict[str, float]:
        return {**super().knob_metrics(knobs, step), "bad_news": knobs.bad_news}

    def explain("""


def test_hooks_keep_their_old_names(tmp_path: Path) -> None:
    preset = preset_of(tmp_path, OLD.read_text("utf-8").replace("\n    def explain(", OLD_HOOKS))
    algorithm = algorithm_of(preset)
    assert isinstance(algorithm, MovingAlgorithm)
    learner = vars(factory.make_learner(preset))
    tables, hyperparameters = learner["tables"], learner["hyperparameters"]
    assert algorithm.learned_parameters(tables) == [tables.q, tables.visits]
    assert algorithm.hyperparameter_metrics(hyperparameters, 5)["bad_news"] == 0.3
    assert type(hyperparameters).__name__ == "MyQKnobs"
    own = {"make_knobs", "make_hyperparameters", "beliefs", "learned_parameters"}
    assert own <= set(dir(algorithm))


def test_an_old_file_may_derive_from_any_algorithm(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"4 moves, 0\.\d\d\."):
        preset_of(tmp_path, OTHER_BASE)


def test_a_name_that_never_was_is_told_in_one_sentence(tmp_path: Path) -> None:
    code = OTHER_BASE.replace("import DIRECTIONS", "import DIRECTION, DIRECTIONS")
    with pytest.raises(UserError, match=r"line 8: ImportError: cannot import name 'DIRECTION'"):
        preset_of(tmp_path, code)


@pytest.mark.slow
def test_gymnasium_finds_the_maze_by_the_import_the_readme_named() -> None:
    program = "import engine.gymnasium_env, gymnasium; print(gymnasium.make('IceMaze-v0').spec.id)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "IceMaze-v0", done.stderr


@pytest.mark.parametrize("old", moved.MOVED)
def test_an_old_module_has_the_names_of_the_new_one(old: str) -> None:
    module = importlib.import_module(old)
    for new in moved.MOVED[old]:
        names = [name for name in vars(importlib.import_module(new)) if not name.startswith("__")]
        assert all(hasattr(module, name) for name in names)
    assert not (ROOT / old.replace(".", "/")).with_suffix(".py").exists()


def test_the_engine_itself_uses_no_old_name() -> None:
    for file in [
        f for folder in ("engine", "tui", "presets") for f in (ROOT / folder).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                full = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
                assert not full & set(moved.MOVED), f"{file}:{node.lineno}"


def test_old_names_are_asked_for_last() -> None:
    finders = [type(finder) for finder in sys.meta_path]
    assert finders.index(moved.OldNames) > sys.meta_path.index(PathFinder)
    moved.install()
    assert sum(isinstance(finder, moved.OldNames) for finder in sys.meta_path) == 1
    assert importlib.util.find_spec("engine.no_such_module") is None


def test_an_old_file_is_known_by_its_algorithm(tmp_path: Path) -> None:
    assert algorithm_of(preset_of(tmp_path, OLD.read_text("utf-8"))).title.startswith("Hysteretic")
