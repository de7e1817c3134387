"""What is said about a run: each rule when it should speak, and silence when all is well."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from engine import presets
from engine.algorithms import registry
from engine.config.preset import LlmPreset
from engine.learning.events import Note
from engine.llm.diagnosis.evidence import WINDOW, Memory, UpdateView, mann_kendall
from engine.llm.diagnosis.monitor import CALM, Diagnosis, memory_limit
from engine.llm.diagnosis.rules import RULES
from engine.llm.worlds import make_sets

LAKE = """
title = "A language model crosses the ice"
[maze]
map = "SFFF\\nFHFH\\nFFFH\\nHFFG"
rewards = {step = -0.01}
[algorithm]
name = "grpo"
[model]
policy = "action"
[budget]
updates = 60
"""
HEALTHY = {
    "online_return": 0.5, "online_success_rate": 0.5, "loss": 0.001, "entropy": 0.8,
    "clip_fraction": 0.0, "approx_kl": 0.0, "reference_kl": 0.5, "gradient_norm": 0.4,
    "equal_groups": 0.1, "advantage_std": 1.0,
}  # fmt: skip
ROUTES = {
    "cut_off_share": 0.1, "unreadable_share": 0.0, "reward_prize": 0.4, "reward_steps": 0.0,
    "reward_format": 0.1, "reward_progress": 0.1, "mismatch": 0.02, "mismatch_max": 0.2,
    "mismatch_ratio_min": 0.8, "mismatch_ratio_max": 1.2, "mismatch_cut": 0.0,
}  # fmt: skip


def preset(*overrides: str) -> LlmPreset:
    parsed = presets.parse(LAKE, overrides=list(overrides))
    assert isinstance(parsed, LlmPreset)
    return parsed


def plan(*overrides: str) -> LlmPreset:
    return preset('model.policy="route"', *overrides)


def watching(of: LlmPreset) -> Diagnosis:
    """A diagnosis that says what it says by default."""

    @cache
    def optimum() -> float:
        train, _ = make_sets(of.maze, of.algorithm.gamma)
        return float(np.mean([best.success_rate for best in train.optima]))

    return Diagnosis(of, registry.of(of.algorithm), optimum)


def past_first(of: LlmPreset) -> Diagnosis:
    """A diagnosis that has said what is said once in every run."""
    diagnosis = watching(of)
    diagnosis.limits = {"memory_gib": math.inf, "gpu_memory_gib": math.inf}
    known = HEALTHY | ROUTES if of.model.policy == "route" else HEALTHY
    diagnosis.notes(1, known, None)
    return diagnosis


def told(
    diagnosis: Diagnosis, updates: Iterable[dict[str, Any]], success: float | None = 0.5
) -> list[Note]:
    """All notes of updates with these metrics instead of healthy ones, in order."""
    notes = []
    for step, changes in enumerate(updates, start=2):
        known = changes.pop("success", success)
        notes += diagnosis.notes(step, HEALTHY | changes, known)
    return notes


def same(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [dict(changes) for _ in range(count)]


# ---------------------------------------------------------------- silence


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("optimum", [1.0, 0.7402])
def test_a_healthy_run_is_not_commented(seed: int, optimum: float) -> None:
    """Success rises from 0.05, jumpy, to near the optimum, entropy falls with it, KL rises."""
    rng = np.random.default_rng(seed)
    slip = "maze.slip=0.0" if optimum == 1.0 else "maze.slip=0.6666666666666666"
    diagnosis = past_first(preset(slip))
    notes: list[Note] = []
    for update in range(2, 160):
        risen = 1 / (1 + math.exp((30 - update) / 6))
        success = min(max(0.05 + (optimum - 0.06) * risen + 0.04 * rng.normal(), 0), optimum)
        sampled = rng.binomial(64, success) / 64
        metrics = HEALTHY | {
            "online_success_rate": sampled,
            "online_return": sampled - 0.1 + 0.02 * rng.normal(),
            "entropy": 1.2 * (1 - risen) + 0.03 * rng.random(),
            "reference_kl": 2.5 * risen + 0.1 * rng.random(),
            "gradient_norm": 0.3 * rng.lognormal(),
            "equal_groups": 0.25 * rng.random(),
            "approx_kl": 0.05 * rng.random(),
        }
        notes += diagnosis.notes(update, metrics, success)
    assert notes == []


def test_missing_and_unknown_metrics_are_no_news() -> None:
    diagnosis = watching(preset())
    for update in range(1, 40):
        assert diagnosis.notes(update, {"entropy": math.nan, "tokens": 3.0}, None) == [] or (
            update == 1
        )
    assert diagnosis.notes(40, {}, math.nan) == []


# ---------------------------------------------------------------- each rule


def share_of(name: str, value: float) -> Callable[[], list[Note]]:
    return lambda: told(past_first(plan()), same(8, **ROUTES | {name: value}))


CASES: dict[str, tuple[Callable[[], list[Note]], str, str, str]] = {
    "entropy": (
        lambda: told(past_first(preset()), same(8, entropy=0.02), success=0.3),
        "entropy", "collapsed to 0.02", "algorithm.entropy to 0.02 (it is 0)",
    ),
    "entropy, MPO": (
        lambda: told(
            past_first(preset('algorithm.name="mpo"', "algorithm.floor=0.06")),
            same(8, entropy=0.02),
            success=0.3,
        ),
        "entropy", "collapsed", "algorithm.floor to 0.12 (it is 0.06)",
    ),
    "KL": (
        lambda: told(past_first(preset("algorithm.kl=0.04")), same(5, reference_kl=6.5)),
        "reference-policy", "6.5 nats", "algorithm.kl to 0.08 (it is 0.04)",
    ),
    "KL that does not pull": (
        lambda: told(
            past_first(preset("algorithm.kl=0.04", "algorithm.kl_estimator=k1")),
            same(5, reference_kl=6.5),
        ),
        "reference-policy", "6.5 nats", "algorithm.kl_in to 'reward' (k1 in the loss pulls nowhere",
    ),
    "KL however good": (
        lambda: told(past_first(preset()), same(5, reference_kl=11.0), success=1.0),
        "reference-policy", "11 nats", "algorithm.kl to 0.02 (it is 0)",
    ),
    "step": (
        lambda: told(past_first(preset("algorithm.epochs=4")), same(5, approx_kl=0.8)),
        "approx-kl", "0.8 nats at once", "algorithm.epochs to 2 (it is 4)",
    ),
    "equal, failing": (
        lambda: told(past_first(preset()), same(8, equal_groups=1.0), success=0.0),
        "all-equal-group", "In 100% of the groups", "algorithm.random_starts to 0.5 (it is 0)",
    ),
    "equal, failing plans": (
        lambda: told(past_first(plan()), same(8, equal_groups=0.95), success=0.0),
        "all-equal-group", "In 95% of the groups", "reward.progress to 0.4 (it is 0.2)",
    ),
    "equal, no groups": (
        lambda: told(
            past_first(preset('algorithm.name="reinforce"')), same(8, advantage_std=0.0), 0.0
        ),
        "all-equal-group", "All episodes", "algorithm.random_starts",
    ),
    "cut off": (
        share_of("cut_off_share", 1.0),
        "truncated-completion", "100% of the completions", "model.max_tokens to 48",
    ),
    "unreadable": (
        share_of("unreadable_share", 0.6),
        "unreadable-completion", "In 60% of the completions", "reward.format to 0.2 (it is 0.1)",
    ),
    "sampler": (
        share_of("mismatch", 0.06),
        "training-inference-mismatch", "differ by 0.06 in log π of a token on average, at most 0.2",
        'algorithm.rollout_correction to "token"',
    ),
    "sampler, whole completions": (
        lambda: told(past_first(plan("algorithm.name=rloo")), same(8, **ROUTES | {
            "mismatch_ratio_min": 0.4})),
        "training-inference-mismatch", "by a factor of up to 2.5",
        'algorithm.rollout_correction to "sequence"',
    ),
    "sampler without dropout": (
        lambda: told(past_first(plan("model.lora.dropout=0.1")), same(8, mismatch=0.3)),
        "training-inference-mismatch", "0.3 in log π", "model.lora.dropout to 0 (it is 0.1",
    ),
    "sampler in int8": (
        lambda: told(past_first(plan("model.quantization=int8")), same(8, mismatch=0.3)),
        "training-inference-mismatch", "0.3 in log π", "model.quantization to 'nf4'",
    ),
    "sampler, corrected": (
        lambda: told(past_first(plan("algorithm.rollout_correction=token")), same(
            8, mismatch=0.3, mismatch_cut=0.2)),
        "training-inference-mismatch", "0.3 in log π", "algorithm.rollout_cap to 4 (it is 2)",
    ),
    "no gradient": (
        lambda: told(past_first(preset()), same(3, gradient_norm=0.0)),
        "gradient-clipping", "gradient is 0", "model.quantization to 'none'",
    ),
    "not a number": (
        lambda: told(past_first(preset()), same(1, gradient_norm=math.nan)),
        "gradient-clipping", "not a finite number", "algorithm.learning_rate to 0.00015",
    ),
    "infinite": (
        lambda: told(past_first(preset()), same(1, loss=math.inf)),
        "gradient-clipping", "not a finite number", "algorithm.learning_rate to 0.00015",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_once_with_its_remedy(case: str) -> None:
    notes, term, text, remedy = CASES[case]
    (note,) = notes()
    assert (note.level, note.term) == ("warning", term)
    assert text in note.text
    assert remedy in note.remedy


@pytest.mark.parametrize(
    ("nearly", "success"),
    [
        ({"entropy": 0.02}, 0.95),  # certain, and right to be
        ({"entropy": 0.08}, 0.3),
        ({"reference_kl": 4.5}, 0.3),
        ({"reference_kl": 8.0}, 1.0),
        ({"approx_kl": 0.4}, 0.5),
        ({"equal_groups": 0.85}, 0.1),
        ({"cut_off_share": 0.8, "unreadable_share": 0.4}, 0.5),
        ({"gradient_norm": 1e-6}, 0.5),
        ({"mismatch": 0.04, "mismatch_ratio_max": 9.0}, 0.5),  # whole routes are not the action
    ],
)
def test_what_is_not_bad_enough_is_not_said(nearly: dict[str, float], success: float) -> None:
    assert told(past_first(preset()), same(20, **nearly), success) == []


def test_a_bad_moment_is_not_a_bad_run() -> None:
    bad = {"entropy": 0.01, "reference_kl": 7.0, "equal_groups": 1.0, "cut_off_share": 1.0}
    turns = [dict(bad) if i % 3 else {} for i in range(40)]
    assert told(past_first(preset()), turns, 0.2) == []


def test_the_optimum_decides_what_low_success_is() -> None:
    slippery = past_first(preset("maze.slip=0.6666666666666666", "maze.rewards.step=0.0"))
    assert told(slippery, same(20, entropy=0.01), success=0.72) == []
    assert slippery.optimum() == pytest.approx(0.7402, abs=1e-3)
    assert told(past_first(preset()), same(20, entropy=0.01), success=0.72) != []


def test_solved_is_told_apart_from_stuck() -> None:
    (note,) = told(past_first(preset()), same(8, equal_groups=1.0), success=1.0)
    assert note.level == "info"
    assert "solved" in note.text
    assert "budget.success_rate" in note.remedy


def test_no_gradient_from_equal_groups_is_said_of_the_groups_only() -> None:
    stuck = same(8, equal_groups=1.0, gradient_norm=0.0)
    (note,) = told(past_first(preset()), stuck, success=0.0)
    assert note.term == "all-equal-group"


def test_returns_do_not_matter_where_moves_are_compared_state_by_state() -> None:
    by_state = past_first(preset('algorithm.credit="state"'))
    assert told(by_state, same(20, equal_groups=1.0), success=0.0) == []


# ---------------------------------------------------------------- reward hacking


def hacking(rng: np.random.Generator, noise: float, **parts: float) -> list[dict[str, Any]]:
    """Success falls from 0.9 to 0.57 in 34 updates, the rest of the reward rises."""
    updates = []
    for i in range(34):
        success = 0.9 - 0.01 * i + noise * rng.normal()
        values = {name: slope * i + noise * rng.normal() / 4 for name, slope in parts.items()}
        updates.append(
            {"success": success, "online_success_rate": success}
            | {"online_return": success + sum(values.values())}
            | values
        )
    return updates


@pytest.mark.parametrize("seed", range(5))
def test_reward_that_rises_while_success_falls_is_suspected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (note,) = told(past_first(preset()), hacking(rng, 0.05, online_return=0.02))
    assert (note.level, note.term) == ("warning", "reward-design")
    assert "maze.rewards.step to -0.005 (it is -0.01)" in note.remedy


def test_the_part_of_the_reward_that_grew_is_named() -> None:
    updates = hacking(np.random.default_rng(0), 0.02, reward_format=0.005, reward_progress=0.03)
    (note,) = told(past_first(plan()), updates)
    assert note.term == "reward-design"
    assert "Set reward.progress to 0.1 (it is 0.2)" in note.remedy


def test_a_bonus_is_suspected_first() -> None:
    bonus = preset("maze.rewards.bonus=0.2")
    (note,) = told(past_first(bonus), hacking(np.random.default_rng(0), 0.02, online_return=0.02))
    assert "maze.rewards.bonus to 0.1 (it is 0.2)" in note.remedy


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_not_suspected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = [
        {"online_return": rng.normal(), "online_success_rate": rng.random()} for _ in range(200)
    ]
    assert told(past_first(preset()), noisy) == []


def test_one_outlier_does_not_make_a_trend() -> None:
    flat = [float(i % 3) for i in range(WINDOW)]
    assert abs(mann_kendall(flat)) < 1
    assert abs(mann_kendall([*flat[:-1], 1e9])) < 1.5
    assert mann_kendall(list(range(WINDOW))) > 6
    assert mann_kendall([1.0] * WINDOW) == 0


# ---------------------------------------------------------------- said once


def test_the_first_pass_is_explained_once() -> None:
    diagnosis = watching(preset())
    (note,) = diagnosis.notes(1, HEALTHY, 0.1)
    assert (note.level, note.term) == ("info", "clip")
    assert "algorithm.epochs = 1" in note.text
    assert told(diagnosis, same(100)) == []


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("grpo", "advantages cancel out"),
        ("gspo", "advantages cancel out"),
        ("dapo", "no more than minus the mean advantage:"),
        ("cispo", "no more than minus the mean of advantage times ln π:"),
    ],
)
def test_what_the_first_loss_is_depends_on_the_algorithm(name: str, loss: str) -> None:
    (note,) = watching(plan(f'algorithm.name="{name}"')).notes(1, HEALTHY | ROUTES, 0.1)
    assert loss in note.text


@pytest.mark.parametrize("name", ["reinforce", "mpo"])
def test_without_a_clip_there_is_nothing_to_explain(name: str) -> None:
    diagnosis = watching(preset(f'algorithm.name="{name}"'))
    assert diagnosis.notes(1, HEALTHY, 0.1) == []


def test_with_several_passes_only_a_first_update_is_explained() -> None:
    four = preset("algorithm.epochs=4")
    (note,) = watching(four).notes(1, HEALTHY, 0.1)
    assert "(4 here)" in note.text
    clipping = watching(four)
    assert clipping.notes(1, HEALTHY | {"clip_fraction": 0.1}, 0.1) == []
    assert clipping.notes(2, HEALTHY, 0.1) == []


def test_a_warm_start_is_left_alone_and_its_end_is_told() -> None:
    warm = watching(plan("warmup.updates=6"))
    bad = {"warmup_loss": 0.4, "gradient_norm": 0.0, "entropy": 0.001, "cut_off_share": 1.0}
    assert [n for step in range(1, 6) for n in warm.notes(step, bad, 0.2)] == []
    (note,) = warm.notes(6, bad, 0.7)
    assert (note.level, note.term) == ("info", "warm-start")
    assert "6 supervised updates" in note.text
    assert "0.70" in note.text
    (first,) = warm.notes(7, HEALTHY, 0.7)
    assert first.term == "clip"
    (broken,) = watching(plan("warmup.updates=6")).notes(1, {"warmup_loss": math.nan}, None)
    assert "warmup.learning_rate to 0.00015" in broken.remedy


def test_success_lost_is_no_catastrophe() -> None:
    diagnosis = past_first(preset())
    assert told(diagnosis, [{}, {}, {}], success=0.87) == []
    (note,) = told(diagnosis, [{"success": s} for s in (0.04, 0.05, None, 0.04)])
    assert (note.level, note.term) == ("info", "best-adapters")
    assert "0.87" in note.text
    again = [0.87] * CALM + [0.05, 0.05]
    assert len(told(diagnosis, [{"success": s} for s in again])) == 1
    assert told(past_first(preset()), [{"success": s} for s in (0.9, 0.1, 0.8, 0.2, 0.9)]) == []


def test_memory_is_warned_of_before_it_is_gone() -> None:
    diagnosis = past_first(preset('model.quantization="none"'))
    diagnosis.limits = {"memory_gib": 8.0, "gpu_memory_gib": 16.0}
    used = {"memory_gib": 7.0, "gpu_memory_gib": 15.5}
    (note,) = told(diagnosis, same(3, **used))
    assert (note.level, note.term) == ("warning", "micro-batch")
    assert "15.5 of 16.0 GiB of GPU memory" in note.text
    assert "model.token_budget to 4096 (it is 8192)" in note.remedy
    assert "model.quantization to 'nf4'" in note.remedy
    (note,) = told(diagnosis, same(3, **used | {"memory_gib": 7.9}))
    assert "of memory" in note.text
    assert memory_limit() > 0.01


def test_memory_leaves_no_trace_in_what_is_saved() -> None:
    one, other = past_first(preset()), past_first(preset())
    one.limits["memory_gib"] = 1.0
    assert one.notes(2, HEALTHY | {"memory_gib": 2.0}, 0.5) != []
    assert other.notes(2, HEALTHY | {"memory_gib": 3.0}, 0.5) == []
    assert one.save().tobytes() == other.save().tobytes()


# ---------------------------------------------------------------- again


def test_a_note_comes_again_after_calm_and_each_time_more_rarely() -> None:
    diagnosis = past_first(preset())
    bad, good = same(6, entropy=0.01), same(CALM)
    assert len(told(diagnosis, bad, 0.2)) == 1
    assert told(diagnosis, same(CALM - 1) + bad, 0.2) == []  # not over for long enough
    assert len(told(diagnosis, good + bad, 0.2)) == 1
    assert told(diagnosis, good + bad, 0.2) == []
    assert len(told(diagnosis, good + good + bad, 0.2)) == 1


BAD_AND_BETWEEN: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "not-finite": ({"loss": math.nan}, {}),
    "no-gradient": ({"gradient_norm": 0.0}, {}),
    "equal": ({"equal_groups": 1.0}, {"equal_groups": 0.8}),
    "collapsed": ({"entropy": 0.02}, {"entropy": 0.1}),
    "far": ({"reference_kl": 7.0}, {"reference_kl": 4.0}),
    "too-large": ({"approx_kl": 0.8}, {"approx_kl": 0.3}),
    "mismatch": ({"mismatch": 0.06}, {"mismatch": 0.04}),
    "cut-off": ({"cut_off_share": 1.0}, {"cut_off_share": 0.7}),
    "unreadable": ({"unreadable_share": 0.6}, {"unreadable_share": 0.4}),
}
"""What makes a rule speak, and what is no longer bad but not over either."""


@pytest.mark.parametrize("name", BAD_AND_BETWEEN)
def test_every_rule_waits_and_knows_when_it_is_over(name: str) -> None:
    bad, between = BAD_AND_BETWEEN[name]
    (patience,) = [rule.patience for rule in RULES if rule.name == name]
    diagnosis = past_first(plan())
    assert told(diagnosis, same(patience - 1, **bad) + same(1, **ROUTES), 0.2) == []
    assert len(told(diagnosis, same(8, **bad), 0.2)) == 1
    if between:
        assert told(diagnosis, same(2 * CALM, **between) + same(8, **bad), 0.2) == []
    assert len(told(diagnosis, same(CALM, **ROUTES) + same(8, **bad), 0.2)) == 1


def test_a_wavering_run_is_not_flooded() -> None:
    diagnosis = past_first(preset())
    turns = [{"entropy": 0.01, "equal_groups": 1.0} if i % 20 < 8 else {} for i in range(2000)]
    assert 2 <= len(told(diagnosis, turns, 0.2)) <= 8


# ---------------------------------------------------------------- bad, over, or neither


def judged(name: str, metrics: dict[str, float], memory: Memory) -> str:
    """What a rule says of one moment, apart from how long it has been so."""
    of = preset()
    seen = UpdateView(
        of, registry.of(of.algorithm), of.algorithm, 50, metrics, memory, lambda: 1.0, {}
    )
    (rule,) = [rule for rule in RULES if rule.name == name]
    assert not (rule.triggered(seen) and rule.cleared(seen))
    return "bad" if rule.triggered(seen) else "over" if rule.cleared(seen) else "neither"


@pytest.mark.parametrize(
    ("metrics", "judgement"),
    [
        ({"gradient_norm": 0.0, "equal_groups": 0.2}, "bad"),
        ({"gradient_norm": 1e-13, "equal_groups": 0.9}, "bad"),
        ({"gradient_norm": 0.0, "equal_groups": 1.0}, "neither"),  # it could not be another
        ({"equal_groups": 0.2}, "neither"),
        ({"gradient_norm": math.nan, "equal_groups": 0.2}, "neither"),
        ({"gradient_norm": 1e-11, "equal_groups": 0.2}, "over"),
        ({"gradient_norm": 0.3, "equal_groups": 1.0}, "over"),
    ],
)
def test_when_the_gradient_is_gone_and_when_it_is_back(
    metrics: dict[str, float], judgement: str
) -> None:
    assert judged("no-gradient", metrics, Memory()) == judgement


@pytest.mark.parametrize(
    ("best", "evaluated", "judgement"),
    [
        (0.9, [0.9, 0.1, 0.2], "bad"),
        (0.9, [0.9, 0.5, 0.44], "neither"),  # one of the newest two was at half the best
        (0.9, [0.9, 0.1, 0.6], "neither"),
        (0.9, [0.1, 0.1, 0.71], "neither"),
        (0.9, [0.1, 0.1, 0.73], "over"),
        (0.25, [0.25, 0.0, 0.0], "neither"),  # it never was any good
        (0.9, [0.1], "neither"),
    ],
)
def test_when_success_has_dropped_and_when_it_is_back(
    best: float, evaluated: list[float], judgement: str
) -> None:
    memory = Memory(windows={"evaluated": evaluated}, success=evaluated[-1], best=best)
    assert judged("dropped", {}, memory) == judgement


def trending(z: float, change: float) -> list[float]:
    """`WINDOW` values that change by about `change`, under so much noise that their Mann-Kendall z
    is as near as can be to the one asked for."""
    rng, found, best = np.random.default_rng(0), [0.0] * WINDOW, math.inf
    for noise in np.geomspace(0.01, 100, 400) if z else []:
        noisy = np.arange(WINDOW) / WINDOW + noise * rng.normal(size=WINDOW)
        values = (change * noisy).tolist()
        if abs(mann_kendall(values) - z) < best:
            found, best = values, abs(mann_kendall(values) - z)
    return found


@pytest.mark.parametrize(
    ("reward", "success", "judgement"),
    [
        (trending(6, 1.0), trending(-6, -0.5), "bad"),
        (trending(6, 1.0), trending(-6, -0.1), "neither"),  # what is lost is little
        (trending(6, 1.0), trending(-2, -0.5), "neither"),
        (trending(2, 1.0), trending(-6, -0.5), "neither"),
        (trending(6, 1.0), trending(0, 0.0), "over"),
        (trending(6, 1.0), trending(-0.5, -0.5), "over"),
        (trending(0.5, 1.0), trending(-6, -0.5), "over"),
        (trending(-6, -1.0), trending(-6, -0.5), "over"),
        (trending(6, 1.0)[:-1], trending(-6, -0.5)[:-1], "over"),  # nothing is known yet
    ],
)
def test_when_the_reward_is_hacked_and_when_that_is_over(
    reward: list[float], success: list[float], judgement: str
) -> None:
    assert judged("hacked", {}, Memory(windows={"reward": reward, "success": success})) == judgement


def drop() -> list[Note]:
    return told(past_first(preset()), [{"success": s} for s in (0.9, 0.1, 0.1)])


def hack() -> list[Note]:
    return told(past_first(preset()), hacking(np.random.default_rng(0), 0.02, online_return=0.02))


BAD_RUNS: dict[str, tuple[Callable[[], list[Note]], str]] = {
    "warmed-up": (lambda: watching(plan("warmup.updates=1")).notes(2, HEALTHY | {
        "clip_fraction": 0.1}, 0.5)[:1], "warm start of 1 supervised"),
    "first-pass": (lambda: watching(preset()).notes(1, HEALTHY, 0.5), "clip fraction of 0"),
    "not-finite": (CASES["not a number"][0], "not a finite number"),
    "no-gradient": (CASES["no gradient"][0], "gradient is 0 although"),
    "equal": (CASES["equal, failing"][0], "earned the same"),
    "collapsed": (CASES["entropy"][0], "Entropy has collapsed"),
    "far": (CASES["KL"][0], "KL to the reference"),
    "too-large": (CASES["step"][0], "at once"),
    "mismatch": (CASES["sampler"][0], "Sampler and training pass differ"),
    "cut-off": (CASES["cut off"][0], "ran into the limit"),
    "unreadable": (CASES["unreadable"][0], "not one move can be read"),
    "hacked": (hack, "reward rises while success falls"),
    "dropped": (drop, "Success has dropped"),
}  # fmt: skip
"""For each rule a run that calls for it and for no other, and how its note begins."""


def test_every_rule_has_a_bad_run() -> None:
    assert list(BAD_RUNS) == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_bad_run_gets_the_note_of_its_rule_and_no_other(name: str) -> None:
    run, words = BAD_RUNS[name]
    (note,) = run()
    assert words in note.text
    others = [text for other, (_, text) in BAD_RUNS.items() if other != name]
    assert not any(text in note.text for text in others)


def test_a_new_map_is_judged_for_itself() -> None:
    diagnosis = past_first(preset())
    assert told(diagnosis, same(3), success=0.9) == []
    diagnosis.new_map()
    assert told(diagnosis, same(10), success=0.1) == []


# ---------------------------------------------------------------- settings and saving


def test_the_remedy_follows_what_was_tuned() -> None:
    diagnosis = past_first(preset())
    diagnosis.settings = msgspec.structs.replace(diagnosis.settings, entropy=0.05)
    (note,) = told(diagnosis, same(8, entropy=0.02), success=0.3)
    assert "algorithm.entropy to 0.1 (it is 0.05)" in note.remedy


def test_of_a_schedule_the_end_that_matters_is_named() -> None:
    falling = preset("algorithm.entropy={start=0.3, end=0.01, steps=10}")
    (note,) = told(past_first(falling), same(8, entropy=0.02), success=0.3)
    assert "algorithm.entropy.end to 0.02 (it is 0.01)" in note.remedy


def stormy(seed: int, updates: int) -> list[tuple[dict[str, float], float | None]]:
    """Updates in which everything goes wrong now and then."""
    rng = np.random.default_rng(seed)
    metrics = []
    for _ in range(updates):
        wild = {
            name: float(value)
            for name, value in zip(HEALTHY, rng.lognormal(size=10) / 7, strict=True)
        }
        wild["entropy"] = 0.02 if rng.random() < 0.9 else 1.0
        wild["equal_groups"] = 1.0 if rng.random() < 0.9 else 0.2
        wild["loss"] = math.nan if rng.random() < 0.05 else 0.1
        metrics.append((wild, float(rng.random()) if rng.random() < 0.7 else None))
    return metrics


def test_resumed_anywhere_it_says_exactly_the_same() -> None:
    updates = stormy(3, 60)
    whole = watching(preset())
    said = [whole.notes(step, *update) for step, update in enumerate(updates, 1)]
    assert sum(map(len, said)) > 4
    for stop in (0, 1, 7, 33):
        first, second = watching(preset()), watching(preset())
        for step, update in enumerate(updates[:stop], 1):
            first.notes(step, *update)
        saved = first.save()
        assert saved.dtype == np.uint8
        second.notes(1, HEALTHY | {"entropy": 0.0}, 0.0)  # what was there before is forgotten
        second.load(saved.copy())
        again = [
            second.notes(step, *update)
            for step, update in enumerate(updates[stop:], stop + 1)
        ]  # fmt: skip
        assert again == said[stop:]
        assert second.save().tobytes() == whole.save().tobytes()


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
