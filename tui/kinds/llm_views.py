"""The curves of a language model's run: one point an update.

The reference lines of success come with each evaluation: what the optimum reaches on these mazes,
what moves at random do, and what the best single direction does when it is repeated for ever.
"""

from __future__ import annotations

from engine.learning.events import Evaluation
from tui.kinds.views import Figure, Level, View, from_zero
from tui.model.snapshot import Snapshot

BASELINES = (
    ("optimal_success_rate", "optimum", "optimal-policy"),
    ("random_success_rate", "random moves", "map-blind-baseline"),
    ("one_direction_success_rate", "one direction for ever", "map-blind-baseline"),
)


def _success(snapshot: Snapshot) -> list[Level]:
    return _baselines(snapshot.evaluation)


def _held_out(snapshot: Snapshot) -> list[Level]:
    return _baselines(snapshot.held_out)


def _baselines(evaluation: Evaluation | None) -> list[Level]:
    known = evaluation.figures if evaluation else {}
    return [
        Level(label, slug, known[name].mean) for name, label, slug in BASELINES if name in known
    ]


def _return(snapshot: Snapshot) -> list[Level]:
    evaluation = snapshot.evaluation
    if evaluation is None:
        return []
    optimum = Level("π* return", "optimal-return", evaluation.optimal_return)
    if abs(evaluation.horizon_optimum - evaluation.optimal_return) < 1e-9:
        return [optimum]
    return [optimum, Level("upper bound", "horizon-optimum", evaluation.horizon_optimum)]


LLM_VIEWS = (
    View(
        "Success",
        (
            Figure("online_success_rate", "episodes played", "online-success-rate"),
            Figure("greedy_success_rate", "greedy", "greedy-success-rate"),
            Figure("best_success_rate", "best so far", "best-adapters"),
            Figure("success_rate", "π at temperature 1", "success-rate"),
        ),
        _success,
        (0.0, 1.0),
    ),
    View(
        "Held out",
        (
            Figure("success_rate", "training mazes", "success-rate"),
            Figure("greedy_success_rate", "held out, greedy", "greedy-success-rate", "test"),
            Figure("best_success_rate", "held out, best adapters", "best-adapters", "test"),
            Figure("success_rate", "held out", "held-out-mazes", "test"),
        ),
        _held_out,
        (0.0, 1.0),
    ),
    View(
        "Return",
        (
            Figure("online_return", "episodes played", "online-return"),
            Figure("expected_return", "π at temperature 1", "expected-return"),
        ),
        _return,
    ),
    from_zero(
        "Length",
        Figure("online_length", "episodes played", "online-length"),
        Figure("expected_length", "π at temperature 1", "expected-length"),
    ),
    View(
        "Reward",
        (
            Figure("reward_prize", "for the prize", "reward-parts"),
            Figure("reward_steps", "for few steps", "reward-parts"),
            Figure("reward_format", "for the format", "reward-parts"),
            Figure("reward_progress", "for progress", "reward-parts"),
            Figure("reward_overlong", "for its length", "overlong-shaping"),
        ),
    ),
    from_zero(
        "Text",
        Figure("cut_off_share", "cut off at the token limit", "truncated-completion"),
        Figure("unreadable_share", "without a readable move", "unreadable-completion"),
    ),
    from_zero(
        "KL",
        Figure("approx_kl", "to the policy that played", "approx-kl"),
        Figure("reference_kl", "to the reference", "adapter-off"),
    ),
    from_zero("Entropy", Figure("entropy", "entropy of π", "entropy")),
    from_zero(
        "Clip",
        Figure("clip_binding_low", "binds below 1 − ε", "clip-binding"),
        Figure("clip_binding_high", "binds above 1 + ε", "clip-binding"),
        Figure("clip_binding", "binds", "clip-binding"),
        Figure("clip_fraction", "clip fraction", "clip"),
    ),
    from_zero(
        "Mismatch",
        Figure("mismatch_max", "largest |Δ log π|", "training-inference-mismatch"),
        Figure("mismatch", "mean |Δ log π|", "training-inference-mismatch"),
        Figure("mismatch_cut", "weights cut", "rollout-correction"),
    ),
    from_zero("Gradient", Figure("gradient_norm", "gradient norm", "gradient-clipping")),
    View(
        "Loss",
        (
            Figure("value_loss", "value loss", "value-loss"),
            Figure("warmup_loss", "warm start", "warm-start"),
            Figure("loss", "loss", "policy-loss"),
        ),
    ),
    from_zero(
        "Groups",
        Figure("equal_groups", "all-equal groups", "all-equal-group"),
        Figure("advantage_std", "spread of advantages", "group-advantage"),
    ),
    from_zero("Rate", Figure("learning_rate", "learning rate α", "learning-rate")),
    from_zero("Tokens", Figure("tokens_per_second", "tokens per second", "tokens-per-second")),
    from_zero(
        "Seconds",
        Figure("seconds_sampling", "sampling", "tokens-per-second"),
        Figure("seconds_training", "training", "tokens-per-second"),
        Figure("seconds_per_update", "a whole update", "tokens-per-second"),
    ),
    from_zero(
        "Memory",
        Figure("gpu_memory_gib", "GPU, GiB", "memory-use"),
        Figure("memory_gib", "the worker, GiB", "memory-use"),
    ),
)
"""In the order of the key `m`; views without data are left out."""
