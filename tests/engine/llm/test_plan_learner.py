"""The learner of plan policies: what an update does, and that it can be cut and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_tools import learner, metrics, preset, reproducible, same_state, train

from engine.errors import UserError
from engine.events import Episode, Evaluation, Group, Policy
from engine.llm import loading, shelf
from engine.llm.plan_figures import success_of
from engine.llm.plan_judging import Batch, Route, by_critic
from engine.llm.plan_learner import PlanLearner
from engine.llm.plan_policy import PlanPolicy
from engine.llm.plan_telling import move_log_probs
from engine.llm.prompts import PlanPrompt
from engine.llm.rewards import parse_moves, walk
from engine.maze import Maze
from engine.mdp import build_mdp

Tiny = Callable[[str], Path]

PLAN = ["model.policy=plan", "model.max_tokens=6", "maze.max_steps=6"]
ALGORITHMS = [name for name in shelf.MODULES if "plan" in shelf.get(name).policies]
SETS = [
    "maze.train={count=4, size=3, per_update=2, hole_density=0.2}",
    "maze.test={count=3, size=3, hole_density=0.2, seed=1}",
    "algorithm.group_size=8",
    "model.max_tokens=10",
]


def plan_learner(folder: Path, algorithm: str = "grpo", *more: str) -> PlanLearner:
    made = learner(folder, algorithm, overrides=[*PLAN, *more])
    assert isinstance(made, PlanLearner)
    return made


def weights(made: PlanLearner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in loading.adapter_weights(made.on.model).items()}


def route(total: float, n_tokens: int) -> Route:
    """One of which only reward and length matter."""
    mdp = build_mdp(Maze(rows=("SF", "FG")))
    parsed = parse_moves("right")
    return Route(
        0, 0, PlanPrompt("", (), (), ()), (1,) * n_tokens, (0.0,) * n_tokens, "right", parsed,
        walk(mdp, parsed.moves, 0, np.random.default_rng(0)), {"prize": total}, False,
    )  # fmt: skip


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_a_route(tiny_model: Tiny, algorithm: str) -> None:
    made = plan_learner(
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
    made = plan_learner(tiny_model("llama"), "grpo", *warm)
    events = train(made, 30)
    losses = metrics(events, "warmup_loss")
    assert len(losses) == 30 and losses[-1] < 0.4 * losses[0]
    assert made.counters.episodes == made.counters.total_env_steps == 0
    assert [e.step for e in events if isinstance(e, Policy)][:3] == [0, 1, 2]
    success = [e.figures["success_rate"].mean for e in events if isinstance(e, Evaluation)]
    assert success[0] < 0.4 and success[-1] > 0.9
    # Two routes are shortest, half of the time each: log 2 nats over the three tokens of a route.
    assert losses[-1] > 0.9 * np.log(2) / 3
    assert metrics(train(made, 1), "online_success_rate")[0] > 0.9


def test_a_value_head_judges_token_by_token() -> None:
    batch = Batch((route(1.0, 2), route(0.0, 3)), 2, (), None, 1, 2, 2, 5)
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
    whole = plan_learner(tiny_model("llama"), algorithm, *more)
    cut = plan_learner(tiny_model("llama"), algorithm, *more, "model.token_budget=150")
    whole.begin()
    cut.begin()
    assert cut._batch is not None
    written = [r.tokens for r in cut._batch.routes]
    prompts = [r.prompt.tokens for r in cut._batch.routes]
    assert len(cut.policy.split(prompts, written)) > 2
    assert len(whole.policy.split(prompts, written)) == 1
    mine, theirs = whole.advance(1), cut.advance(1)
    for name in ("loss", "gradient_norm", "entropy", "reference_kl", "approx_kl"):
        assert metrics(mine, name) == pytest.approx(metrics(theirs, name), rel=1e-4, abs=1e-6)
    other = weights(cut)
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=1e-6)


def test_gradients_of_micro_batches_add_up(tiny_model: Tiny) -> None:
    found = []
    for budget in (2048, 150):
        made = plan_learner(
            tiny_model("llama"), "dapo", "algorithm.entropy=0.02", "algorithm.kl=0.02",
            f"model.token_budget={budget}", "algorithm.learning_rate=1e-12",
        )  # fmt: skip
        made.begin()
        kept: list[torch.Tensor] = []

        def step(
            rate: float, norm: float, made: Any = made, kept: list[torch.Tensor] = kept
        ) -> float:
            kept += [p.grad.clone() for p in made.optimizer.parameters.values()]
            return 0.0

        made.optimizer.step = step  # type: ignore[method-assign]
        made.advance(1)
        found.append(torch.cat([gradient.flatten() for gradient in kept]))
    assert (found[0] - found[1]).norm() <= 1e-5 * found[0].norm() and found[0].norm() > 0
    assert (found[0] - found[1]).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        ("grpo", ["algorithm.epochs=2", "warmup.updates=2"]),
        ("ppo", ["maze.slip=0.3"]),
        ("dapo", ["algorithm.temperature=0.8", "algorithm.group_size=4"]),
    ],
)
def test_stopped_and_resumed_equals_never_stopped(
    tiny_model: Tiny, algorithm: str, more: list[str]
) -> None:
    whole = plan_learner(tiny_model("llama"), algorithm, *more)
    train(whole, 3)
    rest = train(whole, 3)
    first = plan_learner(tiny_model("llama"), algorithm, *more)
    train(first, 3)
    saved = {name: value.copy() for name, value in first.state().items()}
    first.conclude()  # a run that stops has its last words, which shift nothing
    resumed = plan_learner(tiny_model("llama"), algorithm, *more)
    resumed.load(saved)
    assert reproducible(train(resumed, 3)) == reproducible(rest)
    same_state(whole, resumed)
    same_state(first, plan_learner_at(tiny_model("llama"), algorithm, more, saved))


def plan_learner_at(folder: Path, algorithm: str, more: list[str], saved: Any) -> PlanLearner:
    made = plan_learner(folder, algorithm, *more)
    made.load(saved)
    return made


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
@pytest.mark.parametrize("asked", [1, 3])
def test_an_update_put_off_leaves_no_trace(tiny_model: Tiny, algorithm: str, asked: int) -> None:
    more = ["algorithm.epochs=2", "model.token_budget=150"]
    made = plan_learner(tiny_model("llama"), algorithm, *more)
    other = plan_learner(tiny_model("llama"), algorithm, *more)
    train(made, 2)
    train(other, 2)
    count = iter(range(100))
    made.interrupted = lambda: next(count) >= asked
    assert made.advance(1) == [] and made.yielded and made.clock == 2
    same_state(made, other)
    made.interrupted = lambda: False
    rest = train(made, 2)
    assert not made.yielded
    assert reproducible(rest) == reproducible(train(other, 2))
    same_state(made, other)


def test_out_of_memory_halves_the_micro_batches_and_changes_no_result(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan_learner(tiny_model("llama"), "grpo", "algorithm.epochs=2")
    other = plan_learner(tiny_model("llama"), "grpo", "algorithm.epochs=2")
    train(made, 1)
    train(other, 1)
    forward, calls = PlanPolicy.forward, []

    def failing(self: PlanPolicy, prompts: Any, written: Any) -> Any:
        if self is made.policy:
            calls.append(len(prompts))
            if len(calls) == 2:  # in the second pass: the adapters have moved already
                raise torch.cuda.OutOfMemoryError("no more")
        return forward(self, prompts, written)

    monkeypatch.setattr(PlanPolicy, "forward", failing)
    events = train(made, 1)
    assert "half as large" in repr(events) and made.clock == 2
    assert calls[0] == calls[1] == 32 and all(n < 32 for n in calls[2:])
    assert metrics(events, "loss") == pytest.approx(metrics(train(other, 1), "loss"), abs=1e-4)
    monkeypatch.setattr(PlanPolicy, "forward", failing_always)
    with pytest.raises(UserError, match="ran out of memory"):
        made.advance(1)


def failing_always(self: PlanPolicy, prompts: Any, written: Any) -> Any:
    raise torch.cuda.OutOfMemoryError("no more")


# ---------------------------------------------------------------- saying what happened


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_groups_show_what_was_learned_from(tiny_model: Tiny, algorithm: str) -> None:
    made = plan_learner(tiny_model("llama"), algorithm, "model.max_tokens=4")
    events = [*made.begin()]
    batch = made._batch
    assert batch is not None
    events += made.advance(1)
    groups = [e for e in events if isinstance(e, Group)]
    size = made.algorithm.group_size(made.settings)
    assert [g.index for g in groups] == list(range(32 // size))
    assert all(g.size == size and len(g.members) == 16 for g in groups)
    assert all(g.prompt.endswith("to the prize:") for g in groups)
    if algorithm == "grpo":
        for group in groups:
            totals = np.array([m.total for m in group.members])
            wanted = (totals - totals.mean()) / (totals.std(ddof=1) + 1e-4)
            np.testing.assert_allclose([m.advantage for m in group.members], wanted, atol=1e-6)
    members = [m for g in groups for m in g.members]
    for member in members:
        assert "".join(member.tokens).startswith(member.text)
        assert len(member.tokens) == len(member.log_probs) <= 4
        assert len(member.states) == len(member.actions) + 1
        words = [member.text[first:end] for first, end in member.spans[: len(member.actions)]]
        assert words == [("left", "down", "right", "up")[a] for a in member.actions]
        assert member.success == (member.states[-1] == 3)
        assert member.total == pytest.approx(sum(member.parts.values()))
        assert member.cut_off == (member.tokens[-1] not in ("<|im_end|>", "<|endoftext|>"))
        assert member.unreadable == (member.text == "")
        assert set(member.parts) == {"prize", "steps", "format", "progress"}
    routes = batch.routes
    shares = {
        "cut_off_share": np.mean([len(r.tokens) == 4 and r.cut_off for r in routes]),
        "unreadable_share": np.mean([not r.text for r in routes]),
        "completion_tokens": np.mean([len(r.tokens) for r in routes]),
        "reward_prize": np.mean([r.walked.success for r in routes]),
    }
    for name, value in shares.items():
        assert metrics(events, name) == [pytest.approx(value)]
    assert 0 < shares["cut_off_share"] < 1 and 0 < shares["unreadable_share"] < 1
    assert metrics(events, "clip_fraction_high")[0] < 1 and made.counters.episodes == 32


def test_an_episode_and_the_moves_made(tiny_model: Tiny) -> None:
    made = plan_learner(tiny_model("llama"), "grpo")
    events = train(made, 2)
    episode = next(e for e in events if isinstance(e, Episode) and e.step == 2)
    group = next(e for e in events if isinstance(e, Group) and e.step == 2)
    member = next(m for m in group.members if m.actions)
    assert tuple(s.action for s in episode.steps) == member.actions
    assert (*[s.state for s in episode.steps], episode.steps[-1].next_state) == member.states
    assert all(s.probabilities == () and s.target == member.total for s in episode.steps)
    assert episode.steps[0].advantage == member.advantage
    told = sum(s.log_prob for s in episode.steps)
    assert told == pytest.approx(sum(member.log_probs[: len(member.actions)]), abs=1e-5)
    assert episode.score == pytest.approx(sum(s.reward for s in episode.steps))
    before = next(e for e in events if isinstance(e, Policy) and e.step == 1)
    after = next(e for e in events if isinstance(e, Policy) and e.step == 2)
    made_moves = after.visits.sum(-1) > 0
    shares = after.visits[made_moves] / after.visits[made_moves].sum(-1, keepdims=True)
    np.testing.assert_allclose(after.target[made_moves], shares, atol=1e-6)
    assert (after.target[~made_moves] == 0.25).all() and not np.array_equal(
        before.visits, after.visits
    )
    # The moves of the first look are those the first update learned from.
    length = metrics(events, "online_length")[1]
    assert before.visits.sum() == round(length * 32)


def test_log_probs_of_moves_sum_over_their_tokens(tiny_model: Tiny) -> None:
    made = plan_learner(tiny_model("llama"), "grpo", "model.words=any", "model.max_tokens=12")
    made.begin()
    writer = made.writer
    tokens = (*made.on.tokenizer.encode(" right, do"), *made.on.tokenizer.encode("wn"))
    text = writer.decode(tokens)
    parsed = parse_moves(text)
    assert parsed.moves == (2, 1)
    walked = walk(made.train.mdps[0], parsed.moves, 0, np.random.default_rng(0))
    log_probs = tuple(-float(n + 1) for n in range(len(tokens)))
    written = Route(
        0, 0, writer.prompt(0, 0), tokens, log_probs, text, parsed, walked, {"prize": 1.0}, False
    )
    pieces = [writer.decode([token]) for token in tokens]
    comma, spoken = pieces.index(","), list(zip(log_probs, pieces, strict=True))
    assert len(pieces) > comma + 2  # the second word is several tokens
    wanted = [sum(log_probs[:comma]), sum(x for x, piece in spoken[comma + 1 :] if piece.strip())]
    assert move_log_probs(writer, written) == pytest.approx(wanted)
    # Free words: what cannot be read is counted.
    events = made.advance(1)
    assert metrics(events, "unreadable_share")[0] > 0.5


def test_slippery_routes_are_judged_as_the_ice_takes_them() -> None:
    mdp = build_mdp(Maze(rows=("SF", "FG"), slip=0.4, max_steps=4))
    moves = (2, 1, 1, 2)
    wins = [walk(mdp, moves, 0, rng).success for rng in map(np.random.default_rng, range(4000))]
    assert success_of(mdp, moves, 0) == pytest.approx(np.mean(wins), abs=0.025)
    assert success_of(mdp, (), 0) == 0.0


def test_another_temperature_is_judged_at_one(tiny_model: Tiny) -> None:
    """The figures are about π at temperature 1, so the update's own routes do not tell them."""
    cold = plan_learner(tiny_model("llama"), "grpo", "algorithm.temperature=0.05")
    events = cold.begin()
    figures = next(e for e in events if isinstance(e, Evaluation)).figures
    warm = plan_learner(tiny_model("llama"), "grpo", "algorithm.episodes=512")
    wanted = next(e for e in warm.begin() if isinstance(e, Evaluation)).figures
    length = "expected_length"
    assert figures[length].mean == pytest.approx(wanted[length].mean, abs=0.8)
    drawn = train(cold, 1)
    assert metrics(drawn, "entropy")[0] < 0.3


