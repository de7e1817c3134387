"""A user's own algorithm: a file beside the preset, loaded, frozen with the run, compiled once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_tools import launched, run_here, wait_for

from engine import factory, presets
from engine.algorithms import registry
from engine.algorithms.registry import algorithm_of
from engine.config import shipped
from engine.config.preset import Preset, algorithm_name
from engine.config.shipped import shipped_names
from engine.core import compiling
from engine.core.errors import UserError
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.learning.events import Step
from engine.learning.tuning import tunable
from engine.runs import launch
from engine.runs.evaluation import evaluate_run
from engine.runs.reader import RunReader
from engine.tabular.kernels.environment import Limits
from engine.tabular.learner import NO_LIMIT
from tui.forms import setting_spec

pytestmark = pytest.mark.usefixtures("own_code_is_trusted")
EXAMPLES = shipped.FOLDER / "examples"
CODE = (EXAMPLES / "my_q.py").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with the worked example in it."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("my_q.py", "my-q.toml"):
        shutil.copy(EXAMPLES / name, mine)
    return mine


def load(folder: Path, *overrides: str) -> Preset:
    return presets.load(str(folder / "my-q.toml"), list(overrides))


# ---------------------------------------------------------------- loading


def test_the_example_is_a_preset_with_the_settings_of_its_file(folder: Path) -> None:
    preset = load(folder, "algorithm.bad_news=0.5")
    algorithm = algorithm_of(preset)
    assert algorithm.title == "Hysteretic Q-learning" and algorithm.name == "file:my_q.py"
    assert algorithm.custom_file and algorithm.custom_file.path == folder / "my_q.py"
    assert algorithm_name(preset) == "file:my_q.py"
    assert getattr(preset.algorithm, "bad_news") == 0.5  # noqa: B009 (its type is made at run time)
    assert isinstance(preset.algorithm, algorithm.settings)
    assert "bad_news" in tunable(algorithm.settings)


def test_it_is_not_listed_among_the_shipped_presets() -> None:
    assert "my-q" not in shipped_names()
    assert not any(name.startswith(CUSTOM_PREFIX) for name in registry.TABLES.names)


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
HOOK = "    def make_hyperparameters(self, settings: Any) -> Any:\n"
CLASS = "class MyQ(QTableAlgorithm):\n"
SETTING = "    bad_news: Annotated[\n"


def line_of(text: str, code: str = CODE) -> int:
    """The number of the line where a text that stands there once begins."""
    assert code.count(text) == 1
    return code.count("\n", 0, code.index(text)) + 1


LAST = line_of(END)
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
    "an interrupt": (END, "raise KeyboardInterrupt", f"line {LAST}: KeyboardInterrupt."),
    "a title that is none": ('title = "Hysteretic', 'title = 1 or "Hysteretic', "title is 1; exp"),
    "a formula that is none": ('formula = "', 'formula = 3 or "', "formula is 3; expected a text"),
    "no such kind of policy": (
        '"off-policy"',
        '"off"',
        "policy_type is 'off'; expected one of 'on",
    ),
    "no such family": (CLASS, f"{CLASS}    family = 'values'\n", "family is 'values'; expected o"),
    "names as one text": (CLASS, f"{CLASS}    figure_names = 'abc'\n", "figure_names is 'abc'; e"),
    "no method": (CLASS, f"{CLASS}    check = 3\n", "check is 3; expected a method: def check(s"),
    "a failing property": (
        CLASS,
        f"{CLASS}    idea = property(lambda self: 1 / 0)\n",
        f"line {line_of(CLASS) + 1}: ZeroDivisionError: division by zero",
    ),
    "an exception without words": (
        END,
        "class Odd(Exception):\n    def __str__(self): return 1\nraise Odd",
        f"line {LAST + 2}: Odd. Mend",
    ),
    "an unknown type of a setting": (
        SETTING,
        f"    worse: Floaty = 1\n{SETTING}",
        f"line {line_of(SETTING)}: the setting 'worse': NameError: name 'Floaty' is not defined",
    ),
    "a setting of no type of TOML's": (
        SETTING,
        f"    worse: complex = 1j\n{SETTING}",
        f"line {line_of(SETTING)}: the setting 'worse': TypeError: type <class 'complex'> is",
    ),
    "a setting of two types that cannot be told apart": (
        SETTING,
        f"    worse: list[int] | tuple[int, ...] = ()\n{SETTING}",
        f"line {line_of(SETTING)}: the setting 'worse': TypeError: Type unions may not contain",
    ),
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


def changed(folder: Path, old: str, new: str) -> None:
    """The user's file with one change."""
    assert CODE.count(old) == 1
    (folder / "my_q.py").write_text(CODE.replace(old, new), "utf-8")


