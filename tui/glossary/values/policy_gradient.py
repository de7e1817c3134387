"""Live values of the methods that learn the policy itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tui import kinds
from tui.glossary.values.learning import described, used
from tui.glossary.values.words import (
    Value,
    action,
    figure,
    latest,
    number,
    per_action,
    place,
    real_step,
    shown_observation,
    shown_state,
)
from tui.kinds.step_facts import KlPull, kl_pull

if TYPE_CHECKING:
    from engine.learning.events import Step
    from tui.model.snapshot import Snapshot


def setting(name: str, words: str = "{}") -> Value:
    """A setting of this run's algorithm."""

    def value(snapshot: Snapshot) -> str | None:
        found = getattr(snapshot.preset.algorithm, name, None)
        return None if found is None else words.format(described(found).removeprefix("always "))

    return value


def curve(name: str, words: str = "{} at the newest recording point") -> Value:
    """The newest point of a curve."""

    def value(snapshot: Snapshot) -> str | None:
        found = latest(snapshot, name)
        return None if found is None else words.format(number(found))

    return value


def either(*values: Value) -> Value:
    """All of these that are known."""

    def value(snapshot: Snapshot) -> str | None:
        known = [text for each in values if (text := each(snapshot)) is not None]
        return "; ".join(known) or None

    return value


def learned_step(snapshot: Snapshot) -> Step | None:
    """The newest step on the screen that a policy has already learned from."""
    steps = [s for s in snapshot.steps if s.kind == "real" and s.probabilities_after]
    return steps[-1] if steps else None


def policy_gradient(snapshot: Snapshot) -> str | None:
    if not kinds.of(snapshot.preset).learns_policy:
        return f"not in this run: {snapshot.algorithm.title} learns values"
    norm = latest(snapshot, "policy_gradient_norm")
    return f"this run; length {number(norm)} at the newest recording point" if norm else "this run"


def logits(snapshot: Snapshot) -> str | None:
    if not kinds.of(snapshot.preset).learns_policy or snapshot.policy is None:
        return None
    chances = snapshot.policy.behaviour[shown_observation(snapshot)]
    where = place(snapshot, shown_state(snapshot))
    return f"they give {per_action(snapshot, chances.tolist())} at {where}"


def ratio(snapshot: Snapshot) -> str | None:
    step = learned_step(snapshot)
    if step is None:
        return None
    before, after = step.probabilities[step.action], step.probabilities_after[step.action]
    return (
        f"{number(after / before)} for {action(snapshot, step.action)} at step {step.step} "
        f"({number(before)} → {number(after)} after the update)"
    )


def baseline(snapshot: Snapshot) -> str | None:
    step = learned_step(snapshot)
    if step is None or math.isnan(step.before):
        return None
    return f"{number(step.before)} at the newest step that was learned from"


def estimate(snapshot: Snapshot) -> str | None:
    step = learned_step(snapshot)
    if step is None:
        return None
    name = action(snapshot, step.action)
    return f"{number(step.advantage_estimate)} for {name} at step {step.step}"


def entropy(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None or not step.probabilities:
        return None
    here = -sum(p * math.log(p) for p in step.probabilities if p > 0)
    return f"{number(here)} here, of at most {number(math.log(len(step.probabilities)))}"


def of_kl(words: Callable[[KlPull], str]) -> Value:
    """Something about the pull to a reference policy, in runs whose algorithm can have one."""

    def value(snapshot: Snapshot) -> str | None:
        pull = kl_pull(snapshot.preset)
        if pull is not None:
            return words(pull)
        has_one = hasattr(snapshot.preset.algorithm, "kl_in")
        return "not in this run: β is 0" if has_one else None

    return value


def estimator(pull: KlPull) -> str:
    return f"{pull.estimator} in the {pull.place}, β = {pull.beta:g}"


def where(pull: KlPull) -> str:
    return "this run" if pull.place == "reward" else "not in this run: its KL is in the loss"


def policy_optimization(snapshot: Snapshot) -> str:
    title = snapshot.algorithm.title
    if kinds.of(snapshot.preset).learns_policy:
        return f"this run: {title}"
    return f"not in this run: {title} does not learn a policy's own parameters"


def objective(snapshot: Snapshot) -> str | None:
    known = figure(snapshot, "expected_return")
    return None if known is None else f"{known}, within max_steps"


VALUES: dict[str, Value] = {
    "policy-gradient": policy_gradient,
    "objective": objective,
    "policy-optimization": policy_optimization,
    "trust-region": either(
        setting("clip", "clip ε = {}"), curve("approx_kl", "KL to the old policy {}")
    ),
    "logits": logits,
    "reinforce": used("reinforce"),
    "baseline": baseline,
    "actor-critic": used("actor-critic"),
    "ppo": used("ppo"),
    "grpo": used("grpo"),
    "probability-ratio": ratio,
    "clip": either(setting("clip", "ε = {}"), curve("clip_fraction", "clip fraction {}")),
    "gae": either(setting("gae_lambda", "λ = {}"), estimate),
    "rollout-steps": setting("rollout_steps", "{} steps"),
    "epochs": setting("epochs", "{} passes over each batch"),
    "minibatches": setting("minibatches", "{} parts to each pass"),
    "entropy": either(entropy, curve("entropy", "{} on average at the newest recording point")),
    "approx-kl": curve("approx_kl"),
    "reference-policy": either(
        setting("kl", "β = {}"), curve("reference_kl", "KL to the reference {}")
    ),
    "kl-estimator": of_kl(estimator),
    "kl-gradient": of_kl(lambda pull: f"this run: {pull.words}"),
    "kl-in-reward": of_kl(where),
    "group": either(
        setting("group_size", "{} episodes"), curve("equal_groups", "share of all-equal groups {}")
    ),
    "normalised-advantage": curve("advantage_std", "spread {} before the division"),
    "value-loss": curve("value_loss"),
}
