"""Text that is drawn line by line can be selected by dragging, as the text of other widgets can."""

from __future__ import annotations

from collections.abc import Iterable

from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget


def selectable(widget: Widget, strip: Strip, line: int) -> Strip:
    """A strip that knows its place in the text (`line` from 0), drawn with what is selected of it.

    The widget's `get_selection` has to give the same lines.
    """
    chosen = widget.text_selection
    span = chosen.get_span(line) if chosen is not None else None
    if span is not None:
        start, end = span
        whole = strip.cell_length
        end = whole if end == -1 else min(end, whole)
        start = min(start, end)
        look = widget.screen.get_component_rich_style("screen--selection")
        parts = strip.crop(0, start), strip.crop(start, end), strip.crop(end, whole)
        strip = Strip.join([parts[0], parts[1].apply_style(look), parts[2]])
    return strip.apply_offsets(0, line)


def selected(selection: Selection, lines: Iterable[str]) -> tuple[str, str] | None:
    """What is selected of these lines, as `Widget.get_selection` gives it."""
    try:
        return selection.extract("\n".join(line.rstrip() for line in lines)), "\n"
    except IndexError:  # the lines are not there any more
        return None


class LinesToCopy(Widget):
    """A widget of a few lines, each drawn by `line_strip`, that can be selected."""

    def line_strip(self, y: int) -> Strip:
        """A line of the widget, from 0."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """The line, with what is selected of it."""
        return selectable(self, self.line_strip(y), y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The lines that were dragged over, as they are written."""
        return selected(selection, (self.line_strip(y).text for y in range(self.size.height)))
