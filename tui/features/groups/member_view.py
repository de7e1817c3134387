"""One member of a group in full: its reward's parts, what the model wrote token by token, and the
prompt it had read.

How likely the model found each token is shown twice: by a symbol before it, and by its colour.
"""

from __future__ import annotations

import math
from typing import ClassVar

from rich.console import Group as Lines
from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from engine.env.maze import Maze
from engine.learning.events import Member
from tui.features.groups.members import ASCII_GRADES, GRADES, LEVELS, grade, outcome
from tui.model.steps import arrow
from tui.ui import glyphs as glyph_sets
from tui.ui.fact import Term
from tui.ui.text import clean, fit, number, percent, signed

NOTHING = "(nothing: the model ended at once)"
PREFIX = "member--"
PARTS = ("label", "value", "muted", "good", "bad", "move", *(f"grade-{i}" for i in range(4)))


class MemberView(Widget):
    """Text of its own height, for a pane that scrolls."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {PREFIX + part for part in PARTS}
    DEFAULT_CSS = """
    MemberView {
        height: auto;
        & > .member--label { color: $foreground; text-style: bold; }
        & > .member--value { color: $foreground; }
        & > .member--muted { color: $foreground 60%; }
        & > .member--good { color: $text-success; }
        & > .member--bad { color: $text-error; }
        & > .member--move { text-style: underline; }
        & > .member--grade-0 { color: $text-error; }
        & > .member--grade-1 { color: $text-warning; }
        & > .member--grade-2 { color: $text-primary; }
        & > .member--grade-3 { color: $text-success; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._member: Member | None = None
        self._maze: Maze | None = None
        self._prompt = ""
        self._whole_prompt = False

    def show(
        self, member: Member | None, maze: Maze | None, prompt: str, whole_prompt: bool
    ) -> None:
        """Show a member, of texts without a maze; `prompt` in full or as its first line."""
        self._member, self._maze = member, maze
        self._prompt, self._whole_prompt = clean(prompt, lines=True).strip(), whole_prompt
        self.refresh(layout=True)

    def terms(self) -> list[Term]:
        """What the labels stand for."""
        member = self._member
        if member is not None and member.tokens:
            return [
                Term("advantage", "group-advantage"),
                Term("reward", "verifiable-reward"),
                Term("parts of the reward", "reward-parts"),
                Term("what the model wrote", "completion"),
                Term("probability", "token-probability"),
                Term("cut off", "truncated-completion"),
                Term("unreadable", "unreadable-completion"),
                Term("Prompt", "prompt"),
            ]
        return [
            Term("advantage", "group-advantage"),
            Term("return", "return"),
            Term("probability", "log-probability"),
            Term("Prompt", "prompt"),
        ]

    def render(self) -> Lines:
        """The whole text."""
        member = self._member
        if member is None:
            return Lines(self._text("Nothing is recorded of this group.", "muted"))
        lines = [self._figures(member)]
        if member.parts:
            lines.append(self._parts(member))
        if member.text or member.tokens or self._maze is None:
            lines += [self._text("What the model wrote", "label"), self._written(member)]
        elif member.actions:
            lines += [self._text("Moves, and how likely each was", "label"), self._moved(member)]
        if member.tokens or (member.actions and member.log_probs):
            lines.append(self._key())
        return Lines(*lines, Text(), *self._prompt_lines())

    # ------------------------------------------------------------ paragraphs

    @property
    def _glyphs(self) -> glyph_sets.Glyphs:
        return glyph_sets.current()

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(PREFIX + part, partial=part == "move")

    def _text(self, text: str, part: str) -> Text:
        return Text().append(glyph_sets.plain(text), self._style(part))

    def _figures(self, member: Member) -> Text:
        end = outcome(member, self._maze, self._glyphs)
        tone = "good" if member.advantage > 0 else "bad" if member.advantage < 0 else "value"
        return Text.assemble(
            self._text("advantage ", "muted"),
            self._text(signed(member.advantage), tone),
            self._text("  reward " if member.parts else "  return ", "muted"),
            self._text(number(member.total), "value"),
            self._text(f"  {end.symbol} {end.words}", end.part),
        )

    def _parts(self, member: Member) -> Text:
        known = [part for part in member.parts.values() if math.isfinite(part)]
        weighed = not math.isclose(sum(known), member.total, rel_tol=1e-4, abs_tol=1e-4)
        text = self._text("parts, before they are weighed: " if weighed else "reward = ", "muted")
        for i, (name, value) in enumerate(member.parts.items()):
            text.append_text(self._text((", " if weighed else " + ") if i else "", "muted"))
            text.append_text(self._text(f"{clean(name)} {number(value)}", "value"))
        return text

    def _written(self, member: Member) -> Text:
        """The tokens, each behind the symbol of its probability; read moves are underlined."""
        if not member.tokens:
            return self._text(clean(member.text, lines=True).strip() or NOTHING, "value")
        text, at = Text(), 0
        known = len(member.log_probs) == len(member.tokens)
        for i, token in enumerate(member.tokens):
            symbol, place = grade(member.log_probs[i], self._glyphs) if known else ("", 3)
            is_move = any(first < at + len(token) and at < end for first, end in member.spans)
            at += len(token)
            style = self._style(f"grade-{place}" if known else "value")
            text.append(symbol, self._style("muted"))
            text.append(self._shown(token), style + self._style("move") if is_move else style)
            if "\n" in token:
                text.append("\n")
        return text

    def _shown(self, token: str) -> str:
        """A token in one line; line breaks are made visible."""
        newline = "\\n" if self._glyphs.ascii else "↵"
        safe = clean(token, lines=True).replace("\n", newline)
        return glyph_sets.plain(safe) if safe else "?"

    def _moved(self, member: Member) -> Text:
        """The moves of an episode, each behind the symbol of its probability."""
        text = Text()
        known = len(member.log_probs) == len(member.actions)
        for i, action in enumerate(member.actions):
            which = arrow(self._maze or Maze(), action, self._glyphs.solid)
            if known:
                symbol, place = grade(member.log_probs[i], self._glyphs)
                chance = math.exp(member.log_probs[i])
                text.append(symbol, self._style("muted"))
                text.append(f"{which}{percent(chance)}  ", self._style(f"grade-{place}"))
            else:
                text.append(f"{which} ", self._style("value"))
        return text

    def _key(self) -> Text:
        symbols = ASCII_GRADES if self._glyphs.ascii else GRADES
        words = [f"under {percent(level)}" for level in LEVELS] + [f"{percent(LEVELS[-1])} or more"]
        text = self._text("probability: ", "muted")
        for i, (symbol, word) in enumerate(zip(symbols, words, strict=True)):
            text.append(f"{symbol} ", self._style("muted"))
            text.append(f"{word}  ", self._style(f"grade-{i}"))
        return text

    def _prompt_lines(self) -> list[Text]:
        glyphs = self._glyphs
        fold = glyphs.unfolded if self._whole_prompt else glyphs.folded
        head = self._text(f"{fold} Prompt", "label")
        if self._whole_prompt:
            return [head, self._text(self._prompt, "value")]
        first = " ".join(self._prompt.split())
        room = max(self.size.width - 22, 10)
        return [
            Text.assemble(
                head,
                self._text("  ", "muted"),
                self._text(fit(first, room, glyphs.ellipsis), "muted"),
                self._text("  p unfolds", "muted"),
            )
        ]
