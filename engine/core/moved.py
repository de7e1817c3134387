"""Modules of the engine that had another name once, for files that still import the old one.

A user's own algorithm file imports the engine, and a run keeps its copy of that file for good: both
may be older than a move. An old name is looked up only when no module of that name exists, so
nothing else pays for it. Files of the engine itself never use these names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

KERNELS = (
    "behaviour", "eligibility", "environment", "features", "learned_model", "planning",
    "policy_table", "priority_queue", "q_table", "returns", "rng", "trace", "adam",
)  # fmt: skip
TEXTBOOK = (
    "actor_critic", "double_q_learning", "dyna_q", "dyna_q_plus", "expected_sarsa", "grpo",
    "linear_actor_critic", "linear_q_learning", "monte_carlo", "n_step_sarsa", "policy_iteration",
    "ppo", "prioritized_sweeping", "q_lambda", "q_learning", "reinforce", "sarsa", "sarsa_lambda",
    "value_iteration",
)  # fmt: skip

MOVED: dict[str, tuple[str, ...]] = {
    "engine.atomic": ("engine.core.files",),
    "engine.chain": ("engine.exact.chain",),
    "engine.deployment": ("engine.config.deploy",),
    "engine.errors": ("engine.core.errors",),
    "engine.evaluate": ("engine.exact.evaluate", "engine.exact.solve"),
    "engine.events": ("engine.learning.events",),
    "engine.generate": ("engine.env.generate_maze",),
    "engine.gymnasium_env": ("engine.env.gymnasium_env", "engine.env.registration"),
    "engine.gymnasium_table": ("engine.env.gymnasium_table",),
    "engine.learner": ("engine.learning.learner",),
    "engine.maximization_bias": ("engine.env.maximization_bias", "engine.env.registration"),
    "engine.maze": (
        "engine.env.build_maze", "engine.env.maze", "engine.env.maze_checks", "engine.env.settings",
    ),
    "engine.maze_map": ("engine.env.maze", "engine.env.settings", "engine.core.arrays"),
    "engine.maze_rules": (
        "engine.env.settings", "engine.env.shield", "engine.env.maze_checks",
        "engine.env.build_mdp", "engine.exact.shaping",
    ),
    "engine.maze_sets": ("engine.env.random_sets",),
    "engine.maze_settings": ("engine.env.settings",),
    "engine.mdp": ("engine.env.mdp", "engine.env.build_mdp"),
    "engine.memoryless": ("engine.exact.memoryless_optimum",),
    "engine.observations": ("engine.env.observation",),
    "engine.remembering": ("engine.env.history",),
    "engine.settings": ("engine.config.algorithm",),
    "engine.solve": ("engine.exact.solve",),
    "engine.walk": ("engine.env.walk",),
    "engine.tabular.advantages": ("engine.tabular.kernels.gae",),
    "engine.tabular.algorithm": ("engine.learning.algorithm", "engine.core.arrays"),
    "engine.tabular.clipped_surrogate": ("engine.tabular.kernels.surrogate",),
    "engine.tabular.compiling": ("engine.core.compiling",),
    "engine.tabular.diagnosis": ("engine.tabular.reward_hacking",),
    "engine.tabular.exact": ("engine.exact.evaluate_compiled",),
    "engine.tabular.moving": ("engine.tabular.kernels.experience",),
    "engine.tabular.planner": ("engine.tabular.planning_learner",),
    "engine.tabular.prediction": ("engine.tabular.prediction_learner",),
    "engine.tabular.progress": ("engine.tabular.metrics",),
    "engine.tabular.registry": ("engine.algorithms.registry",),
    "engine.tabular.td_0": ("engine.tabular.algorithms.td_prediction",),
    "engine.tabular.tuning": ("engine.learning.tuning",),
    **{f"engine.tabular.{name}": (f"engine.tabular.kernels.{name}",) for name in KERNELS},
    **{f"engine.tabular.{name}": (f"engine.tabular.algorithms.{name}",) for name in TEXTBOOK},
}  # fmt: skip
"""Old module: the modules that hold its names now, the first of which goes first."""

RENAMED = {
    "Env": "StackedMDPs",
    "exploration_knob": "encode_exploration",
    "make_env": "stack_mdps",
    "schedule_knob": "encode_schedule",
}
"""Old name: the name today. Besides, the classes of hyperparameters once ended in `Knobs`."""


class OldNames(MetaPathFinder, Loader):
    """Makes a module with an old name out of those that hold its names now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        for name in reversed(MOVED[module.__name__]):
            found = vars(import_module(name))
            vars(module).update({k: v for k, v in found.items() if not k.startswith("__")})
        for name in list(vars(module)):
            if name.endswith("Hyperparameters"):
                vars(module)[name.replace("Hyperparameters", "Knobs")] = vars(module)[name]
        for old, name in RENAMED.items():
            if name in vars(module):
                vars(module)[old] = vars(module)[name]


def install() -> None:
    """Let the old names be imported; a second time does nothing."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