CHECK = "    def check(self, preset):\n        "


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no\\nway')", "ValueError: no way (in check)."),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (in check)."),
        ("raise SystemExit", "SystemExit (in check)."),
    ],
)
def test_a_check_that_fails_names_the_line(folder: Path, body: str, says: str) -> None:
    changed(folder, HOOK, f"{CHECK}{body}\n\n{HOOK}")
    with pytest.raises(UserError) as error:
        load(folder)
    assert f"my_q.py, line {line_of(HOOK) + 1}: {says}" in str(error.value)


def test_a_check_of_other_arguments_is_told_without_a_line(folder: Path) -> None:
    changed(folder, HOOK, f"    def check(self):\n        pass\n\n{HOOK}")
    with pytest.raises(
        UserError, match=r"my_q\.py: TypeError: .*check\(\) takes 1 .*\(in check\)\."
    ):
        load(folder)


def test_what_a_check_refuses_is_told_as_it_is(folder: Path) -> None:
    changed(
        folder,
        HOOK,
        f"{CHECK}from engine.core.errors import UserError\n"
        f"        raise UserError('algorithm.bad_news: not on this map.')\n\n{HOOK}",
    )
    with pytest.raises(UserError, match=r"my-q\.toml: algorithm\.bad_news: not on this map\.$"):
        load(folder)


@pytest.mark.slow
def test_ctrl_c_while_the_file_is_run_is_still_ctrl_c(folder: Path) -> None:
    # In this thread, which runs the handler at its next jump back at the latest.
    changed(folder, END, "import signal\nsignal.raise_signal(2)\nfor _ in range(9): pass")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's `&` ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            load(folder)
    finally:
        signal.signal(signal.SIGINT, before)


STEP = Step(
    kind="real", step=1, episode=0, t=0, state=0, observation=0, action=1, reward=0.0,
    next_state=1, next_observation=1, before=0.0, target=0.0, error=0.0, after=0.0, step_size=0.1,
    gamma=0.9,
)  # fmt: skip
EXPLAIN = "        return explain_update(\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "raise ValueError('boom')",
            f"my_q.py, line {line_of(EXPLAIN)}: ValueError: boom (in expl",
        ),
        ("return 'words'", "my_q.py: TypeError: it gave 'words'; expected an Explanation (in expl"),
        ("return Explanation('', '', 3)", "my_q.py: TypeError: the words of its Explanation is 3;"),
    ],
)
def test_an_explanation_that_fails_is_a_user_error(folder: Path, body: str, says: str) -> None:
    changed(folder, EXPLAIN, f"        {body}\n{EXPLAIN}")
    algorithm = algorithm_of(load(folder))
    with pytest.raises(UserError) as error:
        algorithm.explain(STEP)
    assert str(error.value).startswith(says)


@pytest.mark.slow
def test_a_preset_of_the_library_may_not_use_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", folder)
    with pytest.raises(UserError, match=r"a preset of the library may not use one"):
        presets.load("my-q")


