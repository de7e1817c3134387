"""JSON lines of another trainer: what is recorded, what is left out, and how files grow."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import UserError
from engine.external import tail
from engine.external.follow import TOLD, FollowedFile
from engine.external.record import DENSE, Described, ExternalRun
from engine.external.rollouts import KEPT_GROUPS, KEPT_MEMBERS, Rollout
from engine.runs import ending, launch
from engine.runs.library import list_runs
from engine.runs.reader import RunReader

HEADER = {"icemaze": 1, "name": "theirs", "trainer": "verl 0.5", "algorithm": "grpo", "updates": 9}


def put(file: Path, *lines: Any, end: str = "\n") -> None:
    """Append lines: objects as JSON, text and bytes as they are."""
    with file.open("ab") as handle:
        for line in lines:
            raw = line if isinstance(line, bytes) else str.encode(
                line if isinstance(line, str) else json.dumps(line)
            )  # fmt: skip
            handle.write(raw + end.encode())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "theirs.jsonl"


def followed(file: Path) -> FollowedFile:
    return FollowedFile(file, file.parent / "runs")


def read(file: Path) -> FollowedFile:
    """Record all that the file holds."""
    one = followed(file)
    while one.poll():
        pass
    one.close()
    return one


def notes(run_dir: Path | None) -> list[str]:
    assert run_dir is not None
    with RunReader(run_dir) as reader:
        return [note.text for note in reader.notes()]


def curve(run_dir: Path | None, name: str) -> list[float]:
    assert run_dir is not None
    with RunReader(run_dir) as reader:
        return [float(value) for value in reader.curves()[name].mean]


def step(number: int, **metrics: float) -> dict[str, Any]:
    return {"step": number, "metrics": metrics or {"reward": number / 10}}


def test_a_file_becomes_a_run_like_any_other(file: Path) -> None:
    completions = [
        {"prompt": "2+2?", "completion": str(n), "reward": float(n == 4), "advantage": n - 2.0,
         "parts": {"right": float(n == 4)}, "tokens": [str(n)], "log_probs": [-0.5]}
        for n in range(20)
    ]  # fmt: skip
    put(file, HEADER, step(1, reward=0.1, kl=0.02), {"step": 1, "rollouts": completions})
    put(file, {"step": 2, "metrics": {"reward": 0.2, "mine/x": 7}, "note": "harder"})
    put(file, {"end": "finished"})
    one = read(file)
    (listed,) = list_runs(file.parent / "runs")
    assert (listed.state, listed.title, listed.step) == ("finished", "theirs", 2)
    with RunReader(one.run_dir) as reader:
        assert reader.info().preset.budget.updates == 9
        (row,) = reader.groups()
        group = reader.group(row.id)
        assert reader.final()["external"] == "verl 0.5"
    assert (row.size, len(group.members)) == (20, KEPT_MEMBERS)
    best = max(group.members, key=lambda member: member.total)
    assert (best.text, best.parts, best.advantage, best.log_probs) == (
        "4",
        {"right": 1.0},
        2.0,
        (-0.5,),
    )
    assert curve(one.run_dir, "reference_kl") == [0.02]  # under the name that charts know
    assert curve(one.run_dir, "mine/x") == [7.0]
    assert notes(one.run_dir) == ["harder"] and one.bad == 0


def test_a_bad_line_is_one_note_and_the_rest_goes_on(file: Path) -> None:
    bad = {
        "{": "no JSON",
        "[1, 2]": "expected a JSON object",
        '{"step": -1, "metrics": {"a": 1}}': "Expected `int` >= 0",
        '{"metrics": {"a": 1}}': "step is missing",
        '{"step": 3, "metrics": {"a": "high"}}': "Expected `float | null`",
        '{"stepp": 3}': "none of its keys is known",
        '{"step": 1, "metrics": {"a": 1}}': "comes behind step 2",
        '{"step": 3, "rollouts": [{"reward": 1}]}': "completion",
        '{"icemaze": 99}': "newer form",
        "[" * 100_000: "no JSON",
        '{"step": 1' + "0" * 5000 + "}": "no JSON",
    }
    put(file, HEADER, step(2), *bad, b"\xff\xfe{}", "", step(3))
    one = read(file)
    said = notes(one.run_dir)
    for number, words in enumerate(bad.values(), start=3):
        (told,) = [text for text in said if text.startswith(f"Line {number} ")]
        assert words in told and "\n" not in told and len(told) < 400, told
    assert any("no UTF-8" in text for text in said)
    assert one.bad == len(bad) + 1
    assert curve(one.run_dir, "reward") == [0.2, 0.3]


def test_many_bad_lines_do_not_flood_the_notes(file: Path) -> None:
    put(file, HEADER, *["nonsense"] * 1000, step(1))
    one = read(file)
    assert one.bad == 1000
    assert TOLD < len(notes(one.run_dir)) < TOLD + 10
    assert curve(one.run_dir, "reward") == [0.1]


def test_numbers_that_are_none_are_gaps_and_diagnosed(file: Path) -> None:
    put(file, HEADER, '{"step": 1, "metrics": {"loss": NaN, "reward": Infinity, "kl": null}}')
    put(file, step(2, loss=1.0, reward=0.5))
    one = read(file)
    assert math.isnan(curve(one.run_dir, "reward")[0]) and curve(one.run_dir, "reward")[1] == 0.5
    assert any("not a finite number" in text for text in notes(one.run_dir))


@pytest.mark.parametrize(
    ("metrics", "times", "words"),
    [
        ({"grad_norm": 0.0, "frac_reward_zero_std": 0.5}, 2, "The gradient is 0"),
        ({"frac_reward_zero_std": 0.95}, 3, "95% of the groups"),
        ({"kl": 3.0}, 2, "KL to the reference is 3"),
        ({"completions/clipped_ratio": 1.0}, 3, "ran into the token limit"),
        ({"entropy": 0.001}, 5, "Entropy has fallen"),
        ({"sampling/sampling_logp_difference/mean": 0.3}, 3, "Sampler and training pass differ"),
        ({"approx_kl": 0.9}, 3, "moves the policy 0.9 nats"),
    ],
)
def test_the_diagnosis_knows_the_names_of_trl(
    file: Path, metrics: dict[str, float], times: int, words: str
) -> None:
    put(file, HEADER, *[step(n, **metrics) for n in range(1, times)])
    one = followed(file)
    one.poll()
    assert notes(one.run_dir) == []  # not yet: once is nothing
    put(file, step(times, **metrics), step(times + 1, **metrics))
    one.poll()
    (text,) = notes(one.run_dir)
    assert words in text
    one.close()


# ---------------------------------------------------------------- a file that grows


def test_half_a_line_waits_for_the_rest(file: Path) -> None:
    put(file, HEADER, step(1))
    put(file, '{"step": 2, "metrics": {"rew', end="")
    one = followed(file)
    one.poll()
    assert curve(one.run_dir, "reward") == [0.1]
    put(file, 'ard": 0.7}}', end="")
    one.poll()
    assert curve(one.run_dir, "reward") == [0.1]
    one.close()  # nobody writes its end any more: it is whole all the same
    assert curve(one.run_dir, "reward") == [0.1, 0.7]
    put(file, "", step(3))
    assert curve(read(file).run_dir, "reward") == [0.1, 0.7, 0.3]  # and not read twice


def test_it_goes_on_where_it_was_left_in_the_same_run(file: Path) -> None:
    put(file, HEADER, step(1))
    first = read(file)
    put(file, step(2), "bad")
    second = read(file)
    assert second.run_dir == first.run_dir and curve(first.run_dir, "reward") == [0.1, 0.2]
    assert "Line 4 " in notes(first.run_dir)[-1]
    (listed,) = list_runs(file.parent / "runs")
    assert listed.state == "stopped"
    put(file, {"end": "failed", "error": "out of memory"})
    read(file)
    with RunReader(first.run_dir or "") as reader:
        assert (reader.state(), reader.error()) == ("failed", "out of memory")
    put(file, step(3))
    assert read(file).bad == 1  # behind the end
    assert curve(first.run_dir, "reward") == [0.1, 0.2]
    put(file, HEADER, step(1))
    assert read(file).run_dir != first.run_dir  # trained again, into the same file


@pytest.mark.parametrize("replaced", [False, True], ids=["cut", "replaced"])
def test_a_file_that_begins_again_is_read_again(file: Path, replaced: bool) -> None:
    put(file, HEADER, step(1), step(2))
    one = followed(file)
    one.poll()
    if replaced:
        file.rename(file.with_suffix(".1"))
    else:
        os.truncate(file, 0)
        one.poll()
    put(file, step(3))
    one.poll()
    one.poll()
    assert curve(one.run_dir, "reward") == [0.1, 0.2, 0.3]
    assert any(("replaced" if replaced else "cut") in text for text in notes(one.run_dir))
    put(file, HEADER, step(1))
    before = one.run_dir
    one.poll()
    assert one.run_dir != before  # a new header is another run; nothing of the old one is lost
    assert curve(before, "reward") == [0.1, 0.2, 0.3]
    one.close()


def test_a_line_beyond_all_bounds_is_passed_over(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "LONGEST", 2**17)
    put(file, HEADER, b"x" * (2**18), step(1))
    one = read(file)
    assert one.bad == 1 and curve(one.run_dir, "reward") == [0.1]


def test_two_who_watch_one_file_make_one_run(file: Path) -> None:
    put(file, HEADER, step(1))
    one = followed(file)
    one.poll()
    other = followed(file)
    assert other.others and other.run_dir == one.run_dir
    other.close()
    one.close()


@pytest.mark.parametrize("make", [lambda f: f.mkdir(), lambda f: os.mkfifo(f)], ids=["dir", "fifo"])
def test_only_a_plain_file_is_followed(file: Path, make: Any) -> None:
    make(file)
    with pytest.raises(UserError, match=r"plain file|cannot be read"):
        followed(file)


# ---------------------------------------------------------------- what is kept, and what cannot be


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    run = ExternalRun.create(Described(name="long", trainer="t"), tmp_path)
    one = [Rollout(prompt=str(n), completion="x") for n in range(2 * KEPT_GROUPS)]
    for number in range(4 * DENSE):
        run.rollouts(number, one)
    run.end("finished")
    with RunReader(run.run_dir) as reader:
        kept = {row.step for row in reader.groups()}
        assert len(reader.groups()) == KEPT_GROUPS * len(kept)
        assert reader.head().episodes == 4 * DENSE * len(one)
    assert len(kept) == DENSE + DENSE // 2 + 2 * DENSE // 4


def test_what_is_not_ours_cannot_be_steered(tmp_path: Path) -> None:
    run = ExternalRun.create(Described(name="theirs", trainer="TRL"), tmp_path)
    try:
        with RunReader(run.run_dir) as reader:
            assert reader.state() == "running"
            for command in ("pause", "resume", "stop"):
                with pytest.raises(UserError, match=f"started by TRL.* not {command} it"):
                    reader.send(command)
        with pytest.raises(UserError, match="not end it"):
            ending.end_worker(run.run_dir)
    finally:
        run.close()
    with RunReader(run.run_dir) as reader:
        assert reader.state() == "dead"
    with pytest.raises(UserError, match="not go on with it"):
        launch.start_worker(run.run_dir, resume=True)
