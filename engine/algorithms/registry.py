"""The registry: which file holds which algorithm. A new algorithm is its file and a line here.

Files are imported when their algorithm is asked for; importing one imports neither Numba nor torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from engine.config.algorithm import AlgorithmSettings
from engine.config.external import ExternalSettings
from engine.config.llm import LlmSettings
from engine.config.preset import Preset
from engine.core.errors import UserError, nearest
from engine.learning.algorithm import Algorithm
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.algorithms.external import ExternalAlgorithm
from engine.tabular.custom import loading as custom

A = TypeVar("A", bound=Algorithm)


class Registry(Generic[A]):
    """The algorithms of one kind, by the names users type, in the order they are taught."""

    def __init__(self, package: str, what_for: str, files: dict[str, str]) -> None:
        self._package, self._what_for, self._files = package, what_for, files
        self._loaded: dict[str, A] = {}

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def get(self, name: str) -> A:
        """The algorithm of that name. Raises UserError."""
        if name not in self._files:
            raise UserError(
                f"algorithm.name: there is no algorithm {name!r}{self._what_for}."
                f"{nearest(name, self.names)}"
            )
        if name not in self._loaded:
            module = import_module(f"{self._package}.{self._files[name]}")
            self._loaded[name] = cast(A, module.ALGORITHM)
        return self._loaded[name]

    def all(self) -> list[A]:
        """Every algorithm of the kind."""
        return [self.get(name) for name in self._files]


TABLES: Registry[Algorithm] = Registry(
    "engine.tabular.algorithms",
    "",
    {
        "value-iteration": "value_iteration",
        "policy-iteration": "policy_iteration",
        "bandit": "bandits.bandit",
        "q-learning": "q_learning",
        "sarsa": "sarsa",
        "expected-sarsa": "expected_sarsa",
        "double-q-learning": "double_q_learning",
        "monte-carlo": "monte_carlo",
        "off-policy-monte-carlo": "importance_sampling.control",
        "off-policy-prediction": "importance_sampling.prediction",
        "td-0": "td_prediction",
        "true-online-td": "approximation.true_online_td",
        "linear-td": "approximation.linear_td",
        "n-step-sarsa": "n_step_sarsa",
        "tree-backup": "multistep.tree_backup",
        "sarsa-lambda": "sarsa_lambda",
        "q-lambda": "q_lambda",
        "linear-q-learning": "linear_q_learning",
        "dqn": "approximation.dqn",
        "dyna-q": "dyna_q",
        "dyna-q-plus": "dyna_q_plus",
        "prioritized-sweeping": "prioritized_sweeping",
        "gradient-bandit": "bandits.gradient_bandit",
        "reinforce": "reinforce",
        "actor-critic": "actor_critic",
        "linear-actor-critic": "linear_actor_critic",
        "ppo": "ppo",
        "grpo": "grpo",
    },
)
LANGUAGE_MODELS: Registry[LlmAlgorithm[LlmSettings]] = Registry(
    "engine.llm.algorithms",
    " for language models",
    {
        "reinforce": "reinforce",
        "rloo": "rloo",
        "grpo": "grpo",
        "dr-grpo": "dr_grpo",
        "dapo": "dapo",
        "gspo": "gspo",
        "cispo": "cispo",
        "ppo": "ppo",
        "mpo": "mpo",
    },
)


def for_tables(name: str, folder: Path | None = None) -> Algorithm:
    """The algorithm for tables of that name; `file:my_q.py` is the user's own, beside a preset in
    `folder`. Raises UserError."""
    return custom.load(name, folder) if name.startswith(CUSTOM_PREFIX) else TABLES.get(name)


def of_run(name: str, run_dir: Path, table: dict[str, Any]) -> Algorithm:
    """The user's own algorithm as the run in `run_dir` has recorded it; its code is not run."""
    return custom.of_run(name, run_dir, table)


def of(settings: AlgorithmSettings) -> Algorithm:
    """The algorithm these settings belong to."""
    name = str(settings.__struct_config__.tag)
    if isinstance(settings, ExternalSettings):
        return ExternalAlgorithm(settings.title)
    if isinstance(settings, LlmSettings):
        return LANGUAGE_MODELS.get(name)
    if name.startswith(CUSTOM_PREFIX):
        algorithm = custom.of_settings(settings)
        assert algorithm is not None  # nothing else makes such a tag
        return algorithm
    return TABLES.get(name)


def algorithm_of(preset: Preset) -> Algorithm:
    """The algorithm a preset trains with."""
    return of(preset.algorithm)
