"""What a terminal is sent to draw attention: its bell, or a notification of the desktop.

OSC 9 (iTerm2, WezTerm, Windows Terminal, kitty, Ghostty) and OSC 777 (rxvt-unicode, foot, WezTerm,
Ghostty); a terminal that knows neither ignores them. Off unless `[notify] terminal` asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.ui.text import clean

LONGEST = 200
"""Characters of a notification."""


def sequences(kinds: Sequence[str], title: str, text: str) -> str:
    """The bytes to be written for `[notify] terminal`. Foreign text in them commands nothing."""
    name, words = _field(title), _field(text)
    forms = {
        "bell": "\a",
        "osc9": f"\x1b]9;{name}: {words}\x07",
        "osc777": f"\x1b]777;notify;{name};{words}\x07",
    }
    return "".join(forms[kind] for kind in dict.fromkeys(kinds))


def _field(text: str) -> str:
    """A text as one field of such a sequence: semicolons part the fields."""
    return clean(text).replace(";", ",")[:LONGEST]
