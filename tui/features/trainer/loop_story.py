"""The stations of the agent-environment loop for one step, and how they are laid out in lines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len

from engine.env.maze import Maze
from engine.learning.events import Step
from tui.kinds.exploring import KINDS, Exploring
from tui.model.steps import action_name, arrow, ending, not_learned_from, place, result
from tui.ui.glyphs import Glyphs, plain
from tui.ui.text import fit, number, signed


class Piece(NamedTuple):
    """Text in one component style of the figure; with a slug, a glossary term."""

    text: str
    part: str = "value"
    slug: str = ""


Pieces = list[Piece]


@dataclass(frozen=True, slots=True)
class Stop:
    """One station: its label, and its value in this step."""

    label: Piece
    value: Pieces


def term(text: str, slug: str) -> Piece:
    """A label that is a glossary term."""
    return Piece(text, "term", slug)


def muted(text: str) -> Piece:
    """Words between the values."""
    return Piece(text, "muted")


class Story:
    """What happened in one step, station by station; without a step, the labels alone."""

    def __init__(
        self,
        maze: Maze,
        step: Step | None,
        symbol: str,
        glyphs: Glyphs,
        explores: Exploring | None = None,
    ) -> None:
        """`symbol` is what the method learns: V or Q."""
        self.explores = explores or KINDS["epsilon-greedy"]
        self.maze, self.step, self.symbol, self.glyphs = maze, step, symbol, glyphs
        self.predicting = symbol == "V" and (step is None or step.kind == "real")
        self.planning = step is not None and step.kind == "backup"
        self.modelled = step is not None and step.kind == "planning"

    # ------------------------------------------------------------ stations

    def agent_side(self) -> list[Stop]:
        """State, policy, action: what the agent sees and decides."""
        middle = term("model", "mdp") if self.planning else term("policy", "policy")
        last = term("best action" if self.planning else "action", "action")
        return [
            Stop(term("state", "state"), self._state()),
            Stop(middle, self._policy()),
            Stop(last, self._action()),
        ]

    def environment_side(self) -> list[Stop]:
        """Next state, reward, environment: what comes back, in the order it is drawn."""
        source = term("environment", "environment")
        if self.planning:
            source = term(f"sweep {self.step.episode if self.step else 0}", "sweep")
        elif self.modelled:
            source = term("model", "model-based")
        reward = "expected reward" if self.planning else "reward"
        return [
            Stop(term("next state", "next-state"), self._next_state()),
            Stop(term(reward, "reward"), self._reward()),
            Stop(source, self._environment()),
        ]

    def _state(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        pieces = [Piece(place(self.maze, step.state))]
        if self.maze.observation != "cell" or self.maze.memory > 1:
            pieces += [muted(" sees "), Piece(f"o{step.observation}", "value", "observation")]
        return pieces

    def _policy(self) -> Pieces:
        step, glyphs = self.step, self.glyphs
        if step is None:
            return []
        if self.planning:
            return [muted("p(s′,r|s,a)"), muted(" is known")]
        which = arrow(self.maze, step.action, glyphs.solid)
        pieces = [
            self._choice(step),
            muted(" "),
            term(f"π({which}|s)", "behaviour-policy"),
            Piece(f" {number(math.exp(step.log_prob), 2)}"),
        ]
        if not math.isnan(step.exploration):
            level = term(self.explores.symbol, self.explores.slug)
            pieces += [muted("  "), level, Piece(f" {number(step.exploration, 2)}")]
        return pieces

    def _choice(self, step: Step) -> Piece:
        """Explored or exploited, by symbol and word; or neither, with a policy that was given."""
        if self.predicting:
            return Piece("as given", "muted", "prediction")
        if step.explored:
            return Piece(f"{self.glyphs.explored} explored", "explored", "exploration")
        return Piece(f"{self.glyphs.exploited} exploited", "exploited", "exploitation")

    def _action(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        arrows = self.glyphs.dashed if step.explored else self.glyphs.solid
        part = "explored" if step.explored else "exploited"
        symbol = arrow(self.maze, step.action, arrows)
        return [Piece(f"{symbol} {action_name(self.maze, step.action)}", part)]

    def _next_state(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        pieces = [Piece(place(self.maze, step.next_state))]
        return [*pieces, muted(" likeliest")] if self.planning else pieces

    def _reward(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        part = "good" if step.reward > 0 else "bad" if step.reward < 0 else "value"
        return [Piece(signed(step.reward), part)]

    def _environment(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        if self.planning:
            return [muted("no agent moves")]
        symbol, word = ending(step, self.glyphs)
        if step.terminated:
            part = "good" if step.success else "bad"
            return [Piece(f"{symbol} {word}", part), muted("  "), term("terminated", "terminated")]
        part = "bad" if step.fell else "value"
        pieces = [Piece(result(self.maze, step), part)]
        if step.truncated:
            pieces += [muted(f"  {symbol} "), term("truncated", "truncated")]
        return pieces

    def learning(self, *, brief: bool) -> Pieces:
        """The update: error, target, estimate before and after."""
        step = self.step
        if step is None:
            return [muted("waiting for the first step")]
        onward = self.glyphs.solid[2]
        part = "good" if step.error > 0 else "bad" if step.error < 0 else "value"
        if self.planning:
            return [
                term("V(s)", "state-value"),
                Piece(f" {number(step.before)} {onward} {number(step.after)}"),
                muted("  change "),
                Piece(signed(step.error), part),
            ]
        if step.probabilities:
            return self._learning_a_policy(step, brief=brief)
        if not_learned_from(step):
            waits = "waits for later rewards"
            return [term("δ" if brief else "TD error δ", "td-error"), muted(f"  {waits}")]
        symbol = self.symbol if brief else self.symbol + ("(s,a)" if self.symbol == "Q" else "(s)")
        return [
            term("δ" if brief else "TD error δ", "td-error"),
            Piece(f" {signed(step.error)}", part),
            muted(" = "),
            term("target", "td-target"),
            Piece(f" {number(step.target)}"),
            muted(" - "),
            term(symbol, "action-value" if self.symbol == "Q" else "state-value"),
            Piece(f" {number(step.before)}"),
            muted(f"  now {number(step.after)}"),
        ]

    def _learning_a_policy(self, step: Step, *, brief: bool) -> Pieces:
        """The advantage, and what it made of the chance of the action taken."""
        which = arrow(self.maze, step.action, self.glyphs.solid)
        chance = [
            term(f"π({which}|s)", "policy"),
            Piece(f" {number(step.probabilities[step.action], 3)}"),
        ]
        if not step.probabilities_after:
            waits = "not learned from yet" if brief else "not learned from yet: its batch goes on"
            return [*chance, muted(f"  {waits}")]
        advantage = step.advantage_estimate
        part = "good" if advantage > 0 else "bad" if advantage < 0 else "value"
        onward = f" {self.glyphs.solid[2]} {number(step.probabilities_after[step.action], 3)}"
        pieces = [
            term("A" if brief else "advantage", "advantage"),
            Piece(f" {signed(advantage)}", part),
            muted("  "),
            *chance,
            Piece(onward),
        ]
        if step.step_size:
            value = Piece(f" {number(step.before)} {self.glyphs.solid[2]} {number(step.after)}")
            pieces += [muted("  "), term("V(s)", "state-value"), value]
        return pieces

    # ------------------------------------------------------------ layouts

    def full(self, width: int) -> list[Pieces]:
        """Five lines: labels and values of the agent, the update, values and labels of the rest."""
        top_left, top_right, bottom_left, bottom_right, across, down = self.glyphs.loop
        upper, lower = self.agent_side(), self.environment_side()
        starts = self._columns(width)
        forth, back = self.glyphs.forth, self.glyphs.back
        head: Pieces = [Piece(f"{top_left}{across}{forth} ", "frame")]
        foot: Pieces = [Piece(f"{bottom_left}{across * 2} ", "frame")]
        for i, (above, below) in enumerate(zip(upper, lower, strict=True)):
            end = starts[i + 1] if i + 1 < len(starts) else width
            head.append(above.label)
            foot.append(below.label)
            room = end - starts[i] - cell_len(above.label.text)
            last = i + 1 == len(upper)
            line = across * (room - 2) + top_right if last else across * (room - 3) + forth + " "
            head.append(Piece(" " + line, "frame"))
            room = end - starts[i] - cell_len(below.label.text)
            line = across * (room - 3) + bottom_right if last else across * (room - 3) + " "
            foot.append(Piece(f" {back}{line}", "frame"))
        return [
            head,
            self._values(width, starts, upper, down),
            self._framed(width, self.learning(brief=False), down),
            self._values(width, starts, lower, down),
            foot,
        ]

    @staticmethod
    def _columns(width: int) -> list[int]:
        """Where the three stations start. By the width alone, so that nothing jumps about."""
        first = 4
        second = first + max(13, min(width // 6, 24))
        third = min(second + max(35, width * 2 // 5), width - 20)
        return [first, second, third]

    def _values(self, width: int, starts: list[int], stops: list[Stop], down: str) -> Pieces:
        pieces: Pieces = [Piece(down, "frame"), Piece(" " * (starts[0] - 1), "muted")]
        for start, end, stop in zip(starts, [*starts[1:], width - 1], stops, strict=True):
            pieces += self._fitted(stop.value, end - start)
        return [*pieces, Piece(down, "frame")]

    def _framed(self, width: int, pieces: Pieces, down: str) -> Pieces:
        inside = self._fitted(pieces, width - 5)
        return [Piece(f"{down}   ", "frame"), *inside, Piece(down, "frame")]

    def compact(self, width: int) -> list[Pieces]:
        """Three lines for narrow places: the agent, the update, the environment."""
        forth, back = self.glyphs.forth, self.glyphs.back
        top_left, top_right, bottom_left, bottom_right, across, down = self.glyphs.loop
        upper, lower = self.agent_side(), self.environment_side()
        symbols = (("s", "state"), ("", ""), ("a", "action"))
        head = self._short(upper, symbols, f" {forth} ")
        symbols = (("s′", "next-state"), ("r", "reward"), ("", ""))
        foot = self._short(lower, symbols, f" {back} ")
        inner = width - 4
        return [
            self._closed(f"{top_left}{forth} ", head, inner, across, f" {top_right}"),
            [
                Piece(f"{down} ", "frame"),
                *self._fitted(self.learning(brief=True), inner + 1),
                Piece(down, "frame"),
            ],
            self._closed(f"{bottom_left}{across} ", foot, inner, across, f"{back}{bottom_right}"),
        ]

    def _short(
        self, stops: list[Stop], symbols: tuple[tuple[str, str], ...], between: str
    ) -> Pieces:
        """The stations in one line: each with the symbol of its label, and the value's gist."""
        pieces: Pieces = []
        for stop, (symbol, slug) in zip(stops, symbols, strict=True):
            if pieces:
                pieces.append(Piece(between, "frame"))
            if symbol and stop.value:
                pieces.append(term(symbol, slug))
                pieces.append(muted(" "))
            pieces += stop.value[:1] or [stop.label]
        return pieces

    def _closed(self, start: str, pieces: Pieces, width: int, across: str, end: str) -> Pieces:
        room = width - 1 - _size(pieces)
        if room < 2:
            inside = self._fitted(pieces, width - 1)
            return [Piece(start, "frame"), *inside, Piece(end, "frame")]
        line = Piece(" " + across * (room - 1) + end.strip().rjust(len(end), across), "frame")
        return [Piece(start, "frame"), *pieces, line]

    def _fitted(self, pieces: Pieces, width: int) -> Pieces:
        """The pieces in exactly `width` cells; what does not fit is left out from the end."""
        kept = [piece._replace(text=plain(piece.text, self.glyphs.ascii)) for piece in pieces]
        while len(kept) > 1 and _size(kept) > width:
            kept.pop()
        if len(kept) < len(pieces):  # a label or a sign without its value says nothing
            while len(kept) > 1 and kept[-1].part in ("muted", "term"):
                kept.pop()
        if _size(kept) > width:
            kept = [kept[0]._replace(text=fit(kept[0].text, width, self.glyphs.ellipsis))]
        return [*kept, Piece(" " * (width - _size(kept)), "muted")]


def _size(pieces: Pieces) -> int:
    return sum(cell_len(piece.text) for piece in pieces)
