"""The reward model: its arithmetic against autograd, and what it learns from few preferences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.config.text import TextTask
from engine.core.errors import UserError
from engine.learning.events import Pair
from engine.llm.diagnosis.preferences import overoptimised
from engine.llm.tasks.text.features import MEANING, NAMES, distinct, readable, words
from engine.llm.tasks.text.preference_judge import in_words, ruled, scored_target, true_score
from engine.llm.tasks.text.preference_model import RewardModel, Scale, fit, gradient, loss, sigmoid
from engine.llm.tasks.text.preference_rounds import Rounds, agreement


def drawn(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.choice([0.0, 0.5, 1.0, 0.73], n)


def autograd(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The same loss, written as textbooks do, and its gradient by autograd."""
    weights = torch.tensor(w, requires_grad=True)
    gap = torch.tensor(x) @ weights
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        gap, torch.tensor(y), reduction="sum"
    )
    total = cross_entropy + 0.5 * (weights**2).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    return float(total.detach()), weights.grad.numpy()


# ---------------------------------------------------------------- Bradley-Terry


def test_loss_and_gradient_are_those_of_autograd() -> None:
    x, y = drawn(11, 7)
    w = np.random.default_rng(1).normal(size=7)
    value, slope = autograd(w, x, y)
    assert loss(w, x, y) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient(w, x, y), slope, rtol=1e-12)


@pytest.mark.parametrize(("n", "d", "size"), [(8, 580, 1.0), (40, 5, 1.0), (8, 4, 100.0)])
def test_the_fit_is_the_minimum(n: int, d: int, size: float) -> None:
    x, y = drawn(n, d)
    x *= size
    w = fit(x, y)
    _, slope = autograd(w, x, y)
    assert np.abs(slope).max() < 1e-6
    rng = np.random.default_rng(2)
    best = loss(w, x, y)
    for _ in range(20):
        assert loss(w + 0.01 * rng.normal(size=d), x, y) > best


def test_newton_agrees_with_plain_gradient_descent() -> None:
    x, y = drawn(12, 4)
    w = np.zeros(4)
    for _ in range(4000):
        w -= 0.05 * gradient(w, x, y)
    np.testing.assert_allclose(fit(x, y), w, atol=1e-8)


def test_without_preferences_it_has_no_opinion() -> None:
    assert not fit(np.zeros((0, 3)), np.zeros(0)).any()


def test_a_tie_pulls_to_equal_and_marks_say_how_much() -> None:
    x = np.array([[1.0, 0.0]])
    assert fit(x, [0.5])[0] == pytest.approx(0.0, abs=1e-12)
    assert fit(x, [1.0])[0] > fit(x, [scored_target((6.0, 5.0))])[0] > 0
    assert scored_target((7.0, 4.0)) == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert scored_target((3.0, 3.0)) == 0.5


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid([-700.0, 0.0, 700.0]), [0.0, 0.5, 1.0], atol=1e-300)


@pytest.mark.parametrize(("n", "least"), [(8, 0.55), (60, 0.8)])
def test_few_answers_find_the_one_feature_that_matters(n: int, least: float) -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=(400, 6 + 100)) * rng.uniform(0.1, 50, 106) + 3
    scale = Scale.of(base, 6, prior=2.0)
    shuffled = rng.permutation(base)
    pairs, fresh = shuffled[: 2 * n].reshape(n, 2, -1), shuffled[200:].reshape(100, 2, -1)
    y = (pairs[:, 0, 2] > pairs[:, 1, 2]).astype(float)
    scaled = scale(pairs)
    model = RewardModel(scale, fit(scaled[:, 0] - scaled[:, 1], y))
    weights = model.readable(NAMES)
    assert max(weights, key=lambda name: abs(weights[name])) == NAMES[2] and weights[NAMES[2]] > 0
    assert model.score(base).mean() == pytest.approx(0.0, abs=1e-9)
    right = [(model.chance(p) > 0.5) == (p[0, 2] > p[1, 2]) for p in fresh]
    assert np.mean(right) > least


def test_what_never_differs_is_worth_nothing() -> None:
    base = np.random.default_rng(4).normal(size=(20, 3))
    base[:, 1] = 7.0
    scale = Scale.of(base, 2, prior=1.0)
    assert scale(np.array([0.0, 1e9, 0.0]))[1] == 0.0
    np.testing.assert_allclose(scale(base)[:, 0].std(), 1 / np.sqrt(2))


# ---------------------------------------------------------------- reading and judging


def test_readable_features() -> None:
    row = dict(zip(NAMES, readable(["Ice, ice is cold!"], ["About ice."], [True])[0], strict=True))
    assert row == {
        "words": 4.0, "word_length": 3.0, "variety": 0.75, "marks": 0.5, "echo": 0.5, "ended": 0.0,
    }  # fmt: skip
    assert readable(["", "a"], ["x", "x"], [False, False]).shape == (2, len(NAMES))
    assert set(MEANING) == set(NAMES)


