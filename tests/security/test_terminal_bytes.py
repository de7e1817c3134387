"""What a model, a preset, a file name or an error says never commands the terminal."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hostile import ALL, FILE, PARTS, SEEN, dangers
from real_terminal import Terminal

from engine import presets
from engine.config.preset import LlmPreset
from engine.learning.events import Finished, Group, Member, Metric, Note, Pair, Policy, Update
from engine.llm.worlds import make_sets
from engine.presets.toml import inline
from engine.runs import launch
from engine.runs.lists import labels
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

PRESET = """
title = {title}
summary = {title}
group = "llm"
[maze]
map = '''
SF
FG
'''
max_steps = 8
[model]
name = "smollm2-135m"
{more}
[algorithm]
name = "rloo"
episodes = 8
group_size = 4
[budget]
updates = 8
"""
SAY = "import sys, json; from tui.cli.main import run; [run(a) for a in json.loads(sys.argv[1])]"


def preset(more: str = "", title: str = ALL) -> LlmPreset:
    made = presets.parse(PRESET.format(title=inline(title), more=more))
    assert isinstance(made, LlmPreset)
    return made


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run in which everything that can be said is hostile."""
    monkeypatch.setattr(launch, "check_fit", lambda *_: None)
    made = preset('policy = "route"\nmax_tokens = 8')
    path = launch.create_run(made, "hostile", runs_dir=tmp_path / "runs")
    write(path, made)
    return path.parent


def write(path: Path, made: LlmPreset) -> None:
    """What the run recorded, without a model."""
    train, _ = make_sets(made.maze, 0.99)
    mdp = train.mdps[0]
    table = np.full((mdp.n_observations, mdp.n_actions), 0.25, np.float32)
    figures = train.figures(table[None].astype(np.float64))
    member = Member(
        actions=(2, 1), states=(0, 1, 3), total=1.0, advantage=0.5, success=True,
        terminated=True, truncated=False, text=ALL, tokens=(ALL, *PARTS.values()),
        log_probs=(-1.0,) * (1 + len(PARTS)), parts={ALL: 1.0},
    )  # fmt: skip
    writer = RunWriter(path)
    counts = {"updates": 1, "episodes": 8, "total_env_steps": 16}
    writer.write([
        *train.events(),
        Note(step=0, level="error", text=ALL, remedy=ALL, term=ALL),
        Update(step=1, metrics={"loss": Metric(0.1, 0.1, 0.1, 1)}, **counts),
        train.evaluation(1, figures),
        Policy(step=1, target=table, behaviour=table, q=None, values=table[:, 0],
               visits=table.astype(np.int64)),
        Group(step=1, world_id=0, index=0, size=4, prompt=ALL, members=(member,) * 4),
        Pair(step=1, index=0, prompt=ALL, texts=(ALL, ALL[::-1])),
        Finished(step=1, status="failed", seconds=1.0, error=ALL, **counts),
    ])  # fmt: skip
    writer.commit()
    writer.close()
    with contextlib.closing(sqlite3.connect(path / "run.db")) as store, store:
        for key in ("title", "preset_name"):
            store.execute(
                "UPDATE meta SET value = ? WHERE key = ?", (json.dumps(ALL + "\ud800"), key)
            )


def test_commands_say_it_without_its_commands(runs: Path, tmp_path: Path) -> None:
    (run,) = (path.name for path in runs.iterdir() if path.is_dir())
    shutil.copytree(runs / run, runs / FILE[:120])
    file = tmp_path / f"{FILE[:60]}.toml"
    file.write_text(PRESET.format(title=inline(ALL), more=""))
    broken = tmp_path / "broken.toml"
    wrong = f"{inline(FILE)} = {inline(FILE)}"
    broken.write_text(PRESET.format(title=inline(ALL), more=wrong))
    commands = [
        ["runs"], ["status", run], ["status", FILE], ["compare", run, run],
        ["presets", "show", str(file)], ["presets", "check", str(broken)],
        ["presets", "show", FILE], ["train", FILE], ["train", str(broken)],
        ["train", "q-learning-first-run", "--set", FILE],
        ["train", str(file), "--set", f"model.name={FILE}"], ["models", "get", FILE],
        ["glossary", FILE], ["eval", FILE], ["open", FILE], ["rm", FILE, "--yes"], [FILE],
        ["stop", FILE], ["sweep", FILE], ["lab", FILE], ["play", FILE],
        ["train", "--resume", FILE], ["runs", f"--{FILE}"], ["export", FILE], ["share", FILE],
        ["export", run, "--to", FILE], ["export", run, "--out", str(file.with_suffix(".html"))],
        ["open", FILE, "--plain"], ["open", run, "--plain"], ["train", f"im1:{FILE}"],
        ["train", "--resume", FILE], ["runs", f"--{FILE}"], ["runs", FILE], ["runs", f"{FILE}=1"],
        ["runs", f"success>{FILE}"], ["runs", "--sort", FILE], ["rename", run, FILE],
        ["presets", "diff", FILE, str(file)], ["presets", "diff", str(file), "q-learning"],
    ]  # fmt: skip
    (runs / run / labels.FILE).write_text(json.dumps({"title": ALL[:90]}), "utf-8")
    with Terminal("-c", SAY, json.dumps(commands), ICEMAZE_RUNS_DIR=str(runs)) as terminal:
        said = terminal.end()
    assert terminal.code == 0 and said.count(SEEN.encode()) > 12
    assert dangers(said) == []
    assert b"Traceback" not in said and b"should not happen" not in said


def test_json_stays_json(runs: Path) -> None:
    (run,) = (path.name for path in runs.iterdir() if path.is_dir())
    commands = [["runs", "--json"], ["status", run, "--json"], ["status", FILE, "--json"]]
    with Terminal("-c", SAY, json.dumps(commands), ICEMAZE_RUNS_DIR=str(runs)) as terminal:
        said = terminal.end()
    assert dangers(said) == []
    objects = [json.loads(line) for line in said.decode().splitlines()]
    assert len(objects) == 3 and objects[0]["title"] == ALL + "\ud800"


def test_the_app_shows_it_without_its_commands(runs: Path) -> None:
    for path in filter(Path.is_dir, runs.iterdir()):
        (path / labels.FILE).write_text(json.dumps({"title": ALL[:90]}), "utf-8")
    with Terminal("-m", "tui.start", ICEMAZE_RUNS_DIR=str(runs), ICEMAZE_ASCII="0") as terminal:
        terminal.wait_for(SEEN)  # the title, in the list of runs
        terminal.press("\t", "Delete")
        terminal.press("\r", "Trajectory log")
        terminal.wait_for("It has failed")
        terminal.press("n", "newest first")
        terminal.press("\x1b", "Trajectory log")
        terminal.press("u", "What the model wrote")
        terminal.press("p", "]CLICK[/]")
        terminal.press("\x1b", "Trajectory log")
        terminal.press("q", "Presets")
        terminal.press("q", "\x1b[?1049l")
        said = terminal.end()
    assert terminal.code == 0 and dangers(said) == []
