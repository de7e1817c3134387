"""Live values of the rules laid over a maze, and of how far the agents have come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.env.settings import Shaping
from engine.exact.shaping import potential
from tui.glossary.values.words import Value, latest, number, shown_state

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def curve(name: str, words: str) -> Value:
    """The newest value of a curve, put into `words` at `{}`; None where there is none."""

    def value(snapshot: Snapshot) -> str | None:
        found = latest(snapshot, name)
        return None if found is None else words.format(number(found))

    return value


def shaping(snapshot: Snapshot) -> str:
    rule = snapshot.world.maze.shaping
    if rule is None:
        return "no shaping in this maze"
    phi = _potential(snapshot, rule)
    return f"{rule.potential}, weight {number(rule.weight)}; here Φ = {number(phi)}"


def _potential(snapshot: Snapshot, rule: Shaping) -> float:
    if rule.potential == "value":
        return rule.weight * float(snapshot.optimum.values[shown_state(snapshot)])
    phi = potential(snapshot.mdp, rule, snapshot.preset.algorithm.gamma)
    return float(phi[shown_state(snapshot)])


def shield(snapshot: Snapshot) -> str:
    rule = snapshot.world.maze.shield
    if rule is None:
        return "no shield in this maze"
    words = f"lets through what falls with at most {number(rule.max_fall)}"
    replaced = latest(snapshot, "shielded_share")
    return words if replaced is None else f"{words}; replaces {replaced:.1%} of the moves"


def fall_budget(snapshot: Snapshot) -> str:
    rule = snapshot.preset.maze.fall_budget
    if rule is None:
        return "no budget of falls in this run"
    words = f"{number(rule.per_1000_steps)} falls allowed in 1,000 steps"
    price, rate = latest(snapshot, "fall_price"), latest(snapshot, "falls_per_1000_steps")
    if price is None or rate is None:
        return words
    return f"{words}, {number(rate)} lately; the price of one is {number(price)}"


def randomization(snapshot: Snapshot) -> str:
    rule = snapshot.preset.maze.randomize
    if rule is None:
        return "not in this run: one world"
    low, high = rule.slip
    here = number(snapshot.world.maze.slip)
    return f"{rule.worlds} worlds with slip {number(low)} to {number(high)}, here {here}"


def deployed(snapshot: Snapshot) -> str | None:
    here, there = (latest(snapshot, name) for name in ("success_rate", "deployed_success_rate"))
    if here is None or there is None:
        return None if snapshot.preset.deploy else "nothing is deployed in this run"
    return f"success {number(here)} in training, {number(there)} deployed"


def rehearsal(snapshot: Snapshot) -> str:
    share = snapshot.preset.maze.revisit
    return f"{share:.0%} of the episodes draw from all maps met" if share else "none in this run"


def per_map(snapshot: Snapshot) -> str | None:
    found = []
    for w in range(1 + len(snapshot.preset.maze.changes)):
        success = latest(snapshot, f"success_rate_map_{w}")
        if success is not None:
            found.append(f"map {w} {number(success)}")
    return "success on " + ", ".join(found) if found else None


VALUES: dict[str, Value] = {
    "potential-based-shaping": shaping,
    "shield": shield,
    "fall-budget": fall_budget,
    "domain-randomization": randomization,
    "deployed-figures": deployed,
    "rehearsal": rehearsal,
    "success-per-map": per_map,
    "regret": curve("regret", "{} so far, mean over agents"),
    "first-optimal": curve("first_optimal_step", "{} steps, mean over the agents that are there"),
    "recovery-time": curve("recovery_steps", "{} steps, mean over the agents that are there"),
    "value-reach": curve("value_reach", "{} moves from the prize, mean over agents"),
}
