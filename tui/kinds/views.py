"""Views of the curves panel: figures that belong together, and the levels they aim at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tui.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Figure:
    """One curve: the metric in the store, its name on screen, its glossary entry."""

    metric: str
    label: str
    slug: str
    split: Literal["train", "test"] = "train"
    """Measured on the mazes that are trained on, or on those held out."""


@dataclass(frozen=True, slots=True)
class Level:
    """One reference line: its name on screen, its glossary entry, its value."""

    label: str
    slug: str
    value: float


@dataclass(frozen=True, slots=True)
class View:
    """Figures that the chart shows at once."""

    title: str
    figures: tuple[Figure, ...]
    levels: Callable[[Snapshot], list[Level]] = lambda snapshot: []
    y_range: tuple[float | None, float | None] = (None, None)

    @property
    def about_success(self) -> bool:
        """Whether it shows how often episodes succeed."""
        return any(figure.metric.endswith("success_rate") for figure in self.figures)


def from_zero(title: str, *figures: Figure) -> View:
    """A view whose chart begins at 0."""
    return View(title, figures, y_range=(0.0, None))
