"""The task of cells: what an update does, and that it can be cut and resumed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_tools import learner, metrics, reproducible, same_state, train

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.core.errors import UserError
from engine.learning.events import Episode, Evaluation, Group, Note, Policy, Update, World
from engine.llm.learner import LlmLearner
from engine.llm.models import adapters
from engine.llm.tasks.cells.task import CellsTask
from engine.llm.tasks.recorded import recorded_members

Tiny = Callable[[str], Path]

SETS = [
    "maze.train={count=6, size=3, per_update=2, hole_density=0.2}",
    "maze.test={count=4, size=3, hole_density=0.2, seed=1}",
    "algorithm.group_size=8",
    "model.observation_text=local",
]


def weights(made: LlmLearner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in adapters.adapter_weights(made.model.model).items()}


ALGORITHMS = [
    name for name in LANGUAGE_MODELS.names if "action" in LANGUAGE_MODELS.get(name).policies
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_two_by_two_cells(tiny_model: Tiny, algorithm: str) -> None:
    more = "random_starts = 0.5\n" if algorithm == "mpo" else ""
    made = learner(
        tiny_model("llama"), algorithm, more, overrides=["budget.updates=25", "algorithm.epochs=2"]
    )
    events = train(made)
    success = [e.figures["success_rate"].mean for e in events if isinstance(e, Evaluation)]
    assert success[0] < 0.9 and max(success) > 0.97
    assert made.counters.updates == 25
    assert made.counters.total_env_steps == sum(metrics(events, "online_length")) * 32


def test_an_update_tells_all_of_it(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"), more="group_size = 16")
    events = train(made, 2)
    worlds = [e for e in events if isinstance(e, World)]
    assert [w.split for w in worlds] == ["train"]
    groups = [e for e in events if isinstance(e, Group) and e.step == 2]
    assert [g.index for g in groups] == [0, 1] and all(g.size == 16 for g in groups)
    assert all("I move" in g.prompt for g in groups)
    for group in groups:
        totals = np.array([m.total for m in group.members])
        found = np.array([m.advantage for m in group.members])
        assert (group.mean, group.spread) == pytest.approx((totals.mean(), totals.std()))
        spread = totals.std(ddof=1) + 1e-4
        np.testing.assert_allclose(found, (totals - totals.mean()) / spread, atol=1e-9)
        for member in group.members:
            assert len(member.states) == len(member.actions) + 1
            assert member.success == (member.states[-1] == 3)
    episode = next(e for e in events if isinstance(e, Episode) and e.step == 2)
    policy = next(e for e in events if isinstance(e, Policy) and e.step == 2)
    before = next(e for e in events if isinstance(e, Policy) and e.step == 1)
    for step in episode.steps:
        np.testing.assert_allclose(step.probabilities, before.target[step.observation], atol=1e-6)
        np.testing.assert_allclose(
            step.probabilities_after, policy.target[step.observation], atol=1e-6
        )
        assert step.log_prob == pytest.approx(np.log(step.probabilities[step.action]))


def test_the_first_pass_of_an_update_clips_nothing(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"))
    events = train(made, 3)
    assert metrics(events, "clip_fraction") == [0.0] * 3
    assert metrics(events, "ratio_max") == pytest.approx([1.0] * 3, abs=1e-6)
    again = learner(tiny_model("llama"), more="epochs = 8")
    assert max(metrics(train(again, 4), "clip_fraction")) > 0.0


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [("grpo", "epochs = 2"), ("ppo", ""), ("mpo", "random_starts = 0.5"), ("dapo", "uniform=0.2")],
)
def test_stopped_and_resumed_equals_never_stopped(
    tiny_model: Tiny, algorithm: str, more: str
) -> None:
    whole = learner(tiny_model("llama"), algorithm, more)
    train(whole, 3)
    rest = train(whole, 3)
    first = learner(tiny_model("llama"), algorithm, more)
    train(first, 3)
    saved = {name: value.copy() for name, value in first.state().items()}
    resumed = learner(tiny_model("llama"), algorithm, more)
    resumed.load(saved)
    assert reproducible(train(resumed, 3)) == reproducible(rest)
    same_state(whole, resumed)


def test_sets_of_mazes_resume_too_and_test_on_others(tiny_model: Tiny) -> None:
    whole = learner(tiny_model("llama"), overrides=SETS)
    events = train(whole, 4)
    splits = {e.split for e in events if isinstance(e, Evaluation)}
    assert splits == {"train", "test"}
    mazes = {split: [] for split in ("train", "test")}
    for event in events:
        if isinstance(event, World):
            mazes[event.split].append(event.maze.rows)
    assert len(mazes["train"]) == 6 and len(mazes["test"]) == 4
    assert not set(mazes["train"]) & set(mazes["test"])
    resumed = learner(tiny_model("llama"), overrides=SETS)
    train(resumed, 2)
    saved = resumed.state()
    resumed = learner(tiny_model("llama"), overrides=SETS)
    resumed.load(saved)
    train(resumed, 2)
    same_state(whole, resumed)
    last = [e for e in whole.conclude() if isinstance(e, Evaluation)][-1]
    assert last.split == "test" and last.figures["best_success_rate"].n == 4


def test_micro_batches_change_no_result(tiny_model: Tiny) -> None:
    more = "epochs = 2\nentropy = 0.01\nkl = 0.01"
    whole = learner(tiny_model("llama"), more=more)
    cut = learner(tiny_model("llama"), more=more, overrides=["model.token_budget=64"])
    assert isinstance(whole.task, CellsTask) and isinstance(cut.task, CellsTask)
    assert len(cut.task.policy.split(cut.task.model.prompts)) > 1
    assert metrics(train(whole, 3), "loss") == pytest.approx(metrics(train(cut, 3), "loss"), 1e-4)
    theirs = weights(cut)
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-5)


def test_an_update_put_off_leaves_no_trace(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"), more="epochs = 3")
    other = learner(tiny_model("llama"), more="epochs = 3")
    train(made, 2)
    train(other, 2)
    made.interrupted = lambda: True
    assert made.advance(1) == [] and made.yielded and made.run.clock == 2
    same_state(made, other)
    made.interrupted = lambda: False
    rest = train(made, 2)
    assert not made.yielded
    assert reproducible(rest) == reproducible(train(other, 2))


def test_an_evaluation_put_off_comes_later_and_the_same(tiny_model: Tiny) -> None:
    sets = [*SETS, "model.token_budget=64"]
    whole = learner(tiny_model("llama"), overrides=sets)
    events = train(whole, 2)
    assert [e.split for e in events if isinstance(e, Evaluation)] == ["train", "test"]
    made = learner(tiny_model("llama"), overrides=sets)
    made.prepare()
    told = made.begin()
    assert made.evaluator.pending == ["train", "test"]
    asked = itertools.count()
    made.interrupted = lambda: next(asked) == 1  # in the middle of the first look
    assert made.advance(1) == [] and made.yielded and made.run.clock == 0
    saved = made.state()
    made = learner(tiny_model("llama"), overrides=sets)  # a run killed while it is paused there
    made.load(saved)
    made.prepare()
    asked = itertools.count()
    while made.run.clock < 2:
        passes = next(asked) * 3
        cut = itertools.count()
        made.interrupted = lambda: next(cut) == passes  # noqa: B023
        told += made.advance(2 - made.run.clock)
    assert next(asked) > 1 and reproducible(told) == reproducible(events)
    same_state(whole, made)


def test_the_kept_adapters_are_the_best_ones(tiny_model: Tiny, tmp_path: Path) -> None:
    made = learner(tiny_model("llama"), overrides=["algorithm.learning_rate=0.05"])
    assert isinstance(made.task, CellsTask)
    made.begin()
    seen = []
    while not made.done:
        figures = next(e for e in made.advance(1) if isinstance(e, Evaluation)).figures
        seen.append((figures["success_rate"].mean, weights(made)))
    best, kept = max(seen, key=lambda pair: pair[0])
    assert made.evaluator.best.figures["success_rate"].mean() == best
    made.export(tmp_path / "adapter")
    adapters.load_adapter(made.model, tmp_path / "adapter")
    for name, weight in weights(made).items():
        assert torch.equal(weight, kept[name])


def test_exporting_between_updates_changes_nothing(tiny_model: Tiny, tmp_path: Path) -> None:
    made, other = learner(tiny_model("llama")), learner(tiny_model("llama"))
    train(made, 2)
    train(other, 2)
    made.export(tmp_path / "adapter")
    assert reproducible(train(made, 2)) == reproducible(train(other, 2))
    same_state(made, other)


def test_a_warm_start_shows_the_way(tiny_model: Tiny) -> None:
    warm = ["warmup.updates=40", "warmup.learning_rate=0.003", "budget.updates=40"]
    made = learner(tiny_model("llama"), overrides=warm)
    events = train(made)
    losses = metrics(events, "warmup_loss")
    assert len(losses) == 40 and losses[-1] < 0.2 * losses[0]
    assert made.counters.total_env_steps == 0
    success = [e.figures["success_rate"].mean for e in events if isinstance(e, Evaluation)]
    assert success[-1] > 0.9 > success[0]


def test_it_stops_when_it_was_good_three_times(tiny_model: Tiny) -> None:
    goal = ["budget.success_rate=0.9", "budget.updates=200"]
    made = learner(tiny_model("llama"), overrides=goal)
    events = train(made)
    success = [e.figures["success_rate"].mean for e in events if isinstance(e, Evaluation)]
    assert min(success[-3:]) >= 0.9 and success[-4] < 0.9
    assert made.run.clock < 200


def test_dynamic_sampling_draws_groups_that_teach(tiny_model: Tiny) -> None:
    # One move to the prize: with three moves at most, many groups of two end alike.
    few = ["maze.max_steps=3", "algorithm.group_size=2", "algorithm.draws=16"]
    made = learner(tiny_model("llama"), "dapo", overrides=few)
    plain = learner(tiny_model("llama"), "grpo", overrides=few[:2])
    events = train(made, 3)
    assert max(metrics(train(plain, 3), "equal_groups")) > 0.0
    groups = [event for event in events if isinstance(event, Group)]
    assert groups and all(group.spread > 0.0 for group in groups)
    # What was left out was played too, and is told.
    draws, equal = metrics(events, "group_draws"), metrics(events, "equal_groups")
    assert max(draws) > 1 and all((e > 0) or (d == 1) for d, e in zip(draws, equal, strict=True))
    counts = [event.episodes for event in events if isinstance(event, Update)]
    assert np.diff([0, *counts]).tolist() == [32 * draw for draw in draws]


def test_the_figures_of_what_was_played_are_not_those_of_chosen_groups(tiny_model: Tiny) -> None:
    few = ["maze.max_steps=3", "algorithm.group_size=2", "algorithm.episodes=4096"]
    made = learner(tiny_model("llama"), "dapo", overrides=few)
    events = train(made, 1)
    assert metrics(events, "group_draws")[0] > 1
    (exact, *_) = [e.figures["success_rate"].mean for e in events if isinstance(e, Evaluation)]
    (played,) = metrics(events, "online_success_rate")
    assert played == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4096))


def test_the_learning_rate_told_is_the_one_that_was_used(tiny_model: Tiny) -> None:
    falling = ["algorithm.learning_rate={start=0.01, end=0.0, steps=4}", "warmup={updates=1}"]
    made = learner(tiny_model("llama"), overrides=[*falling, "warmup.learning_rate=0.5"])
    used, step = [], made.optimizers.policy.step
    made.optimizers.policy.step = lambda rate, norm: (used.append(rate), step(rate, norm))[1]  # type: ignore[method-assign]
    events = train(made, 4)
    assert metrics(events, "learning_rate") == used
    assert used == pytest.approx([0.5, 0.0075, 0.005, 0.0025])
    told = [e.steps[0].step_size for e in events if isinstance(e, Episode)]
    assert told == used[1:]


def test_the_distance_to_the_reference_is_told_although_nothing_pulls(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"), overrides=SETS)
    found = metrics(train(made, 4), "reference_kl")
    assert found[0] == pytest.approx(0.0, abs=1e-6) and found[-1] > 1e-4
    assert made.run.settings.kl == 0 and made.task.model._reference.isnan().any()


def test_the_best_and_the_worst_of_a_large_group_are_recorded() -> None:
    totals = np.zeros(64)
    totals[63], totals[40] = 1.0, -1.0
    kept = recorded_members(totals)
    assert len(kept) == 16 and {40, 63} <= set(kept) and kept == sorted(kept)
    assert recorded_members(np.array([3.0, 1.0, 2.0])) == [0, 1, 2]


def test_only_settings_that_may_change_are_tuned(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"))
    made.begin()
    assert made.tune("algorithm.learning_rate", 0.005)
    assert metrics(made.advance(1), "learning_rate") == [0.005]
    with pytest.raises(UserError, match="cannot change"):
        made.tune("algorithm.episodes", 8)


def test_it_says_where_it_computes(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"))
    notes = [e.text for e in made.begin() if isinstance(e, Note)]
    assert any("CPU" in text or "GPU" in text for text in notes)


OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory")
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
"""What is said when cuBLAS finds no room for its workspace."""


class FullGpu:
    """Stands in for a model's forward pass on a GPU that is full, the first so many times."""

    def __init__(self, made: LlmLearner, times: int, said: str = "") -> None:
        self.said = said
        self.forward, self.times = made.task.policy.forward, times
        made.task.policy.forward = self  # type: ignore[assignment]

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError(self.said) if self.said else OUT_OF_MEMORY
        return self.forward(*args, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", ["first", "set", "last"])
def test_out_of_memory_while_looking_loses_and_repeats_nothing(
    tiny_model: Tiny, moment: str
) -> None:
    made, other = (learner(tiny_model("llama"), overrides=SETS) for _ in range(2))
    assert isinstance(made.task, CellsTask) and isinstance(other.task, CellsTask)
    if moment == "first":
        FullGpu(made, times=1)
    events = made.begin()
    if moment == "set":
        FullGpu(made, times=1)  # what is owed comes first
    events += made.advance(2)
    if moment == "last":
        FullGpu(made, times=1)
    events += made.conclude()
    assert ["out of memory" in e.text for e in events if isinstance(e, Note)].count(True) == 1
    theirs = [*other.begin(), *other.advance(2), *other.conclude()]
    for name in ("gradient_norm", "online_return"):
        assert metrics(events, name) == pytest.approx(metrics(theirs, name), rel=1e-3)
    for kind in (Evaluation, Group, Episode):
        found = [[e.step for e in told if isinstance(e, kind)] for told in (events, theirs)]
        assert found[0] == found[1]
    FullGpu(made, times=100)
    with pytest.raises(UserError, match="ran out of memory"):
        made.conclude()


def test_out_of_memory_at_an_edit_loses_and_repeats_nothing(tiny_model: Tiny) -> None:
    made, other = (learner(tiny_model("llama")) for _ in range(2))
    train(made, 1), train(other, 1)
    rows = ["SF", "HG"]
    FullGpu(made, times=1, said=CUBLAS)
    events = made.edit(rows)
    assert [type(e) for e in events if not isinstance(e, Note)] == [
        type(e) for e in other.edit(rows)
    ]
    assert sum("out of memory" in e.text for e in events if isinstance(e, Note)) == 1
    assert len(made.run.train) == len(other.run.train) == 2
    metrics_of_both = [metrics(one.advance(1), "gradient_norm") for one in (made, other)]
    assert metrics_of_both[0] == pytest.approx(metrics_of_both[1], rel=1e-3)


def test_what_is_no_lack_of_memory_is_not_taken_for_it(tiny_model: Tiny) -> None:
    made = learner(tiny_model("llama"))
    FullGpu(made, times=1, said="CUDA error: device-side assert triggered")
    with pytest.raises(RuntimeError, match="device-side"):
        made.begin()


def test_dropout_resumes_too_and_never_plays(tiny_model: Tiny) -> None:
    dropping = ["model.lora={rank=4, dropout=0.5}"]
    whole = learner(tiny_model("llama"), overrides=dropping)
    assert isinstance(whole.task, CellsTask)
    train(whole, 4)
    first = whole.task.table
    assert first is not None and first.graph is None
    again = whole.task.model.table_of(whole.task.next_worlds, whole.run.train, keep_graph=True)
    torch.testing.assert_close(first.log_pi, again.log_pi, rtol=0, atol=0)
    resumed = learner(tiny_model("llama"), overrides=dropping)
    train(resumed, 2)
    saved = resumed.state()
    torch.manual_seed(1)
    resumed = learner(tiny_model("llama"), overrides=dropping)
    resumed.load(saved)
    train(resumed, 2)
    same_state(whole, resumed)
