"""Live values of the thirteen challenges: the figures in which each one shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tui.glossary.values.learning import current_epsilon
from tui.glossary.values.words import (
    Value,
    figure,
    latest,
    number,
    plural,
    real_steps,
    share,
)

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def explore_exploit(snapshot: Snapshot) -> str | None:
    steps, now = real_steps(snapshot), current_epsilon(snapshot)
    if not steps or now is None:
        return None
    explored = share(sum(step.explored for step in steps), len(steps))
    return f"ε {number(now)}; of the steps shown, drawn at random: {explored}"


def bias_variance(snapshot: Snapshot) -> str | None:
    bias2, variance = latest(snapshot, "bias2"), latest(snapshot, "variance")
    if bias2 is not None and variance is not None:
        return f"bias² {number(bias2)} + variance {number(variance)} = {number(bias2 + variance)}"
    value = figure(snapshot, "expected_return")
    return None if value is None else f"expected return {value}: the spread is the agents' luck"


def credit_assignment(snapshot: Snapshot) -> str | None:
    if snapshot.policy is None:
        return None
    initial = getattr(snapshot.preset.algorithm, "initial_value", 0.0)
    observed = np.unique(snapshot.mdp.observation[snapshot.optimum.reachable])
    moved = int((np.abs(snapshot.policy.values[observed] - initial) > 1e-6).sum())
    words = f"values that have moved from their start: {share(moved, observed.size)}"
    reach = latest(snapshot, "value_reach")
    return words if reach is None else f"{words}; {number(reach)} moves back from the prize"


def environment_specification(snapshot: Snapshot) -> str:
    maze = snapshot.world.maze
    limit = f"at most {plural(maze.max_steps, 'step')}"
    if maze.gymnasium is not None:
        return f"the rules of {maze.gymnasium}; {limit}"
    wind = "wind" if any(maze.wind) else "no wind"
    sight = maze.observation + (f", remembers {maze.memory}" if maze.memory > 1 else "")
    return f"slip {number(maze.slip)}, {wind}, fall = {maze.fall}, {limit}, sees {sight}"


def sample_efficiency(snapshot: Snapshot) -> str:
    success = figure(snapshot, "success_rate")
    steps = f"{snapshot.counts.env_steps:,} environment steps per agent"
    return steps if success is None else f"{steps}; success {success}"


def non_stationarity(snapshot: Snapshot) -> str:
    later = [c.step for c in snapshot.preset.maze.changes if c.step > snapshot.at]
    met = plural(snapshot.world.id, "change") if snapshot.world.id else "no change"
    coming = f"the next at step {later[0]:,}" if later else "none planned"
    words = f"{met} of the map so far, {coming}"
    recovery = latest(snapshot, "recovery_steps")
    return words if recovery is None else f"{words}; recovered in {number(recovery)} steps"


def dimensionality(snapshot: Snapshot) -> str:
    mdp = snapshot.mdp
    entries = mdp.n_observations * mdp.n_actions
    size = f"{mdp.n_observations:,} × {mdp.n_actions} = {entries:,} entries"
    if snapshot.policy is None:
        return size
    return f"{size}, of which {int((snapshot.policy.visits > 0).sum()):,} were ever updated"


def observability(snapshot: Snapshot) -> str:
    states = np.flatnonzero(snapshot.optimum.reachable)
    seen = np.unique(snapshot.mdp.observation[states]).size
    if seen == states.size:
        return "nothing hidden: every state looks different"
    return f"{plural(states.size, 'state')} look like {plural(seen, 'observation')}"


def reward_design(snapshot: Snapshot) -> str | None:
    total, success = figure(snapshot, "expected_return"), figure(snapshot, "success_rate")
    if total is None or success is None:
        return None
    return f"expected return {total}, success {success}"


def sim_to_real(snapshot: Snapshot) -> str:
    here, there = (latest(snapshot, name) for name in ("success_rate", "deployed_success_rate"))
    if here is not None and there is not None:
        return f"success {number(here)} in training, {number(there)} deployed"
    return f"judged in world {snapshot.world.id}, in which it learns: no gap is measured here"


def forgetting(snapshot: Snapshot) -> str:
    now, first = (latest(snapshot, f"success_rate{name}") for name in ("", "_map_0"))
    if now is not None and first is not None:
        return f"success {number(now)} now, {number(first)} on the first map"
    earlier = snapshot.world.id
    if earlier == 0:
        return "only one world so far: nothing to forget"
    return f"{plural(earlier, 'world')} before this one; only this one is judged now"


def generalization(snapshot: Snapshot) -> str:
    trained, tested = (latest(snapshot, f"{name}success_rate") for name in ("", "held_out_"))
    if trained is not None and tested is not None:
        return f"success {number(trained)} in training, {number(tested)} on held-out mazes"
    held_out = snapshot.world.split == "test"
    return "judged on a held-out world" if held_out else "judged on the world it learns in"


def safety(snapshot: Snapshot) -> str | None:
    steps, rate = real_steps(snapshot), latest(snapshot, "falls_per_1000_steps")
    parts = [] if rate is None else [f"{number(rate)} falls per 1,000 steps lately"]
    if steps:
        parts.append(f"in the steps shown: {share(sum(s.fell for s in steps), len(steps))}")
    return "; ".join(parts) or None


VALUES: dict[str, Value] = {
    "explore-exploit": explore_exploit,
    "bias-variance": bias_variance,
    "credit-assignment": credit_assignment,
    "environment-specification": environment_specification,
    "sample-efficiency": sample_efficiency,
    "non-stationarity": non_stationarity,
    "curse-of-dimensionality": dimensionality,
    "observability": observability,
    "reward-design": reward_design,
    "sim-to-real": sim_to_real,
    "catastrophic-forgetting": forgetting,
    "generalization": generalization,
    "safety": safety,
}
