"""The curves of runs that learn or compute tables: one point a recording point."""

from __future__ import annotations

from tui.kinds.views import Figure, Level, View, from_zero
from tui.model.snapshot import Snapshot

GREEDY = "greedy_success_rate"
"""The success of the greedy policy, by its name in the store."""


def _success(snapshot: Snapshot) -> list[Level]:
    return [Level("π* success", "optimal-policy", snapshot.optimal_figures.success_rate)]


def _return(snapshot: Snapshot) -> list[Level]:
    figures = snapshot.optimal_figures
    optimum = Level("π* return", "optimal-return", figures.optimal_return)
    if abs(figures.horizon_optimum - figures.optimal_return) < 1e-9:
        return [optimum]
    return [optimum, Level("upper bound", "horizon-optimum", figures.horizon_optimum)]


def _length(snapshot: Snapshot) -> list[Level]:
    return [Level("π* length", "optimal-policy", snapshot.optimal_figures.expected_length)]


TABULAR_VIEWS = (
    View(
        "Success",
        (
            Figure("online_success_rate", "online success", "online-success-rate"),
            Figure(GREEDY, "greedy, exact", "greedy-success-rate"),
            Figure("success_rate", "target policy, exact", "success-rate"),
        ),
        _success,
        (0.0, 1.0),
    ),
    View(
        "Return",
        (
            Figure("online_return", "online return", "online-return"),
            Figure("expected_return", "target policy, exact", "expected-return"),
        ),
        _return,
    ),
    View(
        "Length",
        (
            Figure("online_length", "online length", "online-length"),
            Figure("expected_length", "target policy, exact", "expected-length"),
        ),
        _length,
        (0.0, None),
    ),
    from_zero("TD error", Figure("td_error", "mean |δ|", "td-error")),
    from_zero("Change", Figure("largest_change", "largest change of a sweep", "bellman-residual")),
    from_zero(
        "Exploration",
        Figure("exploring_share", "share of exploring steps", "exploring-share"),
        Figure("epsilon", "ε", "epsilon"),
        Figure("learning_rate", "α", "learning-rate"),
    ),
    from_zero(
        "Entropy",
        Figure("entropy", "entropy of π", "entropy"),
        Figure("reference_kl", "KL to the reference", "reference-policy"),
        Figure("policy_gradient_norm", "gradient norm", "policy-gradient"),
    ),
    from_zero(
        "Clip",
        Figure("clip_fraction", "clip fraction", "clip"),
        Figure("approx_kl", "KL to the old policy", "approx-kl"),
    ),
    from_zero(
        "Advantage",
        Figure("advantage_std", "spread of advantages", "normalised-advantage"),
        Figure("value_loss", "value loss", "value-loss"),
        Figure("equal_groups", "all-equal groups", "group"),
    ),
    from_zero("Falls", Figure("falls_per_1000_steps", "falls per 1,000 steps", "fall-rate")),
    from_zero("V error", Figure("value_rmse", "error of V", "value-rmse")),
    from_zero("Weights", Figure("largest_weight", "largest weight", "function-approximation")),
)
