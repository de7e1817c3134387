"""Live values of planning: with the rules, and with a learned model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tui.glossary.values.learning import used
from tui.glossary.values.words import Value, latest, number, plural, real_step

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def policy_evaluation(snapshot: Snapshot) -> str | None:
    sweeps = latest(snapshot, "evaluation_sweeps")
    return None if sweeps is None else f"{plural(int(sweeps), 'sweep')} in the newest evaluation"


def policy_improvement(snapshot: Snapshot) -> str | None:
    changes = latest(snapshot, "policy_changes")
    if changes is None:
        return None
    return (
        f"{plural(snapshot.counts.updates, 'round')}; the newest changed {number(changes)} states"
    )


def planning_update(snapshot: Snapshot) -> str | None:
    total = latest(snapshot, "planning_updates")
    if total is None:
        return None
    told = f"{number(round(total))} per agent so far"
    step = real_step(snapshot)
    return told if step is None else f"{plural(step.planned, 'update')} after this step; {told}"


def learned_model(snapshot: Snapshot) -> str | None:
    if snapshot.policy is None or "planned" not in snapshot.policy.layers:
        return None
    tried = snapshot.policy.visits > 0
    return (
        f"{plural(int(tried.sum()), 'move')} remembered, in "
        f"{plural(int(np.any(tried, axis=1).sum()), 'place')}"
    )


def curiosity_bonus(snapshot: Snapshot) -> str | None:
    kappa = getattr(snapshot.preset.algorithm, "kappa", None)
    if kappa is None:
        return None
    return (
        f"κ = {number(kappa)}: {number(10 * kappa)} for a move not tried for 100 steps, "
        f"{number(100 * kappa)} after 10,000"
    )


def priority_queue(snapshot: Snapshot) -> str | None:
    waiting = latest(snapshot, "queue_length")
    threshold = getattr(snapshot.preset.algorithm, "threshold", None)
    if waiting is None or threshold is None:
        return None
    return (
        f"{number(round(waiting, 1))} moves are waiting (mean over agents); θ = {number(threshold)}"
    )


def policy_iteration(snapshot: Snapshot) -> str:
    """How this run's algorithm takes turns between evaluation and improvement."""
    told = snapshot.algorithm
    if told.family == "prediction":
        return f"half of it: {told.title} evaluates a policy and improves none"
    if told.name == "policy-iteration":
        return "evaluation until it has settled or is capped, then improvement everywhere"
    if told.name == "value-iteration":
        return "one backup of each state does both"
    if told.family == "value":
        return f"at every {told.update_name}: values are moved, and the agent acts on them"
    return f"{told.title} changes the policy itself; values, if it has any, only judge"


VALUES: dict[str, Value] = {
    "policy-iteration": used("policy-iteration"),
    "generalized-policy-iteration": policy_iteration,
    "policy-evaluation": policy_evaluation,
    "policy-improvement": policy_improvement,
    "dyna-q": used("dyna-q"),
    "dyna-q-plus": used("dyna-q-plus"),
    "prioritized-sweeping": used("prioritized-sweeping"),
    "planning-update": planning_update,
    "learned-model": learned_model,
    "curiosity-bonus": curiosity_bonus,
    "priority-queue": priority_queue,
}
