"""Lines of a trainer that may be anything: each is recorded, or one note, and the rest goes on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from long_form import count

from engine.external.follow import FollowedFile
from engine.runs.reader import RunReader
from tui.features.external.words import asked, best_and_worst, card_title
from tui.kinds.external.views import views_of

pytestmark = pytest.mark.slow

ODD = [
    None, True, -1, 0, 2**63, 2**200, 1e308, float("nan"), float("-inf"), "", "x" * 5000, "\x1b[2J",
    "\ud800", "é\u202e", [], [[]], {}, {"": ""}, ["a", 1], [{"role": "user"}], [{"content": [1]}],
]  # fmt: skip
KEYS = [
    "icemaze", "name", "trainer", "algorithm", "model", "unit", "updates", "settings", "step",
    "metrics", "rollouts", "note", "level", "end", "error", "prompt", "completion", "reward",
    "parts", "advantage", "group", "cut_off", "tokens", "log_probs", "junk",
]  # fmt: skip


def value(draw: random.Random, depth: int = 0) -> Any:
    if depth < 3 and draw.random() < 0.4:
        if draw.random() < 0.5:
            return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
        return {draw.choice(KEYS): value(draw, depth + 1) for _ in range(draw.randrange(5))}
    return draw.choice(ODD)


def line(draw: random.Random, step: int) -> bytes:
    """Often nearly right, so that what is behind the first check is reached too."""
    told: Any = {"step": step, "metrics": {f"m{step % 7}": step}}
    kind = draw.random()
    if kind < 0.3:
        told = value(draw)
    elif kind < 0.6:
        rollout = {"prompt": "p", "completion": "c", "reward": 1.0, "advantage": 0.5}
        rollout[draw.choice(KEYS)] = value(draw)  # type: ignore[assignment]
        told = {"step": step, "rollouts": [rollout, {"completion": "d"}]}
    elif kind < 0.8:
        told[draw.choice(KEYS)] = value(draw)
    raw = json.dumps(told).encode()
    if draw.random() < 0.1:
        place = draw.randrange(len(raw))
        raw = raw[:place] + bytes([draw.randrange(256)]) + raw[place + 1 :]
    return raw.replace(b"\n", b"") + b"\n"


@pytest.mark.parametrize("seed", range(count(6, 60)))
def test_anything_is_recorded_or_a_note(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    file, runs = tmp_path / "odd.jsonl", tmp_path / "runs"
    with file.open("wb") as handle:
        for step in range(150):
            handle.write(line(draw, step))
            if step == 75:
                handle.write(b'{"icemaze": 1, "name": "\\u001b[2J", "unit": "\\u202e"}\n')
        handle.write(b'{"step": 1000, "metrics": {"last": 1.5}}\n')
    followed = FollowedFile(file, runs)
    while followed.poll():
        pass
    followed.close()
    assert followed.bad > 10
    for path in runs.iterdir():
        if not path.is_dir():
            continue
        with RunReader(path) as reader:
            reader.info(), reader.final()
            curves = reader.curves()
            views_of(curves)
            for row in reader.groups():
                group = reader.group(row.id)
                ends = best_and_worst(group.members)
                assert ends is not None and card_title("most", ends[0]) and asked(group, "update")
            assert all(len(note.text) < 2100 for note in reader.notes())
    with RunReader(followed.run_dir or "") as reader:
        ended = reader.meta()["external"]["over"]
        assert ended or reader.curves()["last"].mean.tolist() == [1.5]
