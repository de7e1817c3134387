"""Live values of the model, the learned values and the exact solution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tui.glossary.values.words import (
    LONGEST_WAY,
    Value,
    action,
    latest,
    number,
    per_action,
    place,
    plural,
    share,
    shown_observation,
    shown_state,
)

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def mdp(snapshot: Snapshot) -> str:
    states, actions = snapshot.mdp.n_states, snapshot.mdp.n_actions
    branches = plural(snapshot.mdp.n_branches, "outcome")
    return f"{states:,} states × {actions} actions, up to {branches} each"


def transition(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    rows = zip(
        snapshot.mdp.next_state[step.state, step.action],
        snapshot.mdp.probability[step.state, step.action],
        strict=True,
    )
    chances: dict[int, float] = {}
    for landing, chance in rows:
        if chance > 0:
            chances[int(landing)] = chances.get(int(landing), 0.0) + float(chance)
    outcomes = ", ".join(f"to {s}: {number(p)}" for s, p in sorted(chances.items()))
    return f"from {step.state}, {action(snapshot, step.action)}: {outcomes}"


def state_value(snapshot: Snapshot) -> str | None:
    if snapshot.policy is None:
        return None
    value = float(snapshot.policy.values[shown_observation(snapshot)])
    best = float(snapshot.optimum.values[shown_state(snapshot)])
    return f"{number(value)} at {place(snapshot, shown_state(snapshot))} (V* {number(best)})"


def action_value(snapshot: Snapshot) -> str | None:
    here = place(snapshot, shown_state(snapshot))
    if snapshot.step is not None and snapshot.step.values:
        values = per_action(snapshot, snapshot.step.values)
        return f"at {here}, before this update: {values}"
    if snapshot.policy is None or snapshot.policy.q is None:
        return None
    return f"at {here}: {per_action(snapshot, snapshot.policy.q[shown_observation(snapshot)])}"


def advantage(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None or not step.values:
        return None
    q, v = step.values[step.action], max(step.values)
    taken = action(snapshot, step.action)
    return f"{number(step.advantage)} = Q {number(q)} − V {number(v)} for {taken}"


def optimal_state_value(snapshot: Snapshot) -> str:
    state = shown_state(snapshot)
    return f"{number(float(snapshot.optimum.values[state]))} at {place(snapshot, state)}"


def optimal_action_value(snapshot: Snapshot) -> str:
    state = shown_state(snapshot)
    return f"at {place(snapshot, state)}: {per_action(snapshot, snapshot.optimum.q[state])}"


def optimal_policy(snapshot: Snapshot) -> str:
    state = shown_state(snapshot)
    best = int(snapshot.optimum.policy[state].argmax())
    return f"{action(snapshot, best)} at {place(snapshot, state)}"


def optimal_path(snapshot: Snapshot) -> str | None:
    path = snapshot.optimal_path
    if len(path) < 2:
        return None
    shown = " → ".join(map(str, path[:LONGEST_WAY]))
    more = " → …" if len(path) > LONGEST_WAY else ""
    return f"{shown}{more} ({plural(len(path) - 1, 'move')})"


def bellman_equation(snapshot: Snapshot) -> str | None:
    """How far the learned values are from the exact ones."""
    if snapshot.policy is None:
        return None
    states = np.flatnonzero(snapshot.optimum.reachable)
    learned = snapshot.policy.values[snapshot.mdp.observation[states]]
    gap = float(np.abs(learned - snapshot.optimum.values[states]).max())
    return f"learned V is at most {number(gap)} from V*, over {plural(states.size, 'state')}"


def bellman_backup(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None or step.kind != "backup":
        return None
    here = place(snapshot, step.state)
    return f"V({here}): {number(step.before)} → {number(step.after)}"


def bellman_residual(snapshot: Snapshot) -> str | None:
    change = latest(snapshot, "largest_change")
    return None if change is None else f"{number(change)}: the largest change of the last sweep"


def tolerance(snapshot: Snapshot) -> str | None:
    limit = getattr(snapshot.preset.algorithm, "tolerance", None)
    return None if limit is None else f"{limit:g}"


def sweep(snapshot: Snapshot) -> str | None:
    if snapshot.algorithm.update_name != "sweep":
        return None
    return f"{plural(snapshot.counts.updates, 'sweep')} done"


def model(snapshot: Snapshot) -> str:
    kind = "model-based" if snapshot.algorithm.model_based else "model-free"
    return f"{snapshot.algorithm.title} is {kind}"


def stochastic_policy(snapshot: Snapshot) -> str | None:
    """In how many of the observations that can be met the target policy takes one action surely."""
    if snapshot.policy is None:
        return None
    seen = np.unique(snapshot.mdp.observation[snapshot.optimum.reachable])
    sure = int((snapshot.policy.target[seen].max(axis=1) >= 1 - 1e-9).sum())
    return f"the target policy is certain of its action in {share(sure, seen.size)} observations"


VALUES: dict[str, Value] = {
    "mdp": mdp,
    "transition-probability": transition,
    "stochastic-policy": stochastic_policy,
    "state-value": state_value,
    "action-value": action_value,
    "advantage": advantage,
    "optimal-state-value": optimal_state_value,
    "optimal-action-value": optimal_action_value,
    "optimal-policy": optimal_policy,
    "optimal-path": optimal_path,
    "bellman-equation": bellman_equation,
    "bellman-backup": bellman_backup,
    "bellman-residual": bellman_residual,
    "tolerance": tolerance,
    "sweep": sweep,
    "model-based": model,
    "model-free": model,
}