def test_distinct_two() -> None:
    assert distinct(["a b c", "a b d"]) == pytest.approx(6 / 8)
    assert distinct(["a", "a", "a", "a"]) == 2 / 8 and distinct(["a", ""]) == 1.0
    assert words("Don't say: ICE-cold") == ["don't", "say", "ice", "cold"]


@pytest.mark.parametrize(
    ("rule", "first", "second", "choice"),
    [
        ("shorter", "a b", "a b c", "first"),
        ("longer", "a b", "a b c", "second"),
        ("word", "It is ice.", "It is rice.", "first"),
        ("word", "nice", "rice", "tie"),
        ("shorter", "c d", "a b", "tie"),
    ],
)
def test_rules(rule: str, first: str, second: str, choice: str) -> None:
    task = TextTask(prompts=["x"], judge="rule", rule=rule)  # type: ignore[arg-type]
    assert ruled(task, (first, second)) == choice
    assert (true_score(task, first) > true_score(task, second)) == (choice == "first")
    assert "completion" in in_words(task)


# ---------------------------------------------------------------- rounds


def rounds_with(n: int) -> tuple[Rounds, np.ndarray]:
    rng = np.random.default_rng(5)
    rounds = Rounds()
    rounds.begin(Scale.of(rng.normal(size=(40, 8)), len(NAMES), prior=2.0))
    features = rng.normal(size=(n, 2, 8))
    ask(rounds, features)
    return rounds, features


def ask(rounds: Rounds, features: np.ndarray) -> None:
    first = rounds.memory.asked
    pairs = [
        Pair(step=0, index=first + i, prompt="?", texts=("a", "b")) for i in range(len(features))
    ]
    rounds.ask(pairs, features)


def test_guesses_come_from_the_model_before_and_count_only_clear_answers() -> None:
    rounds, features = rounds_with(8)
    for n in range(8):
        assert rounds.waiting == 8 - n
        better = "first" if features[n, 0, 0] > features[n, 1, 0] else "second"
        given = rounds.answer(0, n, better, "you")
        assert np.isnan(given.guess)
    told = rounds.close()
    assert np.isnan(told["judge_agreement"]) and told["preferences"] == 8
    assert told["fit_agreement"] > 0.8
    model, more = rounds.model, np.random.default_rng(6).normal(size=(4, 2, 8))
    assert model is not None
    ask(rounds, more)
    choices = ("first", "second", "tie", "skip")
    given_all = [rounds.answer(6, 8 + n, choice, "you") for n, choice in enumerate(choices)]
    assert [g.guess for g in given_all] == [model.chance(pair) for pair in more]
    right, of = agreement(given_all)
    assert of == 2
    expected = (given_all[0].guess > 0.5) + (given_all[1].guess < 0.5)
    assert right == expected
    told = rounds.close()
    assert told["preferences"] == 11 and told["judge_agreement"] == right / 2
    assert rounds.model is not model


def test_only_open_pairs_can_be_answered_and_only_once() -> None:
    rounds, _ = rounds_with(2)
    rounds.answer(0, 1, "tie", "you")
    with pytest.raises(UserError, match="Pair 1 was answered already"):
        rounds.answer(0, 1, "first", "you")
    with pytest.raises(UserError, match="Pair 7 was never shown"):
        rounds.answer(0, 7, "first", "you")


def test_rounds_survive_being_saved() -> None:
    rounds, _ = rounds_with(3)
    rounds.answer(0, 0, "first", "you", 0.73, (6.0, 5.0))
    rounds.answer(0, 1, "skip", "you")
    other = Rounds()
    other.load(rounds.save())
    assert other.waiting == 1
    assert repr(other.memory) == repr(rounds.memory)
    for each in (rounds, other):
        each.answer(0, 2, "second", "you")
    assert repr(other.close()) == repr(rounds.close())
    assert other.model is not None and rounds.model is not None
    np.testing.assert_array_equal(other.model.weights, rounds.model.weights)


# ---------------------------------------------------------------- over-optimisation


@pytest.mark.parametrize(
    ("agreed", "judged", "before", "now", "said"),
    [
        (3, 8, 0.2, 1.5, True),
        (4, 8, 0.2, 1.5, True),
        (5, 8, 0.2, 1.5, False),  # it still agrees
        (1, 3, 0.2, 1.5, False),  # too few answers to say
        (3, 8, 0.2, 0.5, False),  # the score has not risen
        (3, 8, float("nan"), float("nan"), False),
    ],
)
def test_reward_hacking_is_said(
    agreed: int, judged: int, before: float, now: float, said: bool
) -> None:
    note = overoptimised(12, agreed, judged, before, now, 0.02)
    assert (note is not None) == said
    if note is not None:
        assert note.term == "over-optimisation" and f"{agreed} of {judged}" in note.text
        assert "algorithm.kl = 0.05 (it is 0.02)" in note.remedy
