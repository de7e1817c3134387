"""Sweeps: the grid, its folder, its runs in processes, and the statistics of the results."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from fake_learner import PRESET
from run_tools import FAKE_WORKER, wait_for

from engine.config.preset import algorithm_name
from engine.core.errors import UserError
from engine.experiments import sweeps
from engine.experiments.intervals import Ends, of_group
from engine.experiments.sweep_results import Outcome, interval, results, steps_to
from engine.experiments.sweep_runner import SweepJob, SweepRunner
from engine.experiments.sweeps import Cell, Sweep
from engine.runs import library
from engine.runs.curves import Curve
from engine.runs.reader import RunReader

DEADLINE = 60.0


@pytest.fixture
def preset(tmp_path: Path) -> str:
    """A preset file whose runs the fake worker carries out in no time."""
    file = tmp_path / "fake.toml"
    file.write_text(PRESET, "utf-8")
    return str(file)


def poll(runner: SweepRunner, until: str = "done") -> list[SweepJob]:
    """Poll until the runner is done (or so many runs are `running`)."""
    deadline, ended = time.monotonic() + DEADLINE, []
    while not (runner.done if until == "done" else runner.count("running") >= int(until)):
        ended += runner.poll()
        assert time.monotonic() < deadline, [(job.status, job.error) for job in runner.jobs]
        time.sleep(0.005)
    return ended


# ---------------------------------------------------------------- the grid


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-3", [0, 1, 2, 3]), ("7", [7]), ("5,1-2, 4-5", [5, 1, 2, 4]), ("0,0,0", [0])],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert sweeps.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-", "-3", "1.5", "1,,2", "0-99999999999"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"--seeds .*(expected whole numbers|at most 10,000)"):
        sweeps.parse_seeds(text)


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("0.1", ["0.1"]),
        ("0.05, 0.1,0.2", ["0.05", "0.1", "0.2"]),
        ("{start = 1.0, end = 0.1, steps = 9},0.5", ["{start = 1.0, end = 0.1, steps = 9}", "0.5"]),
        ("[1, 2],[3, [4, 5]]", ["[1, 2]", "[3, [4, 5]]"]),
        ('"a,b",c', ['"a,b"', "c"]),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        ("'a\\',b", ["'a\\'", "b"]),  # a literal string knows no escapes
        ('"""x,y""",z', ['"""x,y"""', "z"]),
        ("1,,2", ["1", "", "2"]),
    ],
)
def test_values_are_split_at_commas_outside_of_everything(raw: str, values: list[str]) -> None:
    assert sweeps.split_values(raw) == values


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["algorithm.gamma"], "expected KEY=VALUE,VALUE"),
        (["=1,2"], "expected KEY=VALUE,VALUE"),
        (["algorithm.gamma=0.9,"], "with no value empty"),
        (["run.seed=1,2"], "given by --seeds"),
        (["algorithm.gamma=0.9", "algorithm.gamma=0.8"], "algorithm.gamma is given twice"),
    ],
)
def test_settings_that_make_no_grid(settings: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        sweeps.parse_grid(settings)


def test_the_grid_is_every_combination_with_every_seed(preset: str) -> None:
    sweep = sweeps.plan(
        preset, "0-1", ["algorithm.gamma=0.9,0.8", "algorithm.name=sarsa,q-learning"]
    )
    assert [tuple(setting.values()) for setting in sweep.settings] == [
        ("0.9", "sarsa"), ("0.9", "q-learning"), ("0.8", "sarsa"), ("0.8", "q-learning"),
    ]  # fmt: skip
    assert sweep.cells == [Cell(i, seed) for seed in (0, 1) for i in range(4)]
    made = sweep.preset(Cell(2, 7))
    assert (algorithm_name(made), made.algorithm.gamma, made.run.seed) == ("sarsa", 0.8, 7)


@pytest.mark.parametrize(
    ("seeds", "settings", "says"),
    [
        ("0", ["algorithm.gamma=0.9,2"], "algorithm.gamma: found 2, expected a number from 0 to 1"),
        ("0", ["algorithm.gama=0.9"], "Did you mean 'gamma'"),
        ("0-9999", ["algorithm.gamma=0.9,0.8"], "would be 20,000 runs"),
    ],
)
def test_mistakes_are_found_before_anything_starts(
    preset: str, tmp_path: Path, seeds: str, settings: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        sweeps.plan(preset, seeds, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["fake.toml"]


# ---------------------------------------------------------------- the folder


def test_a_sweep_reads_back_from_its_folder(preset: str, tmp_path: Path) -> None:
    values = ["0.5", "{start = 1.0, end = 0.1, steps = 9}"]
    sweep = sweeps.plan(preset, "3,1", [f"algorithm.learning_rate={','.join(values)}"])
    folder = sweeps.create(sweep, tmp_path / "runs")
    assert sweep.grid == {"algorithm.learning_rate": values}
    assert sweeps.load(folder) == sweep
    assert folder.parent == tmp_path / "runs" / "sweeps"
    assert library.run_folders(tmp_path / "runs") == []


def test_a_sweep_is_found_by_the_start_of_its_id(preset: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no sweep in .*The newest: none"):
        sweeps.find(None, tmp_path)
    sweep = sweeps.plan(preset, "0", [])
    first, second = (sweeps.create(sweep, tmp_path) for _ in range(2))
    assert sweeps.find(None, tmp_path) == second
    assert sweeps.find(first.name, tmp_path) == first
    with pytest.raises(UserError, match=r"fits 2 sweeps"):
        sweeps.find("2", tmp_path)
    with pytest.raises(UserError, match=r"no sweep whose id starts with 'x'"):
        sweeps.find("x", tmp_path)
    (first / "sweep.toml").write_text("[sweep]\n", "utf-8")
    with pytest.raises(UserError, match=r"The sweep is damaged"):
        sweeps.load(first)


def test_half_a_line_in_the_index_is_a_run_not_started(preset: str, tmp_path: Path) -> None:
    folder = sweeps.create(sweeps.plan(preset, "0-1", []), tmp_path)
    (folder / "run-a").mkdir()
    sweeps.record_run(folder, Cell(0, 0), "run-a")
    sweeps.record_run(folder, Cell(0, 1), "run-that-was-deleted")
    with (folder / "runs.jsonl").open("a") as file:
        file.write('{"setting": 0, "se')
    assert sweeps.recorded_runs(folder) == {Cell(0, 0): folder / "run-a"}


# ---------------------------------------------------------------- carrying it out


def start(preset: str, runs: Path, seeds: str, *settings: str, jobs: int = 2) -> SweepRunner:
    sweep = sweeps.plan(preset, seeds, list(settings))
    return SweepRunner(sweeps.create(sweep, runs), sweep, jobs, program=FAKE_WORKER)


@pytest.mark.slow
def test_every_cell_is_a_run_and_no_more_go_at_once(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.0001")
    most = 0
    with start(preset, tmp_path, "4-6", "algorithm.gamma=0.9,0.5") as runner:
        while not runner.done:
            runner.poll()
            most = max(most, runner.count("running"))
            time.sleep(0.005)
        assert most == 2 and runner.share == 1.0
        assert [job.status for job in runner.jobs] == ["finished"] * 6
        for job in runner.jobs:
            assert job.run_dir and job.outcome
            with RunReader(job.run_dir) as reader:
                made, final = reader.info().preset, reader.final()
            assert made.run.seed == job.cell.seed
            assert made.algorithm.gamma == (0.9, 0.5)[job.cell.setting]
            assert job.outcome.expected_return == final["expected_return"]
    assert len(library.run_folders(runner.folder)) == 6


@pytest.mark.slow
def test_stopped_in_between_it_goes_on_with_what_is_missing(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.0001")
    with start(preset, tmp_path, "0", jobs=1) as runner:
        poll(runner)
        done = runner.jobs[0].run_dir
    sweep = sweeps.load(runner.folder)
    longer = Sweep(**{**{f: getattr(sweep, f) for f in sweep.__struct_fields__}, "seeds": [0, 1]})
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.05")
    with SweepRunner(runner.folder, longer, 1, program=FAKE_WORKER) as again:
        assert [job.status for job in again.jobs] == ["finished", "waiting"]
        poll(again, until="1")
        assert again.jobs[1].run_dir
        with RunReader(again.jobs[1].run_dir) as reader:
            wait_for(reader, lambda head: head.step > 0)
        again.stop()
        poll(again)
        assert [job.status for job in again.jobs] == ["finished", "stopped"]
        half_way = again.jobs[1].run_dir
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.0001")
    with SweepRunner(runner.folder, longer, 1, program=FAKE_WORKER) as last:
        assert 0 < last.jobs[1].share < 1
        poll(last)
        assert [job.run_dir for job in last.jobs] == [done, half_way]
        assert last.count("finished") == 2


@pytest.mark.slow
def test_a_killed_sweep_finds_its_workers_and_resumes_the_dead(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = tmp_path / "go_on"  # until it is there, no run comes to its end
    monkeypatch.setenv("FAKE_WAIT_FOR", str(go_on))
    runner = start(preset, tmp_path, "0-1", jobs=2)
    poll(runner, until="2")
    first, second = (job.run_dir for job in runner.jobs)
    assert first and second
    runner.close()  # all that is left of a killed sweep: its workers
    with RunReader(first) as reader:
        wait_for(reader, lambda head: head.step > 0)
        os.kill(reader.meta()["pid"], signal.SIGKILL)
        wait_for(reader, lambda head: head.state == "dead")
    orphan = runner.folder / "20260101-000000-fake-aa"
    orphan.mkdir()
    go_on.touch()
    with SweepRunner(runner.folder, runner.sweep, 2, program=FAKE_WORKER) as again:
        assert not orphan.exists()
        poll(again)
        assert [job.run_dir for job in again.jobs] == [first, second]
        assert again.count("finished") == 2
    with RunReader(first) as killed, RunReader(second) as adopted:
        assert killed.head().generation == 1 and adopted.head().generation == 0


def test_a_sweep_goes_once_at_a_time(preset: str, tmp_path: Path) -> None:
    with start(preset, tmp_path, "0") as runner:
        with pytest.raises(UserError, match=r"is already going"):
            SweepRunner(runner.folder, runner.sweep, 1)
        runner.stop()


@pytest.mark.slow
def test_a_failed_run_says_why_and_the_others_go_on(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.0001")
    monkeypatch.setenv("FAKE_FAIL_AT", "100")
    with start(preset, tmp_path, "0", "budget.env_steps=50,400") as runner:
        ended = poll(runner)
        assert sorted(job.status for job in ended) == ["failed", "finished"]
        (failed,) = (job for job in ended if job.status == "failed")
        assert "the ice broke" in failed.error and failed.cell.setting == 1
        found = results(runner.sweep, {j.cell: j.outcome for j in runner.jobs if j.outcome})
        assert [(result.runs, result.of) for result in found] == [(1, 1), (0, 1)]
    monkeypatch.setenv("FAKE_FAIL_AT", "-1")
    with SweepRunner(runner.folder, runner.sweep, 1, program=FAKE_WORKER) as again:
        poll(again)
        assert again.count("finished") == 2


def test_a_changed_algorithm_of_ones_own_ends_it(tmp_path: Path) -> None:
    from engine.config import shipped

    for name in ("my_q.py", "my-q.toml"):
        text = (shipped.FOLDER / "examples" / name).read_text("utf-8")
        (tmp_path / name).write_text(text, "utf-8")
    sweep = sweeps.plan(str(tmp_path / "my-q.toml"), "0", ["algorithm.bad_news=0.1,0.9"])
    assert list(sweep.own) == ["file:my_q.py"]
    folder = sweeps.create(sweep, tmp_path / "runs")
    (tmp_path / "my_q.py").write_text(text := (tmp_path / "my_q.py").read_text() + "\n#\n")
    with pytest.raises(UserError, match=r"file:my_q.py was changed since it was started"):
        SweepRunner(folder, sweeps.load(folder), 1)
    (tmp_path / "my_q.py").write_text(text.removesuffix("\n#\n"))
    with SweepRunner(folder, sweeps.load(folder), 1) as runner:
        assert runner.count("waiting") == 2


# ---------------------------------------------------------------- the results


def test_an_interval_leaves_out_what_is_unknown() -> None:
    nan = math.nan
    three = interval(np.array([1.0, nan, 3.0, 2.0]))
    assert (three.n, three.mean) == (3, 2.0) and three.low < 1.0 and three.high > 3.0
    one, none = interval(np.array([5.0])), interval(np.array([nan]))
    assert (one.n, one.mean) == (1, 5.0) and math.isnan(one.low)
    assert "at least 3 agents" in one.why
    assert none.n == 0 and math.isnan(none.mean) and not none.why


def test_the_agents_of_all_seeds_count(preset: str) -> None:
    """Two seeds with eight agents each are sixteen agents; steps are one figure a run."""
    ends = {"success_rate": Ends(0.0, 0.74), "expected_return": Ends(0.0, 0.7)}
    agents = {name: np.linspace(0.1, 0.6, 8) for name in ends}
    outcome = Outcome(0.35, 0.35, 100.0, agents, ends)
    (found,) = results(sweeps.plan(preset, "0-1", []), {Cell(0, seed): outcome for seed in (0, 1)})
    success = of_group(np.tile(agents["success_rate"], 2), "mean", Ends(0.0, 0.74)).estimate
    assert (found.success_rate.n, found.runs) == (16, 2)
    assert found.success_rate.mean == pytest.approx(0.35)
    assert (found.success_rate.low, found.success_rate.high) == (success.low, success.high)
    assert found.steps_to_optimum.n == 2 and "at least 3 agents" in found.steps_to_optimum.why


def curve(*points: float) -> Curve:
    mean = np.array(points)
    return Curve(x=np.arange(1.0, mean.size + 1), mean=mean, low=mean, high=mean)


def test_the_first_step_near_the_optimum() -> None:
    assert steps_to(1.0, curve(0.0, 0.949, 0.95, 0.5)) == 3.0
    assert steps_to(-10.0, curve(-20.0, -10.5, -10.0)) == 2.0
    assert steps_to(0.0, curve(-1.0, 0.0)) == 2.0
    assert steps_to(1.0, curve(math.nan, 0.96)) == 2.0
    for optimum, points in ((1.0, curve(0.0, 0.9)), (math.nan, curve(1.0)), (1.0, None)):
        assert math.isnan(steps_to(optimum, points))


def test_the_best_setting_is_marked_in_each_measure(preset: str) -> None:
    nan = math.nan
    sweep = sweeps.plan(preset, "0-1", ["algorithm.gamma=0.9,0.8,0.7"])
    outcomes = [
        [(1.0, 0.5, 100.0), (0.8, 0.7, 300.0)],
        [(0.9, 0.9, 250.0), (0.9, 0.9, 250.0)],
        [(0.9, 0.1, 10.0), (0.7, 0.1, nan)],  # quick once, but it got there only once
    ]
    found = results(
        sweep,
        {Cell(i, s): Outcome(*outcomes[i][s]) for i in range(3) for s in range(2)},
    )
    assert [result.best for result in found] == [
        ("success_rate", "steps_to_optimum"), ("success_rate", "expected_return"), (),
    ]  # fmt: skip
    assert [result.steps_to_optimum.n for result in found] == [2, 2, 1]
    assert json.loads(json.dumps([result.setting for result in found])) == sweep.settings


def test_a_setting_whose_runs_did_not_all_finish_is_not_ranked(preset: str) -> None:
    """The runs that were left over may be the lucky ones."""
    sweep = sweeps.plan(preset, "0-1", ["algorithm.gamma=0.9,0.8,0.7"])
    outcomes = {Cell(i, s): Outcome(0.5 + 0.1 * i, 0.3, 9.0 - i) for i in range(3) for s in (0, 1)}
    del outcomes[Cell(2, 1)]
    found = results(sweep, outcomes)
    assert [(result.runs, result.of) for result in found] == [(2, 2), (2, 2), (1, 2)]
    assert [result.best for result in found] == [(), ("success_rate", "steps_to_optimum"), ()]
    del outcomes[Cell(1, 1)], outcomes[Cell(0, 0)]
    assert [result.best for result in results(sweep, outcomes)] == [(), (), ()]


def test_nothing_is_best_where_all_are_equal(preset: str) -> None:
    sweep = sweeps.plan(preset, "0", ["algorithm.gamma=0.9,0.8"])
    same = results(sweep, {Cell(i, 0): Outcome(1.0, 0.3, math.nan) for i in range(2)})
    assert [result.best for result in same] == [(), ()]
