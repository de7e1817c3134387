"""What can be read off a completion by counting: the readable half of a reward model's features.

Shapes: `B` completions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from engine.core.arrays import Floats

NAMES = ("words", "word_length", "variety", "marks", "echo", "ended")
"""In the order of `readable`'s columns."""
MEANING = {
    "words": "number of words",
    "word_length": "letters per word",
    "variety": "different words",
    "marks": "marks per word",
    "echo": "words of the request",
    "ended": "ended by itself",
}
"""What each of `NAMES` is, for people."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_MARK = re.compile(r"[^\w\s]")


def words(text: str) -> list[str]:
    """The words of a text in small letters."""
    return [word.lower() for word in _WORD.findall(text)]


def readable(texts: Sequence[str], prompts: Sequence[str], cut_off: Sequence[bool]) -> Floats:
    """[B, 6] the features of `NAMES`; `prompts` and `cut_off` belong to each text."""
    rows = [
        _row(text, prompt, cut) for text, prompt, cut in zip(texts, prompts, cut_off, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(NAMES))


def _row(text: str, prompt: str, cut_off: bool) -> tuple[float, ...]:
    found, asked = words(text), set(words(prompt))
    n = max(len(found), 1)
    return (
        float(len(found)),
        sum(map(len, found)) / n,
        len(set(found)) / n,
        len(_MARK.findall(text)) / n,
        sum(word in asked for word in found) / n,
        float(not cut_off),
    )


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Distinct-n: distinct runs of n words over all runs, in all texts together; 0 to 1.

    Li et al. 2016, "A diversity-promoting objective function for neural conversation models",
    section 5. Low when everything sounds alike. The beginning and the end of a text count as words,
    so that texts of a single word can be alike too.
    """
    runs = [
        tuple(marked[i : i + n])
        for marked in (["", *words(text), ""] for text in texts)
        for i in range(len(marked) - n + 1)
    ]
    return len(set(runs)) / len(runs) if runs else 1.0
