"""The one exception that is the user's to mend."""

from __future__ import annotations

INSTALL_LLM = "pip install 'icemaze[llm]' (in a checkout: pip install '.[llm]')"
"""How to get the packages that language models need."""


class UserError(Exception):
    """Bad input: one clear sentence saying what, where, what was expected and what to do.

    Commands print it and exit with 2; the app shows it as a notification.
    """


class StorageError(UserError):
    """The disk refuses a write (full, failing, locked, read-only): the same may work later."""


class LastingError(UserError):
    """One that stays: the same run would fail again at the same place, so going on cannot help."""


def shown(text: str, most: int = 60) -> str:
    """Foreign text as a message holds it: shortened, and what cannot be printed as escapes."""
    printable = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode()
        for sign in text[: most + 1]
    )
    return printable if len(printable) <= most else printable[: most - 1] + "…"


def nearest_few(word: str, valid: list[str] | tuple[str, ...]) -> str:
    """The same where there are too many valid words to name them all: the three nearest."""
    import difflib

    word = word[:100]
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    found = difflib.get_close_matches(word, valid, n=3, cutoff=0.0)
    are = "is" if len(found) == 1 else "are"
    return f" The nearest {are} {', '.join(map(repr, found))}." if found else ""


def nearest(word: str, valid: list[str] | tuple[str, ...]) -> str:
    """`" Did you mean 'x'?"` when a valid word is near, else the valid words, else nothing."""
    import difflib

    match = difflib.get_close_matches(word[:100], valid, n=1, cutoff=0.6)
    if match:
        return f" Did you mean {match[0]!r}?"
    return f" Valid: {', '.join(valid)}." if valid else ""
