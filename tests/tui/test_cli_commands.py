"""The commands that look at runs, presets and the machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
from cli_tools import ENDLESS, LAKE, icemaze, kill_workers, objects, status, wait_until

from engine import presets
from engine.config.shipped import find_preset, shipped_names
from engine.env.build_mdp import build_mdp
from engine.exact.evaluate import evaluate
from engine.presets.schema import json_schema
from engine.runs.reader import RunReader
from tui.cli.doctor import finding, machine, machine_llm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with one finished run, and its id."""
    runs_dir = tmp_path_factory.mktemp("runs")
    done = icemaze(runs_dir, "train", LAKE, "--json")
    return runs_dir, objects(done.stdout)[-1]["run"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with one endless run, and its id."""
    done = icemaze(tmp_path, "train", LAKE, "--detach", "--json", *ENDLESS)
    yield tmp_path, objects(done.stdout)[0]["run"]
    kill_workers(tmp_path)


# ---------------------------------------------------------------- runs


def test_runs_lists_in_words_and_as_objects(shelf: tuple[Path, str]) -> None:
    runs_dir, run = shelf
    text = icemaze(runs_dir, "runs").stdout
    assert run in text and "A lake for the tests" in text and "finished" in text
    (found,) = objects(icemaze(runs_dir, "runs", "--json").stdout)
    assert found["run"] == run and found["state"] == "finished" and found["success_rate"] == 1.0
    assert icemaze(runs_dir / "none", "runs", "--json").stdout == ""


def test_runs_dir_may_stand_before_or_after_the_command(shelf: tuple[Path, str]) -> None:
    runs_dir, run = shelf
    elsewhere = runs_dir / "elsewhere"
    for arguments in (
        ["--runs-dir", str(runs_dir), "runs"],
        ["runs", "--runs-dir", str(runs_dir)],
        ["status", f"--runs-dir={runs_dir}"],
    ):
        assert run in icemaze(elsewhere, *arguments).stdout


def test_status_takes_a_prefix_or_the_latest(shelf: tuple[Path, str]) -> None:
    runs_dir, run = shelf
    assert status(runs_dir, run[:10]) == status(runs_dir, run)
    (latest,) = objects(icemaze(runs_dir, "status", "--json").stdout)
    assert latest["run"] == run and latest["state"] == "finished" and latest["progress"] == 1.0
    unknown = icemaze(runs_dir, "status", "zzz", "--json")
    assert unknown.returncode == 2
    assert "starts with 'zzz'" in objects(unknown.stdout)[0]["message"]


def test_pause_resume_and_stop_change_the_state(live: tuple[Path, str]) -> None:
    runs_dir, run = live
    wait_until(runs_dir, run, lambda s: s["env_steps"] > 0)
    (paused,) = objects(icemaze(runs_dir, "pause", run, "--json").stdout)
    assert paused["state"] == "paused"
    assert status(runs_dir, run)["env_steps"] == paused["env_steps"]
    (going,) = objects(icemaze(runs_dir, "resume", run, "--json").stdout)
    assert going["state"] == "running"
    wait_until(runs_dir, run, lambda s: s["env_steps"] > paused["env_steps"])
    refused = icemaze(runs_dir, "rm", run)
    assert refused.returncode == 2 and "is live" in refused.stderr
    (stopped,) = objects(icemaze(runs_dir, "stop", run, "--json").stdout)
    assert stopped["state"] == "stopped"
    assert icemaze(runs_dir, "pause", run).returncode == 2
    assert icemaze(runs_dir, "rm", run).returncode == 0
    assert not (runs_dir / run).exists()


def test_rm_wants_a_name_and_says_what_it_deletes(tmp_path: Path) -> None:
    run = objects(icemaze(tmp_path, "train", LAKE, "--json").stdout)[-1]["run"]
    for words in ([], ["--yes"], ["--yes", "--json"]):
        refused = icemaze(tmp_path, "rm", *words)
        assert refused.returncode == 2 and (tmp_path / run).is_dir()
        assert f"say which run to delete; the newest is {run} (finished, " in (
            refused.stdout + refused.stderr
        )
    (removed,) = objects(icemaze(tmp_path, "rm", run, "--yes", "--json").stdout)
    assert removed["run"] == run and removed["title"] and not (tmp_path / run).exists()


# ---------------------------------------------------------------- eval


def test_eval_repeats_the_last_figures_in_the_same_maze(shelf: tuple[Path, str]) -> None:
    runs_dir, run = shelf
    (found,) = objects(icemaze(runs_dir, "eval", run, "--json").stdout)
    assert found["agents"] == 16 and found["success_rate"] == 1.0
    assert found["expected_return"] == pytest.approx(0.95**5, abs=1e-9)
    assert "of 16 agents" in icemaze(runs_dir, "eval", run).stdout


def test_eval_in_a_slippery_maze_is_exact(tmp_path: Path) -> None:
    done = icemaze(tmp_path, "train", LAKE, "--set", "run.agents=1", "--json")
    run = objects(done.stdout)[-1]["run"]
    (found,) = objects(icemaze(tmp_path, "eval", run, "--set", "maze.slip=0.5", "--json").stdout)
    with RunReader(tmp_path / run) as reader:
        policy, world = reader.policy_at(), reader.world_at(0)
    assert policy is not None and world is not None
    slippery = build_mdp(msgspec.structs.replace(world.maze, slip=0.5))
    exact = evaluate(slippery, policy.target, gamma=0.95)
    assert found["success_rate"] == pytest.approx(float(exact.success_rate), abs=1e-6)
    assert found["expected_length"] == pytest.approx(float(exact.expected_length), abs=1e-4)
    assert 0 < found["expected_return"] < found["optimal_return"] <= found["horizon_optimum"]


def test_eval_takes_place_in_the_map_the_run_has_come_to(tmp_path: Path) -> None:
    mirrored = """maze.changes=[{step = 100, map = "SFFF\\nHFHF\\nFFFH\\nGFFH"}]"""
    done = icemaze(tmp_path, "train", LAKE, "--set", mirrored, "--json")
    trained = objects(done.stdout)[-1]
    assert trained["optimal_return"] != pytest.approx(0.95**5, abs=1e-3)
    for change in ([], ["--set", "maze.slip=0.0"]):
        (found,) = objects(icemaze(tmp_path, "eval", *change, "--json").stdout)
        assert found["optimal_return"] == pytest.approx(trained["optimal_return"], abs=1e-12)
        assert found["expected_return"] == pytest.approx(trained["expected_return"], abs=1e-9)


def test_eval_on_another_map_of_the_same_size(shelf: tuple[Path, str]) -> None:
    runs_dir, run = shelf
    walled_in = 'maze.map="SHFF\\nFFFF\\nFFFF\\nFFFG"'
    (found,) = objects(icemaze(runs_dir, "eval", run, "--set", walled_in, "--json").stdout)
    assert found["optimal_return"] == pytest.approx(0.95**5, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("algorithm.gamma=0.5", "changes only the maze"),
        ("maze.size=5", "learned 16 observations and 4 actions, the changed maze has 25"),
        ('maze.map="SFFFFFFF\\nFFFFFFFG"', "learned on 4x4 cells, the changed maze has 2x8"),
        ("maze.observation=neighbourhood", "learned with maze.observation = 'cell'"),
        ("maze.slip=2", "maze.slip: found 2, expected a number from 0 to 1"),
        ("maze.slp=0.5", "Did you mean 'slip'?"),
        ('maze.map="SHFF\\nHFFF\\nFFFF\\nFFFG"', "no way from a start to the goal"),
    ],
)
def test_eval_refuses_what_does_not_fit(shelf: tuple[Path, str], change: str, said: str) -> None:
    runs_dir, run = shelf
    done = icemaze(runs_dir, "eval", run, "--set", change)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


# ---------------------------------------------------------------- presets


def test_presets_list_has_one_object_per_preset(tmp_path: Path) -> None:
    found = objects(icemaze(tmp_path, "presets", "list", "--json").stdout)
    assert sorted(item["name"] for item in found) == shipped_names()
    assert all(set(item) == {"name", "group", "title", "summary"} for item in found)
    text = icemaze(tmp_path, "presets", "list").stdout
    assert all(item["name"] in text and item["title"] in text for item in found)


def test_presets_show_prints_the_file_and_the_overridden_preset(tmp_path: Path) -> None:
    shown = icemaze(tmp_path, "presets", "show", "first-steps").stdout
    assert shown == find_preset("first-steps").read_text("utf-8")
    changed = icemaze(tmp_path, "presets", "show", "first-steps", "--set", "maze.slip=0.5").stdout
    assert presets.parse(changed).maze.slip == 0.5
    (found,) = objects(icemaze(tmp_path, "presets", "show", "first-steps", "--json").stdout)
    assert found["name"] == "first-steps" and found["run"]["agents"] == 16


def test_the_schema_describes_the_shipped_presets(tmp_path: Path) -> None:
    schema = json.loads(icemaze(tmp_path, "presets", "schema").stdout)
    assert schema == json_schema() and schema["$schema"].endswith("2020-12/schema")
    keys = schema["$defs"]["Preset"]["properties"]
    assert {"title", "maze", "algorithm", "budget", "run", "expect"} <= set(keys)
    assert {"model", "warmup", "reward"} <= set(schema["$defs"]["LlmPreset"]["properties"])


PROMISES = """
title = "Promises"
[maze]
map = '''
SF
FG
'''
[algorithm]
name = "value-iteration"
[budget]
updates = 50
"""
KEPT = "[[expect]]\nmetric = 'success_rate'\nat_least = 1.0\nat_most = 1.0\n"
BROKEN = "[[expect]]\nmetric = 'expected_length'\nat_most = 1.5\n"
UNKNOWN = "[[expect]]\nmetric = 'succes_rate'\nat_least = 0.5\n"


def test_check_verifies_claims(tmp_path: Path) -> None:
    good, bad, odd = (tmp_path / f"{name}.toml" for name in ("good", "bad", "odd"))
    good.write_text(PROMISES + KEPT)
    bad.write_text(PROMISES + KEPT + BROKEN)
    odd.write_text(PROMISES + UNKNOWN)
    runs_dir = tmp_path / "runs"
    assert icemaze(runs_dir, "presets", "check", str(good)).returncode == 0
    done = icemaze(runs_dir, "presets", "check", str(good), str(bad), str(odd), "--json")
    kept, broken, unknown = objects(done.stdout)
    assert done.returncode == 1
    assert [kept["ok"], broken["ok"], unknown["ok"]] == [True, False, False]
    assert [claim["ok"] for claim in broken["claims"]] == [True, False]
    assert broken["claims"][1]["found"] == 2.0
    assert unknown["claims"][0]["found"] is None
    assert "Did you mean 'success_rate'?" in unknown["claims"][0]["problem"]
    assert not runs_dir.exists()


def test_check_reads_all_presets_before_it_runs_one(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(PROMISES.replace("updates = 50", "updates = 0"))
    done = icemaze(tmp_path, "presets", "check", LAKE, str(wrong))
    assert (done.returncode, done.stdout) == (2, "") and "budget.updates: found 0" in done.stderr


# ---------------------------------------------------------------- the rest


def test_glossary_finds_terms_and_symbols(tmp_path: Path) -> None:
    by_name = icemaze(tmp_path, "glossary", "TD", "error").stdout
    assert "δ" in by_name and by_name == icemaze(tmp_path, "glossary", "δ").stdout
    assert "td-error" in icemaze(tmp_path, "glossary").stdout
    unknown = icemaze(tmp_path, "glossary", "advantge")
    assert unknown.returncode == 2 and "Did you mean 'advantage'?" in unknown.stderr
    plain = icemaze(tmp_path, "glossary", "discount", PYTHONIOENCODING="ascii").stdout
    assert plain.isascii() and "gamma" in plain


@pytest.fixture(scope="module")
def examined_once() -> Iterator[None]:
    """Numba and torch are asked in processes of their own, once for all tests."""
    asked = cache(finding.probe)
    with pytest.MonkeyPatch.context() as patch:
        for place in (machine, machine_llm):
            patch.setattr(place, "probe", asked)
        yield


@pytest.mark.usefixtures("examined_once")
def test_doctor_examines_the_machine(tmp_path: Path) -> None:
    done = icemaze(tmp_path, "doctor", "--json")
    found = {item["check"]: item for item in objects(done.stdout)}
    assert done.returncode == 0 and found["Kernels"]["level"] == "ok"
    assert {"Python", "Packages", "Cores", "Kernel cache", "Runs folder", "GPU"} <= set(found)
    assert str(tmp_path) in found["Runs folder"]["text"]


@pytest.mark.usefixtures("examined_once")
def test_doctor_says_when_runs_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    done = icemaze(file, "doctor", "--json")
    (folder,) = [item for item in objects(done.stdout) if item["check"] == "Runs folder"]
    assert done.returncode == 1 and folder["level"] == "bad" and "--runs-dir" in folder["remedy"]


@pytest.mark.parametrize("arguments", [[], ["open"]])
def test_the_app_needs_a_terminal(shelf: tuple[Path, str], arguments: list[str]) -> None:
    done = icemaze(shelf[0], *arguments)
    assert done.returncode == 2 and "needs a terminal" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["presets", "shw"], "Did you mean 'show'?"),
        (["presets", "show"], "Missing argument"),
        (["runs", "--jsonn"], "Did you mean '--json'?"),
        (["train", "first-steps", "extra"], "unexpected extra argument"),
        (["eval", "--set"], "requires an argument"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = icemaze(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1 and "--help" in done.stderr


def test_version_and_help_succeed(tmp_path: Path) -> None:
    assert icemaze(tmp_path, "--version").stdout.startswith("icemaze ")
    for arguments in (["--help"], ["train", "--help"], ["presets", "check", "-h"]):
        done = icemaze(tmp_path, *arguments)
        assert done.returncode == 0 and "Usage: icemaze" in done.stdout


def test_foreign_text_cannot_reach_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "evil.toml"
    file.write_text(PROMISES.replace('"Promises"', '"\\u001b[31mred\\u001b]0;title\\u0007 ice"'))
    done = icemaze(tmp_path, "train", str(file))
    listed = icemaze(tmp_path, "runs")
    assert done.returncode == 0 and "red ice" in done.stdout and "red ice" in listed.stdout
    assert "\x1b" not in done.stdout + done.stderr + listed.stdout


# ---------------------------------------------------------------- forks


def test_a_fork_names_its_parent_everywhere_and_lines_up_with_it(
    shelf: tuple[Path, str], tmp_path: Path
) -> None:
    parent = tmp_path / shelf[1]
    shutil.copytree(shelf[0] / shelf[1], parent)
    (end,) = objects(icemaze(tmp_path, "status", "--json").stdout)
    with RunReader(parent) as reader:
        kept = reader.timeline.checkpoints()
    chosen = kept[len(kept) // 2]
    refused = icemaze(tmp_path, "fork", "--at", str(chosen), "--set", "maze.slip=0.5")
    assert refused.returncode == 2
    assert refused.stderr.startswith("icemaze: maze.slip cannot be changed in a fork: ")
    assert len(refused.stderr.splitlines()) == 1
    done = icemaze(
        tmp_path, "fork", "--at", str(chosen + 1), "--set", "algorithm.learning_rate=0.75", "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, last = (json.loads(done.stdout.splitlines()[i]) for i in (0, -1))
    assert (first["event"], last["event"], last["status"]) == ("started", "finished", "finished")
    assert last["env_steps"] == end["env_steps"]
    listed = {each["run"]: each for each in objects(icemaze(tmp_path, "runs", "--json").stdout)}
    assert listed[last["run"]]["parent"] == parent.name
    assert listed[last["run"]]["parent_step"] == chosen
    assert "parent" not in listed[parent.name]
    assert f"forked from {parent.name} at step {chosen:,}" in icemaze(tmp_path, "status").stdout
    compared = objects(icemaze(tmp_path, "compare", parent.name, last["run"], "--json").stdout)
    assert [each["step"] for each in compared] == [end["env_steps"]] * 2
    assert set(compared[0]["settings"]) == {"algorithm.learning_rate"}
