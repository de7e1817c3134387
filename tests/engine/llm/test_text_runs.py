"""Runs that learn from preferences, in the store: asked, answered, killed and resumed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_tools import text_preset

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests of all runs share

from run_tools import DEADLINE, ask, kill, launched, rows, run_here, wait_for

from engine import factory
from engine.core.errors import UserError
from engine.llm.tasks.recorded import TIMED
from engine.runs import launch
from engine.runs.evaluation import evaluate_run, played_worlds
from engine.runs.reader import RunReader

Tiny = Callable[[str], Path]

RECORDED = ("worlds", "points", "groups", "ratings", "tunes")
CHOICES = ("first", "second", "tie", "skip")


def answer_round(reader: RunReader, count: int = 3) -> None:
    """Answer so many open pairs, always the same way about the same pair."""
    wait_for(reader, lambda head: head.waiting >= count)
    known = {given.index for given in reader.preferences()}
    for pair in [pair for pair in reader.pairs() if pair.index not in known][:count]:
        if pair.index % 5 == 4:
            assert ask(reader, "score", pair=pair.index, scores=[6.0, 4.5]) == "done"
        else:
            choice = CHOICES[pair.index % 4]
            assert ask(reader, "prefer", pair=pair.index, choice=choice) == "done"


def record(run_dir: Path) -> dict[str, Any]:
    """All that two runs with the same answers must agree on; what is measured is not."""
    found: dict[str, Any] = {table: rows(run_dir, table) for table in RECORDED}
    found["metrics"] = [row[1:] for row in rows(run_dir, "metrics") if row[4] not in TIMED]
    return found


def test_asked_and_answered_through_the_store(tiny_model: Tiny, tmp_path: Path) -> None:
    made = text_preset(tiny_model("llama"), "you", "budget.updates=2")
    with launched(made, tmp_path) as reader:
        head = wait_for(reader, lambda head: head.waiting == 3)
        assert (head.state, head.step) == ("running", 0)
        seconds = head.seconds
        answer_round(reader, 1)
        # A wrong answer is refused with a sentence, and changes nothing.
        refused = reader.send("prefer", pair=99, choice="first")
        reply = reader.wait_reply(refused, DEADLINE)
        assert reply.refused and "Pair 99 was never shown" in reply.reply
        assert reader.head().seconds == seconds  # waiting is not training
        answer_round(reader, 2)
        wait_for(reader, lambda head: head.waiting == 3 and head.step == 2)
        answer_round(reader)
        assert wait_for(reader, lambda head: head.ended).state == "finished", reader.error()
        given = reader.preferences()
        assert [g.index for g in given] == [0, 1, 2, 3, 4, 5]
        assert [g.choice for g in given] == ["first", "second", "tie", "skip", "first", "second"]
        assert given[4].scores == (6.0, 4.5) and all(g.by == "you" for g in given)
        assert [g.step for g in given] == [0, 0, 0, 2, 2, 2]
        final = reader.final()
        assert final["metrics"]["preferences"] == 5


@pytest.mark.parametrize("answered", [1, 3], ids=["in a round", "behind a round"])
def test_a_killed_and_resumed_run_ends_like_one_never_killed(
    tiny_model: Tiny, tmp_path: Path, answered: int
) -> None:
    made = text_preset(tiny_model("llama"), "you", "budget.updates=2")
    records = []
    for killed in (False, True):
        with launched(made, tmp_path / str(killed)) as reader:
            answer_round(reader, answered)
            if killed:
                kill(reader)
                launch.start_worker(reader.path, resume=True)
            if answered < 3:
                answer_round(reader, 3 - answered)
            wait_for(reader, lambda head: head.step == 2)
            answer_round(reader)
            head = wait_for(reader, lambda head: head.ended)
            assert (head.state, head.generation) == ("finished", int(killed)), reader.error()
        records.append(record(reader.path))
    for table in records[0]:
        assert records[0][table] == records[1][table], table


def test_a_rule_needs_nobody(tiny_model: Tiny, tmp_path: Path) -> None:
    made = text_preset(tiny_model("llama"), "rule", "budget.updates=2")
    run_dir = launch.create_run(made, "ruled", runs_dir=tmp_path)
    assert run_here(run_dir, factory.make_learner)
    with RunReader(run_dir) as reader:
        figures = reader.final()["metrics"]
        assert {"true_score", "base_true_score", "reward_model_accuracy"} <= figures.keys()
        assert reader.head().waiting == 0
        assert len(reader.pairs()) == len(reader.preferences()) == 6
        assert len(reader.pairs(until=0)) == len(reader.preferences(until=1)) == 3
    assert "[maze]" not in (run_dir / "preset.toml").read_text()
    with RunReader(run_dir) as reader:
        for look in (evaluate_run, played_worlds):
            with pytest.raises(UserError, match="this run writes free text"):
                look(reader, [])
