"""Events of a route policy: groups, episodes, moves made, figures, the likeliest route."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_tools import metrics, train
from route_tools import ALGORITHMS, route_learner, weights

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.learning.events import Episode, Evaluation, Group, Policy
from engine.llm.tasks.routes.events import move_log_probs
from engine.llm.tasks.routes.figures import success_of
from engine.llm.tasks.routes.rewards import parse_moves, walk
from engine.llm.tasks.routes.writer import Route

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_groups_show_what_was_learned_from(tiny_model: Tiny, algorithm: str) -> None:
    made = route_learner(tiny_model("llama"), algorithm, "model.max_tokens=4")
    events = [*made.begin()]
    batch = made.task.batch
    assert batch is not None
    events += made.advance(1)
    groups = [e for e in events if isinstance(e, Group)]
    size = made.algorithm.group_size(made.run.settings)
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
    assert metrics(events, "clip_binding_high")[0] < 1 and made.counters.episodes == 32


def test_an_episode_and_the_moves_made(tiny_model: Tiny) -> None:
    made = route_learner(tiny_model("llama"), "grpo")
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
    made = route_learner(tiny_model("llama"), "grpo", "model.words=any", "model.max_tokens=12")
    made.begin()
    writer = made.task.writer
    tokens = (*made.model.tokenizer.encode(" right, do"), *made.model.tokenizer.encode("wn"))
    text = writer.decode(tokens)
    parsed = parse_moves(text)
    assert parsed.moves == (2, 1)
    walked = walk(made.run.train.mdps[0], parsed.moves, 0, np.random.default_rng(0))
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
    cold = route_learner(tiny_model("llama"), "grpo", "algorithm.temperature=0.05")
    events = cold.begin()
    figures = next(e for e in events if isinstance(e, Evaluation)).figures
    warm = route_learner(tiny_model("llama"), "grpo", "algorithm.episodes=512")
    wanted = next(e for e in warm.begin() if isinstance(e, Evaluation)).figures
    length = "expected_length"
    assert figures[length].mean == pytest.approx(wanted[length].mean, abs=0.8)
    drawn = train(cold, 1)
    assert metrics(drawn, "entropy")[0] < 0.3


def test_few_routes_an_update_are_judged_by_more(tiny_model: Tiny) -> None:
    made = route_learner(tiny_model("llama"), "rloo", "algorithm.episodes=16")
    evaluation = next(e for e in made.begin() if isinstance(e, Evaluation))
    assert evaluation.figures["success_rate"].mean * 64 % 1 == 0
    assert evaluation.figures["success_rate"].mean * 16 % 1 != 0


def test_the_last_words_judge_the_best_adapters_anew(tiny_model: Tiny) -> None:
    made = route_learner(tiny_model("llama"), "grpo", "algorithm.learning_rate=0.05")
    train(made, 6)
    before, kept = (
        weights(made),
        {name: values.clone() for name, values in made.evaluator.best.weights.items()},
    )
    last = [e for e in made.conclude() if isinstance(e, Evaluation)][-1]
    assert last.figures["best_success_rate"].mean * 128 % 1 == 0
    for name, weight in weights(made).items():
        assert torch.equal(weight, before[name]) and torch.equal(
            made.evaluator.best.weights[name], kept[name]
        )


def test_dynamic_sampling_draws_groups_that_teach(tiny_model: Tiny) -> None:
    few = ["algorithm.group_size=2", "reward={prize=1.0, format=0.0, progress=0.0}"]
    made = route_learner(tiny_model("llama"), "dapo", *few, "algorithm.draws=32")
    plain = route_learner(tiny_model("llama"), "grpo", *few)
    events = train(made, 2)
    groups = [event for event in events if isinstance(event, Group)]
    assert groups and all(group.spread > 0.0 for group in groups)
    assert min(metrics(events, "equal_groups")) > 0.3  # what was left out was written too
    assert min(metrics(events, "group_draws")) > 1 and made.counters.episodes > 64
    assert max(metrics(train(plain, 2), "equal_groups")) > 0.3
    # What is shown of the policy is not what was picked.
    first = next(e for e in events if isinstance(e, Evaluation)).figures["success_rate"].mean
    assert metrics(events, "online_success_rate")[0] == pytest.approx(first) and first < 0.4


def test_long_answers_cost_dapo_something(tiny_model: Tiny) -> None:
    made = route_learner(tiny_model("llama"), "dapo", "algorithm.overlong=3")
    made.begin()
    assert made.task.batch is not None
    for written in made.task.batch.routes:
        penalty = -max(0, len(written.tokens) - 3) / 3
        assert written.parts["overlong"] == pytest.approx(penalty)
    assert metrics(made.advance(1), "reward_overlong")[0] < 0


@pytest.mark.parametrize("packed", [True, False])
def test_the_greedy_row_takes_the_likeliest_tokens_and_shifts_no_other(
    tiny_model: Tiny, packed: bool
) -> None:
    made = route_learner(tiny_model("qwen3"))
    policy, prompts = (
        made.task.policy,
        [made.task.writer.prompt(0, start).tokens for start in (0, 1)],
    )
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
