"""Runs that compute the answer from the known model, sweep by sweep: no agent moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tui.kinds.clock import SWEEPS, Clock
from tui.kinds.columns import ARROW, STATE, Column, Layouts, T
from tui.kinds.loop import Piece, Pieces, Stop, Story, muted, term, tone
from tui.kinds.tabular import TabularKind
from tui.ui.text import number, si, signed

BEST = Column("action", "best", "action", 9)
OLD = Column("before", "old V", "state-value", 9)
NEW = Column("target", "new V", "bellman-backup", 9)
CHANGE = Column("error", "change", "bellman-residual", 9)
EXPECTED = Column("reward", "reward", "reward", 8)


class PlanningStory(Story):
    """One backup of a sweep; before the first, the loop of any agent."""

    def agent_side(self) -> list[Stop]:
        if self.step is None:
            return super().agent_side()
        return [
            Stop(term("state", "state"), self._state()),
            Stop(term("model", "mdp"), [muted("p(s′,r|s,a)"), muted(" is known")]),
            Stop(term("best action", "action"), self._action()),
        ]

    def environment_side(self) -> list[Stop]:
        if self.step is None:
            return super().environment_side()
        likeliest = [*self._next_state(), muted(" likeliest")]
        return [
            Stop(term("next state", "next-state"), likeliest),
            Stop(term("expected reward", "reward"), self._reward()),
            Stop(term(f"sweep {self.step.episode}", "sweep"), [muted("no agent moves")]),
        ]

    def learning(self, *, brief: bool) -> Pieces:
        """The value of the state before and after."""
        step, onward = self.step, self.glyphs.solid[2]
        if step is None:
            return super().learning(brief=brief)
        return [
            term("V(s)", "state-value"),
            Piece(f" {number(step.before)} {onward} {number(step.after)}"),
            muted("  change "),
            Piece(signed(step.error), tone(step.error)),
        ]


class PlanningKind(TabularKind):
    """Value iteration and policy iteration."""

    clock: ClassVar[Clock] = SWEEPS
    columns: ClassVar[Layouts] = (
        (T._replace(title="#"), STATE, BEST, EXPECTED, OLD, NEW, CHANGE),
        (STATE, BEST, OLD, NEW, CHANGE),
        (STATE, ARROW, OLD, NEW, CHANGE),
    )
    story = PlanningStory
    plans = True
    numbers_episodes = False

    @property
    def how(self) -> str:
        return "plans with the model"

    def work(self, final: Mapping[str, Any]) -> str:
        return f"{si(final['updates'])} {self.algorithm.update_name}s"

    def episode_name(self, index: int, end: int) -> str:
        return f"Sweep {index}"
