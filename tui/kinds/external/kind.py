"""Runs that Ice Maze did not start: completions and metrics of another trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.config.preset import ExternalPreset
from tui.kinds.clock import UPDATES, Clock
from tui.kinds.external.views import VIEWS, views_of
from tui.kinds.llm import LlmKind
from tui.kinds.views import View
from tui.model.snapshot import Snapshot
from tui.ui.fact import Fact, Term
from tui.ui.text import clean, duration, number, percent, si, signed


@dataclass(frozen=True)
class ExternalKind(LlmKind):
    """A run of another trainer: it can be looked at, not steered."""

    preset: ExternalPreset

    writes = "writes text"
    views: ClassVar[tuple[View, ...]] = VIEWS
    has_maze = False
    started_here = False

    @property
    def clock(self) -> Clock:  # type: ignore[override]  # what others know beforehand is told here
        unit = clean(self.preset.external.unit)
        return UPDATES._replace(unit=unit, axis=f"{unit}s")

    def views_of(self, snapshot: Snapshot) -> tuple[View, ...]:
        return views_of(snapshot.curves)

    # ------------------------------------------------------------ words

    @property
    def learners(self) -> str:
        return clean(self.preset.model.name)

    @property
    def how(self) -> str:
        return f"as {clean(self.preset.external.trainer)} does it"

    def model_facts(self) -> list[Fact]:
        external = self.preset.external
        facts = [
            Fact("trained by", "external-run", clean(external.trainer)),
            Fact("model", "language-model", clean(self.preset.model.name)),
        ]
        if external.settings:
            told = ", ".join(f"{clean(k)} {_setting(v)}" for k, v in external.settings.items())
            facts.append(Fact("settings", "external-run", told))
        return facts

    def final_facts(self, final: Mapping[str, Any]) -> list[Fact]:
        """What the trainer told last."""
        metrics: Mapping[str, float] = final["metrics"]
        nan = math.nan
        facts = [
            Fact("reward", "verifiable-reward", signed(metrics.get("reward", nan))),
            Fact("KL", "adapter-off", number(metrics.get("reference_kl", nan))),
            Fact("cut off", "truncated-completion", percent(metrics.get("cut_off_share", nan))),
        ]
        return [
            *(fact for fact in facts if fact.text != "-"),
            Fact(f"{self.clock.unit}s", "update", si(final["updates"])),
            Fact("completions", "completion", si(final["episodes"])),
            Fact("watched", "", duration(final["seconds"])),
        ]

    def success_terms(self, snapshot: Snapshot, roomy: bool) -> list[Term]:
        """The newest reward in place of a success, which nobody tells."""
        curve = snapshot.curves.get("reward")
        if curve is None or not len(curve.mean):
            return []
        return [Term(f"reward {signed(float(curve.mean[-1]))}", "verifiable-reward")]

    # ------------------------------------------------------------ forms

    def other_algorithms(self) -> tuple[str, ...]:
        return ()

    def applies(self, key: str) -> bool:
        return False


def _setting(value: float | str | bool) -> str:
    if isinstance(value, str | bool):
        return clean(str(value))
    return f"{value:g}"
