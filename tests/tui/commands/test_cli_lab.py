"""`icemaze lab`: the list, the runs with their comparison, the lesson, and the exit statuses."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from challenge_tools import CHALLENGE, COMPARE, GROWTH, make_lab
from cli_tools import DEADLINE, command, environment, icemaze, kill_workers, objects
from typer.testing import CliRunner, Result

from engine.config import shipped
from engine.experiments.lab import progress
from engine.experiments.lab.challenge import all_challenges
from engine.runs import library
from tui.cli.lab.command import terms
from tui.cli.main import app

pytestmark = pytest.mark.slow

CLAIM = COMPARE.replace('"value"', '"env_steps"').replace("0.5", "{}")
"""The remedy makes forty steps where the other makes twenty."""
LESSON = """# Small

## Look

Two runs.

```lesson
ask = "Which makes more steps?"
choices = ["the failing one", "the remedy"]
answer = 2
because = "It was told to."
```

```lesson
wait = {run = "failing", metric = "env_steps", at_least = 20}
```
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "presets")
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(progress, "default_file", lambda: tmp_path / "data" / "lab.json")
    folder = make_lab(tmp_path / "presets", CHALLENGE + CLAIM.format(20))
    remedy = folder / "small-remedy.toml"
    remedy.write_text(remedy.read_text("utf-8").replace("= 20", "= 40"), "utf-8")
    return folder


def ask(*arguments: str) -> Result:
    """A command in this process, where the lab is another."""
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_the_terms_of_every_shipped_challenge_are_in_the_glossary() -> None:
    assert all_challenges(terms())


def test_the_list_names_every_challenge(lab: Path) -> None:
    (found,) = objects(ask("lab", "--json").stdout)
    assert (found["name"], found["number"], found["failing"]) == ("small", 1, "small-failing")
    assert "1  small  not tried  Small: Which is larger?" in ask("lab").stdout
    (lab / "challenge.toml").write_text("number = 1", "utf-8")
    assert "title is missing" in ask("lab").stdout  # a broken one is listed with its mistake


def test_a_challenge_is_run_compared_and_kept(lab: Path) -> None:
    done = ask("lab", "run", "small", "--agents", "5", "--seed", "3")
    assert done.exit_code == 0, done.stdout
    text = done.stdout
    assert "1  small  tried  Small" in ask("lab").stdout
    assert "2 runs of 5 independent agents, 2 at a time" in text
    assert "success  env_steps (mean)  run" in text
    assert "kept    The remedy's figure is larger." in text
    assert "env_steps, mean of the agents: 40 against 20" in text
    assert "difference 20; no interval: all agents agree, and" in text
    assert "The claim was kept." in text
    runs = library.list_runs()
    assert {run.preset_name for run in runs} == {"small-failing", "small-remedy"}
    assert all(run.state == "finished" and run.id in text for run in runs)


def test_a_claim_that_is_not_kept_is_said_and_is_the_exit_status(lab: Path) -> None:
    (lab / "challenge.toml").write_text(CHALLENGE + CLAIM.format(21), "utf-8")
    done = ask("lab", "run", "1")
    assert done.exit_code == 1
    assert "BROKEN  The remedy's figure is larger." in done.stdout
    assert "Not kept: 1 of 1 claim." in done.stdout


def test_json_lines(lab: Path) -> None:
    done = ask("lab", "run", "small", "--json")
    assert done.exit_code == 0
    lines = objects(done.stdout)
    assert lines[0]["event"] == "started" and lines[0]["runs"] == 2
    assert {line["event"] for line in lines[1:-2]} <= {"run", "progress"}
    ended = {line["preset"]: line for line in lines if line["event"] == "run"}
    assert ended["small-remedy"]["env_steps"] == 40
    assert Path(ended["small-remedy"]["path"]).is_dir()
    claim, last = lines[-2:]
    assert (claim["event"], claim["claim"], claim["ok"]) == ("claim", "compare", True)
    assert (claim["value"], claim["low"], claim["high"]) == (20.0, None, None)
    assert "all agents agree" in claim["why"]  # four agents, who made the steps they had
    assert [claim["of_agents"][key] for key in ("figure", "low", "n", "reached")] == [
        40.0,
        None,
        4,
        4,
    ]
    assert (last["event"], last["status"], last["ok"]) == ("finished", "finished", True)
    assert [run["preset"] for run in last["results"]] == ["small-failing", "small-remedy"]


