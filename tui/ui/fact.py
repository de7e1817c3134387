"""Terms and facts as plain data: what a label on screen means. Textual is not imported here: the
command line lists presets without it."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A label on screen and the glossary entry it belongs to."""

    label: str
    slug: str


class Fact(NamedTuple):
    """One line: its label, the glossary entry the label belongs to (or ""), and the text."""

    label: str
    slug: str
    text: str