def test_few_routes_an_update_are_judged_by_more(tiny_model: Tiny) -> None:
    made = plan_learner(tiny_model("llama"), "rloo", "algorithm.episodes=16")
    evaluation = next(e for e in made.begin() if isinstance(e, Evaluation))
    assert evaluation.figures["success_rate"].mean * 64 % 1 == 0
    assert evaluation.figures["success_rate"].mean * 16 % 1 != 0


def test_sets_of_mazes_resume_too_and_test_on_others(tiny_model: Tiny) -> None:
    whole = plan_learner(tiny_model("llama"), "grpo", *SETS)
    events = train(whole, 4)
    splits = {e.split: e for e in events if isinstance(e, Evaluation)}
    assert set(splits) == {"train", "test"}
    assert splits["train"].figures["success_rate"].n == 4
    assert splits["test"].figures["greedy_success_rate"].n == 3
    groups = [e for e in events if isinstance(e, Group)]
    assert len({g.world_id for g in groups if g.step == 1}) == 2
    resumed = plan_learner(tiny_model("llama"), "grpo", *SETS)
    train(resumed, 2)
    saved = resumed.state()
    resumed = plan_learner(tiny_model("llama"), "grpo", *SETS)
    resumed.load(saved)
    train(resumed, 2)
    same_state(whole, resumed)
    last = [e for e in whole.conclude() if isinstance(e, Evaluation)]
    assert [e.split for e in last] == ["train", "test"]
    assert last[1].figures["best_success_rate"].n == 3


