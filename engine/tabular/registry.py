"""The shelf: which file holds which algorithm. A new algorithm is its file and a line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError, nearest

if TYPE_CHECKING:
    from engine.settings import AlgorithmSettings
    from engine.tabular.algorithm import Algorithm

MODULES = {
    "value-iteration": "value_iteration",
    "policy-iteration": "policy_iteration",
    "q-learning": "q_learning",
    "sarsa": "sarsa",
    "expected-sarsa": "expected_sarsa",
    "double-q-learning": "double_q_learning",
    "monte-carlo": "monte_carlo",
    "td-0": "td_0",
    "n-step-sarsa": "n_step_sarsa",
    "sarsa-lambda": "sarsa_lambda",
    "q-lambda": "q_lambda",
    "linear-q-learning": "linear_q_learning",
    "dyna-q": "dyna_q",
    "dyna-q-plus": "dyna_q_plus",
    "prioritized-sweeping": "prioritized_sweeping",
    "reinforce": "reinforce",
    "actor-critic": "actor_critic",
    "linear-actor-critic": "linear_actor_critic",
    "ppo": "ppo",
    "grpo": "grpo",
}


OWN = "file:"
"""How the name of a user's own algorithm begins, see engine.tabular.own."""


def get(name: str, folder: Path | None = None) -> Algorithm:
    """The algorithm of that name; `file:my_q.py` is the user's own, beside a preset in `folder`.

    Importing one never imports Numba: kernels compile later. Raises UserError.
    """
    if name.startswith(OWN):
        from engine.tabular import own

        return own.load(name, folder)
    return _from_shelf(name)


def of(settings: AlgorithmSettings) -> Algorithm:
    """The algorithm these settings belong to."""
    name = str(settings.__struct_config__.tag)
    if name.startswith(OWN):
        from engine.tabular import own

        algorithm = own.of_settings(settings)
        assert algorithm is not None  # nothing else makes such a tag
        return algorithm
    return _from_shelf(name)


@cache
def _from_shelf(name: str) -> Algorithm:
    if name not in MODULES:
        raise UserError(
            f"algorithm.name: there is no algorithm {name!r}.{nearest(name, list(MODULES))}"
        )
    algorithm: Algorithm = import_module(f"engine.tabular.{MODULES[name]}").ALGORITHM
    return algorithm


def all_algorithms() -> list[Algorithm]:
    """Every algorithm on the shelf, in the order they are taught."""
    return [get(name) for name in MODULES]
