"""Rows that anybody may have put into the commands of a live run: each is answered, none kills."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from damage import ARGUMENTS, NOT_UTF8, PRESETS
from long_form import count

from engine import presets
from engine.factory import make_learner
from engine.runs import commands, launch
from engine.runs.session import Session
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

NAMES: tuple[Any, ...] = (
    *commands.COMMANDS, *commands.COMMANDS, "", "nope", "pause\0", "PAUSE", "x" * 100_000, "[" * 9,
    b"\xff\xfe", b"pause", 5, -0.5, NOT_UTF8,
)  # fmt: skip


class Sender:
    """A clock that puts a hostile row into a run at every other look, and at the end a `stop`."""

    def __init__(self, path: Path, rows: int, seed: int) -> None:
        self.db = sqlite3.connect(path / "run.db", isolation_level=None, timeout=60)
        self.left, self.random, self.looks = rows, random.Random(seed), 0

    def __call__(self) -> float:
        self.looks += 1
        if self.looks % 5 == 0:
            self.send()
        return time.monotonic()

    def send(self) -> None:
        """The next row."""
        if self.left <= 0:
            self.insert("stop", "{}")
            return
        self.left -= 1
        self.insert(self.random.choice(NAMES), self.random.choice(ARGUMENTS))

    def insert(self, name: Any, args: Any) -> None:
        """Put a row in, as no `RunReader` would."""
        marks = ["CAST(x'80ff41' AS TEXT)" if v is NOT_UTF8 else "?" for v in (name, args)]
        values = [v for v in (name, args) if v is not NOT_UTF8]
        sql = f"INSERT INTO commands (name, args, sent_at) VALUES ({', '.join(marks)}, 0)"
        self.db.execute(sql, values)


@pytest.mark.parametrize("name", ["q-learning", "value-iteration"])
def test_no_row_in_commands_kills_a_live_worker(name: str, tmp_path: Path) -> None:
    preset = presets.parse(PRESETS[name], overrides=["budget.seconds=100000"])
    path = launch.create_run(preset, name, runs_dir=tmp_path)
    budget = "updates" if name == "value-iteration" else "env_steps"
    text = (path / "preset.toml").read_text()
    (path / "preset.toml").write_text(
        text.replace(f"{budget} = {getattr(preset.budget, budget)}\n", f"{budget} = 1000000000\n")
    )
    sender = Sender(path, count(150, 6000), seed=len(name))
    while sender.left > 0:  # a `stop` among the rows ends it
        writer = RunWriter(path)
        with contextlib.closing(writer):
            succeeded = Session(writer, make_learner, clock=sender, sleep=lambda s: None).run()
            assert succeeded, writer.meta("finished")
    query = "SELECT status, reply FROM commands WHERE name NOT IN ('stop') OR args != '{}'"
    rows = sender.db.execute(query).fetchall()
    statuses = [status for status, _ in rows]
    assert len(rows) >= count(120, 5000) and set(statuses) <= {"done", "refused", "pending"}
    assert statuses.count("pending") < 10  # sent when the last words were written
    assert {"done", "refused"} <= set(statuses)
    for status, reply in rows:
        assert len(reply) < 1000 and "\n" not in reply and "Error" not in reply
        assert bool(reply) or status != "refused"


def test_the_answer_says_what_is_wrong(tmp_path: Path) -> None:
    path = launch.create_run(presets.parse(PRESETS["q-learning"]), "a", runs_dir=tmp_path)
    sender = Sender(path, 0, seed=0)
    for name, args in (("nope", "{}"), ("tune", "[" * 100_000), (b"\xff", "{}"), ("step", "{"),
                       ("pace", '{"value": Infinity}'), ("pause", '{"a": 1}')):  # fmt: skip
        sender.insert(name, args)
    writer = RunWriter(path)
    with contextlib.closing(writer):
        assert Session(writer, make_learner).run()
    replies = [row[0] for row in sender.db.execute("SELECT reply FROM commands ORDER BY id")]
    assert replies[0].startswith("There is no command 'nope'.")
    assert replies[1].startswith("tune: its arguments are not JSON")
    assert replies[2].startswith("There is no command")
    assert replies[3].startswith("step: its arguments are not JSON")
    assert replies[4] == 'pace: found {"value": Infinity}; expected ' + commands.Pace.usage + "."
    assert replies[5] == 'pause: found {"a": 1}; expected it takes no arguments.'
