"""The curves of a run that learns free text from preferences: one point an update."""

from __future__ import annotations

from tui.kinds.curve_views import Figure, Level, View
from tui.model.snapshot import Snapshot

COIN = 0.5


def _chance(snapshot: Snapshot) -> list[Level]:
    return [Level("a coin", "preference", COIN)]


def _untouched(snapshot: Snapshot) -> list[Level]:
    return [Level("base model", "base-model", 0.0)]


TEXT_VIEWS = (
    View(
        "Score",
        (
            Figure("reward_model_score", "by the reward model", "reward-model"),
            Figure("true_score", "by the rule itself", "preference"),
        ),
        _untouched,
    ),
    View(
        "Agreement",
        (
            Figure("judge_agreement", "on new pairs", "over-optimisation"),
            Figure("fit_agreement", "on the pairs it was fitted to", "bradley-terry"),
            Figure("reward_model_accuracy", "with the rule, all pairs", "reward-model"),
        ),
        _chance,
        (0.0, 1.0),
    ),
    View(
        "Length",
        (Figure("words", "words of a completion", "completion"),),
        y_range=(0.0, None),
    ),
    View(
        "Variety",
        (
            Figure("distinct_2", "distinct-2", "distinct-n"),
            Figure("cut_off_share", "cut off at the token limit", "truncated-completion"),
        ),
        y_range=(0.0, 1.0),
    ),
    View(
        "KL",
        (Figure("reference_kl", "to the base model, per token", "adapter-off"),),
        y_range=(0.0, None),
    ),
    View("Entropy", (Figure("entropy", "entropy of π", "entropy"),), y_range=(0.0, None)),
    View(
        "Gradient",
        (
            Figure("gradient_norm", "gradient norm", "gradient-clipping"),
            Figure("advantage_std", "spread of advantages", "group-advantage"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Seconds",
        (
            Figure("seconds_sampling", "sampling", "tokens-per-second"),
            Figure("seconds_training", "training", "tokens-per-second"),
        ),
        y_range=(0.0, None),
    ),
)
"""In the order of the key `m`; views without data are left out."""
