"""One line of names of which one is chosen: the tabs of a narrow terminal, the views of a chart."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget


class ChoiceBar(Widget):
    """The chosen name is bold, reversed and in brackets; a click asks for another one."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice-bar--chosen"}

    DEFAULT_CSS = """
    ChoiceBar {
        height: 1;
        width: 1fr;
        & > .choice-bar--chosen { text-style: bold reverse; }
    }
    """

    titles: reactive[tuple[str, ...]] = reactive(())
    """The names, from left to right."""
    chosen: reactive[int] = reactive(0)
    """Index of the one that is chosen."""

    class Clicked(Message):
        """A name was clicked."""

        def __init__(self, bar: ChoiceBar, index: int) -> None:
            self.bar, self.index = bar, index
            super().__init__()

        @property
        def control(self) -> ChoiceBar:
            """The bar it happened in."""
            return self.bar

    def __init__(self, *titles: str, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.set_reactive(ChoiceBar.titles, titles)

    def render(self) -> RenderResult:
        chosen = self.get_visual_style("choice-bar--chosen")
        pieces = [
            Content.styled(
                f"[{title}]" if i == self.chosen else f" {title} ",
                (chosen if i == self.chosen else Style()) + Style.from_meta({"choice": i}),
            )
            for i, title in enumerate(self.titles)
            if self._first <= i < self._end
        ]
        if self._end < len(self.titles):  # a click on the count leads to the first of them
            more = Style.from_meta({"choice": self._end})
            pieces.append(Content.styled(f" +{len(self.titles) - self._end}", more))
        return Content("").join(pieces)

    @property
    def _end(self) -> int:
        """The first name behind those that are shown: as many fit as a count of the rest allows."""
        room, end = self.size.width, self._first
        while end < len(self.titles):
            room -= len(self.titles[end]) + 2
            left = len(self.titles) - end - 1
            if room < (len(f" +{left}") if left else 0) and end > self.chosen:
                break
            end += 1
        return end

    @property
    def _first(self) -> int:
        """The first name that is shown: later ones where the chosen one would not fit else."""
        first, end = 0, min(self.chosen + 1, len(self.titles))
        while first < end - 1 and sum(len(t) + 2 for t in self.titles[first:end]) > self.size.width:
            first += 1
        return first

    async def _on_click(self, event: events.Click) -> None:
        index = event.style.meta.get("choice")
        if isinstance(index, int):
            event.stop()
            self.post_message(self.Clicked(self, index))
