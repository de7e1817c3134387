"""The runs of a challenge in real background processes, with a learner small enough to see."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from challenge_tools import CHALLENGE, COMPARE, GROWTH, make_lab, small
from fake_learner import make_preset
from run_tools import DEADLINE, FAKE_WORKER

from engine.config import shipped
from engine.experiments.lab.compare import results
from engine.experiments.lab.runner import LabJob, LabRunner, plan, tasks
from engine.runs import library
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "presets")
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(tmp_path / "runs"))
    make_lab(tmp_path / "presets")
    return tmp_path


def finish(runner: LabRunner) -> int:
    """Poll to the end; gives how many workers were seen at once."""
    most, deadline = 0, time.monotonic() + DEADLINE
    while not runner.done:
        assert time.monotonic() < deadline
        runner.poll()
        most = max(most, runner.count("running"))
        time.sleep(0.005)
    return most


def fake_jobs(*steps: int) -> list[LabJob]:
    return [LabJob((f"fake-{n}", ""), make_preset(f"budget.env_steps={n}")) for n in steps]


def test_the_plan_has_every_run_once_and_follows_seed_and_agents() -> None:
    challenge = small(CHALLENGE + COMPARE + GROWTH)
    jobs = plan([challenge, challenge], seed=7, agents=3)
    assert [job.task for job in jobs] == tasks(challenge) and len(jobs) == 8
    assert {(job.preset.run.seed, job.preset.run.agents) for job in jobs} == {(7, 3)}
    assert jobs[2].preset.maze.size == 4
    assert {job.preset.run.agents for job in plan([challenge])} == {4}


def test_two_runs_go_at_once_and_are_kept_like_any_other() -> None:
    jobs = fake_jobs(40, 41, 42)
    with LabRunner(jobs, program=FAKE_WORKER) as runner:
        assert finish(runner) == 2
        assert runner.share == 1.0
    assert [job.status for job in jobs] == ["finished"] * 3
    kept = {run.id for run in library.list_runs()}
    assert kept == {job.run_dir.name for job in jobs if job.run_dir} and len(kept) == 3
    for job in jobs:
        assert job.run_dir
        with RunReader(job.run_dir) as reader:
            np.testing.assert_array_equal(reader.per_agent()["value"], job.per_agent["value"])


def test_presets_that_come_to_the_same_are_run_once() -> None:
    jobs = [*fake_jobs(40), LabJob(("again", "x=1"), make_preset("budget.env_steps=40"))]
    with LabRunner(jobs, program=FAKE_WORKER) as runner:
        finish(runner)
    assert [job.status for job in jobs] == ["finished"] * 2
    assert jobs[0].run_dir == jobs[1].run_dir and len(library.list_runs()) == 1
    assert jobs[1].per_agent["value"] == jobs[0].per_agent["value"]


def test_stopping_leaves_checkpoints_to_go_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.01")
    jobs = fake_jobs(10**6, 10**6 + 1, 40)
    with LabRunner(jobs, program=FAKE_WORKER) as runner:
        runner.poll()
        assert runner.count("running") == 2 and not runner.done
        runner.stop()
        finish(runner)
    assert [job.status for job in jobs] == ["stopped", "stopped", "waiting"]
    assert not any(job.error for job in jobs)
    for job in jobs[:2]:
        assert job.run_dir
        with RunReader(job.run_dir) as reader:
            assert reader.state() == "stopped"


def test_a_run_that_fails_says_why_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAIL_AT", "45")
    jobs = fake_jobs(60, 40)
    with LabRunner(jobs, program=FAKE_WORKER) as runner:
        finish(runner)
    assert [job.status for job in jobs] == ["failed", "finished"]
    assert "the ice broke" in jobs[0].error


def test_a_worker_that_does_not_start_is_a_failed_run() -> None:
    jobs = fake_jobs(40)
    with LabRunner(jobs, program=[sys.executable, "-c", "print('no ice'); exit(3)"]) as runner:
        ended = runner.poll()
    assert ended == jobs and jobs[0].status == "failed" and "no ice" in jobs[0].error


def test_from_the_file_to_the_verdict() -> None:
    """The two small presets come to the same with this learner: no difference of a half."""
    challenge = small()
    jobs = plan([challenge])
    with LabRunner(jobs, program=FAKE_WORKER) as runner:
        finish(runner)
    result = results(challenge, jobs)
    (claim,) = result.compared
    assert claim.found.value == 0.0 and not claim.kept and not result.kept
    assert all(run.kept for run in result.runs)
