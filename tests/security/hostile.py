"""Strings that attack a terminal or the eye, and what of them must never reach a screen."""

from __future__ import annotations

import re
import unicodedata

PARTS = {
    "title": "\x1b]0;EVIL\x07",
    "link": "\x1b]8;;http://evil\x1b\\LINK\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;RVZJTA==\x07",
    "cursor": "\x1b[66;66H\x1b[66A",
    "screen": "\x1b[?47h\x1b[66J",
    "colour": "\x1b[66;66;66m",
    "device": "\x1bP+q66\x1b\\",
    "c1": "\x9b66;66H\x9d0;EVIL\x9c\x90q66\x9c",
    "reset": "\x1bc",
    "c0": "\x00\x07\x08\x0e\x0f\x7f",
    "bidi": "\u202eabc\u202c\u2066x\u2069\u200f\u061c",
    "invisible": "\u200bx\u2060x\xadx\ufeffx\u200dx\ufe0fx\u3164x\u034f",
    "annotation": "\ufff9a\ufffab\ufffb\u206a\u206f",
    "tags": "\U000e0041\U000e007f",
    "marks": "e" + "\u0301\u0489" * 30,
    "markup": "[@click=app.quit]CLICK[/] [/foo] [link=http://evil]LINK[/link] [red]red",
}
"""By what they attack."""
SEEN = "CLICK"
"""What stays of them, so that a test knows they were shown."""
ALL = SEEN + "".join(PARTS.values())
FILE = "".join(PARTS[n] for n in PARTS if n != "c0").replace("/", "|")
"""All that a file's name can have."""

COMMANDS = re.compile(r"\x1b(\]0;EVIL|\]8|\]52|\[66|\[\?47h|P\+q|c)|[\x00\x07\x08\x0e\x0f\x7f]")


POINTER = "\x1b]22;default\x07"
"""Textual's own: the shape of the mouse's pointer."""


def dangers(output: bytes) -> list[str]:
    """What of the attacks is in the bytes that reached a terminal."""
    text = output.decode("utf-8", "replace").replace(POINTER, "")
    found = [repr(match[0]) for match in COMMANDS.finditer(text)]
    marks = 0
    for char in text:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind[0] == "M" else 0
        if kind in ("Cf", "Cs") or "\x80" <= char <= "\x9f" or marks > 4 or char in "\u034f\u3164":
            found.append(hex(ord(char)))
    return found
