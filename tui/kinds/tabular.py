"""The part that all kinds of run share that learn or compute a table for a maze."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from engine.algorithms.registry import TABLES, Registry
from engine.learning.algorithm import Algorithm
from engine.learning.events import Step
from tui.kinds.base import Hints, Kind
from tui.kinds.clock import STEPS, Clock
from tui.kinds.columns import MOVES, Layouts
from tui.kinds.step_facts import td_ended, td_learned
from tui.kinds.tabular_views import TABULAR_VIEWS
from tui.kinds.views import View
from tui.model.snapshot import Snapshot
from tui.ui.fact import Fact, Term
from tui.ui.glyphs import Glyphs
from tui.ui.text import duration, number, percent, si

MAZE_FIRST = frozenset({"maze.slip", "maze.hole_density", "maze.seed"})


class TabularKind(Kind):
    """Runs without a language model."""

    clock: ClassVar[Clock] = STEPS
    views: ClassVar[tuple[View, ...]] = TABULAR_VIEWS
    columns: ClassVar[Layouts] = MOVES
    registry: ClassVar[Registry[Algorithm]] = TABLES
    hints = Hints(
        over="It is over. Space replays it, m shows other curves, q goes to the library.",
        paused="Space goes on, . does one step, e an episode; Enter explains the step.",
        running="Enter explains this step, 1-{layers} show other layers, + goes faster, ? all "
        "keys.",
    )

    # ------------------------------------------------------------ the preset

    @property
    def learners(self) -> str:
        agents = self.preset.run.agents
        return f"{agents:,} agent{'' if agents == 1 else 's'}"

    @property
    def how(self) -> str:
        return self.algorithm.policy_type

    @property
    def behaviour(self) -> str:
        kind = self.exploring
        if kind is None:
            return self.algorithm.behaviour_policy
        name, symbol, exploration = kind.name, kind.symbol, self.preset.algorithm.exploration  # type: ignore[attr-defined]
        first, last = getattr(exploration, "start", None), getattr(exploration, "end", None)
        if first is None:
            return f"{name} on Q, {symbol} {exploration.c:g}"
        change = f" to {last:g}" if last not in (None, first) else ""
        return f"{name} on Q, {symbol} {first:g}{change}"

    def final_facts(self, final: Mapping[str, Any]) -> list[Fact]:
        sampled = " (sampled)" if final["success_kind"] == "sampled" else ""
        success = f"{percent(final['success_rate'])} of episodes{sampled}"
        if rule := final.get("success_rule"):
            success += f": {rule}"
        value, optimum = number(final["expected_return"]), number(final["optimal_return"])
        return [
            Fact("success", "success-rate", success),
            Fact("greedy", "greedy-success-rate", percent(final["greedy_success_rate"])),
            Fact("return", "expected-return", f"{value}; that of π* is {optimum}"),
            Fact("steps", "environment-step", self.work(final)),
            Fact("episodes", "episode", f"{si(final['episodes'])} per agent"),
            Fact("trained", "", duration(final["seconds"])),
        ]

    def work(self, final: Mapping[str, Any]) -> str:
        """The amount of work that was done."""
        return f"{si(final['env_steps'])} per agent, {si(final['total_env_steps'])} in all"

    # ------------------------------------------------------------ forms

    def other_algorithms(self) -> tuple[str, ...]:
        return tuple(
            name for name in TABLES.names if (TABLES.get(name).family == "planning") == self.plans
        )

    def matters(self, key: str, value: str) -> bool:
        table = key.partition(".")[0]
        if table == "budget":
            return bool(value)
        return key in MAZE_FIRST if table == "maze" else not key.endswith(".shape")

    # ------------------------------------------------------------ moments

    def success_terms(self, snapshot: Snapshot, roomy: bool) -> list[Term]:
        if snapshot.evaluation is None:
            return []
        success = f"success {percent(snapshot.evaluation.figures['success_rate'].mean)}"
        if roomy:
            success += f" (optimum {percent(snapshot.optimal_figures.success_rate)})"
        return [Term(success, "success-rate")]

    @property
    def target_is_greedy(self) -> bool:
        return self.algorithm.policy_type != "on-policy"

    # ------------------------------------------------------------ one step, explained

    def chosen(self, step: Step, glyphs: Glyphs) -> str:
        chance = number(math.exp(step.log_prob), 2)
        how = "explored" if step.explored else "exploited"
        return f"; here it {how} (chance of this action {chance})"

    def learned(self, step: Step) -> list[Fact]:
        return td_learned(step, self.algorithm)

    def ended(self, step: Step, glyphs: Glyphs) -> Fact:
        return td_ended(step, self.algorithm, glyphs)
