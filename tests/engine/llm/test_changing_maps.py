"""Runs of language models whose map changes: planned, by an edit, drawn at random, met again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from learner_tools import learner, metrics, preset, reproducible, same_state, train

from engine import factory
from engine.core.errors import UserError
from engine.env.settings import MazeSettings
from engine.learning.events import AnyEvent, Evaluation, Note, Policy, World
from engine.llm.learner import LlmLearner
from engine.llm.models import adapters
from engine.llm.tasks.cells.task import CellsTask
from engine.llm.tasks.evaluation_schedule import is_due
from engine.llm.tasks.routes.task import RoutesTask

Tiny = Callable[[str], Path]

A, B = ["SF", "FG"], ["GF", "FS"]
TO_B, BACK = '{step = 3, map = "GF\\nFS"}', '{step = 6, map = "SF\\nFG"}'
ABA = [f"maze.changes=[{TO_B}, {BACK}]", "budget.updates=9"]
KEEPING = [*ABA, 'algorithm.kl_reference="last_map"', "algorithm.kl=0.1"]


def acting(*args: object, **kwargs: object) -> LlmLearner:
    made = learner(*args, **kwargs)  # type: ignore[arg-type]
    assert isinstance(made.task, CellsTask)
    return made


def weights(made: LlmLearner) -> dict[str, torch.Tensor]:
    return adapters.copied_adapter(made.model.model)


def evaluations(events: list[AnyEvent]) -> list[Evaluation]:
    return [e for e in events if isinstance(e, Evaluation)]


# ---------------------------------------------------------------- drawn at random


def test_a_map_drawn_at_random_is_the_same_after_a_resume(tiny_model: Tiny) -> None:
    made = preset(tiny_model("llama"), overrides=["maze.max_steps=20"])
    lake = MazeSettings(
        gymnasium="FrozenLake-v1", kwargs={"map_name": None, "is_slippery": False}, max_steps=20
    )
    random = msgspec.structs.replace(made, maze=lake)

    def drawn() -> LlmLearner:
        found = factory.make_learner(random)
        assert isinstance(found.task, CellsTask)
        return found

    whole = drawn()
    others = [drawn() for _ in range(5)]
    assert len({other.run.train.mazes[0].rows for other in others}) > 1  # it is drawn anew
    whole.prepare()
    train(whole, 2)
    saved = {name: value.copy() for name, value in whole.state().items()}
    for resumed in others[:2]:
        resumed.load(saved)
        resumed.prepare()
        assert resumed.run.train.mazes == whole.run.train.mazes
        assert resumed.task.model.prompts.texts == whole.task.model.prompts.texts
        assert resumed.diagnosis.optimum() == whole.diagnosis.optimum()
    rest = reproducible(train(whole, 2))
    assert reproducible(train(others[0], 2)) == rest
    same_state(whole, others[0])


# ---------------------------------------------------------------- planned changes


def test_the_map_changes_at_its_update_and_success_is_told_of_all(tiny_model: Tiny) -> None:
    made = acting(tiny_model("llama"), overrides=ABA)
    events = train(made)
    worlds = [(e.id, e.from_step, list(e.maze.rows)) for e in events if isinstance(e, World)]
    assert worlds == [(0, 0, A), (1, 3, B), (2, 6, A)]
    shown = {e.step: e.world_id for e in events if isinstance(e, Policy)}
    assert [shown[step] for step in range(10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    for told in evaluations(events):
        assert told.world_id == shown[told.step]
        on_maps = [name for name in told.figures if name.startswith("success_rate_map_")]
        assert len(on_maps) == (0 if told.step < 3 else 2)  # A and B: A again is no third map
        if on_maps:
            here = 1 if 3 <= told.step < 6 else 0
            assert told.figures[f"success_rate_map_{here}"] == told.figures["success_rate"]
    old = evaluations(events)[5].figures["success_rate_map_0"].mean
    again = made.task.model.table_of((0,), made.run.train, keep_graph=False)
    new = made.run.train.only(0).figures(again.task.policy)["success_rate"][0]
    assert evaluations(events)[-1].figures["success_rate_map_0"].mean == pytest.approx(new)
    assert old != new


def test_the_best_adapters_are_those_of_the_newest_map(tiny_model: Tiny) -> None:
    made = acting(tiny_model("llama"), overrides=[*ABA, "algorithm.learning_rate=0.05"])
    best = [e.figures["success_rate"].mean for e in evaluations(made.begin())]
    while not made.done:
        told = evaluations(made.advance(1))[0]
        if made.run.clock in (3, 6):
            best = []
        best.append(told.figures["success_rate"].mean)
        assert made.evaluator.best.figures["success_rate"].mean() == max(best)
    assert len(best) == 4


def test_a_run_does_not_end_before_the_last_map(tiny_model: Tiny) -> None:
    easy = [*ABA, "budget.success_rate=0.001", "budget.updates=30"]
    made = acting(tiny_model("llama"), overrides=easy)
    train(made)
    assert made.run.clock == 8  # three good evaluations: at its sixth, seventh and eighth update


@pytest.mark.parametrize("more", [ABA, KEEPING, [*ABA, "maze.revisit=0.5"]])
def test_stopped_anywhere_it_goes_on_the_same(tiny_model: Tiny, more: list[str]) -> None:
    epochs = "epochs = 2\ngroup_size = 8"
    whole = acting(tiny_model("llama"), more=epochs, overrides=more)
    whole.begin()
    for stop in range(9):
        saved = {name: value.copy() for name, value in whole.state().items()}
        events = train(whole, 1)
        if stop in (2, 3, 5, 6):  # before a change, and just after it
            resumed = acting(tiny_model("llama"), more=epochs, overrides=more)
            resumed.load(saved)
            assert reproducible(train(resumed, 1)) == reproducible(events)
            same_state(whole, resumed)


# ---------------------------------------------------------------- the reference


def test_the_reference_is_what_was_learned_on_the_last_map(tiny_model: Tiny) -> None:
    made = acting(tiny_model("llama"), overrides=KEEPING)
    events = train(made, 3)
    assert made.run.reference
    before = weights(made)
    for name, weight in made.run.reference.items():
        assert torch.equal(weight, before[name])
    # Just after the change the policy is its own reference; before, the base model was it.
    first = metrics(events, "reference_kl")
    second = metrics(train(made, 3), "reference_kl")
    assert first[0] == pytest.approx(0.0, abs=1e-6) and first[2] > 1e-4
    assert second[0] == pytest.approx(0.0, abs=1e-6) and second[2] > 1e-4
    rows = made.task.table.rows if made.task.table else ()
    with adapters.exchanged(made.model.model, made.run.reference):
        frozen = made.task.policy.log_probs(made.task.model.prompts, list(rows))
    assert made.task.table is not None
    reference = made.task.model.reference_of(made.task.table)
    torch.testing.assert_close(reference, frozen.double(), rtol=0, atol=0)
    base = made.task.policy.reference_log_probs(made.task.model.prompts, list(rows))
    assert (base - frozen).abs().max() > 1e-3
    assert all(not torch.equal(w, before[name]) for name, w in weights(made).items())


def test_the_base_stays_the_reference_unless_asked_otherwise(tiny_model: Tiny) -> None:
    made = acting(tiny_model("llama"), overrides=[*ABA, "algorithm.kl=0.1"])
    told = metrics(train(made), "reference_kl")
    assert not made.run.reference and told[0] == pytest.approx(0.0, abs=1e-6)
    assert min(told[3:]) > 1e-4


def test_kl_to_the_last_map_holds_on_to_it(tiny_model: Tiny) -> None:
    """With a weight that outdoes every advantage, the policy stays what it was at the change."""

    def moved(kl: float) -> float:
        more = [f"maze.changes=[{TO_B}]", 'algorithm.kl_reference="last_map"', "budget.updates=23"]
        made = acting(tiny_model("llama"), overrides=[*more, f"algorithm.kl={kl}"])
        return metrics(train(made), "reference_kl")[-1]

    assert moved(20.0) < 0.2 * moved(0.0)


# ---------------------------------------------------------------- rehearsal


def test_rehearsal_plays_the_share_it_was_given_on_earlier_maps(tiny_model: Tiny) -> None:
    wanted = [*ABA, "maze.revisit=0.5", "algorithm.group_size=2", "algorithm.episodes=400"]
    made = acting(tiny_model("llama"), overrides=wanted)
    train(made, 2)
    assert made.task.next_worlds == (0,)
    train(made, 1)
    assert made.task.next_worlds == (1, 0)
    assert made.task.table is not None
    played = made.task.collect()
    on_old = (played.rollouts.world == 1).mean()  # half of the share: all maps are drawn from
    assert 0.15 < on_old < 0.35
    world = played.rollouts.world.reshape(-1, 2)
    assert (world[:, 0] == world[:, 1]).all() and world[0, 0] == 0
    starts = [made.run.train.mdps[w].start.argmax() for w in played.worlds]
    np.testing.assert_array_equal(
        played.rollouts.state[:, 0], np.array(starts)[played.rollouts.world]
    )
    train(made, 3)
    assert made.task.next_worlds == (2, 1)  # A again: not A twice


# ---------------------------------------------------------------- edits


def test_an_edit_is_a_new_world_from_the_next_update_on(tiny_model: Tiny) -> None:
    made = acting(tiny_model("llama"))
    train(made, 2)
    new, policy = made.edit(B)
    assert isinstance(new, World) and (new.id, new.from_step) == (1, 2)
    assert list(new.maze.rows) == B and new.maze.rewards == made.run.train.mazes[0].rewards
    assert isinstance(policy, Policy) and (policy.world_id, policy.step) == (1, 2)
    assert made.live(0).policy is policy
    assert sum("I move" in text for text in made.task.model.prompts.texts) == 6
    events = train(made, 1)
    told = evaluations(events)[0]
    assert told.world_id == 1
    exact = made.run.train.only(1).figures(made.task.table.policy[:1])["success_rate"]  # type: ignore[union-attr]
    assert told.figures["success_rate"].mean == pytest.approx(exact[0])
    assert told.figures["success_rate_map_1"] == told.figures["success_rate"]
    # An edit that was edited again before anybody met it is no map that was met.
    made.edit(A)
    made.edit(["SG", "FF"])
    assert "success_rate_map_3" not in evaluations(train(made, 1))[0].figures
    assert len(made.run.train) == 4 and made.run.train.met(made.run.clock) == [0, 1, 3]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo", "mpo"])
def test_an_edited_run_resumes(tiny_model: Tiny, algorithm: str) -> None:
    more = "random_starts = 0.5"
    whole = acting(tiny_model("llama"), algorithm, more)
    train(whole, 2)
    whole.edit(B)
    train(whole, 2)
    saved = {name: value.copy() for name, value in whole.state().items()}
    resumed = acting(tiny_model("llama"), algorithm, more)
    resumed.load(saved)
    later = factory.make_learner(whole.preset)  # resumed before its model is there
    assert isinstance(later.task, CellsTask)
    later.load(saved)
    later.prepare()
    assert later.counters == resumed.counters and later.run.train.mazes == whole.run.train.mazes
    rest = reproducible(train(whole, 2))
    assert reproducible(train(resumed, 2)) == rest == reproducible(train(later, 2))
    same_state(whole, resumed)
    same_state(whole, later)


def test_an_edit_replayed_at_its_step_ends_the_same(tiny_model: Tiny) -> None:
    whole, again = acting(tiny_model("llama")), acting(tiny_model("llama"))
    train(whole, 1)
    saved = {name: value.copy() for name, value in whole.state().items()}
    train(whole, 1)
    whole.edit(B)
    train(whole, 2)
    again.load(saved)
    train(again, 1)
    again.edit(B)
    train(again, 2)
    same_state(whole, again)


def test_a_run_edited_just_now_can_be_exported(tiny_model: Tiny, tmp_path: Path) -> None:
    made = acting(tiny_model("llama"))
    train(made, 2)
    made.edit(B)
    made.export(tmp_path / "adapter")
    kept = weights(made)
    adapters.load_adapter(made.model, tmp_path / "adapter")
    for name, weight in weights(made).items():
        assert torch.equal(weight, kept[name])
    last = made.conclude()
    assert evaluations(last)[0].world_id == 1 and made.evaluator.best.weights


def test_a_changed_map_is_no_reason_for_alarm(tiny_model: Tiny) -> None:
    """Success falls when the map changes: that is not training gone wrong."""
    good = ["budget.updates=40", "algorithm.learning_rate=0.03"]
    made = acting(tiny_model("llama"), overrides=good)
    while (
        made.evaluator.best.figures.get("success_rate", np.zeros(1)).mean() < 0.9 and not made.done
    ):
        train(made, 1)
    assert made.evaluator.best.figures["success_rate"].mean() > 0.9
    made.edit(B)
    notes = [e for e in train(made, 3) if isinstance(e, Note)]
    assert not [note for note in notes if note.term == "best-adapters"]


@pytest.mark.parametrize(
    ("overrides", "rows", "why"),
    [
        ([], ["SFF", "FFG"], "2x2|2 rows|size"),
        ([], ["FF", "FG"], "start|S"),
        ([], ["SH", "HG"], "way"),
        ([], ["Sk", "DG"], "keys|way"),
        (["maze.train={count=2, size=2, hole_density=0.0}"], A, "maze.train"),
        (['maze.observation="neighbourhood"'], B, "neighbourhood"),
    ],
)
def test_edits_that_are_refused_say_why(
    tiny_model: Tiny, overrides: list[str], rows: list[str], why: str
) -> None:
    made = acting(tiny_model("llama"), overrides=overrides)
    train(made, 1)
    before = made.state()
    with pytest.raises(UserError, match=why):
        made.edit(rows)
    after = made.state()
    assert before.keys() == after.keys() and len(made.run.train.events()) == len(made.run.train)
    assert train(made, 1)


def test_plans_are_written_for_one_map(tiny_model: Tiny) -> None:
    plan = ["model.policy=route", "model.max_tokens=6", "maze.max_steps=6"]
    made = learner(tiny_model("llama"), overrides=plan)
    assert isinstance(made.task, RoutesTask)
    with pytest.raises(UserError, match=r"maze\.map"):
        made.edit(B)
    for key in ([ABA[0]], ["maze.revisit=0.5"], ['algorithm.kl_reference="last_map"']):
        with pytest.raises(UserError, match=r"changes|revisit|kl_reference"):
            learner(tiny_model("llama"), overrides=[*plan, *key])


# ---------------------------------------------------------------- when sets are looked at


def test_sets_are_looked_at_at_the_same_updates_whatever_the_budget(tiny_model: Tiny) -> None:
    assert [n for n in range(41) if is_due(n, "train")] == [0, 10, 20, 30, 40]
    assert [n for n in range(41) if is_due(n, "test")] == [0, 20, 40]
    sets = [
        "maze.train={count=3, size=2, hole_density=0.0}",
        "maze.test={count=2, size=2, hole_density=0.0, seed=5}",
        "algorithm.episodes=48",
    ]
    steps = []
    for plan in ([], ["model.policy=route", "model.max_tokens=6", "maze.max_steps=6"]):
        made = learner(tiny_model("llama"), overrides=[*sets, *plan, "budget.updates=21"])
        told = evaluations(train(made))
        steps.append([(e.step, e.split) for e in told])
    assert steps[0] == steps[1]
    assert [step for step, split in steps[0] if split == "train"] == [0, 10, 20]
    assert [step for step, split in steps[0] if split == "test"] == [0, 20]
