"""Returns: what methods that wait for several rewards learn from, and how such a step is told.

T steps. Rewards stand in a buffer at `t % size`: a ring of the last n steps, or a whole episode.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation, pay_of
from engine.learning.events import Step

MOST_KEPT = 50_000_000
"""Steps of all agents together that may be kept: about 1.5 GB."""


def check_kept_steps(preset: Preset, steps: int, key: str) -> None:
    """Raise UserError if keeping `steps` steps of every agent takes more memory than is sane."""
    if steps * preset.run.agents > MOST_KEPT:
        raise UserError(
            f"{key}: {steps:,} steps of each of {preset.run.agents:,} agents would have to be "
            f"kept; lower {key} or run.agents until their product is at most {MOST_KEPT:,}."
        )


@kernel
def compute_returns(
    rewards: Array, first: int, last: int, gamma: float, following: float, returns: Array
) -> None:
    """The return from each of the steps first … last, written to returns[t % size].

    rewards[t % size] is what step t was paid; `following` what is expected after step `last`:
    G_t = R_{t+1} + γ G_{t+1} (Sutton & Barto 3.9), or 7.1 and 7.4 where `following` is an estimate.
    """
    total = following
    for t in range(last, first - 1, -1):
        total = rewards[t % rewards.size] + gamma * total
        returns[t % rewards.size] = total


def explain_return(
    formula: str, step: Step, estimate: str, wait: str, actions: Sequence[str] = ACTION_NAMES
) -> Explanation:
    """An update towards a return with its numbers and in words.

    `estimate` is what is updated, in symbols; `wait` says why a step has not been learned from.
    """
    chosen = "explored" if step.explored else "took the action that looks best"
    words = f"The agent {chosen}: {actions[step.action]}. It was paid {pay_of(step)}"
    words += ", and the episode ended." if step.terminated else "."
    if step.truncated:
        words += " The time limit cut the episode here; that is not an end."
    return explain_waiting(formula, step, estimate, wait, words)


def explain_waiting(formula: str, step: Step, estimate: str, wait: str, words: str) -> Explanation:
    """As `explain_return`, after `words` about the move itself."""
    if step.step_size == 0.0:
        numbers = f"{estimate} = {step.before:.4g}   (target = {step.target:.4g}: no update)"
        return Explanation(formula, numbers, f"{words} Nothing is learned from it now: {wait}.")
    later = step.target - step.paid
    numbers = (
        f"target = G = r + γ·(what came) = {step.paid:.4g} + {later:.4g} = {step.target:.4g}\n"
        f"δ = G − {estimate} = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
        f"{estimate} ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
        f"= {step.after:.4g}"
    )
    words += f" Together with the steps after it that was worth {step.target:.4g}"
    if step.bootstrap:
        words += f" (the last part, {step.bootstrap:.4g}, is itself an estimate)"
    if step.error > 0:
        words += f": {step.error:.4g} better than expected, so the value rises."
    elif step.error < 0:
        words += f": {-step.error:.4g} worse than expected, so the value falls."
    else:
        words += ", exactly what was expected."
    return Explanation(formula, numbers, words)