def test_a_text_is_run_once_and_a_changed_one_anew(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    here, there = (algorithm_of(load(where)) for where in (folder, other))
    assert here is algorithm_of(load(folder))
    assert here.kernel is there.kernel and here is not there
    (folder / "my_q.py").write_text(CODE.replace('"Hysteretic Q-learning"', '"Mine"'), "utf-8")
    assert algorithm_of(load(folder)).title == "Mine"
    assert algorithm_of(load(other)).title == "Hysteretic Q-learning"


def test_it_reads_back_from_its_own_toml(folder: Path) -> None:
    preset = load(folder, "algorithm.bad_news=0.25")
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


def q_after(steps: int, preset: Preset) -> Any:
    """Q [N,O,A] after so many steps, the kernel run as plain Python."""
    arguments = call_of(preset, steps)
    algorithm_of(preset).kernel(*arguments)
    return arguments[2].q


def call_of(preset: Preset, steps: int) -> tuple[Any, ...]:
    """The arguments with which the learner of a preset calls its kernel."""
    parts = vars(factory.make_learner(preset))
    names = ("env", "agents", "tables", "hyperparameters", "trace")
    return (*(parts[name] for name in names), Limits(steps, NO_LIMIT, NO_LIMIT))


# ---------------------------------------------------------------- runs


@pytest.mark.slow
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
    own = algorithm_of(RunReader(run_dir).info().preset).custom_file
    assert own and own.path == run_dir / "my_q.py" and own.source == CODE.encode()
    with RunReader(run_dir) as reader:
        meta = reader.meta()["algorithm_file"]
        assert meta == {"name": "my_q.py", "from": str(sub / "my_q.py"), "sha256": own.sha256}
        assert evaluate_run(reader, ["maze.slip=0.1"]).agents == 16
        before = reader.head().step
        launch.start_worker(run_dir, resume=True, overrides=[f"budget.env_steps={before + 1000}"])
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        assert reader.head().step == before + 1000


HYPER = "gamma = hyperparameters.gamma"
FAILING = {
    "a method": (
        "return MyQHyperparameters(", "return MyKnobs(", "NameError: name 'MyKnobs' is not d"
    ),
    "a method later on": (
        HOOK, f"    def target(self, *_):\n        return self.it\n\n{HOOK}", "AttributeError: "
    ),
    "a name in the kernel": (
        HYPER, "gamma = nothing", "NameError: name 'nothing' is not defined."
    ),
    "a type in the kernel": (
        HYPER, "gamma = hyperparameters.gama", "TypingError: Unknown attribute 'gama' of ty"
    ),
}  # fmt: skip


def failed(folder: Path, runs: Path) -> tuple[str, str, Path]:
    """What a run of the user's file says when it has failed, what would help, and its folder."""
    run_dir = launch.create_run(load(folder), "my-q", runs_dir=runs)
    assert not run_here(run_dir, factory.make_learner)
    with RunReader(run_dir) as reader:
        note = reader.notes()[-1]
        assert reader.state() == "failed" and reader.error() == note.text
    return note.text, note.remedy, run_dir


@pytest.mark.slow
@pytest.mark.parametrize("where", FAILING)
def test_a_run_that_fails_in_the_file_names_the_line_and_what_helps(
    folder: Path, tmp_path: Path, where: str
) -> None:
    old, new, says = FAILING[where]
    changed(folder, old, new)
    text, remedy, _ = failed(folder, tmp_path / "runs")
    line = line_of(old) + (1 if where == "a method later on" else 0)
    assert text.startswith(f"my_q.py, line {line}: {says}") and "\n" not in text
    assert f"Mend {folder / 'my_q.py'} and start a new run" in remedy and "--resume" not in remedy


@pytest.mark.slow
def test_an_error_of_compiled_code_names_the_kernel(folder: Path, tmp_path: Path) -> None:
    changed(folder, "target = r + gamma", "target = r + 1 / (s - s) + gamma")
    text, remedy, _ = failed(folder, tmp_path / "runs")
    assert text.startswith("my_q.py, in the kernel (") and "ZeroDivisionError" in text
    assert "Mend" in remedy and "--resume" not in remedy


def test_a_failure_outside_the_file_may_be_resumed(folder: Path, tmp_path: Path) -> None:
    def make(preset: Preset) -> Any:
        raise MemoryError("no room")

    run_dir = launch.create_run(load(folder), "my-q", runs_dir=tmp_path / "runs")
    assert not run_here(run_dir, make)
    with RunReader(run_dir) as reader:
        note = reader.notes()[-1]
    assert note.text == "MemoryError: no room"
    assert f"--resume {run_dir.name}` goes on" in note.remedy
    assert "if my_q.py is to blame: Mend" in note.remedy


def test_a_copy_that_was_changed_is_not_run(folder: Path, tmp_path: Path) -> None:
    run_dir = launch.create_run(load(folder), "my-q", runs_dir=tmp_path / "runs")
    trap = tmp_path / "trap"
    (run_dir / "my_q.py").write_text(f"open({str(trap)!r}, 'w')")
    with RunReader(run_dir) as reader:
        assert algorithm_of(reader.info().preset).title == "Hysteretic Q-learning"
    with pytest.raises(UserError, match=r"changed after the run .* so its code was not run"):
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


@pytest.mark.slow
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
    kernel = algorithm_of(load(folder)).kernel
    assert not compiling.needs_compiling(kernel)
    (folder / "my_q.py").write_text(CODE + "\n# another text\n", "utf-8")
    assert compiling.needs_compiling(algorithm_of(load(folder)).kernel)