def test_growth_is_shown_with_its_exponents(lab: Path) -> None:
    text = GROWTH.replace('"value"', '"env_steps"').replace("at_least = 0.5", "at_most = 0.5")
    (lab / "challenge.toml").write_text(CHALLENGE + text, "utf-8")
    done = ask("lab", "run", "small")
    assert done.exit_code == 0, done.stdout
    assert "env_steps of small-failing as maze.size grows:" in done.stdout
    assert "It grows like cells to the power of 0; a table" in done.stdout
    assert "cells^1.00" in done.stdout
    assert "the exponent of small-failing minus that of small-remedy" in done.stdout


def test_check_all_runs_what_a_challenge_needs_once_and_judges_it(lab: Path) -> None:
    plain = lab.parents[1] / "plain.toml"
    own = '\n[[expect]]\nmetric = "env_steps"\nat_least = 20\n'
    plain.write_text((lab / "small-failing.toml").read_text("utf-8") + own, "utf-8")
    (lab / "small-failing.toml").write_text(plain.read_text("utf-8"), "utf-8")
    done = ask("presets", "check", "--all", "--json")
    assert done.exit_code == 0, done.stdout
    lines = objects(done.stdout)
    assert [line.get("preset") for line in lines] == [
        "plain",
        "small-failing",
        "small-remedy",
        None,
    ]
    assert all(line["ok"] for line in lines)
    assert lines[-1]["challenge"] == "small" and lines[-1]["claims"][0]["value"] == 20.0
    (lab / "challenge.toml").write_text(CHALLENGE + CLAIM.format(21), "utf-8")
    done = ask("presets", "check", "--all")
    assert done.exit_code == 1
    assert "FAILED  challenge 1: small" in done.stdout
    assert "ok      small-remedy" in done.stdout  # by itself it keeps what it says
    assert library.list_runs() == []  # a check leaves nothing behind


def test_the_lesson_is_plain_text_with_the_answers_at_the_end(lab: Path) -> None:
    (lab / "lesson.md").write_text(LESSON, "utf-8")
    text = ask("lab", "show", "small").stdout
    assert "? Which makes more steps?\n  1. the failing one\n  2. the remedy" in text
    assert "[Wait until env_steps of small-failing is at least 20]" in text
    answers = text.index("## Answers")
    assert text.index("2. the remedy. It was told to.") > answers > text.index("Two runs.")


def test_pages_that_belong_to_no_challenge_are_listed_and_shown(lab: Path) -> None:
    page = lab.parent / "pages" / "why-so.md"
    page.parent.mkdir()
    text = LESSON.replace('run = "failing"', 'run = "small-failing"')
    start = '```lesson\nstart = ["small-failing"]\n```\n'
    page.write_text(text.replace("Two runs.", start + "\nTwo runs."), "utf-8")
    assert "   why-so  not tried  Small (a lesson only)" in ask("lab").stdout
    told = objects(ask("lab", "--json").stdout)
    assert [(each["name"], each.get("page", False)) for each in told] == [
        ("small", False),
        ("why-so", True),
    ]
    text = ask("lab", "show", "why-so").stdout
    assert text.startswith("Small\n## 1. Look")
    assert text.index("2. the remedy. It was told to.") > text.index("## Answers")
    page.write_text("no heading", "utf-8")
    assert "why-so" in ask("lab").stdout  # a broken one is listed with its mistake
    assert "error" in objects(ask("lab", "--json").stdout)[1]


def test_mistakes_are_exit_status_2(tmp_path: Path) -> None:
    for arguments, message in BAD:
        done = icemaze(tmp_path, "lab", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert message in done.stderr and "Traceback" not in done.stderr


BAD: list[tuple[list[str], Any]] = [
    (["run", "sample-eficiency"], "Did you mean 'sample-efficiency'?"),
    (["show", "99"], "There is no challenge '99'."),
    (["show", "why-llms-are-hard"], "Did you mean 'why-llms-are-harder'?"),
    (["run", "sample-efficiency", "--agents", "1"], "--agents"),
]


def test_ctrl_c_stops_the_runs_with_their_checkpoints(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("lab", "run", "sample-efficiency", "--json"),
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        (started,) = objects(process.stdout.readline())
        assert started["event"] == "started"
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate()
        kill_workers(tmp_path)
    assert (process.returncode, errors) == (130, "")
    last = objects(rest)[-1]
    assert (last["event"], last["status"], last["ok"]) == ("finished", "stopped", False)
    assert all(run.state in ("stopped", "finished") for run in library.list_runs(tmp_path))