def test_the_last_words_judge_the_best_adapters_anew(tiny_model: Tiny) -> None:
    made = plan_learner(tiny_model("llama"), "grpo", "algorithm.learning_rate=0.05")
    train(made, 6)
    before, kept = weights(made), {name: values.clone() for name, values in made.best.items()}
    last = [e for e in made.conclude() if isinstance(e, Evaluation)][-1]
    assert last.figures["best_success_rate"].mean * 128 % 1 == 0
    for name, weight in weights(made).items():
        assert torch.equal(weight, before[name]) and torch.equal(made.best[name], kept[name])


def test_dynamic_sampling_draws_groups_that_teach(tiny_model: Tiny) -> None:
    few = ["algorithm.group_size=2", "reward={prize=1.0, format=0.0, progress=0.0}"]
    made = plan_learner(tiny_model("llama"), "dapo", *few, "algorithm.draws=32")
    plain = plan_learner(tiny_model("llama"), "grpo", *few)
    events = train(made, 2)
    assert max(metrics(events, "equal_groups")) == 0.0
    assert min(metrics(events, "group_draws")) > 1 and made.counters.episodes > 64
    assert max(metrics(train(plain, 2), "equal_groups")) > 0.3
    # What is shown of the policy is not what was picked.
    first = next(e for e in events if isinstance(e, Evaluation)).figures["success_rate"].mean
    assert first < 0.4 and metrics(events, "online_success_rate")[0] == pytest.approx(0.5)


