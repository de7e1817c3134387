"""`icemaze export`, `share`, `open --plain`, completion and the examples in every help."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_tools import icemaze, objects

from engine import presets
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter
from tui.cli.main import app
from tui.cli.sharing import plain
from tui.cli.shell import completion
from tui.cli.shell.examples import EXAMPLES

pytestmark = pytest.mark.slow


# ---------------------------------------------------------------- export and share


def test_export_says_where_and_refuses_in_one_sentence(recording: Path, tmp_path: Path) -> None:
    runs, out = recording.parent, tmp_path / "tables"
    done = icemaze(runs, "export", "--to", "csv", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"was written to {out}: episodes.csv, metrics.csv, points.csv" in done.stdout
    again = icemaze(runs, "export", "--to", "csv", "--out", str(out))
    assert again.returncode == 2 and "is there already" in again.stderr
    assert again.stderr.count("\n") == 1
    (told,) = objects(
        icemaze(runs, "export", recording.name, "--out", str(tmp_path / "a.svg"), "--json").stdout
    )
    assert told == {"run": recording.name, "format": "svg", "path": str(tmp_path / "a.svg")}
    assert (tmp_path / "a.svg").is_file()


def test_a_shared_line_is_what_the_run_was_started_with(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = recording.parent
    line = icemaze(runs, "share").stdout.strip()
    assert line == icemaze(runs, "share", recording.name[:15]).stdout.strip()
    with RunReader(recording) as reader:
        preset = reader.info().preset
    (shown,) = objects(icemaze(runs, "presets", "show", line, "--json").stdout)
    assert shown["title"] == preset.title and shown["run"]["seed"] == preset.run.seed
    started: list[Any] = []

    def no_worker(*arguments: Any, **_: Any) -> Path:
        started.append(arguments)
        return recording

    monkeypatch.setattr(launch, "launch", no_worker)
    assert icemaze(runs, "train", line, "--seed", "9", "--detach").returncode == 0
    assert icemaze(runs, "open", line, "--plain").returncode == 0
    assert [preset.run.seed for preset, _ in started] == [9, preset.run.seed]
    assert {name for _, name in started} == {preset.title}
    cut = icemaze(runs, "train", line[:-3])
    assert cut.returncode == 2 and "damaged" in cut.stderr
    assert presets.load(icemaze(runs, "share", "sarsa", "--set", "run.seed=4").stdout).run.seed == 4


# ---------------------------------------------------------------- names that are nearly right


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("train", "qlearning"), "Did you mean 'q-learning'?"),
        (("train", "nosuch"), "The nearest are '"),
        (("share", "sarsaa"), "Did you mean 'sarsa'?"),
        (("open", "learning"), "Did you mean '{run}'?"),
        (("open", "zzz"), "The nearest is '{run}'."),
        (("export", "--to", "cvs"), "Did you mean 'csv'?"),
        (("trian",), "Did you mean 'train'?"),
        (("presets", "shw"), "Did you mean 'show'?"),
        (("algorithms", "sarse"), "Did you mean 'sarsa'?"),
    ],
)
def test_a_name_that_is_nearly_right_is_told(
    recording: Path, arguments: tuple[str, ...], meant: str
) -> None:
    done = icemaze(recording.parent, *arguments)
    assert done.returncode == 2
    assert meant.format(run=recording.name) in done.stderr and len(done.stderr) < 400


# ---------------------------------------------------------------- plain text


def test_a_run_as_lines_has_all_that_matters_and_nothing_drawn(recording: Path) -> None:
    done = icemaze(recording.parent, "open", "--plain")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0] == f"Run {recording.name}: Across the ice."
    assert lines[1].startswith("Algorithm q-learning, 4 agents, seed 1. Begun ")
    assert lines[2].startswith("Finished at step 600: 100% of the budget used")
    assert any(line.startswith("Success rate: ") for line in lines)
    steps = [line for line in lines if line.startswith("Step ")]
    assert len(steps) == plain.NEWEST and all(", reward " in step for step in steps)
    assert "Estimate " in steps[-1] and "row " in steps[-1]
    assert lines[-1] == "The run is finished."
    assert all(char.isprintable() and not "\u2190" <= char <= "\u25ff" for char in "".join(lines))


def test_a_live_run_is_followed_to_its_end(
    recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer stands in for a worker: it holds the lock, notes something, and ends."""
    from engine.learning.events import Finished, Note
    from engine.runs.disk.lock import RunLock

    lock = RunLock.take(recording)
    assert lock is not None
    writer = RunWriter(recording)
    writer.set_meta(state="running")
    writer.commit()
    following = threading.Event()
    say = plain.say

    def heard(text: str = "") -> None:
        say(text)
        if text.startswith("Following"):
            following.set()

    def work() -> None:
        following.wait(60)
        writer.write([Note(step=601, level="warning", text="Slow.", remedy="Wait.")])
        counts = {"updates": 1, "episodes": 1, "total_env_steps": 1}
        writer.write([Finished(step=601, status="stopped", seconds=2.0, **counts)])
        writer.commit()
        writer.close()
        lock.close()

    monkeypatch.setattr(plain, "say", heard)
    worker = threading.Thread(target=work)
    worker.start()
    plain.follow(recording)
    worker.join()
    said = capsys.readouterr().out.splitlines()
    assert said[2].startswith("Running at step 600")
    assert "Warning at 601: Slow. Wait." in said
    assert said[-1].startswith("icemaze train --resume ")


# ---------------------------------------------------------------- a good citizen of the shell


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and group, by what is typed."""
    for name, command in group.commands.items():
        yield f"{path}{name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")


def test_every_help_ends_with_examples_that_are_real() -> None:
    root = typer.main.get_command(app)
    known = dict(commands(root))
    assert set(EXAMPLES) == set(known)
    for name, examples in EXAMPLES.items():
        help_text = known[name].get_help(known[name].make_context(name, [], resilient_parsing=True))
        for example in examples:
            assert f"\n    {example.line}\n" in help_text, help_text
            line = example.line.partition(" > ")[0]
            program, *arguments = shlex.split(line)
            words = name.split()
            assert program == "icemaze" and arguments[: len(words)] == words
            context = root.make_context(program, [words[0]], resilient_parsing=True)
            command = known[name]
            command.make_context(
                name, arguments[len(words) :], parent=context
            )  # raises for a mistake


def test_names_are_completed(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(recording.parent))
    assert completion.runs("") == [recording.name] and completion.runs("x") == []
    assert completion.presets("cliff") == ["cliff-q-learning", "cliff-sarsa"]
    assert completion.runs_and_presets("cliff-s") == ["cliff-sarsa"]
    assert "gspo" in completion.algorithms("") and completion.algorithms("sarsa") == [
        "sarsa",
        "sarsa-lambda",
    ]
    assert completion.terms("td-err") == ["td-error"]
    assert "explore-exploit" in completion.challenges("explore")
    assert completion.formats("t") == ["tensorboard"]
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(recording / "run.db"))  # no folder at all
    assert completion.runs("") == []


def test_a_shell_is_given_the_words(recording: Path) -> None:
    """The protocol of bash, as the installed script speaks it."""
    asked = {"_ICEMAZE_COMPLETE": "complete_bash"}
    for typed, word, wanted in (
        ("icemaze train cliff-s", "2", "cliff-sarsa"),
        ("icemaze open 2", "2", recording.name),
        ("icemaze exp", "1", "export"),
    ):
        done = icemaze(recording.parent, **asked, COMP_WORDS=typed, COMP_CWORD=word)
        assert done.stdout.split() == [wanted], done.stderr
