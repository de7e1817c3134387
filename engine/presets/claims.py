"""The claims of a preset (`[[expect]]`) beside the figures that came out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.preset import Expect
from engine.core.errors import nearest

SLACK = 1e-12
"""Figures are sums of floating-point numbers: one that is right may miss its bound by this."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One `[[expect]]` of a preset and what came out."""

    metric: str
    at_least: float | None
    at_most: float | None
    found: float
    problem: str = ""
    """Why there is no such figure, if there is none."""

    @property
    def kept(self) -> bool:
        """Whether the figure is within the bounds. One that is not a number never is."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low - SLACK <= self.found <= high + SLACK


def judge(claim: Expect, figures: Mapping[str, Any]) -> Claim:
    """A claim beside its figure: one of the run's last figures, or a metric of the learner.

    `figures` are as `RunReader.final` gives them: by name, with the learner's under "metrics".
    """
    known = {**figures["metrics"], **figures}
    numbers = {key: float(value) for key, value in known.items() if isinstance(value, int | float)}
    problem = ""
    if claim.metric not in numbers:
        problem = f"there is no such figure.{nearest(claim.metric, sorted(numbers))}"
    return Claim(
        metric=claim.metric,
        at_least=claim.at_least,
        at_most=claim.at_most,
        found=numbers.get(claim.metric, math.nan),
        problem=problem,
    )
