"""Live values of learning from one step, from several, and from whole episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tui import kinds
from tui.glossary.values.learning import used
from tui.glossary.values.words import Value, latest, number, per_action, plural, shown_observation

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

Q1, Q2 = "first table Q1", "second table Q2"
"""The names of double Q-learning's layers."""


def setting(snapshot: Snapshot, name: str) -> object:
    """A setting of this run's algorithm, None if it has no such setting."""
    return getattr(snapshot.preset.algorithm, name, None)


def prediction(snapshot: Snapshot) -> str:
    if kinds.of(snapshot.preset).policy_given:
        return f"prediction: {snapshot.algorithm.title} judges a policy that is given"
    return f"control: {snapshot.algorithm.title} looks for the best policy"


def value_rmse(snapshot: Snapshot) -> str | None:
    error = latest(snapshot, "value_rmse")
    return None if error is None else f"{number(error)}, mean over agents"


def maximization_bias(snapshot: Snapshot) -> str | None:
    """How much V* at the start is exceeded by what looks best there."""
    policy, optimum = snapshot.policy, snapshot.optimum
    if policy is None or policy.q is None or optimum is None:
        return None
    starts = np.flatnonzero(snapshot.mdp.start)
    believed = policy.q[snapshot.mdp.observation[starts]].max(axis=1).mean()
    exact = optimum.values[starts].mean()
    return f"at the start: {number(float(believed))} believed, {number(float(exact))} at best"


def double_q(snapshot: Snapshot) -> str:
    told = used("double-q-learning")(snapshot)
    layers = snapshot.policy.layers if snapshot.policy else {}
    if Q1 not in layers or told is None:
        return str(told)
    o = shown_observation(snapshot)
    tables = [per_action(snapshot, layers[name][o].tolist()) for name in (Q1, Q2)]
    return f"Q1: {tables[0]}; Q2: {tables[1]}"


def first_visit(snapshot: Snapshot) -> str | None:
    visit = setting(snapshot, "visit")
    return None if visit is None else f"{visit}-visit in this run"


def exploring_starts(snapshot: Snapshot) -> str | None:
    part = setting(snapshot, "random_starts")
    return f"{part:.0%} of the training episodes" if isinstance(part, float | int) else None


def n_steps(snapshot: Snapshot) -> str | None:
    n = setting(snapshot, "n")
    return plural(n, "reward") + " before each update" if isinstance(n, int) else None


def traces(snapshot: Snapshot) -> str | None:
    """How many pairs share in the next surprise."""
    layers = snapshot.policy.layers if snapshot.policy else {}
    if "traces" not in layers:
        return None
    marked = layers["traces"][layers["traces"] > 0]
    if not marked.size:
        return "no pair is marked now"
    return f"{plural(marked.size, 'pair')} marked now, the strongest with {number(marked.max())}"


def trace_decay(snapshot: Snapshot) -> str | None:
    decay = setting(snapshot, "trace_decay")
    if not isinstance(decay, float | int):
        return None
    factor = decay * snapshot.preset.algorithm.gamma
    return f"{number(decay)}: with every step a trace keeps γλ = {number(factor)} of itself"


def random_walk(snapshot: Snapshot) -> str | None:
    policy = setting(snapshot, "policy")
    if isinstance(policy, dict):
        chances = ", ".join(f"{name} {number(chance)}" for name, chance in policy.items())
        return f"this run's walker: {chances}"
    return None if policy is None else f"not in this run: its policy is {policy}"


VALUES: dict[str, Value] = {
    "prediction": prediction,
    "td-0": used("td-0"),
    "value-rmse": value_rmse,
    "expected-sarsa": used("expected-sarsa"),
    "maximization-bias": maximization_bias,
    "double-q-learning": double_q,
    "monte-carlo": used("monte-carlo"),
    "first-visit": first_visit,
    "exploring-starts": exploring_starts,
    "n-step": n_steps,
    "n-step-sarsa": used("n-step-sarsa"),
    "tree-backup": used("tree-backup"),
    "eligibility-trace": traces,
    "trace-decay": trace_decay,
    "sarsa-lambda": used("sarsa-lambda"),
    "q-lambda": used("q-lambda"),
    "true-online-td": used("true-online-td"),
    "random-walk": random_walk,
}
