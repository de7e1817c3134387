"""What the rules of a diagnosis see of an update, its metrics and what is remembered; and what a
rule is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import msgspec

from engine.config.algorithm import Schedule
from engine.config.llm import GroupSettings, LlmSettings
from engine.config.preset import LlmPreset
from engine.learning.events import Note
from engine.llm.algorithms.base import LlmAlgorithm

SIDE_REWARDS = ("reward_steps", "reward_format", "reward_progress")
"""Metrics of policies that write routes: what is paid besides the prize."""
LOW_SUCCESS = 0.9
"""Share of the optimum's success below which there is something left to learn."""
WINDOW = 24
"""Updates over which reward and success are compared."""


class Alarm(msgspec.Struct):
    """How often in a row a rule was bad and was over, and how many notes it has given."""

    bad: int = 0
    over: int = 0
    said: int = 0
    on: bool = False


class Memory(msgspec.Struct):
    """All that a diagnosis remembers: plain finite numbers, so that JSON keeps them exactly."""

    alarms: dict[str, Alarm] = {}
    windows: dict[str, list[float]] = {}
    """The newest `WINDOW` values of what is compared over time."""
    success: float | None = None
    """Success of the newest evaluation on training mazes."""
    best: float = 0.0
    """Success of the best evaluation."""


@dataclass(frozen=True, eq=False)
class UpdateView:
    """What a rule may look at. A metric that is missing is NaN, so it is neither bad nor over."""

    preset: LlmPreset
    algorithm: LlmAlgorithm[LlmSettings]
    settings: LlmSettings
    """The algorithm's settings as they are now."""
    step: int
    metrics: dict[str, float]
    memory: Memory
    optimum: Callable[[], float]
    limits: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.metrics.get(name, math.nan)

    @property
    def routes(self) -> bool:
        """Whether the model writes whole routes."""
        return self.preset.model.policy == "route"

    @property
    def writes(self) -> bool:
        """Whether the model writes completions, routes or text."""
        return self.preset.model.policy != "action"

    @property
    def success(self) -> float:
        """The newest success known: evaluated, else of the episodes sampled."""
        known = self.memory.success
        return self["online_success_rate"] if known is None else known

    def low_success(self) -> bool:
        """Whether the policy is clearly worse than the best one."""
        success = self.success
        return success < LOW_SUCCESS and success < LOW_SUCCESS * self.optimum()

    @property
    def warming_up(self) -> bool:
        return "warmup_loss" in self.metrics

    @property
    def same_returns(self) -> float:
        """Share of groups in which nothing can be learned from comparing."""
        settings = self.settings
        if isinstance(settings, GroupSettings) and settings.credit == "episode":
            return self["equal_groups"]
        return float(self["advantage_std"] == 0.0) if "advantage_std" in self.metrics else math.nan

    def trend(self, name: str) -> tuple[float, float]:
        """z of the Mann-Kendall test, and the change from the window's first third to its last."""
        values = self.memory.windows.get(name, [])
        if len(values) < WINDOW:
            return 0.0, 0.0
        third = WINDOW // 3
        return mann_kendall(values), median(values[-third:]) - median(values[:third])

    def to(self, key: str, value: float | Schedule, new: Callable[[float], float]) -> str:
        """`algorithm.entropy to 0.02 (it is 0.01)`; of a schedule, the end that matters now."""
        name = f"algorithm.{key}"
        if isinstance(value, Schedule):
            late = 2 * self.step >= value.steps
            name = f"{name}.end" if late else f"{name}.start"
            value = value.end if late else value.start
        return f"{name} to {new(value):.3g} (it is {value:.3g})"


@dataclass(frozen=True)
class Rule:
    """`triggered` for `patience` updates in a row makes a note; `cleared` for some more makes it
    possible again."""

    name: str
    patience: int
    triggered: Callable[[UpdateView], bool]
    cleared: Callable[[UpdateView], bool]
    note: Callable[[UpdateView], Note]
    warming_up: bool = False
    """Whether it also holds during the supervised warm start."""


def mann_kendall(values: list[float]) -> float:
    """z of the trend in `values`: how far the number of rising pairs less that of falling ones is
    from 0, in standard deviations (Mann 1945; Kendall 1975). Outliers count no more than others."""
    n = len(values)
    score = sum(
        (values[j] > values[i]) - (values[j] < values[i]) for i in range(n) for j in range(i + 1, n)
    )
    return score / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
