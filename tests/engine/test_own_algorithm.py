"""A user's own algorithm: a file beside the preset, loaded, frozen with the run, compiled once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_tools import launched, wait_for

from engine import factory, presets
from engine.errors import UserError
from engine.runs import launch
from engine.runs.evaluation import evaluate_run
from engine.runs.reader import RunReader
from engine.tabular import compiling, registry
from engine.tabular.environment import Limits
from engine.tabular.learner import NO_LIMIT
from engine.tabular.tuning import tunable
from tui.widgets import setting_spec

EXAMPLES = presets.shipped_folder() / "examples"
CODE = (EXAMPLES / "my_q.py").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with the worked example in it."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("my_q.py", "my-q.toml"):
        shutil.copy(EXAMPLES / name, mine)
    return mine


def load(folder: Path, *overrides: str) -> presets.Preset:
    return presets.load(str(folder / "my-q.toml"), list(overrides))


# ---------------------------------------------------------------- loading


def test_the_example_is_a_preset_with_the_settings_of_its_file(folder: Path) -> None:
    preset = load(folder, "algorithm.bad_news=0.5")
    algorithm = presets.algorithm_of(preset)
    assert algorithm.title == "Hysteretic Q-learning" and algorithm.name == "file:my_q.py"
    assert algorithm.own_file and algorithm.own_file.path == folder / "my_q.py"
    assert presets.algorithm_name(preset) == "file:my_q.py"
    assert getattr(preset.algorithm, "bad_news") == 0.5  # noqa: B009 (its type is made at run time)
    assert isinstance(preset.algorithm, algorithm.settings)
    assert "bad_news" in tunable(algorithm.settings)


def test_it_is_not_listed_among_the_shipped_presets() -> None:
    assert "my-q" not in presets.shipped_names()
    assert not any(name.startswith(registry.OWN) for name in registry.MODULES)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algorithm.bad_news=2", "algorithm.bad_news: found 2, expected a number from 0 to 1."),
        ("algorithm.bad_new=0.5", "algorithm.bad_new: there is no such key. Did you mean 'bad_ne"),
        ("algorithm.learning_rate=yes", "algorithm.learning_rate: found"),
        ("algorithm.name=file:my_p.py", "there is no file"),
        ("algorithm.name=file:my-q.toml", "expected a Python file"),
    ],
)
def test_mistakes_in_the_preset_are_told_as_for_any_algorithm(
    folder: Path, override: str, says: str
) -> None:
    with pytest.raises(UserError) as error:
        load(folder, override)
    assert says in str(error.value) and "my-q.toml with --set" in str(error.value)


END = "ALGORITHM = MyQ()"
LAST = CODE.count("\n", 0, CODE.index(END)) + 1
"""The number of the line that says so."""
BAD = {
    "no ALGORITHM": (END, "", "the file has no ALGORITHM"),
    "the class": (END, "ALGORITHM = MyQ", "is the class MyQ; write ALGORITHM = MyQ()"),
    "something else": (END, "ALGORITHM = 7", "ALGORITHM is of type int; expected"),
    "an exception": (END, "1 / 0", f"line {LAST}: ZeroDivisionError: division by zero"),
    "an exit": (END, "raise SystemExit(3)", "SystemExit: 3"),
    "a syntax error": (END, "def", f"SyntaxError: invalid syntax (my_q.py, line {LAST})"),
    "a missing module": (END, "import my_helpers", "No module named 'my_helpers'"),
    "no title": ('    title = "Hysteretic Q-learning"\n', "", "MyQ does not say its title"),
    "wrong settings": ("settings = MyQSettings", "settings = dict", "settings is <class 'dict'>"),
    "no kernel": ("@kernel\n", "", "its kernel is no function marked with @kernel"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_what_is_wrong_with_the_file_is_one_sentence(folder: Path, mistake: str) -> None:
    old, new, says = BAD[mistake]
    assert CODE.count(old) == 1
    (folder / "my_q.py").write_text(CODE.replace(old, new), "utf-8")
    with pytest.raises(UserError) as error:
        load(folder)
    text = str(error.value)
    assert says in text and str(folder / "my_q.py") in text and "\n" not in text


def test_a_preset_of_the_library_may_not_use_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "shipped_folder", lambda: folder)
    with pytest.raises(UserError, match=r"a preset of the library may not use one"):
        presets.load("my-q")


def test_a_text_is_run_once_and_a_changed_one_anew(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    here, there = (presets.algorithm_of(load(where)) for where in (folder, other))
    assert here is presets.algorithm_of(load(folder))
    assert here.kernel is there.kernel and here is not there
    (folder / "my_q.py").write_text(CODE.replace('"Hysteretic Q-learning"', '"Mine"'), "utf-8")
    assert presets.algorithm_of(load(folder)).title == "Mine"
    assert presets.algorithm_of(load(other)).title == "Hysteretic Q-learning"


def test_it_reads_back_from_its_own_toml(folder: Path) -> None:
    preset = load(folder, "algorithm.bad_news=0.25")
    assert presets.folder_of(preset) == folder
    again = presets.parse(presets.dump(preset), folder=folder)
    assert again == preset and 'name = "file:my_q.py"' in presets.dump(preset)


def test_the_form_shows_its_settings(folder: Path) -> None:
    preset = load(folder)
    found = {setting.key: setting for setting in setting_spec.settings(preset)}
    assert found["algorithm.bad_news"].limits == "0 to 1" and found["algorithm.bad_news"].tunable
    draft = setting_spec.Draft(preset)
    assert "expected a number from 0 to 1" in draft.set("algorithm.bad_news", "3")
    assert draft.set("algorithm.bad_news", "0.9") == ""
    assert draft.preset() == load(folder, "algorithm.bad_news=0.9")


# ---------------------------------------------------------------- what it computes


@pytest.mark.filterwarnings("ignore:overflow")  # the generator's arithmetic is modulo 2^64
def test_with_all_of_the_bad_news_it_is_q_learning(folder: Path) -> None:
    changes = ["run.agents=2", "maze.slip=0.5", "maze.rewards={goal=1, step=-0.1}"]
    text = (folder / "my-q.toml").read_text("utf-8")
    shelf = text.replace("file:my_q.py", "q-learning").replace("bad_news = 0.3\n", "")
    mine, theirs, deaf = (
        q_after(300, preset)
        for preset in (
            load(folder, "algorithm.bad_news=1.0", *changes),
            presets.parse(shelf, overrides=changes),
            load(folder, "algorithm.bad_news=0.0", *changes),
        )
    )
    assert (mine == theirs).all() and mine.min() < 0
    assert deaf.min() == 0  # every step costs something, and it hears of no disappointment


def q_after(steps: int, preset: presets.Preset) -> Any:
    """Q [N,O,A] after so many steps, the kernel run as plain Python."""
    arguments = call_of(preset, steps)
    presets.algorithm_of(preset).kernel(*arguments)
    return arguments[2].q


def call_of(preset: presets.Preset, steps: int) -> tuple[Any, ...]:
    """The arguments with which the learner of a preset calls its kernel."""
    parts = vars(factory.make_learner(preset))
    names = ("env", "agents", "tables", "knobs", "trace")
    return (*(parts[name] for name in names), Limits(steps, NO_LIMIT, NO_LIMIT))


# ---------------------------------------------------------------- runs


def test_a_run_keeps_a_copy_and_goes_on_with_it(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sub = folder / "deeper"
    sub.mkdir()
    (folder / "my_q.py").rename(sub / "my_q.py")
    preset = load(folder, "algorithm.name=file:deeper/my_q.py", "budget.env_steps=1e9")
    with launched(preset, runs) as reader:
        wait_for(reader, lambda head: head.state == "running" and head.step > 0)
        (said,) = [note.text for note in reader.notes() if "your own algorithm" in note.text]
        assert str(sub / "my_q.py") in said and "trusted code" in said
        reader.wait_reply(reader.send("stop"), 60)
        wait_for(reader, lambda head: head.ended)
        run_dir = reader.path
    (sub / "my_q.py").write_text("raise RuntimeError('the original is not used any more')")
    own = presets.algorithm_of(RunReader(run_dir).info().preset).own_file
    assert own and own.path == run_dir / "my_q.py" and own.source == CODE.encode()
    with RunReader(run_dir) as reader:
        meta = reader.meta()["algorithm_file"]
        assert meta == {"name": "my_q.py", "from": str(sub / "my_q.py"), "sha256": own.sha256}
        assert evaluate_run(reader, ["maze.slip=0.1"]).agents == 16
        before = reader.head().step
        launch.start_worker(run_dir, resume=True, overrides=[f"budget.env_steps={before + 1000}"])
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        assert reader.head().step == before + 1000


def test_a_copy_that_was_changed_is_not_run(folder: Path, tmp_path: Path) -> None:
    run_dir = launch.create_run(load(folder), "my-q", runs_dir=tmp_path / "runs")
    trap = tmp_path / "trap"
    (run_dir / "my_q.py").write_text(f"open({str(trap)!r}, 'w')")
    with RunReader(run_dir) as reader, pytest.raises(UserError, match=r"was changed after the run"):
        reader.info()
    with pytest.raises(UserError, match=r"so its code was not run"):
        launch.start_worker(run_dir, resume=True)
    assert not trap.exists()


# ---------------------------------------------------------------- compiling

COMPILE = """
import sys
from engine import factory, presets
learner = factory.make_learner(presets.load(sys.argv[1]))
print(bool(learner.preparation()))
learner.prepare()
learner.begin()
learner.advance(100)
print(bool(learner.preparation()))
"""


def test_its_machine_code_is_kept_by_its_text(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(tmp_path / "cache"))
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    said = []
    for where in (folder, other):
        program = [sys.executable, "-c", COMPILE, str(where / "my-q.toml")]
        said.append(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert [text.split() for text in said] == [["True", "False"], ["False", "False"]]
    kernel = presets.algorithm_of(load(folder)).kernel
    assert not compiling.needs_compiling(kernel)
    (folder / "my_q.py").write_text(CODE + "\n# another text\n", "utf-8")
    assert compiling.needs_compiling(presets.algorithm_of(load(folder)).kernel)
