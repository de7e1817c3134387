"""The task of routes: what an update does, and that it can be cut and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_tools import metrics, preset, reproducible, same_state, train
from route_tools import ALGORITHMS, ROUTES, route_learner, weights

from engine.core.errors import UserError
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.learning.events import Evaluation, Group, Policy
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.prompts import RoutePrompt
from engine.llm.tasks.routes.batch import RouteBatch, by_critic
from engine.llm.tasks.routes.rewards import parse_moves, walk
from engine.llm.tasks.routes.writer import Route

Tiny = Callable[[str], Path]

SETS = [
    "maze.train={count=4, size=3, per_update=2, hole_density=0.2}",
    "maze.test={count=3, size=3, hole_density=0.2, seed=1}",
    "algorithm.group_size=8",
    "model.max_tokens=10",
]


def route(total: float, n_tokens: int) -> Route:
    """One of which only reward and length matter."""
    mdp = build_mdp(Maze(rows=("SF", "FG")))
    parsed = parse_moves("right")
    return Route(
        0, 0, RoutePrompt("", (), (), ()), (1,) * n_tokens, (0.0,) * n_tokens, "right", parsed,
        walk(mdp, parsed.moves, 0, np.random.default_rng(0)), {"prize": total}, False,
    )  # fmt: skip


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_a_route(tiny_model: Tiny, algorithm: str) -> None:
    made = route_learner(
        tiny_model("llama"), algorithm, "algorithm.episodes=64", "algorithm.epochs=2",
        "budget.updates=30", "budget.success_rate=0.95",
    )  # fmt: skip
    events = train(made)
    evaluations = [e for e in events if isinstance(e, Evaluation)]
    success = [e.figures["success_rate"].mean for e in evaluations]
    assert success[0] < 0.4 and max(success) > 0.9
    assert all(e.success_kind == "sampled" and 0 < e.success_stderr < 0.1 for e in evaluations)
    assert made.counters.updates == len(metrics(events, "loss"))
    assert all(np.isfinite(metrics(events, "loss")))
    assert ("value_loss" in repr(events)) == (algorithm == "ppo")


def test_a_warm_start_shows_shortest_routes(tiny_model: Tiny) -> None:
    warm = ["warmup.updates=30", "warmup.learning_rate=0.01", "budget.updates=31"]
    made = route_learner(tiny_model("llama"), "grpo", *warm)
    events = train(made, 30)
    losses = metrics(events, "warmup_loss")
    assert len(losses) == 30 and losses[-1] < 0.4 * losses[0]
    assert made.counters.episodes == made.counters.total_env_steps == 0
    assert [e.step for e in events if isinstance(e, Policy)] == [0, 10, 20, 30]
    success = [e.figures["success_rate"].mean for e in events if isinstance(e, Evaluation)]
    assert success[0] < 0.4 and success[-1] > 0.9
    # Two routes are shortest, half of the time each: log 2 nats over the three tokens of a route.
    assert losses[-1] > 0.9 * np.log(2) / 3
    assert metrics(train(made, 1), "online_success_rate")[0] > 0.9


def test_a_value_head_judges_token_by_token() -> None:
    batch = RouteBatch((route(1.0, 2), route(0.0, 3)), 2, (), None, 1, 2, 2, 5, 0.0)
    values = torch.tensor([[0.5, 0.25, 9.0], [0.5, 0.5, 0.0]])  # 9 stands behind the end
    gamma, lambda_ = 0.9, 0.5
    advantages, targets = by_critic(batch, values, gamma, lambda_)
    last = 1.0 - 0.25
    first = gamma * 0.25 - 0.5 + gamma * lambda_ * last
    other = [0.0, gamma * 0.0 - 0.5, gamma * 0.5 - 0.5]
    other[1] += gamma * lambda_ * other[0]
    other[2] += gamma * lambda_ * other[1]
    raw = np.array([first, last, other[2], other[1], other[0]])
    wanted = (raw - raw.mean()) / (raw.std() + 1e-8)
    np.testing.assert_allclose(advantages[0], [*wanted[:2], 0.0], atol=1e-6)
    np.testing.assert_allclose(advantages[1], wanted[2:], atol=1e-6)
    np.testing.assert_allclose(targets[0], [first + 0.5, 1.0, 0.0], atol=1e-6)


# ---------------------------------------------------------------- cutting and resuming


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_micro_batches_change_no_result(tiny_model: Tiny, algorithm: str) -> None:
    more = ("algorithm.epochs=2", "algorithm.entropy=0.01", "algorithm.kl=0.01")
    whole = route_learner(tiny_model("llama"), algorithm, *more)
    cut = route_learner(tiny_model("llama"), algorithm, *more, "model.token_budget=150")
    whole.begin()
    cut.begin()
    assert cut.task.batch is not None
    written = [r.tokens for r in cut.task.batch.routes]
    prompts = [r.prompt.tokens for r in cut.task.batch.routes]
    assert len(cut.task.policy.split(prompts, written)) > 2
    assert len(whole.task.policy.split(prompts, written)) == 1
    mine, theirs = whole.advance(1), cut.advance(1)
    for name in ("loss", "gradient_norm", "entropy", "reference_kl", "approx_kl"):
        assert metrics(mine, name) == pytest.approx(metrics(theirs, name), rel=1e-4, abs=1e-6)
    other = weights(cut)
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=1e-6)


def test_gradients_of_micro_batches_add_up(tiny_model: Tiny) -> None:
    found = []
    for budget in (2048, 150):
        made = route_learner(
            tiny_model("llama"), "dapo", "algorithm.entropy=0.02", "algorithm.kl=0.02",
            f"model.token_budget={budget}", "algorithm.learning_rate=1e-12",
        )  # fmt: skip
        made.begin()
        kept: list[torch.Tensor] = []

        def step(
            rate: float, norm: float, made: Any = made, kept: list[torch.Tensor] = kept
        ) -> float:
            kept += [p.grad.clone() for p in made.optimizers.policy.parameters.values()]
            return 0.0

        made.optimizers.policy.step = step  # type: ignore[method-assign]
        made.advance(1)
        found.append(torch.cat([gradient.flatten() for gradient in kept]))
    assert (found[0] - found[1]).norm() <= 1e-5 * found[0].norm() and found[0].norm() > 0
    assert (found[0] - found[1]).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        ("grpo", ["algorithm.epochs=2", "warmup.updates=2"]),
        ("ppo", ["maze.slip=0.3"]),
        ("ppo", ["model.lora={rank=4, dropout=0.5}"]),
        ("dapo", ["algorithm.temperature=0.8", "algorithm.group_size=4"]),
    ],
)
def test_stopped_and_resumed_equals_never_stopped(
    tiny_model: Tiny, algorithm: str, more: list[str]
) -> None:
    whole = route_learner(tiny_model("llama"), algorithm, *more)
    train(whole, 3)
    rest = train(whole, 3)
    first = route_learner(tiny_model("llama"), algorithm, *more)
    train(first, 3)
    saved = {name: value.copy() for name, value in first.state().items()}
    first.conclude()  # its last words may find better adapters, and shift nothing else
    resumed = route_learner(tiny_model("llama"), algorithm, *more)
    resumed.load(saved)
    assert reproducible(train(resumed, 3)) == reproducible(rest)
    same_state(whole, resumed)
    for name, value in first.state().items():
        if not name.startswith("best"):
            np.testing.assert_array_equal(value, saved[name], err_msg=name)


def test_the_distance_to_the_reference_is_told_although_nothing_pulls(tiny_model: Tiny) -> None:
    told, pulled = (
        metrics(train(route_learner(tiny_model("llama"), "grpo", *kl), 4), "reference_kl")
        for kl in ([], ["algorithm.kl=1e-9"])
    )
    assert told[0] == pytest.approx(0.0, abs=1e-6) and told[-1] > 0.0
    assert told[-1] == pytest.approx(pulled[-1], rel=1.0)  # of a few routes, and of all


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
@pytest.mark.parametrize("asked", [1, 3])
def test_an_update_put_off_leaves_no_trace(tiny_model: Tiny, algorithm: str, asked: int) -> None:
    more = ["algorithm.epochs=2", "model.token_budget=150"]
    made = route_learner(tiny_model("llama"), algorithm, *more)
    other = route_learner(tiny_model("llama"), algorithm, *more)
    train(made, 2)
    train(other, 2)
    count = iter(range(100))
    made.interrupted = lambda: next(count) >= asked
    assert made.advance(1) == [] and made.yielded and made.run.clock == 2
    same_state(made, other)
    made.interrupted = lambda: False
    rest = train(made, 2)
    assert not made.yielded
    assert reproducible(rest) == reproducible(train(other, 2))
    same_state(made, other)


KEPT = "model.gradient_checkpointing=off"
"""Passes become smaller at once, rather than keep less."""


def test_out_of_memory_halves_the_micro_batches_and_changes_no_result(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = route_learner(tiny_model("llama"), "grpo", "algorithm.epochs=2", KEPT)
    other = route_learner(tiny_model("llama"), "grpo", "algorithm.epochs=2")
    train(made, 1)
    train(other, 1)
    forward, calls = CompletionPolicy.forward, []

    def failing(self: CompletionPolicy, prompts: Any, written: Any, *more: Any) -> Any:
        if self is made.task.policy:
            calls.append(len(prompts))
            if len(calls) == 3:  # in the second pass: the adapters have moved already
                raise torch.cuda.OutOfMemoryError("no more")
        return forward(self, prompts, written, *more)

    monkeypatch.setattr(CompletionPolicy, "forward", failing)
    events = train(made, 1)
    assert "out of memory" in repr(events) and made.run.clock == 2
    told, *passes = calls  # a few routes are compared with the reference first
    assert told < 32 == passes[0] == passes[1] and all(n < 32 for n in passes[2:])
    assert metrics(events, "loss") == pytest.approx(metrics(train(other, 1), "loss"), abs=1e-4)
    monkeypatch.setattr(CompletionPolicy, "forward", failing_always)
    with pytest.raises(UserError, match="ran out of memory"):
        made.advance(1)


def failing_always(self: CompletionPolicy, prompts: Any, written: Any, *more: Any) -> Any:
    raise torch.cuda.OutOfMemoryError("no more")


def test_sets_of_mazes_resume_too_and_test_on_others(tiny_model: Tiny) -> None:
    whole = route_learner(tiny_model("llama"), "grpo", *SETS)
    events = train(whole, 4)
    splits = {e.split: e for e in events if isinstance(e, Evaluation)}
    assert set(splits) == {"train", "test"}
    assert splits["train"].figures["success_rate"].n == 4
    assert splits["test"].figures["greedy_success_rate"].n == 3
    groups = [e for e in events if isinstance(e, Group)]
    assert len({g.world_id for g in groups if g.step == 1}) == 2
    resumed = route_learner(tiny_model("llama"), "grpo", *SETS)
    train(resumed, 2)
    saved = resumed.state()
    resumed = route_learner(tiny_model("llama"), "grpo", *SETS)
    resumed.load(saved)
    train(resumed, 2)
    same_state(whole, resumed)
    last = [e for e in whole.conclude() if isinstance(e, Evaluation)]
    assert [e.split for e in last] == ["train", "test"]
    assert last[1].figures["best_success_rate"].n == 3


@pytest.mark.parametrize("told", ["local", "map+local"])
def test_a_route_is_learned_from_what_lies_around_the_start(tiny_model: Tiny, told: str) -> None:
    made = route_learner(
        tiny_model("llama"), "grpo", "algorithm.episodes=64", "algorithm.epochs=2",
        "budget.updates=30", "budget.success_rate=0.95", f"model.observation_text={told}",
    )  # fmt: skip
    success = [e.figures["success_rate"].mean for e in train(made) if isinstance(e, Evaluation)]
    assert success[0] < 0.4 and max(success) > 0.9
    prompt = made.task.writer.prompt(0, 0).text
    assert "wall left, ice below, ice right, wall above, prize 1 down 1 right" in prompt


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["maze.slip=0.2", "warmup.updates=2"], "shortest routes"),
        (["algorithm.credit=state"], "action policies"),
        (["algorithm.random_starts=0.5"], "action policies"),
    ],
)
def test_settings_that_cannot_go_together(
    tiny_model: Tiny, override: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        preset(tiny_model("llama"), overrides=[*ROUTES, *override])


def test_the_older_name_of_the_policy_is_read_as_todays(tiny_model: Tiny) -> None:
    older = preset(tiny_model("llama"), overrides=["model.policy=plan", *ROUTES[1:]])
    assert older.model.policy == "route"
    assert older == preset(tiny_model("llama"), overrides=ROUTES)


def test_a_limit_too_short_for_any_route(tiny_model: Tiny) -> None:
    with pytest.raises(UserError, match=r"max_tokens is 1.*takes 2 moves; expected at least 3"):
        route_learner(tiny_model("llama"), "grpo", "model.max_tokens=1")
