"""Runs of language models in the store: killed and resumed, steered, evaluated, used elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_tools import preset
from llm_records import ADAPTER, assert_same_llm_runs, llm_record

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests of all runs share

from run_tools import ask, kill, launched, rows, run_here, wait_for

from engine import factory
from engine.config.preset import LlmPreset
from engine.config.rewards import PlanRewards
from engine.core.errors import UserError
from engine.llm.evaluation import answers
from engine.llm.evaluation import ask as asking
from engine.llm.forward.prompts import route_prompt
from engine.llm.models import adapters, loading
from engine.llm.tasks import evaluation_schedule as schedule
from engine.runs import checkpoints, launch
from engine.runs.evaluation import evaluate_run, played_worlds
from engine.runs.past import fork
from engine.runs.reader import RunReader

Tiny = Callable[[str], Path]

EPOCHS = "group_size = 8\nepochs = 2"
SETS = [
    "maze.train={count = 6, size = 3, per_update = 2}",
    "maze.test={count = 4, size = 3, seed = 9}",
]
ROOT = Path(factory.__file__).parents[1]


@pytest.fixture(scope="module")
def finished(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on one maze, to be read only."""
    return _finished(preset(tiny_model("llama"), more=EPOCHS), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def with_sets(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a set of mazes with others held out, to be read only."""
    made = preset(tiny_model("llama"), more=EPOCHS, overrides=SETS)
    return _finished(made, tmp_path_factory.mktemp("runs"))


def _finished(made: LlmPreset, runs_dir: Path) -> Path:
    run_dir = launch.create_run(made, "unbroken", runs_dir=runs_dir)
    assert run_here(run_dir, factory.make_learner)
    return run_dir


def _copy(run_dir: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run_dir, folder / run_dir.name))


def _step_then_kill(reader: RunReader, n: int) -> None:
    """kill -9 when the newest checkpoint is one update behind the newest rows.

    On a slow machine another may have been due by then."""
    assert ask(reader, "step", n=n) == "done"
    assert ask(reader, "resume") == "done" and ask(reader, "pause") == "done"
    saved = rows(reader.path, "checkpoints")[-1][1]
    assert ask(reader, "step", n=1) == "done"
    kill(reader)
    assert rows(reader.path, "checkpoints")[-1][1] in (saved, saved + 1)
    assert reader.head().step == saved + 1


# ---------------------------------------------------------------- interrupted runs


@pytest.mark.parametrize("overrides", [[], SETS], ids=["one-maze", "sets"])
def test_a_killed_and_resumed_run_ends_like_one_never_killed(
    tiny_model: Tiny, tmp_path: Path, overrides: list[str]
) -> None:
    made = preset(tiny_model("llama"), more=EPOCHS, overrides=[*overrides, "budget.updates=12"])
    with launched(made, tmp_path, paused=True) as reader:
        _step_then_kill(reader, 2)
        launch.start_worker(reader.path, resume=True, paused=True)
        _step_then_kill(reader, 2)
        launch.start_worker(reader.path, resume=True)
        head = wait_for(reader, lambda head: head.ended)
        assert (head.state, head.updates, head.generation) == ("finished", 12, 2), reader.error()
        assert_same_llm_runs(reader.path, _finished(made, tmp_path))


def test_a_fork_without_changes_ends_like_its_parent(tiny_model: Tiny, tmp_path: Path) -> None:
    """From a checkpoint in the middle, also after its parent is deleted; and with changes not."""
    made = preset(tiny_model("llama"), more=EPOCHS, overrides=["budget.updates=12"])
    with launched(made, tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=3) == "done"
        assert ask(reader, "resume") == "done" and ask(reader, "pause") == "done"
        at = rows(reader.path, "kept")[-1][1]
        assert ask(reader, "step", n=1) == "done"  # a live run can be forked too
        point = fork.find_point(reader.path, at)
        child = fork.create_fork(point, point.preset)
        changed = fork.create_fork(
            point, fork.changed_preset(point, ["algorithm.learning_rate=0.05"])
        )
        with pytest.raises(UserError, match="the language model is that of the checkpoint"):
            fork.changed_preset(point, ["model.lora.rank=2"])
        assert ask(reader, "resume") == "done"
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        folders = {path.name for path in (reader.path / "checkpoints").iterdir()}
        named = {
            checkpoints.folder_name(checkpoints.unpack(row[3]))
            for table in ("checkpoints", "kept")
            for row in rows(reader.path, table)
        }
        assert folders == named, "what is kept stays on disk, and nothing else does"
        parent = reader.path.rename(tmp_path / "elsewhere")
    for run_dir in (child, changed):
        assert run_here(run_dir, factory.make_learner)
    assert_same_llm_runs(child, parent)
    one, other = llm_record(changed), llm_record(parent)
    assert [row for row in one["points"] if row[1] <= at] == [
        row for row in other["points"] if row[1] <= at
    ]
    assert one["policies"][-1] != other["policies"][-1]


def test_killed_in_its_first_seconds_it_ends_like_one_never_killed(
    tiny_model: Tiny, tmp_path: Path, finished: Path
) -> None:
    made = preset(tiny_model("llama"), more=EPOCHS)
    with launched(made, tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=2) == "done"
        kill(reader)
        launch.start_worker(reader.path, resume=True)
        wait_for(reader, lambda head: head.ended)
        assert_same_llm_runs(reader.path, finished)


def test_a_stopped_run_goes_on_as_if_it_had_not(
    tiny_model: Tiny, tmp_path: Path, with_sets: Path
) -> None:
    """Its last words, an evaluation among them, are not part of the longer run."""
    made = preset(tiny_model("llama"), more=EPOCHS, overrides=SETS)
    with launched(made, tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=4) == "done"
        assert ask(reader, "stop") == "done"
        assert wait_for(reader, lambda head: head.ended).state == "stopped"
        launch.start_worker(reader.path, resume=True)
        wait_for(reader, lambda head: head.state == "finished")
        assert_same_llm_runs(reader.path, with_sets)


def test_commands_are_obeyed_in_the_middle_of_an_update(tiny_model: Tiny, tmp_path: Path) -> None:
    """An update of a thousand passes would take a minute: it is put off, and nothing is lost."""
    overrides = ["algorithm.epochs=64", "algorithm.episodes=4096", "budget.updates=100000"]
    made = preset(tiny_model("llama"), more="group_size = 8", overrides=overrides)
    with launched(made, tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=1) == "done"
        before = llm_record(reader.path)
        assert ask(reader, "resume") == "done"
        assert ask(reader, "pause") == "done"
        step = reader.head().step
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.001) == "done"
        assert ask(reader, "step", n=1) == "done"
        assert reader.head().step == step + 1
        after = llm_record(reader.path)
        assert all(after[table][: len(before[table])] == before[table] for table in before)
        assert ask(reader, "resume") == "done"
        assert ask(reader, "stop") == "done"
        head = wait_for(reader, lambda head: head.ended)
        assert (head.state, reader.error()) == ("stopped", "")
        assert rows(reader.path, "checkpoints")[-1][1] == head.step


def test_a_lost_checkpoint_is_one_sentence_and_costs_nollm_record(
    finished: Path, tmp_path: Path
) -> None:
    run_dir = _copy(finished, tmp_path)
    shutil.rmtree(run_dir / "checkpoints")
    before = llm_record(run_dir)
    launch.start_worker(run_dir, resume=True, overrides=["budget.updates=20"])
    with RunReader(run_dir) as reader:
        head = wait_for(reader, lambda head: head.ended)
        assert head.state == "failed"
        assert "the checkpoint cannot be read" in reader.error()
        assert "\n" not in reader.error() and "Traceback" not in reader.error()
    after = llm_record(run_dir)
    assert all(after[table][: len(before[table])] == before[table] for table in before)


# ---------------------------------------------------------------- what is left of a run


def test_a_finished_run_has_adapters_and_at_most_three_checkpoints(finished: Path) -> None:
    names = {path.name for path in (finished / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    kept = sorted(path.name for path in (finished / "checkpoints").iterdir())
    # The first, the newest, and the one before it if there was time for one.
    assert len(kept) in (2, 3) and kept[-1].startswith("first")
    assert not list(finished.rglob("*.pt")) + list(finished.rglob("*.bin"))


@pytest.mark.parametrize("which", ["finished", "with_sets"])
def test_the_headline_is_that_of_the_saved_adapters(
    which: str, request: pytest.FixtureRequest
) -> None:
    with RunReader(request.getfixturevalue(which)) as reader:
        told, found = reader.final(), evaluate_run(reader, [])
    for name, metric in found.figures.items():
        assert told[name] == pytest.approx(metric.mean, abs=1e-6), name
        assert np.isfinite(told["metrics"][f"final_{name}"])
    assert told["success_kind"] == "exact" and told["status"] == "finished"
    assert told["success_rate"] >= told["metrics"]["final_success_rate"]


def test_adapters_found_by_the_very_last_look_are_saved(
    tiny_model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That look comes after the last checkpoint, which a longer run would go on from."""
    monkeypatch.setitem(schedule.EVERY, "train", 10**6)  # at first, and at last
    easy = ["maze.train={count = 2, size = 2, hole_density = 0.0}"]
    made = preset(tiny_model("llama"), more="group_size = 8", overrides=easy)
    with RunReader(_finished(made, tmp_path)) as reader:
        told, found = reader.final(), evaluate_run(reader, [])
    assert told["success_rate"] == told["metrics"]["final_success_rate"]
    assert told["success_rate"] == pytest.approx(found.figures["success_rate"].mean, abs=1e-6)
    assert found.step == 8


def test_held_out_figures_are_those_of_the_saved_adapters(with_sets: Path) -> None:
    with RunReader(with_sets) as reader:
        metrics, found = reader.final()["metrics"], evaluate_run(reader, [])
    assert found.held_out is not None and (found.own.mazes, found.held_out.mazes) == (6, 4)
    for name in ("success_rate", "greedy_success_rate"):
        expected = metrics[f"held_out_best_{name}"]
        assert found.held_out.figures[name].mean == pytest.approx(expected, abs=1e-6)
    for name, metric in found.held_out.baselines.items():
        assert metrics[f"held_out_{name}"] == pytest.approx(metric.mean, abs=1e-12)


# ---------------------------------------------------------------- eval


def test_any_map_will_do_for_a_model_that_reads_it(finished: Path) -> None:
    with RunReader(finished) as reader:
        larger = 'maze.map="SFFFF\\nFFHFF\\nFFFFG"'
        found = evaluate_run(reader, [larger, "maze.slip=0.1", "maze.max_steps=40"])
        own = evaluate_run(reader, ["maze.slip=0.5"])
    assert found.maze.shape == (3, 5) and found.maze.max_steps == 40
    assert 0 < found.figures["success_rate"].mean < 1
    assert found.figures["expected_return"].mean < found.own.optimal_return
    baselines = {name: metric.mean for name, metric in found.own.baselines.items()}
    assert baselines["random_success_rate"] < baselines["optimal_success_rate"]
    assert own.maze.slip == 0.5 and own.maze.shape == (2, 2)


def test_rules_change_in_all_mazes_of_a_set_and_a_map_replaces_them(with_sets: Path) -> None:
    with RunReader(with_sets) as reader:
        slippery = evaluate_run(reader, ["maze.slip=0.5"])
        alone = evaluate_run(reader, ['maze.map="SF\\nFG"'])
        worlds = played_worlds(reader, [])
    assert slippery.held_out is not None and slippery.held_out.mazes == 4
    assert slippery.maze.slip == 0.5
    assert alone.held_out is None and alone.own.mazes == 1
    assert [world.held_out for world in worlds] == 4 * [True] + 6 * [False]


def test_what_takes_time_is_told(finished: Path) -> None:
    told: list[str] = []
    with RunReader(finished) as reader:
        evaluate_run(reader, [], told.append)
    assert told[0].startswith("Loading ") and len(told) == 2


def test_routes_are_sampled_and_their_error_told(tiny_model: Tiny, tmp_path: Path) -> None:
    overrides = ["model.policy=route", "budget.updates=2", "model.max_tokens=6"]
    run_dir = _finished(preset(tiny_model("llama"), more=EPOCHS, overrides=overrides), tmp_path)
    with RunReader(run_dir) as reader:
        found, again = evaluate_run(reader, []), evaluate_run(reader, [])
        told = reader.final()
    assert found == again and found.success_kind == told["success_kind"] == "sampled"
    success, stderr = found.figures["success_rate"].mean, found.own.success_stderr
    assert 64 * success == round(64 * success) and 0 < stderr < 0.5 / 8
    # Two samples of one policy, 64 and 128 routes: within four standard errors of their difference.
    assert abs(success - told["success_rate"]) < 4 * stderr * np.sqrt(1.5)


@pytest.mark.parametrize("words", ["moves", "any"])
def test_a_policy_that_writes_routes_plays_by_planning_anew(
    tiny_model: Tiny, tmp_path: Path, words: str
) -> None:
    """What it does in a cell is the first move of a route from there, asked for in full."""
    plan = ["model.policy=route", "budget.updates=2", "model.max_tokens=6", f"model.words={words}"]
    made = preset(
        tiny_model("llama"), more=EPOCHS, overrides=[*plan, "model.observation_text=map+local"]
    )
    run_dir = _finished(made, tmp_path)
    with RunReader(run_dir) as reader:
        (world,) = played_worlds(reader, [])
    np.testing.assert_allclose(world.policy.sum(-1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(world.policy[3], 0.25)  # the prize: nothing is decided there
    assert len({tuple(row) for row in world.policy[:3].round(6)}) == 3
    loaded = loading.load_model(made.model.name, "none", "cpu", loading.LoraSettings(4, 8.0))
    adapters.load_adapter(loaded, run_dir / "adapter")
    loaded.model.eval()
    for state in range(3):
        prompt = route_prompt(world.maze, world.mdp, loaded.tokenizer, state, "map+local")
        total = []
        for word in prompt.word_tokens:
            ids = torch.tensor([[*prompt.tokens, *word]])
            with torch.no_grad():
                log_p = loaded.model(input_ids=ids).logits[0].log_softmax(-1)
            at = torch.arange(len(prompt.tokens) - 1, ids.shape[1] - 1)
            total.append(float(log_p[at, torch.tensor(word)].sum()))
        if words == "any" or len({len(word) for word in prompt.word_tokens}) == 1 == len(word):
            expected = torch.tensor(total).softmax(-1).numpy()
            np.testing.assert_allclose(world.policy[state], expected, atol=1e-4)


def test_a_run_is_paused_tuned_edited_killed_and_goes_on(tiny_model: Tiny, tmp_path: Path) -> None:
    """All that a screen can ask of a live run, through a real worker; then the same without it."""
    made = preset(tiny_model("llama"), more=EPOCHS, overrides=["budget.updates=9"])
    with launched(made, tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=2) == "done"
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.02) == "done"
        assert "cannot change" in ask(reader, "tune", key="algorithm.episodes", value=4)
        assert "way" in ask(reader, "edit", rows=["SH", "HG"])
        assert ask(reader, "edit", rows=["GF", "FS"]) == "done"
        assert ask(reader, "step", n=1) == "done"
        head = reader.head()
        assert (head.state, head.updates) == ("paused", 3)
        assert reader.tunes()[0].key == "algorithm.learning_rate"
        curves = reader.curves(["learning_rate", "success_rate_map_0", "success_rate_map_1"])
        assert curves["learning_rate"].mean.tolist() == [0.01, 0.01, 0.02]
        assert curves["success_rate_map_1"].x.tolist() == [3]
        world, policy = reader.world_at(3), reader.policy_at(3)
        assert world is not None and policy is not None
        assert list(world.maze.rows) == ["GF", "FS"] and policy.world_id == world.id == 1
        _step_then_kill(reader, 1)
        launch.start_worker(reader.path, resume=True)
        head = wait_for(reader, lambda head: head.ended)
        assert (head.state, head.updates) == ("finished", 9), reader.error()
        found = evaluate_run(reader, [])
        assert found.maze.rows == ("GF", "FS")
        told = reader.final()
        assert told["success_rate"] == pytest.approx(found.figures["success_rate"].mean, abs=1e-6)
        other = _stepped(made, tmp_path / "other")
        assert_same_llm_runs(reader.path, other)


def _stepped(made: LlmPreset, runs_dir: Path) -> Path:
    """The same run with the same commands, never killed."""
    with launched(made, runs_dir, paused=True) as reader:
        assert ask(reader, "step", n=2) == "done"
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.02) == "done"
        assert ask(reader, "edit", rows=["GF", "FS"]) == "done"
        assert ask(reader, "resume") == "done"
        assert wait_for(reader, lambda head: head.ended).state == "finished"
        return reader.path


PROBE = """
import sys
from tui.cli.main import run
code = run(sys.argv[1:])
print("imported:", *sorted({"torch", "transformers", "numba"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_the_command_says_the_same_and_never_imports_torch(with_sets: Path) -> None:
    def icemaze(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PROBE, *arguments, "--runs-dir", str(with_sets.parent)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )

    done = icemaze("eval", with_sets.name, "--json")
    (told,) = (json.loads(line) for line in done.stdout.splitlines())
    assert done.stderr.splitlines()[0].startswith("Loading ") and "imported:\n" in done.stderr
    with RunReader(with_sets) as reader:
        found, final = evaluate_run(reader, []), reader.final()
    assert told["success_kind"] == "exact" and told["agents"] == 1
    for name, metric in found.figures.items():
        assert told[name] == metric.mean
    assert found.held_out is not None
    assert told["held_out_success_rate"] == found.held_out.figures["success_rate"].mean
    assert told["held_out_mazes"] == 4 and told["mazes"] == 6
    assert told["random_success_rate"] < told["optimal_success_rate"] <= 1
    assert told["optimal_return"] == pytest.approx(final["optimal_return"], abs=1e-12)
    text = icemaze("eval", with_sets.name).stdout
    assert "6 training mazes" in text and "4 held-out mazes" in text and "one direction" in text
    played = icemaze("play", with_sets.name, "--json", "--seed", "1")
    first, *_, last = (json.loads(line) for line in played.stdout.splitlines())
    assert first["held_out"] is True and last["event"] == "finished"
    assert "imported:\n" in played.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [("algorithm.gamma=0.5", "changes only the maze"), ("maze.slip=2", "expected a number from 0")],
)
def test_eval_refuses_what_is_not_a_maze(finished: Path, override: str, said: str) -> None:
    with RunReader(finished) as reader, pytest.raises(UserError, match=said):
        evaluate_run(reader, [override])


def test_a_run_without_adapters_or_without_its_model_says_so(
    tiny_model: Tiny, finished: Path, tmp_path: Path
) -> None:
    run_dir = _copy(finished, tmp_path)
    with RunReader(run_dir) as reader:
        shutil.rmtree(run_dir / "adapter")
        with pytest.raises(UserError, match="has saved no adapters yet"):
            evaluate_run(reader, [])
        (run_dir / "adapter").mkdir()
        (run_dir / ADAPTER).write_bytes(b"not one")
        with pytest.raises(UserError, match="cannot be read as an adapter"):
            evaluate_run(reader, [])
    moved = run_dir.with_name("moved")
    shutil.copytree(finished, moved)
    file = moved / "preset.toml"
    file.write_text(file.read_text().replace(str(tiny_model("llama")), "./gone"))
    with RunReader(moved) as reader, pytest.raises(UserError, match="gone"):
        evaluate_run(reader, [])


def test_a_gpu_that_is_full_is_one_sentence(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that trains on the same GPU leaves little of it."""
    loaded: list[str] = []

    def full(name: str, *_: object) -> None:
        loaded.append(name)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore")

    monkeypatch.setattr(loading, "load_model", full)
    model = preset(tiny_model("llama")).model
    question = asking.Question(
        run_dir="run", model=model, reward=PlanRewards(), gamma=1.0, seed=0, splits=[[]],
        want="policies",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"does not hold .* CUDA_VISIBLE_DEVICES= .*CUDA out") as e:
        answers.reply(question, lambda text: None)
    assert loaded == [model.name] and "\n" not in str(e.value)


def test_a_process_that_dies_is_one_sentence(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PROGRAM", ("-c", "raise SystemExit('no memory left')"))
    with RunReader(finished) as reader, pytest.raises(UserError, match="no memory left"):
        evaluate_run(reader, [])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.name=smolm2-135m", "Did you mean .smollm2-135m"),
        ("model.name=./no-such-folder", "no-such-folder: there is no such folder"),
        ("model.device=cuda", "this machine has no GPU"),
        ("model.quantization=nf4", "needs bitsandbytes, not installed here"),
    ],
)
def test_what_could_only_fail_in_the_worker_makes_no_run(
    tiny_model: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    said: str,
) -> None:
    monkeypatch.setattr(launch, "GPU_DEVICES", (str(tmp_path / "none"),))
    known = launch.find_spec
    monkeypatch.setattr(
        launch, "find_spec", lambda name: None if name == "bitsandbytes" else known(name)
    )
    made = preset(tiny_model("llama"))
    launch.create_run(made, "plain", runs_dir=tmp_path / "runs")
    with pytest.raises(UserError, match=said):
        asked = preset(tiny_model("llama"), overrides=[override])
        launch.create_run(asked, "refused", runs_dir=tmp_path / "runs")
    assert len(list((tmp_path / "runs").glob("*-plain-*"))) == 1
    assert not list((tmp_path / "runs").glob("*-refused-*"))