def test_long_answers_cost_dapo_something(tiny_model: Tiny) -> None:
    made = plan_learner(tiny_model("llama"), "dapo", "algorithm.overlong=3")
    made.begin()
    assert made._batch is not None
    for written in made._batch.routes:
        penalty = -max(0, len(written.tokens) - 3) / 3
        assert written.parts["overlong"] == pytest.approx(penalty)
    assert metrics(made.advance(1), "reward_overlong")[0] < 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["maze.slip=0.2", "warmup.updates=2"], "shortest routes"),
        (["model.observation_text=local"], "observation_text"),
        (["algorithm.credit=state"], "action policies"),
        (["algorithm.random_starts=0.5"], "action policies"),
    ],
)
def test_settings_that_cannot_go_together(
    tiny_model: Tiny, override: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        preset(tiny_model("llama"), overrides=[*PLAN, *override])


def test_a_limit_too_short_for_any_route(tiny_model: Tiny) -> None:
    with pytest.raises(UserError, match=r"max_tokens is 1.*takes 2 moves; expected at least 3"):
        plan_learner(tiny_model("llama"), "grpo", "model.max_tokens=1")


# ---------------------------------------------------------------- the likeliest route


@pytest.mark.parametrize("packed", [True, False])
def test_the_greedy_row_takes_the_likeliest_tokens_and_shifts_no_other(
    tiny_model: Tiny, packed: bool
) -> None:
    made = plan_learner(tiny_model("qwen3"))
    policy, prompts = made.policy, [made.writer.prompt(0, start).tokens for start in (0, 1)]
    policy.packed = packed

    def draw(group: int, greedy: bool) -> list[list[int]]:
        generator = torch.Generator().manual_seed(5)
        return policy.sample(prompts, group, generator, greedy=greedy).rows()

    both = draw(4, greedy=True)
    assert both[:8] == draw(4, greedy=False) and both[8:] == draw(0, greedy=True)
    for prompt, row in zip(prompts, both[8:], strict=True):
        for n, token in enumerate(row):
            options = [[*row[:n], int(word)] for word in policy.head.words]
            scores = policy.log_probs([prompt] * len(options), options)[:, n]
            assert options[int(scores.argmax())][-1] == token
