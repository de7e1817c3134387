"""What must hold for a run to be one: its agents move, and its figures are numbers.

Algorithms of the shelf see to it themselves; a user's own may not. N agents, O observations,
A actions.
"""

from __future__ import annotations

import numpy as np

from engine.core.arrays import Array
from engine.core.errors import LastingError
from engine.learning.algorithm import Algorithm
from engine.tabular.kernels.environment import Agents

FIGURES = ("success_rate", "expected_return", "expected_score", "expected_length")


def check_moved(algorithm: Algorithm, agents: Agents, before: Array, used_up: Array) -> None:
    """Raise LastingError when an agent with something left to do made no step: such a run has no
    end. `before`: the steps [N] before the kernel was called."""
    stuck = np.flatnonzero((agents.steps <= before) & ~used_up)
    if stuck.size:
        i = int(stuck[0])
        raise LastingError(
            f"{_kernel_of(algorithm)} returned without a step of agent {i}, which stands at step "
            f"{int(agents.steps[i]):,}; expected `limits.steps` steps of every agent, each ended "
            "by `finish_step`."
        )


def check_figures(
    algorithm: Algorithm, step: int, target: Array, figures: dict[str, Array]
) -> None:
    """Raise LastingError when no agent has any figure [N] that is a number: nothing true could be
    recorded. `target`: the policies [N,O,A] they are of."""
    if any(np.isfinite(figures[name]).any() for name in FIGURES):
        return
    own = algorithm.custom_file
    if not np.isfinite(target).all():
        who = f"{own.path.name}: target" if own else f"The target policy of {algorithm.title}"
        what = f"{who} gives probabilities that are not finite numbers"
    else:
        what = "No figure of any agent is a finite number: the rewards are too large to be added"
    raise LastingError(f"{what} (at step {step:,}); every figure of the run would be unknown.")


def _kernel_of(algorithm: Algorithm) -> str:
    own, name = algorithm.custom_file, algorithm.kernel.__name__
    return f"{own.path.name}: the kernel {name}" if own else f"The kernel {name}"
