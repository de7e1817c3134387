"""Live values of bandits and of importance sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tui.glossary.values.learning import used
from tui.glossary.values.words import Value, number, plural

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def bandit(snapshot: Snapshot) -> str:
    """How many arms and problems there are, where every episode is one action."""
    mdp = snapshot.mdp
    problems = np.flatnonzero(mdp.start)
    if not mdp.terminal[problems].all():
        return "not in this run: its episodes go on after a move"
    arms = plural(mdp.n_actions, "arm")
    return arms if problems.size == 1 else f"{arms} in each of {problems.size:,} problems"


def reward_noise(snapshot: Snapshot) -> str:
    noise = snapshot.mdp.noise
    return f"σ = {number(noise)}" if noise else "none: each transition always pays the same"


def importance_sampling(snapshot: Snapshot) -> str | None:
    """The ratio of the step shown."""
    weighting = getattr(snapshot.preset.algorithm, "weighting", None)
    if weighting is None:
        return None
    step = snapshot.step
    known = step is not None and not math.isnan(step.importance_ratio)
    ratio = f"ρ = {number(step.importance_ratio)} on this step" if step and known else "no ρ yet"
    return f"{weighting}; {ratio}"


VALUES: dict[str, Value] = {
    "bandit": bandit,
    "gradient-bandit": used("gradient-bandit"),
    "reward-noise": reward_noise,
    "importance-sampling": importance_sampling,
    "off-policy-prediction": used("off-policy-prediction"),
    "off-policy-monte-carlo": used("off-policy-monte-carlo"),
}
